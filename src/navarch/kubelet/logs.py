"""Container logs in CRI's format: read, followed, rotated.

A line in the file is `2026-01-31T12:00:00.123456789Z stdout F text`, with P in place of F when the text goes on in the next line. In: the
log file (rotated older parts lie beside it). Out: bytes as `kubectl logs` prints them. Upstream's counterpart is pkg/kubelet/kuberuntime/logs. A pod
that mounts the node's log folder can put anything in a log's place: only regular files are read, and no link is followed.
"""

from __future__ import annotations

import asyncio
import calendar
import gzip
import os
import pathlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from navarch.lib import beneath, integers

BLOCK = 64 * 1024
FOLLOW_PAUSE = 0.1
ROTATED_KEPT = 4


@dataclass(frozen=True)
class Options:
    """What is wanted of a log. `since` in seconds since the epoch; `tail` None for everything."""

    tail: int | None = None
    since: float = 0.0
    limit: int | None = None
    timestamps: bool = False
    follow: bool = False
    stream: str = "All"


@dataclass(frozen=True, slots=True)
class Line:
    """One parsed line; `partial` when the text continues in the next."""

    stamp: bytes
    stream: bytes
    partial: bool
    text: bytes


def parse(raw: bytes) -> Line | None:
    """A line of the file, None when it is not one (a torn write)."""
    parts = raw.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    partial = parts[2].split(b":", 1)[0] == b"P"
    return Line(parts[0], parts[1], partial, parts[3] if len(parts) > 3 else b"")


def moment(stamp: bytes) -> float:
    """The time of a line; 0 when it cannot be read."""
    try:
        whole = calendar.timegm(time.strptime(stamp[:19].decode(), "%Y-%m-%dT%H:%M:%S"))
        rest = stamp[19:].decode()
        digits = rest[1:].rstrip("Z").split("+")[0] if rest.startswith(".") else ""
        fraction = float(f"0.{digits}") if integers.is_digits(digits) else 0.0
        zone = rest[-6:]
        if zone[:1] in "+-" and zone[3:4] == ":":
            offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
            whole -= offset if zone[0] == "+" else -offset
        return whole + fraction
    except (ValueError, IndexError):
        return 0.0


def tail_offset(path: pathlib.Path, lines: int) -> int:
    """Where the last `lines` lines of a file begin."""
    with beneath.open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if lines <= 0:
            return size
        found, position = 0, size
        while position > 0:
            step = min(BLOCK, position)
            position -= step
            file.seek(position)
            block = file.read(step)
            end = len(block)
            if position + step == size and block.endswith(b"\n"):
                end -= 1
            while (cut := block.rfind(b"\n", 0, end)) >= 0:
                found += 1
                if found == lines:
                    return position + cut + 1
                end = cut
    return 0


class Printer:
    """Turns lines of the file into what the user sees, within the limit."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._left = options.limit
        self._continues = False
        self._rest = b""
        self.full = False

    def feed(self, data: bytes) -> bytes:
        """The output for more bytes of the file; an unfinished line is kept for later."""
        whole = self._rest + data
        cut = whole.rfind(b"\n") + 1
        self._rest = whole[cut:]
        return self._print(whole[:cut].split(b"\n")[:-1])

    def finish(self) -> bytes:
        """The output for a last line without its end."""
        rest, self._rest = self._rest, b""
        return self._print([rest]) if rest else b""

    def _print(self, raws: list[bytes]) -> bytes:
        out: list[bytes] = []
        options = self._options
        for raw in raws:
            line = parse(raw)
            if line is None or (options.stream != "All" and line.stream.decode() != options.stream.lower()):
                continue
            if options.since and moment(line.stamp) < options.since:
                continue
            if options.timestamps and not self._continues:
                out.append(line.stamp + b" ")
            out.append(line.text if line.partial else line.text + b"\n")
            self._continues = line.partial
        return self._limited(b"".join(out))

    def _limited(self, data: bytes) -> bytes:
        if self._left is None:
            return data
        kept = data[: self._left]
        self._left -= len(kept)
        self.full = self._left <= 0
        return kept


async def read(path: pathlib.Path, options: Options, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log as the user sees it, in pieces. With `follow` until the container has ended (`ended()`) and all was read.

    Follows through rotation: when the file at this path is another one, reading goes on there.
    """
    printer = Printer(options)
    file = await asyncio.to_thread(beneath.open_file, path)
    try:
        if options.tail is not None:
            file.seek(await asyncio.to_thread(tail_offset, path, options.tail))
        while not printer.full:
            over = ended()
            data = file.read(BLOCK)
            if data:
                if out := printer.feed(data):
                    yield out
                await asyncio.sleep(0)
                continue
            if not options.follow or over:
                break
            following = _rotated(path, file.fileno())
            if following is not None:
                while data := file.read(BLOCK):
                    yield printer.feed(data)
                    await asyncio.sleep(0)
                file.close()
                file = following
                continue
            await asyncio.sleep(FOLLOW_PAUSE)
        if not printer.full and (rest := printer.finish()):
            yield rest
    finally:
        file.close()


def _rotated(path: pathlib.Path, descriptor: int) -> BinaryIO | None:
    """The file that has taken this path since, opened; None while it is still the same (or there is none yet)."""
    try:
        fresh = beneath.open_file(path)
    except OSError:
        return None
    if os.path.sameopenfile(fresh.fileno(), descriptor):
        fresh.close()
        return None
    return fresh


def older(path: pathlib.Path) -> list[pathlib.Path]:
    """Rotated parts of a log, the oldest first: `0.log.20260131-120000[.gz]`."""
    return sorted(entry for entry in path.parent.glob(f"{path.name}.*") if not entry.name.endswith(".tmp"))


def lines_of(path: pathlib.Path) -> Iterator[bytes]:
    """Raw lines of a log file, compressed or not."""
    if path.suffix == ".gz":
        with beneath.open_file(path) as packed, gzip.open(packed, "rb") as compressed:
            yield from compressed
    else:
        with beneath.open_file(path) as file:
            yield from file


def last(path: pathlib.Path, lines: int, limit: int) -> str:
    """The end of a log as text: at most so many lines and bytes."""
    with beneath.open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(tail_offset(path, lines), size - BLOCK))
        data = file.read(BLOCK)
    printer = Printer(Options())
    text = printer.feed(data) + printer.finish()
    return text[-limit:].decode("utf-8", "replace")


def rotate(path: pathlib.Path, now: float, keep: int = ROTATED_KEPT) -> None:
    """Moves a log aside, compresses what was moved before, and drops the oldest. The runtime must reopen its file then."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    for entry in older(path):
        if entry.suffix != ".gz":
            packed = entry.with_name(entry.name + ".gz")
            temporary = entry.with_name(entry.name + ".tmp")
            temporary.unlink(missing_ok=True)
            with beneath.open_file(entry) as source, gzip.open(temporary, "xb") as target:
                while block := source.read(BLOCK):
                    target.write(block)
            temporary.rename(packed)
            entry.unlink()
    path.rename(path.with_name(f"{path.name}.{stamp}"))
    for entry in older(path)[: -max(1, keep)]:
        entry.unlink()
