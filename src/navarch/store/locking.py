"""One process at a time holds a store: a lock on a file beside it, which says who that is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib

from navarch.store.faults import translated
from navarch.store.interface import StoreLocked


def lock(path: str) -> int:
    """Holds the store for this process. Raises StoreLocked."""
    with translated(path):
        pathlib.Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreLocked(f"{path} is in use by another process" + (f" ({holder})" if holder else "")) from None
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}\n".encode(), 0)
    return descriptor


def unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
