"""A disk for the store under test: it notes what SQLite writes and syncs, fails when told to, and can be cut off from power.

It is an SQLite VFS over the real one, so the store runs as it always does. From the noted operations `PowerLoss` makes what a disk may
hold when the power went at some moment: everything before a file's last sync is there; of what came after, each
write may be there, be missing, or be torn at a sector.
"""

from __future__ import annotations

import os
import pathlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import apsw

from navarch.store import mark

SECTOR = 512


class Operation(NamedTuple):
    """Something done to a file. `data` is None for a sync, a truncation (to `offset`) and a deletion."""

    what: str
    file: str
    offset: int = 0
    data: bytes | None = None


class Disk:
    """What was done, in order; `operations` of every thread. `fail` may raise for an operation that is about to be done."""

    def __init__(self, name: str = "navarch-test-disk") -> None:
        self.name = name
        self.operations: list[Operation] = []
        self.fail: Callable[[Operation], None] | None = None
        self._lock = threading.Lock()
        self._vfs = _Vfs(name, self)

    def close(self) -> None:
        self._vfs.unregister()

    def note(self, operation: Operation) -> None:
        if self.fail is not None:
            self.fail(operation)
        with self._lock:
            self.operations.append(operation)

    @contextmanager
    def with_mark(self) -> Iterator[None]:
        """Notes what is done to a store's mark too, which does not go through SQLite."""
        files: dict[int, str] = {}
        disk = self

        class Os:
            def __getattr__(self, name: str) -> Any:
                return getattr(os, name)

            def open(self, path: str, *rest: int) -> int:
                descriptor = os.open(path, *rest)
                files[descriptor] = os.path.abspath(path)
                return descriptor

            def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
                disk.note(Operation("write", files[descriptor], offset, data))
                return os.pwrite(descriptor, data, offset)

            def fdatasync(self, descriptor: int) -> None:
                os.fdatasync(descriptor)
                disk.note(Operation("sync", files[descriptor]))

        with mock.patch(f"{mark.__name__}.os", Os()):
            yield


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, "")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(name, flags, self._disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self._disk.note(Operation("delete", filename))


class _File(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: Disk) -> None:
        super().__init__("", name, flags)
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.note(Operation("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self._disk.note(Operation("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        if self._disk.fail is not None:
            self._disk.fail(Operation("sync", self._name))
        super().xSync(flags)
        with self._disk._lock:
            self._disk.operations.append(Operation("sync", self._name))


class PowerLoss:
    """What a disk may hold when the power goes after some of the operations; `advance` goes from one moment to a later one."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._done = 0
        self._synced: dict[str, bytearray] = {}
        self._unsynced: dict[str, list[Operation]] = {}

    def advance(self, until: int) -> None:
        for operation in self._operations[self._done : until]:
            if operation.what == "delete":
                self._synced.pop(operation.file, None)
                self._unsynced.pop(operation.file, None)
            elif operation.what == "sync":
                for done in self._unsynced.pop(operation.file, ()):
                    perform(self._synced, done)
            else:
                self._unsynced.setdefault(operation.file, []).append(operation)
        self._done = until

    def files(self, chance: random.Random) -> dict[str, bytes]:
        """One of the possibilities: the files' contents by name."""
        files = {name: bytearray(data) for name, data in self._synced.items()}
        for waiting in self._unsynced.values():
            for operation in survivors(waiting, chance):
                perform(files, operation)
        return {name: bytes(data) for name, data in files.items()}


def survivors(waiting: Sequence[Operation], chance: random.Random) -> list[Operation]:
    """Which operations reached the disk: none, all, some, in any order, torn."""
    mood = chance.random()
    if mood < 0.2:
        return []
    if mood < 0.4:
        return list(waiting)
    if mood < 0.6:
        return list(waiting[: chance.randrange(len(waiting) + 1)])
    # Order matters only where writes overlap, and there the later one is what the system would have written.
    return [torn(operation, chance) if chance.random() < 0.2 else operation for operation in waiting if chance.random() < 0.6]


def torn(operation: Operation, chance: random.Random) -> Operation:
    """Some sectors of a write: the first ones, or the last."""
    if operation.data is None or len(operation.data) <= SECTOR:
        return operation
    at = SECTOR * chance.randrange(1, (len(operation.data) + SECTOR - 1) // SECTOR)
    if chance.random() < 0.5:
        return operation._replace(data=operation.data[:at])
    return operation._replace(offset=operation.offset + at, data=operation.data[at:])


def perform(files: dict[str, bytearray], operation: Operation) -> None:
    data = files.setdefault(operation.file, bytearray())
    if operation.data is None:
        del data[operation.offset :]
        data.extend(bytes(operation.offset - len(data)))
    else:
        data.extend(bytes(max(0, operation.offset - len(data))))
        data[operation.offset : operation.offset + len(operation.data)] = operation.data


def lay_out(files: dict[str, bytes], source: str | os.PathLike[str], target: pathlib.Path) -> None:
    """Writes the files below a folder anew, as they were named below another."""
    for name, data in files.items():
        (target / pathlib.Path(name).relative_to(pathlib.Path(source).absolute())).write_bytes(data)
