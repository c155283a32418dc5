"""Work on large bodies and objects, off the event loop: decoding, patching and checking megabytes takes seconds of Python.

It runs in one thread. That does not make it faster (one thread computes at a time), but the interpreter takes turns: the loop answers
others meanwhile. Only pure functions go there: they take values and give values, and touch nothing that the loop changes.

The smallest of what waits is done next, so that nobody's 50 KB wait for somebody's many megabytes. How many wait is bounded; who comes
later is told to come again.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import itertools
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from navarch.lib.patience import Impatient
from navarch.machinery import errors

P = ParamSpec("P")
T = TypeVar("T")

LARGE = 24 * 1024
"""Bytes of a body or an object from where on work is done here: it takes the loop 10 ms at most to do it for less."""
MOST_WAITING = 64
SWITCH_SECONDS = 0.001
"""How long the thread computes before the loop gets its turn. Python's own 5 ms are what a request waits several times."""
BUSY = "Too many requests, please try again later."


class Background:
    """The thread, and who waits for it."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._pool: ThreadPoolExecutor | None = None
        self._busy = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    async def run(self, size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of pure work on so many bytes. TooManyRequests when too much waits."""
        await self._turn(size)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="large-objects")
            sys.setswitchinterval(SWITCH_SECONDS)
        future = asyncio.get_running_loop().run_in_executor(self._pool, _uncollected, lambda: work(*args, **kwargs))
        future.add_done_callback(self._done)
        try:
            return await asyncio.shield(future)  # a request that goes away does not stop the thread: its turn ends when the work does
        finally:
            del future  # it holds an exception whose traceback holds this frame, and with it megabytes until the next collection

    async def _turn(self, size: int) -> None:
        if not self._busy:
            self._busy = True
            return
        if len(self._waiting) >= self._most_waiting:
            raise errors.TooManyRequests(BUSY, retry_after=1)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (size, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._next()
            raise

    def _done(self, future: asyncio.Future[T]) -> None:
        if not future.cancelled():
            future.exception()  # nobody may be left to read it
        self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False


_thread = threading.local()


def away() -> bool:
    """Whether this runs in the thread: nobody waits for it there."""
    return getattr(_thread, "away", False)


def _uncollected(work: Callable[[], T]) -> T:
    """Does work without the collector: it would walk 100,000 new lists again and again, with everybody waiting for it."""
    _thread.away = True
    enabled = gc.isenabled()
    gc.disable()
    try:
        return work()
    finally:
        if enabled:
            gc.enable()


_background = Background()


async def run(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of pure work on so many bytes: done at once when they are few, in the background when they are many, or prove to be hard."""
    if size <= LARGE:
        try:
            return work(*args, **kwargs)
        except Impatient:
            size = LARGE
    return await _background.run(size, work, *args, **kwargs)


async def aside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of work that was found to take long, whatever its size: done in the background."""
    return await _background.run(LARGE, work, *args, **kwargs)
