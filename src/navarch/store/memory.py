"""The store in memory: the plainest implementation, for tests and simulation.

It keeps every change in a list and answers from that list alone, so that it can be trusted as the meaning of the contract.
Nothing is durable and nothing waits for a disk; a transaction is answered at once, its subscribers told before.
"""

from __future__ import annotations

import asyncio
import bisect
import os
import time
from collections.abc import AsyncIterator, Callable

from navarch.store import clock
from navarch.store.feed import Feed
from navarch.store.interface import (
    Change,
    Committed,
    Compacted,
    Conflict,
    Delete,
    FutureRevision,
    Piece,
    Put,
    Range,
    Record,
    StoreClosed,
    StoreFailed,
    StoreUnavailable,
    Subscriber,
)
from navarch.store.ledger import FIRST_REVISION, check_distinct, check_storable

EXPIRE_EVERY = 1.0


class Memory:
    """A store without a file. `wall` is the clock people set, `steady` one that nobody can."""

    alone = True

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = clock.steady) -> None:
        self._wall = wall
        self._steady = steady
        self._opened = False
        self._current: dict[str, Record] = {}
        self._versions: dict[str, list[tuple[int, Record | None]]] = {}
        self._history: list[Change] = []
        self._times: list[tuple[int, float]] = []
        self._expires: dict[str, float] = {}
        self._feed = Feed(FIRST_REVISION)
        self._floor = FIRST_REVISION
        self._floor_at = 0.0

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = True
        self.failed: asyncio.Future[StoreFailed] = self._loop.create_future()
        self._floor_at = self._floor_at or self._wall()
        self._timer = self._loop.call_later(EXPIRE_EVERY, self._expire)

    async def close(self) -> None:
        if self._opened:
            self._opened = False
            self._timer.cancel()
            self._feed.close(StoreClosed("the store was closed"))

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreClosed("the store is not open")

    # --- writing

    def txn(self, *ops: Put | Delete) -> asyncio.Future[Committed | Conflict]:
        self._check_open()
        future: asyncio.Future[Committed | Conflict] = self._loop.create_future()
        future.set_result(self._decide(ops))
        return future

    def _decide(self, ops: tuple[Put | Delete, ...]) -> Committed | Conflict:
        check_distinct(ops)
        for op in ops:
            current = self._current.get(op.key)
            if op.expected is not None and op.expected != (current.mod_revision if current else 0):
                return Conflict(op.key, current)
        for op in ops:
            check_storable(op)
        changes = tuple(change for op in ops if (change := self._change(op)) is not None)
        if not changes:
            return Committed(self._feed.revision, ())
        now = max(self._wall(), self._times[-1][1] if self._times else self._floor_at)
        self._times.append((changes[0].revision, now))
        for op in ops:
            self._expires.pop(op.key, None)
            if isinstance(op, Put) and op.ttl is not None:
                self._expires[op.key] = self._steady() + op.ttl
        for change in changes:
            self._keep(change)
        self._feed.publish(changes)
        return Committed(changes[0].revision, changes)

    def _change(self, op: Put | Delete) -> Change | None:
        revision = self._feed.revision + 1
        current = self._current.get(op.key)
        value = op.value if isinstance(op, Put) else None
        if current is not None:
            return Change(revision, op.key, value, current.value, current.create_revision, current.mod_revision)
        return None if value is None else Change(revision, op.key, value, None, revision, 0)

    def _keep(self, change: Change) -> None:
        self._history.append(change)
        record = None if change.value is None else Record(change.key, change.value, change.create_revision, change.revision)
        self._versions.setdefault(change.key, []).append((change.revision, record))
        if record is None:
            del self._current[change.key]
        else:
            self._current[change.key] = record

    def _expire(self) -> None:
        if not self._opened:
            return
        now = self._steady()
        for key in [key for key, at in self._expires.items() if at <= now]:
            self._decide((Delete(key),))
        self._timer = self._loop.call_later(EXPIRE_EVERY, self._expire)

    # --- reading

    def _at(self, revision: int) -> int:
        self._check_open()
        if revision:
            self._check_kept(revision)
        return revision or self._feed.revision

    def _check_kept(self, revision: int) -> None:
        if revision > self._feed.revision:
            raise FutureRevision(revision, self._feed.revision)
        if revision < self._floor:
            raise Compacted(revision, self._floor)

    def _version(self, key: str, revision: int) -> Record | None:
        versions = self._versions.get(key, [])
        place = bisect.bisect_right(versions, revision, key=lambda version: version[0])
        return versions[place - 1][1] if place else None

    async def get(self, key: str, revision: int = 0) -> Record | None:
        return self._version(key, self._at(revision))

    async def range(self, start: str, end: str, *, revision: int = 0, limit: int = 0, counted: bool = True, set_aside: bool = False) -> Range:
        del set_aside
        at = self._at(revision)
        end = end or start + "\0"
        keys = sorted(key for key in self._versions if start <= key < end)
        records = [record for key in keys if (record := self._version(key, at)) is not None]
        kept = records[:limit] if limit else records
        return Range(tuple(kept), len(kept) < len(records), len(records) if counted else -1, at)

    def watch(self, start: str, end: str, from_revision: int) -> AsyncIterator[tuple[Change, ...]]:
        self._check_open()
        return self._feed.watch(start, end, from_revision, self.changes)

    async def changes(self, start: str, end: str, after: int) -> Piece:
        self._check_open()
        self._check_kept(after)
        end = end or start + "\0"
        first = bisect.bisect_right(self._history, after, key=lambda change: change.revision)
        return Piece(tuple(c for c in self._history[first:] if start <= c.key < end), self._feed.revision)

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        self._check_open()
        return self._feed.subscribe(fn)

    async def revision(self) -> int:
        self._check_open()
        return self._feed.revision

    async def oldest(self) -> int:
        self._check_open()
        return self._floor

    async def revision_at(self, when: float) -> int:
        self._check_open()
        if when < self._floor_at:
            raise Compacted(0, self._floor)
        place = bisect.bisect_right(self._times, when, key=lambda moment: moment[1])
        return max(self._floor, self._times[place - 1][0] if place else FIRST_REVISION)

    # --- upkeep

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self._feed.revision:
            raise FutureRevision(revision, self._feed.revision)
        if revision <= self._floor:
            return
        self._floor = revision
        kept = bisect.bisect_right(self._times, revision, key=lambda moment: moment[0])
        self._floor_at = self._times[kept - 1][1]
        del self._times[:kept]
        del self._history[: bisect.bisect_right(self._history, revision, key=lambda change: change.revision)]
        for key, versions in list(self._versions.items()):
            del versions[: max(0, bisect.bisect_right(versions, revision, key=lambda version: version[0]) - 1)]
            if versions[0][1] is None:
                del versions[0]
            if not versions:
                del self._versions[key]

    async def backup(self, path: str | os.PathLike[str]) -> None:
        raise StoreUnavailable("a store in memory has no backup")
