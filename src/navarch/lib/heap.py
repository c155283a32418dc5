"""Memory that large requests took goes back to the system.

glibc keeps what is freed for the next allocation, and once megabytes were allocated it keeps megabytes: a server that answered a few large
requests held twice the memory it needed for as long as it ran. `keep_small` looks from time to time how much is free within the heap, and
when that has grown has glibc give it back. That takes a few milliseconds, in a thread that does not hold the interpreter. Between two looks
glibc gives nothing back: else it returned the same megabyte after each large answer and took it anew for the next, which cost a third of
a list's time in page faults.

Where the C library has no such calls (musl, an old glibc) it does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
from collections.abc import Iterator
from typing import Any, NoReturn

from navarch.lib.clock import SYSTEM, Clock

_PERIOD_SECONDS = 10.0
_WORTH = 8 * 1024 * 1024
"""Bytes. So much more must be free than after the last time."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The parameters of mallopt(3)."""
_MAPPED = 8 * 1024 * 1024
"""Bytes of one allocation from where on it is a mapping of its own, which goes as soon as it is freed."""
_TRIMMED = 64 * 1024 * 1024
"""Bytes that may be free at the heap's end before glibc gives them back by itself."""


class _Mallinfo2(ctypes.Structure):
    """What glibc's mallinfo2(3) tells; only `fordblks`, the bytes that are free within the heap, is read."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    )


async def keep_small(clock: Clock = SYSTEM) -> NoReturn:
    """Gives memory back until cancelled."""
    library = _library()
    if library is not None:
        library.mallopt(_MMAP_THRESHOLD, _MAPPED)
        library.mallopt(_TRIM_THRESHOLD, _TRIMMED)
    known = free()
    while True:
        await clock.sleep(_PERIOD_SECONDS)
        now = free()
        if library is not None and now > known + _WORTH:
            await asyncio.to_thread(library.malloc_trim, 0)
            now = free()
        known = now


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Makes many objects that stay without the collector looking at them again and again, which takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def free() -> int:
    """Bytes that are free within the heap, given back to the system or not; 0 where that cannot be told."""
    library = _library()
    return int(library.mallinfo2().fordblks) if library is not None else 0


@functools.cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Mallinfo2
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError):
        return None
    return library
