"""The store in one SQLite file: the default.

Four parties. On the event loop, `Sqlite.txn` decides at once (see `ledger`) and hands rows to the writer; when they are
durable it tells subscribers and watches, then the callers. In the writer's thread, `Writing` takes everything that waits, makes
it durable with one statement and one sync (group commit), and posts the whole batch back with one call; between batches it does
upkeep in small steps. In the checkpointer's thread, the write-ahead log is copied into the file. In two reader threads, reads that
the cache of recent values cannot answer.

Upkeep: the floor (the oldest readable revision) follows `keep_seconds`, and faster when the file outgrows `keep_bytes`; rows
below it are removed a few hundred at a time, free pages are given back. Expired keys are deleted by ordinary transactions, some at a time.

When a write fails and it is certain that nothing was written (no room), nothing of its batch happened, nor of what was decided after
it: all of those answer StoreFull (or what else it was), the ledger goes back to the last durable revision, and the next transaction
tries anew. When it is not certain the store has `failed`, and answers nothing any more.

Measured with `bench/store_bench.py` on two cores: see its output; about 10 µs of the event loop's thread for a transaction.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from navarch.store import backup, clock, database, locking
from navarch.store.checkpointing import Checkpointer
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
    StoreError,
    StoreFailed,
    StoreUnavailable,
    Subscriber,
)
from navarch.store.ledger import ORDINAL_BITS, Ledger, Row, last_id, revision_of
from navarch.store.opening import open_and_load
from navarch.store.reading import Reader
from navarch.store.writing import Job, Pending, Writing

CLEAN_ROWS = 256
UPKEEP_PAUSE = 0.02
EXPIRE_AT_ONCE = 64

log = logging.getLogger(__name__)
T = TypeVar("T")
P = ParamSpec("P")
Outcome = Committed | Conflict


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How much history to keep, and what it may cost."""

    keep_seconds: float = 3600.0
    keep_bytes: int = 2 << 30
    """Above this much data in the file, history is given up faster than `keep_seconds` says."""
    keep_at_least_seconds: float = 300.0
    """History that `keep_bytes` does not touch: clients that list and then watch rely on some."""
    upkeep_seconds: float = 5.0
    value_cache_bytes: int = 16 << 20
    """Recent values kept in memory, for the `previous` of changes and for reads."""


