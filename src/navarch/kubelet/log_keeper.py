"""Keeps the output of containers that end before containerd has opened the pipe to read it.

containerd 1.6 opens the pipes of a container's output in the background; when the container has ended by then it gives up ("reading from a
closed fifo") and the output is lost. Between creating and starting a container the keeper opens the same pipes for reading, without
reading: what nobody has read when the container has ended is still there, and is appended to the log. Where the runtime has no such
pipes (another runtime, a newer containerd) nothing happens. Upstream has no counterpart.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pathlib
import stat
import time

from navarch.cri.client import Client, CriError

log = logging.getLogger(__name__)

HELD_FOR = 5.0
"""A container that lives longer has its pipes opened by containerd for sure."""
LINE = 16384
BLOCK = 64 * 1024


class Keeper:
    """Pipes held open, by container id."""

    def __init__(self) -> None:
        self._folder: pathlib.Path | None = None
        self._held: dict[str, list[tuple[str, int]]] = {}
        self.rescued = 0

    async def find(self, cri: Client) -> None:
        """Learns from the runtime where its pipes are."""
        with contextlib.suppress(CriError, ValueError, AttributeError):
            state = json.loads((await cri.status(verbose=True)).info.get("config", "{}")).get("stateDir", "")
            if state and pathlib.Path(state).is_dir():
                self._folder = pathlib.Path(state) / "containers"

    def hold(self, container_id: str) -> None:
        """Opens the pipes of a container that is about to be started."""
        if self._folder is None:
            return
        pipes = []
        with contextlib.suppress(OSError):
            for place in os.scandir(self._folder / container_id / "io"):
                for stream in ("stdout", "stderr"):
                    path = f"{place.path}/{container_id}-{stream}"
                    with contextlib.suppress(OSError):
                        pipes.append((stream, os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)))
        if pipes:
            self._held[container_id] = pipes
            asyncio.get_running_loop().call_later(HELD_FOR, self.release, container_id)

    def release(self, container_id: str) -> None:
        """Closes the pipes."""
        for _, descriptor in self._held.pop(container_id, ()):
            os.close(descriptor)

    def rescue(self, container_id: str, log_path: str) -> None:
        """Appends to the log of a container that has ended what nobody has read."""
        for stream, descriptor in self._held.get(container_id, ()):
            data = _drain(descriptor)
            if data:
                self.rescued += 1
                log.info("saved %d bytes of %s of container %s", len(data), stream, container_id[:12])
                with contextlib.suppress(OSError):
                    _append(log_path, format_lines(stream, data, time.time()))
        self.release(container_id)


def _append(path: str, data: bytes) -> None:
    """Appends to a log that is a regular file and no link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "ab") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.write(data)


def _drain(descriptor: int) -> bytes:
    parts = []
    with contextlib.suppress(OSError):
        while data := os.read(descriptor, BLOCK):
            parts.append(data)
    return b"".join(parts)


def format_lines(stream: str, data: bytes, now: float) -> bytes:
    """Output as lines of CRI's log format."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    head = f"{whole}.{int(now % 1 * 1e9):09d}Z {stream} ".encode()
    out = []
    lines = data.split(b"\n")
    ends_whole = lines[-1] == b""
    for index, line in enumerate(lines[:-1] if ends_whole else lines):
        pieces = [line[i : i + LINE] for i in range(0, len(line), LINE)] or [b""]
        unfinished = not ends_whole and index == len(lines) - 1
        for number, piece in enumerate(pieces):
            tag = b"P" if unfinished or number < len(pieces) - 1 else b"F"
            out.append(head + tag + b" " + piece + b"\n")
    return b"".join(out)
