"""What a containerd that was killed left behind: shims, network namespaces, addresses and mounts of sandboxes it no longer knows.

A sandbox is made in steps, and containerd writes down that it exists only after some of them. Killed in between, it forgets: the next
one neither lists the sandbox nor takes its parts away, and they would stay until a reboot. The same happens when the kubelet is killed while
it waits for a sandbox, since containerd does not take back all that it did by then. What was twice found without a sandbox is removed: at
once if it is older than the running containerd, otherwise after longer than a sandbox may take. In: the folders of a private
containerd, and where host-local notes addresses. Upstream has no counterpart: it leaves this to the runtime.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from navarch.cri import client
from navarch.cri.containerd import Containerd, Settings
from navarch.lib import mounts

log = logging.getLogger(__name__)

SOON, SECOND, OFTEN = 5.0, 20.0, 60.0
"""Seconds from a start of containerd to the first look, from that to the second, and between later ones."""
PATIENCE = 300.0
"""Seconds before something young counts as left behind: the kubelet waits four minutes for a sandbox."""
NAMESPACE = "k8s.io"
ID_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that belongs to the sandbox or container `owner`; `kind` is for people."""

    kind: str
    owner: str
    path: str
    old: bool = field(compare=False)
    """Whether it is older than the containerd that runs."""


class Sweeper:
    """Looks for leftovers of one private containerd. `addresses` is host-local's folder, if it is ours."""

    def __init__(self, settings: Settings, addresses: pathlib.Path | None = None) -> None:
        self._settings = settings
        self._addresses = addresses
        self._suspects: dict[Leftover, float] = {}
        """When each was first seen, in seconds of the monotonic clock."""
        self._spaces: dict[str, frozenset[str]] = {}
        """The network namespaces of each sandbox; they never change."""

    async def run(self) -> None:
        """Looks for ever: soon after each start of containerd, and from time to time."""
        known: int | None = None
        while True:
            pid = await asyncio.to_thread(Containerd(self._settings).find)
            if pid is None:
                await asyncio.sleep(1.0)
                continue
            pauses = (SOON, SECOND) if pid != known else (OFTEN,)
            known = pid
            for pause in pauses:
                await self._wait(pid, pause)
                await self._try()

    async def _wait(self, pid: int, seconds: float) -> None:
        """Waits, but not beyond the end of this containerd."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(Containerd(self._settings).wait_end(pid), seconds)

    async def _try(self) -> None:
        try:
            await self.sweep()
        except (client.CriError, OSError) as error:
            log.debug("leftovers: %s", error)

    async def sweep(self) -> list[Leftover]:
        """One look; what was a suspect before is removed and returned. CriError when containerd does not answer."""
        pid = await asyncio.to_thread(Containerd(self._settings).find)
        if pid is None:
            return []
        cri = client.Client(f"unix://{self._settings.socket}")
        try:
            found = await asyncio.to_thread(lambda: set(self._candidates(pid)))
            boxes = [box.id for box in await cri.list_sandboxes()]
            owners = {*boxes, *(container.id for container in await cri.list_containers())}
            self._spaces = {box: self._spaces.get(box) or await _spaces_of(cri, box) for box in boxes}
        finally:
            await cri.close()
        spaces = frozenset().union(*self._spaces.values())
        now = time.monotonic()
        suspects = {left: self._suspects.get(left, now) for left in found if left.owner not in owners and left.path not in spaces}
        gone = [left for left, since in suspects.items() if since < now and (left.old or now - since >= PATIENCE)]
        self._suspects = {left: since for left, since in suspects.items() if left not in gone}
        for left in sorted(gone, key=lambda left: left.kind != "shim"):
            log.warning("removing the %s of a sandbox that containerd forgot: %s", left.kind, left.path)
            await asyncio.to_thread(_REMOVE[left.kind], left)
        return gone

    def _candidates(self, pid: int) -> Iterator[Leftover]:
        """Everything of sandboxes that there is."""
        began = _start_ticks(pid)
        for shim, owner in shims(self._settings.socket):
            yield Leftover("shim", owner, str(shim), (_start_ticks(shim) or began) < began)
        state, before = self._settings.state, self._settings.config.stat().st_mtime
        grpc = state / "io.containerd.grpc.v1.cri"
        for folder in (
            state / "io.containerd.runtime.v2.task" / NAMESPACE,
            grpc / "sandboxes",
            grpc / "containers",
            self._settings.run_dir / "runc" / NAMESPACE,
        ):
            yield from (Leftover("folder", path.name, str(path), old) for path, old in _entries(folder, before) if len(path.name) == ID_LENGTH)
        yield from (Leftover("network namespace", "", str(path), old) for path, old in _entries(grpc / "netns", before))
        for network in _folders(self._addresses):
            for path, old in _entries(network, before):
                if path.name[0].isdigit() or ":" in path.name:
                    with contextlib.suppress(OSError):
                        yield Leftover("address", path.read_text().split("\n")[0].strip(), str(path), old)


async def _spaces_of(cri: client.Client, sandbox_id: str) -> frozenset[str]:
    """The network namespaces of a sandbox."""
    try:
        info = await cri.sandbox_info(sandbox_id)
    except client.CriError as error:
        if error.code == "NotFound":
            return frozenset()
        raise
    spec = json.loads(info.get("info", "{}")).get("runtimeSpec") or {}
    namespaces = (spec.get("linux") or {}).get("namespaces") or ()
    return frozenset(namespace.get("path", "") for namespace in namespaces if namespace.get("type") == "network")


def shims(socket: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Process and sandbox of every shim of the containerd with this socket."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = pathlib.Path(entry.path, "cmdline").read_bytes().decode(errors="replace").split("\0")
            ours = "containerd-shim" in words[0] and {str(socket), NAMESPACE, "-id"} <= set(words)
            if ours and not {"start", "delete"} & set(words):
                yield int(entry.name), words[words.index("-id") + 1]


def _start_ticks(pid: int) -> int:
    """When a process started, in ticks since the boot; 0 when it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _entries(folder: pathlib.Path, before: float) -> Iterator[tuple[pathlib.Path, bool]]:
    """What is in a folder, and whether it is older than this moment."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                yield pathlib.Path(entry.path), entry.stat(follow_symlinks=False).st_mtime < before


def _folders(folder: pathlib.Path | None) -> list[pathlib.Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder is not None and folder.is_dir() else []


def _end_shim(left: Leftover) -> None:
    """Ends a shim and the containers that are its children: without it nobody would."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int(pathlib.Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    family = [int(left.path)]
    for member in family:
        family.extend(children.get(member, ()))
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def _remove_folder(left: Leftover) -> None:
    path = pathlib.Path(left.path)
    for point in mounts.below(path):
        mounts.unmount(point)
    if not mounts.below(path):
        shutil.rmtree(path, ignore_errors=True)


def _remove_namespace(left: Leftover) -> None:
    mounts.unmount(pathlib.Path(left.path))
    pathlib.Path(left.path).unlink(missing_ok=True)


def _free_address(left: Leftover) -> None:
    """Gives an address back under host-local's own lock, if it is still noted for the same sandbox."""
    path = pathlib.Path(left.path)
    with open(path.parent / "lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if path.read_text().startswith(left.owner):
                path.unlink()


_REMOVE: dict[str, Callable[[Leftover], None]] = {
    "shim": _end_shim,
    "folder": _remove_folder,
    "network namespace": _remove_namespace,
    "address": _free_address,
}