class Sqlite:
    """A store in one file. `wall` is the clock people set, `steady` one that nobody can; `vfs` names SQLite's way to the disk."""

    alone = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        options: Options | None = None,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = clock.steady,
        vfs: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.options = options or Options()
        self._wall = wall
        self._steady = steady
        self._vfs = vfs
        self._opened = False
        self._lock: int | None = None

    # --- opening and closing

    async def start(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._lock = locking.lock(self.path)
        self.failed: asyncio.Future[StoreFailed] = loop.create_future()
        try:
            opened = await loop.run_in_executor(None, open_and_load, self.path, int(self._wall() * 1000), self._vfs)
            state = opened.state
            self._clock = clock.Clock(state.at, self._wall, self._steady)
            self._offsets = state.offsets
            self._ledger = Ledger(state.revision, state.at, state.entries)
            self._feed = Feed(state.revision)
            self._floor, self._floor_at, self._cleaned, self._gaps = state.floor, state.floor_at, state.cleaned, state.gaps
            self._expiring = state.expiring
            heapq.heapify(self._expiring)
            self._values: dict[int, bytes] = {}
            self._values_bytes = 0
            self._epoch = 0
            self._inflight: deque[Pending] = deque()
            self._readers = [Reader(self.path, vfs=self._vfs) for _ in range(2)]
            self._pool = ThreadPoolExecutor(2, thread_name_prefix="store-reader")
            checkpointer = Checkpointer(self.path, opened.marker.sync, self._vfs)
            writer = database.Writer(opened.connection, state.cleaned)
            self._writing = Writing(self.path, writer, opened.marker, checkpointer, loop, self._settle, self._end)
            self._writing.start()
        except BaseException:
            locking.unlock(self._lock)
            self._lock = None
            raise
        self._opened = True
        self._note_time()
        self._expire_timer = loop.call_later(0, self._expire)
        self._upkeep_timer = loop.call_later(self.options.upkeep_seconds, self._upkeep)

    async def close(self) -> None:
        if not self._opened:
            return
        self._opened = False
        self._expire_timer.cancel()
        self._upkeep_timer.cancel()
        await self._writing.stop()
        self._feed.close(StoreClosed("the store was closed"))
        await self._loop.run_in_executor(None, self._pool.shutdown)
        for reader in self._readers:
            reader.close()
        locking.unlock(self._lock)
        self._lock = None

    def _check_open(self) -> None:
        if not self._opened:
            raise StoreClosed("the store is not open")
        if self.failed.done():
            raise StoreFailed(str(self.failed.result()))

    def _end(self, error: StoreFailed) -> None:
        """Nothing is promised any more: what is durable, only opening the store again tells."""
        if not self.failed.done():
            self.failed.set_result(error)
            self._feed.close(error)

    # --- writing

    def txn(self, *ops: Put | Delete) -> asyncio.Future[Outcome]:
        self._check_open()
        future: asyncio.Future[Outcome] = self._loop.create_future()
        decided = self._ledger.decide(ops, self._clock.now())
        if decided and type(decided) is list:
            pending = self._pending(future, decided)
        else:
            pending = Pending(self._epoch, future, [], [], False, decided if type(decided) is str else "")
            if not self._inflight:
                self._answer(pending)
                return future
        self._inflight.append(pending)
        self._writing.submit(pending)
        return future

    def _pending(self, future: asyncio.Future[Outcome], rows: list[Row]) -> Pending:
        """The rows with the values they supersede; keeps their own values for later ones."""
        values = self._values
        befores: list[bytes | None] = []
        unread = False
        for row in rows:
            before = None
            if row.previous:
                before = values.pop(row.previous, None)
                if before is None:
                    unread = True
                else:
                    self._values_bytes -= len(before)
            befores.append(before)
            if row.value is not None:
                values[row.id] = row.value
                self._values_bytes += len(row.value)
                if row.expires:
                    heapq.heappush(self._expiring, (row.expires, row.key, row.id))
        while self._values_bytes > self.options.value_cache_bytes:
            self._values_bytes -= len(values.pop(next(iter(values))))
        return Pending(self._epoch, future, rows, befores, unread, "")

    def _settle(self, batch: list[Pending], error: StoreError | None) -> None:
        """On the loop: a batch is durable, or failed."""
        if error is not None:
            if isinstance(error, StoreFailed):
                self._end(error)
            self._fail(error)
            return
        inflight = self._inflight
        outcomes: list[Committed | None] = []
        everything: list[Change] = []
        for pending in batch:
            if pending.epoch != self._epoch:
                outcomes.append(None)
                continue
            inflight.popleft()
            if not pending.rows:
                outcomes.append(None)
                continue
            changes = tuple(
                Change(row.id >> ORDINAL_BITS, row.key, row.value, before, abs(row.created), row.previous >> ORDINAL_BITS)
                for row, before in zip(pending.rows, pending.befores, strict=True)
            )
            everything += changes
            outcomes.append(Committed(changes[0].revision, changes))
        if everything:
            self._feed.publish(tuple(everything))
        for pending, outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                if pending.epoch == self._epoch:
                    self._answer(pending)
            elif not pending.future.done():
                pending.future.set_result(outcome)

    def _fail(self, error: StoreError) -> None:
        """Takes back everything that is not known to be durable."""
        self._epoch += 1
        failed, self._inflight = self._inflight, deque()
        self._ledger.undo((row for pending in reversed(failed) for row in reversed(pending.rows)), self._feed.revision)
        # Ids above the durable revision will be given out again, with other values.
        self._values.clear()
        self._values_bytes = 0
        for pending in failed:
            if not pending.future.done():
                pending.future.set_exception(type(error)(str(error)))

    def _answer(self, pending: Pending) -> None:
        """Answers a transaction that changed nothing, once everything before it is durable."""
        if pending.future.done():
            return
        if not pending.conflict:
            pending.future.set_result(Committed(self._feed.revision, ()))
            return
        key = pending.conflict
        entry = self._ledger.entries.get(key)
        if entry is None:
            pending.future.set_result(Conflict(key, None))
        elif revision_of(entry.id) <= self._feed.revision and (value := self._values.get(entry.id)) is not None:
            pending.future.set_result(Conflict(key, Record(key, value, entry.created, revision_of(entry.id))))
        else:
            self._answer_from_file(pending.future, key)

    def _answer_from_file(self, future: asyncio.Future[Outcome], key: str) -> None:
        revision = self._feed.revision

        def done(read: asyncio.Future[Record | None]) -> None:
            if future.done():
                return
            if (error := read.exception()) is not None:
                future.set_exception(error)
            elif self._floor > revision:
                self._answer_from_file(future, key)
            else:
                future.set_result(Conflict(key, read.result()))

        self._read(Reader.record, key, revision).add_done_callback(done)

    # --- reading

    def _read(self, fn: Callable[Concatenate[Reader, P], T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        self._check_open()

        def run() -> T:
            reader = self._readers.pop()
            try:
                return fn(reader, *args, **kwargs)
            finally:
                self._readers.append(reader)

        return self._loop.run_in_executor(self._pool, run)

    def _check_kept(self, revision: int) -> None:
        if revision > self._feed.revision:
            raise FutureRevision(revision, self._feed.revision)
        if revision < self._floor:
            raise Compacted(revision, self._floor)
        for gap in self._gaps:
            if gap.below < revision < gap.above:
                raise Compacted(revision, gap.above)

    async def get(self, key: str, revision: int = 0) -> Record | None:
        self._check_open()
        if not revision:
            entry = self._ledger.entries.get(key)
            if entry is not None and revision_of(entry.id) <= self._feed.revision and (value := self._values.get(entry.id)) is not None:
                return Record(key, value, entry.created, revision_of(entry.id))
        while True:
            at = revision or self._feed.revision
            self._check_kept(at)
            record = await self._read(Reader.record, key, at)
            # The floor may have risen meanwhile, and rows that this read needed may be gone.
            if at >= self._floor:
                return record

    async def range(self, start: str, end: str, *, revision: int = 0, limit: int = 0, counted: bool = True, set_aside: bool = False) -> Range:
        while True:
            self._check_open()
            at = revision or self._feed.revision
            self._check_kept(at)
            found = await self._read(Reader.records, start, end or start + "\0", at, limit, counted)
            if at < self._floor:
                continue
            if found.damaged and not set_aside:
                raise found.damaged[0]
            records = found.records[:limit] if limit else found.records
            more = found.total > len(records) + len(found.damaged)
            return Range(tuple(records), more, found.total if counted else -1, at, tuple(found.damaged))

    def watch(self, start: str, end: str, from_revision: int) -> AsyncIterator[tuple[Change, ...]]:
        self._check_open()
        return self._feed.watch(start, end, from_revision, self.changes)

    async def changes(self, start: str, end: str, after: int) -> Piece:
        self._check_kept(after)
        until = self._feed.revision
        changes, until = await self._read(Reader.changes, start, end or start + "\0", after, until)
        if after < self._floor:
            raise Compacted(after, self._floor)
        return Piece(tuple(changes), until)

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
        at = clock.store_time(self._offsets, int(when * 1000))
        while True:
            self._check_open()
            floor = self._floor
            if at < self._floor_at:
                raise Compacted(0, floor)
            high = self._feed.revision
            revision = await self._read(Reader.revision_at, at, floor, high)
            if floor == self._floor:
                return revision

    # --- upkeep

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision > self._feed.revision:
            raise FutureRevision(revision, self._feed.revision)
        at = await self._read(Reader.time_of, revision)
        self._raise_floor(revision, at)
        while self._cleaned < last_id(self._floor):
            await self._upkeep_step()

    async def maintain(self) -> None:
        """All the upkeep that is due now. It is done by itself every `upkeep_seconds`, in steps."""
        while await self._upkeep_step():
            pass

    def _raise_floor(self, revision: int, at: int) -> None:
        if revision > self._floor:
            self._floor, self._floor_at = revision, max(at, self._floor_at)

    def _upkeep_step(self) -> asyncio.Future[bool]:
        """One small step in the writer's thread; tells whether there is more to do."""
        if self._cleaned < last_id(self._floor):
            floor, floor_at = self._floor, self._floor_at
            return self._work(lambda writer: writer.clean(floor, floor_at, CLEAN_ROWS), self._cleaned_to, CLEAN_ROWS // 4 + 4)
        now, options = self._clock.now(), self.options
        old, recent = (now - int(age * 1000) for age in (options.keep_seconds, options.keep_at_least_seconds))
        limits = database.Limits(old, recent, options.keep_bytes)
        floor, high = self._floor, self._feed.revision
        return self._work(lambda writer: writer.survey_and_shrink(limits, floor, high), self._surveyed, 0)

    def _cleaned_to(self, cleaned: int) -> bool:
        self._cleaned = max(self._cleaned, cleaned)
        return True

    def _surveyed(self, survey: database.Survey) -> bool:
        self._raise_floor(survey.floor, survey.floor_at)
        return survey.shrunk or self._cleaned < last_id(self._floor)

    def _note_time(self) -> None:
        """Notes what the wall clock says beside store time, when that has changed."""
        offsets = clock.noted(self._offsets, self._clock.now(), self._clock.ahead(), self._floor_at)
        if offsets != self._offsets:
            self._offsets = offsets
            self._work(lambda writer: writer.note_offsets(offsets), lambda done: False, 1).add_done_callback(told)

    def _work(self, fn: Callable[[database.Writer], T], then: Callable[[T], bool], pages: int = 0) -> asyncio.Future[bool]:
        """Does something in the writer's thread after what was submitted before, then something on the loop."""
        self._check_open()
        future: asyncio.Future[bool] = self._loop.create_future()
        self._writing.submit(Job(fn, then, future, pages))
        return future

    def _upkeep(self) -> None:
        """Upkeep by timers rather than a task: a store has nobody to hand a task to."""
        if not self._opened or self.failed.done():
            return
        self._note_time()

        def done(step: asyncio.Future[bool]) -> None:
            if not self._opened or step.cancelled():
                return
            if (error := told(step)) is not None:
                log.warning("store upkeep failed and will be tried again: %s", error)
            more = error is None and step.result()
            self._upkeep_timer = self._loop.call_later(UPKEEP_PAUSE if more else self.options.upkeep_seconds, self._upkeep)

        self._upkeep_step().add_done_callback(done)

    def _expire(self) -> None:
        """Deletes what has expired, some at a time."""
        if not self._opened or self.failed.done():
            return
        now = self._clock.now()
        expiring, entries = self._expiring, self._ledger.entries
        budget = EXPIRE_AT_ONCE
        while expiring and expiring[0][0] <= now and budget:
            _, key, row_id = heapq.heappop(expiring)
            entry = entries.get(key)
            if entry is None or entry.id != row_id:
                continue
            budget -= 1
            self.txn(Delete(key, expected=revision_of(row_id))).add_done_callback(functools.partial(self._expired, key, row_id))
        wait = 0.05 if not budget else 1.0
        self._expire_timer = self._loop.call_later(wait, self._expire)

    def _expired(self, key: str, row_id: int, outcome: asyncio.Future[Outcome]) -> None:
        if not outcome.cancelled() and isinstance(outcome.exception(), StoreUnavailable):
            heapq.heappush(self._expiring, (self._clock.now() + 5000, key, row_id))

    async def backup(self, path: str | os.PathLike[str]) -> None:
        self._check_open()
        await self._loop.run_in_executor(self._pool, backup.copy, self.path, os.fspath(path))


def told(step: asyncio.Future[bool]) -> BaseException | None:
    """A step's error, which counts as heard then."""
    return None if step.cancelled() else step.exception()
