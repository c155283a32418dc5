"""Time as an argument: what effect code takes so that tests can hand it another one.

Cores never see a clock, they get `now` (seconds since the epoch, float).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None: ...

    def when(self) -> float:
        """The clock's monotonic time at which it comes."""
        ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> Timer:
        """Calls on the running event loop, after a while."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, call, *arguments)


SYSTEM = SystemClock()


@contextlib.asynccontextmanager
async def timeout(clock: Clock, seconds: float | None) -> AsyncIterator[None]:
    """Ends what is in the block with TimeoutError when it takes longer, by this clock; None: however long it takes."""
    if seconds is None:
        yield
        return
    async with asyncio.timeout(None) as bound:
        timer = clock.call_later(seconds, bound.reschedule, 0.0)  # a time that is past: at once
        try:
            yield
        finally:
            timer.cancel()
