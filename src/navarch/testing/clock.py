"""A clock that its owner moves: what waits for a time wakes when the time was moved past it, in order.

In: `advance(seconds)`. Components take it as their client's clock. What it is not: a simulated event loop; real I/O goes on in real time
beside it.

Counterpart: k8s.io/utils/clock/testing.FakeClock.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Any

_START = 1_000_000_000.0


class _Timer:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self._when, self.call, self.cancelled = when, call, False

    def cancel(self) -> None:
        self.cancelled = True

    def when(self) -> float:
        return self._when


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, start: float = _START) -> None:
        """`start`: seconds since the epoch; monotonic time is the same."""
        self._now = start
        self._timers: list[tuple[float, int, _Timer]] = []
        self._count = itertools.count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        timer = self.call_later(seconds, woken.set)
        try:
            await woken.wait()
        finally:
            timer.cancel()

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> _Timer:
        timer = _Timer(self._now + seconds, lambda: call(*arguments))
        heapq.heappush(self._timers, (timer.when(), next(self._count), timer))
        return timer

    @property
    def waiting(self) -> int:
        """How many wait for a time."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def advance(self, seconds: float) -> None:
        """Moves the clock, and wakes whose time has come."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.call()
        self._now = end
