"""Writers of one object that keep getting in each other's way: they take turns, in the order in which they came.

A change is made from the object as it was read, and written on the condition that it still is. When n writers change one object at
once, one succeeds and the others begin again: n² changes are made for n. So whoever was beaten waits for its turn before it makes
its change again, and so does a patch that comes while others wait; then each is made about once. A writer's turn may be long (a
webhook answers slowly); whoever has waited a second for it tries without.

Upstream counterparts: etcd3's GuaranteedUpdate, which tries until the request's time is over, and k8s.io/utils/keymutex.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from navarch.machinery import errors

REQUEST_SECONDS = 60.0
"""How long a change is tried: upstream's time for a request."""
TURN_SECONDS = 1.0

T = TypeVar("T")


class KeyMutex:
    """One holder per key; the others wait in the order in which they came. A key that nobody holds costs nothing."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def held(self, key: str) -> bool:
        return key in self._waiting

    async def acquire(self, key: str, seconds: float) -> bool:
        """Waits for the key, at most so long; whether it is held now."""
        queue = self._waiting.get(key)
        if queue is None:
            self._waiting[key] = deque()
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(key)
            else:
                turn.cancel()
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def release(self, key: str) -> None:
        """Hands the key to who waits longest."""
        queue = self._waiting[key]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[key]


async def until_written(mutex: KeyMutex, key: str, attempt: Callable[[], Awaitable[T | None]], *, patient: bool) -> T:
    """Calls `attempt`, which answers None when somebody else was faster, until it has written. What it raises ends it.

    `patient` writers take their turn from the start when others already do. Raises Timeout when the request's time is over.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + REQUEST_SECONDS
    holds = patient and mutex.held(key) and await mutex.acquire(key, TURN_SECONDS)
    try:
        while (done := await attempt()) is None:
            if loop.time() > end:
                raise errors.Timeout("Timeout: request did not complete within requested timeout - context deadline exceeded")
            # An attempt may come back without ever having waited.
            await asyncio.sleep(0)
            holds = holds or await mutex.acquire(key, TURN_SECONDS)
        return done
    finally:
        if holds:
            mutex.release(key)
