"""Reads that must show everything that was committed before they were asked, where other servers write to the same store.

The store is asked what its newest revision is, and the caches are waited for. One question serves all who came before it was put: while
it is under way, those who come meanwhile wait for the next one, together.

Upstream counterpart: apiserver's storage/cacher (consistent reads from the cache, KEP-2340).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from navarch.store.interface import Store


class Freshness:
    """Asks a store that others write to how far it is. `reach(revision)` waits until what is read from is as far."""

    def __init__(self, store: Store, reach: Callable[[int], Awaitable[None]]) -> None:
        self._store = store
        self._reach = reach
        self._asking = asyncio.Lock()
        self._begun = self._answered = 0
        """Questions that were put, and the last of them that was answered."""

        self._revision = 0

    async def wait(self) -> None:
        """Returns when all that was committed before the call can be read. What the store raises."""
        before = self._begun
        async with self._asking:
            if self._answered <= before:
                self._begun += 1
                number = self._begun
                self._revision = await self._store.revision()
                self._answered = number
            revision = self._revision
        await self._reach(revision)
