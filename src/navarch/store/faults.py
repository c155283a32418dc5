"""What went wrong, in the store's terms: the errors of SQLite and of the system, translated.

A writer's error is of one of two sorts. Either it is certain that nothing was written and that the connection is as it was (no
room, somebody else held the lock, no memory): the write is refused, and the next one may succeed. Or nobody knows, above all after
a failed sync, when the system may have dropped what it could not write: then the store ends, and only opening it again, from what
the disk really holds, tells which writes were done.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from navarch.store import library
from navarch.store.interface import StoreCorrupt, StoreError, StoreFailed, StoreFull, StoreUnavailable

_CERTAIN = (library.BUSY, library.NOMEM)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def of_reading(error: library.Error, path: str) -> StoreError:
    """The store's error for one of SQLite's."""
    code = library.code(error)
    if out_of_room(error, path):
        return StoreFull(f"no room on the disk of {path}; the write was not done, everything before it is safe")
    if code in (library.CORRUPT, library.NOTADB):
        return StoreCorrupt(f"{path} is damaged or not a store ({error}); restore a backup, or move the file away to start empty")
    if code == library.CANTOPEN:
        return StoreUnavailable(f"cannot open {path}: {error}")
    if code in (library.READONLY, library.PERM):
        return StoreUnavailable(f"cannot write {path}: {error}")
    return StoreUnavailable(f"{path}: {error}")


def of_writing(error: Exception, path: str) -> StoreError:
    """The store's error for what a commit, or a step of upkeep, failed with."""
    if isinstance(error, library.Error):
        if out_of_room(error, path) or library.code(error) in _CERTAIN:
            return of_reading(error, path)
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StoreFull(f"no room on the disk of {path}")
    return StoreFailed(f"writing {path} failed ({error}); whether the last writes were done is known when the store is opened again")


def out_of_room(error: library.Error, path: str) -> bool:
    code = library.code(error)
    return code == library.FULL or (code == library.IOERR and not has_room(path))


def has_room(path: str) -> bool:
    """Whether the disk still has a little space: a failed write on a full one is reported in many ways."""
    try:
        disk = os.statvfs(os.path.dirname(os.path.abspath(path)))
    except OSError:
        return True
    return disk.f_bavail * disk.f_frsize > 1 << 20


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns SQLite's and the system's errors into the store's."""
    try:
        yield
    except library.Error as error:
        raise of_reading(error, path) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StoreFull(f"no room on the disk of {path}") from error
        raise StoreUnavailable(f"{path}: {error.strerror or error}") from error
