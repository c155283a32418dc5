"""A work queue: keys to look at, each once however often it was added, never two workers on one key.

Upstream counterpart: client-go's workqueue (rate limiting, delaying).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

from navarch.lib import backoff
from navarch.lib.clock import SYSTEM, Clock, Timer

K = TypeVar("K")
_EARLIEST = 1.0
"""Seconds. So long at most does a change wait whose key is failing."""


class WorkQueue(Generic[K]):
    """`add` a key, `await get` it, then `done` it; a key added while it is worked on comes again afterwards.

    A key that fails cannot jump its own back-off: what is written about a failure comes back as a change of the same key, and would make
    it fail again at once, for ever. A change brings a failing key forward to a second after its last failure, never nearer.
    """

    def __init__(self, policy: backoff.Policy = backoff.ITEM, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._policy = policy
        self._ready: OrderedDict[K, None] = OrderedDict()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._failed: dict[K, float] = {}
        self._timers: dict[K, Timer] = {}
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """Asks for a key to be looked at now, or as soon as its failures allow."""
        if key in self._working:
            self._again.add(key)
        elif key in self._failures and (left := self._held_back(key)) > 0:
            self.add_after(key, left)
        else:
            self._put(key)

    def _put(self, key: K) -> None:
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._wakeup.set()

    def _held_back(self, key: K) -> float:
        """The seconds until a failing key may come again because something changed."""
        wait = min(self._policy.delay(self._failures[key]), _EARLIEST)
        return self._failed[key] + wait - self._clock.monotonic()

    def add_after(self, key: K, seconds: float) -> None:
        """Asks for a key to be looked at later; an earlier time already asked for stands."""
        if seconds <= 0:
            self._put(key)
            return
        waiting = self._timers.get(key)
        if waiting is not None:
            if waiting.when() <= self._clock.monotonic() + seconds:
                return
            waiting.cancel()
        self._timers[key] = self._clock.call_later(seconds, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self._put(key)

    def add_rate_limited(self, key: K) -> None:
        """Asks again after a failure: later each time."""
        self._failures[key] = self._failures.get(key, 0) + 1
        self._failed[key] = self._clock.monotonic()
        self.add_after(key, self._policy.delay(self._failures[key]))

    def failures(self, key: K) -> int:
        """How often a key failed since it was last forgotten."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """Ends a key's row of failures."""
        self._failures.pop(key, None)
        self._failed.pop(key, None)

    async def get(self) -> K:
        """The next key; it is ours until `done`."""
        while not self._ready:
            self._wakeup.clear()
            await self._wakeup.wait()
        key, _ = self._ready.popitem(last=False)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """Gives a key back."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
