"""The events that a watch cache has forgotten, read from the store once for all who go on from there.

After a restart, or a burst of writes, many clients come back a little behind. Each of them reading history on its own cost 100 of them
700 MB and five seconds. What one has read is kept for those who come within the next seconds, as the same event objects, so that it is
also encoded once.

Upstream counterpart: apiserver's storage/cacher answers such clients with 410 Gone; they list everything anew.
"""

from __future__ import annotations

import asyncio
import bisect

from navarch.apiserver.streams import Turns
from navarch.apiserver.watch_cache import Cache, Event
from navarch.machinery import errors
from navarch.store import interface as stores

KEPT_SECONDS = 15.0
MOST_BYTES = 32 * 1024 * 1024
"""Objects that one reading may bring; a client that is further behind is told to list anew."""
_AT_ONCE = 256
"""Changes that are made events in one slice."""


class Past:
    """What one cache has forgotten and somebody asked for: all events in `(begins, ends]`."""

    def __init__(self, cache: Cache, store: stores.History, turns: Turns) -> None:
        self._cache, self._store, self._turns = cache, store, turns
        self._lock = asyncio.Lock()
        self._events: list[Event] = []
        self._begins = self._ends = 0
        self._bytes = 0
        self._forget: asyncio.TimerHandle | None = None

    async def since(self, revision: int) -> tuple[list[Event], int]:
        """The events after a revision up to where the cache remembers them, and that revision. Expired when they are not kept, or too many."""
        async with self._lock:
            self._keep()
            try:
                if revision < (oldest := await self._store.oldest()):
                    raise stores.Compacted(revision, oldest)
                if self._events and revision < self._begins:
                    await self._read_before(revision)
                elif not self._events or revision > self._ends:
                    self._events, self._begins, self._ends, self._bytes = [], revision, revision, 0
                while self._cache.since(self._ends) is None:
                    events, self._ends = await self._read(self._ends)
                    self._events += events
            except stores.Compacted as error:
                self._drop()
                raise errors.Expired(f"too old resource version: {revision} ({error.oldest})") from None
            except errors.Expired:
                self._drop()
                raise
            first = bisect.bisect_right(self._events, revision, key=lambda event: event.revision)
            return self._events[first:], max(self._ends, revision)

    async def _read_before(self, revision: int) -> None:
        """Puts the events between a revision and what is there before it."""
        found: list[Event] = []
        reached = revision
        while reached < self._begins:
            events, reached = await self._read(reached)
            found += events
        found = [event for event in found if event.revision <= self._begins]
        self._events, self._begins = found + self._events, revision

    async def _read(self, after: int) -> tuple[list[Event], int]:
        """The next events after a revision, and up to which they are all."""
        prefix = self._cache.prefix
        piece = await self._store.changes(prefix, f"{prefix[:-1]}0", after)
        found: list[Event] = []
        for at in range(0, len(piece.changes), _AT_ONCE):
            async with self._turns:
                found += [self._event(change) for change in piece.changes[at : at + _AT_ONCE]]
        if self._bytes > MOST_BYTES:
            raise errors.Expired(f"too old resource version: {after} ({self._cache.complete_since})")
        return found, piece.until

    def _event(self, change: stores.Change) -> Event:
        cache = self._cache
        key = change.key[len(cache.prefix) :]
        new = cache.entry(key, change.value, change.revision) if change.value is not None else None
        old = cache.entry(key, change.previous, change.previous_revision) if change.previous is not None else None
        event = Event(change.revision, key, new, old)
        self._bytes += event.size
        return event

    def _keep(self) -> None:
        """Keeps what was read for those who come soon."""
        if self._forget is not None:
            self._forget.cancel()
        self._forget = asyncio.get_running_loop().call_later(KEPT_SECONDS, self._drop)

    def _drop(self) -> None:
        self._events, self._begins, self._ends, self._bytes = [], 0, 0, 0


class Pasts:
    """The past of each cache, made when somebody asks for it."""

    def __init__(self, store: stores.History, turns: Turns) -> None:
        self._store, self._turns = store, turns
        self._of: dict[str, Past] = {}

    def of(self, cache: Cache) -> Past:
        past = self._of.get(cache.prefix)
        if past is None:
            past = self._of[cache.prefix] = Past(cache, self._store, self._turns)
        return past
