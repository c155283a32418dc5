"""The writer's thread: takes what waits, makes it durable with one statement and one sync, posts it back in one call.

In: decided transactions and upkeep jobs, from the event loop. Out: calls on the event loop, in the same order. After a failed
commit it refuses everything that was decided before the loop heard of the failure (the same `epoch`): that was built on what
did not happen. After one whose outcome nobody knows (`StoreFailed`) it refuses everything, and touches the file no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from navarch.store import database, faults, library, mark
from navarch.store.checkpointing import Checkpointer
from navarch.store.interface import Committed, Conflict, StoreError, StoreFailed
from navarch.store.ledger import Row, revision_of

MAX_BATCH = 256
"""Transactions in one commit."""
IDLE_SECONDS = 0.05
MARK_SECONDS = 0.05
"""How far the mark may lag behind what was acknowledged. Each write gives Python's lock away, and behind a busy loop getting it back
takes milliseconds: written after each commit it made one writer's creates a third dearer."""

log = logging.getLogger(__name__)


class Pending(msgspec.Struct, gc=False):
    """A decided transaction on its way to the disk and back. Without rows it only waits for those before it."""

    epoch: int
    future: asyncio.Future[Committed | Conflict]
    rows: list[Row]
    befores: list[bytes | None]
    """For each row, the value of the row it supersedes."""
    unread: bool
    """Whether some of those values are not in the cache: the writer reads them."""
    conflict: str


class Job(NamedTuple):
    """Something else to do in the writer's thread, between batches."""

    run: Callable[[database.Writer], Any]
    then: Callable[[Any], bool]
    future: asyncio.Future[bool]
    pages: int
    """About how many it adds to the write-ahead log."""


class Writing:
    """The thread. `settle(batch, error)` is called on the loop for each batch, `failed(error)` when the thread cannot go on."""

    def __init__(
        self,
        path: str,
        writer: database.Writer,
        marker: mark.Marker,
        checkpointer: Checkpointer,
        loop: asyncio.AbstractEventLoop,
        settle: Callable[[list[Pending], StoreError | None], None],
        failed: Callable[[StoreFailed], None],
    ) -> None:
        self._path = path
        self._writer = writer
        self._marker = marker
        self._checkpointer = checkpointer
        self._loop = loop
        self._settle = settle
        self._failed = failed
        self._queue: queue.SimpleQueue[Pending | Job | None] = queue.SimpleQueue()
        self.submit = self._queue.put
        self._refused = -1
        self._failure: StoreFailed | None = None
        self._unmarked = 0
        """The last durable revision, while it is not in the mark."""
        self._marked_at = 0.0
        self._stopped: asyncio.Future[None] = loop.create_future()

    def start(self) -> None:
        threading.Thread(target=self._run, name="store-writer", daemon=True).start()

    async def stop(self) -> None:
        self._queue.put(None)
        await self._stopped

    def _run(self) -> None:
        try:
            while self._step():
                pass
            self._close()
        finally:
            self._post(self._stopped.set_result, None)

    def _close(self) -> None:
        if self._unmarked:
            self._mark()
        try:
            if self._failure is None:
                self._checkpointer.close()
            else:
                self._checkpointer.abandon()
        except Exception as error:
            # Everything acknowledged is in the log, which is read when the store is opened.
            log.warning("%s", self._reason(error))
        self._writer.close()
        self._marker.close()

    def _step(self) -> bool:
        """One batch or job; False at the end."""
        take = self._queue.get_nowait
        try:
            item = take()
        except queue.Empty:
            item = self._wait()
        batch: list[Pending] = []
        try:
            while type(item) is Pending:
                batch.append(item)
                if len(batch) >= MAX_BATCH:
                    item = None
                    break
                item = take()
            last = len(batch) < MAX_BATCH and item is None
        except queue.Empty:
            item, last = None, False
        if batch:
            self._commit(batch)
        if type(item) is Job:
            self._do(item)
        return not last

    def _wait(self) -> Pending | Job | None:
        """The next item; meanwhile, while nobody waits, the mark is written and the log copied into the file."""
        if self._unmarked:
            try:
                return self._queue.get(timeout=MARK_SECONDS)
            except queue.Empty:
                self._mark()
        if self._checkpointer.due_when_idle and self._failure is None:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._checkpoint(self._checkpointer.copy)
        return self._queue.get()

    def _checkpoint(self, copy: Callable[[], None]) -> None:
        try:
            copy()
        except Exception as error:
            reason = self._reason(error)
            if isinstance(reason, StoreFailed):
                self._fail(reason)
            else:
                log.warning("the write-ahead log of %s could not be copied and will be later: %s", self._path, reason)

    def _commit(self, batch: list[Pending]) -> None:
        if batch[0].epoch <= self._refused:
            batch = [p for p in batch if p.epoch > self._refused]
        if not batch:
            return
        if self._failure is not None:
            self._post(self._settle, batch, self._failure)
            return
        rows = batch[0].rows if len(batch) == 1 else [row for pending in batch for row in pending.rows]
        try:
            if any(pending.unread for pending in batch):
                self._read_befores(batch)
            pages = self._writer.insert(rows)
        except Exception as error:
            self._refused = batch[-1].epoch
            reason = self._reason(error)
            if isinstance(reason, StoreFailed):
                self._fail(reason)
            self._post(self._settle, batch, reason)
            return
        self._post(self._settle, batch, None)
        if rows:
            self._unmarked = revision_of(rows[-1].id)
            if time.monotonic() > self._marked_at + MARK_SECONDS:
                self._mark()
            self._checkpointer.appended(pages)
            self._checkpoint(self._checkpointer.keep_up)

    def _mark(self) -> None:
        revision, self._unmarked = self._unmarked, 0
        self._marked_at = time.monotonic()
        try:
            self._marker.write(revision)
        except OSError as error:
            log.warning("the mark of %s could not be written: %s", self._path, error)

    def _read_befores(self, batch: list[Pending]) -> None:
        """Fills in the values that the batch's rows supersede and nobody has at hand: of rows in the batch itself, or from the file."""
        written = {row.id: row.value for pending in batch for row in pending.rows}
        unread = [(pending, n, row.previous) for pending in batch if pending.unread for n, row in enumerate(pending.rows)]
        unread = [(pending, n, previous) for pending, n, previous in unread if previous and pending.befores[n] is None]
        stored = self._writer.values([previous for _, _, previous in unread if previous not in written])
        for pending, n, previous in unread:
            pending.befores[n] = written[previous] if previous in written else stored.get(previous)

    def _do(self, job: Job) -> None:
        if self._failure is not None:
            self._post(fail, job, self._failure)
            return
        try:
            result = job.run(self._writer)
        except Exception as error:
            reason = self._reason(error)
            if isinstance(reason, StoreFailed):
                self._fail(reason)
            self._post(fail, job, reason)
            return
        self._post(succeed, job, result)
        self._checkpointer.appended(job.pages)
        self._checkpoint(self._checkpointer.keep_up)

    def _fail(self, error: StoreFailed) -> None:
        if self._failure is None:
            self._failure = error
            log.error("%s", error)
            self._post(self._failed, error)

    def _reason(self, error: Exception) -> StoreError:
        if not isinstance(error, library.Error | OSError):
            log.error("the store's writer failed", exc_info=error)
        return faults.of_writing(error, self._path)

    def _post(self, fn: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(fn, *args)


def succeed(job: Job, result: object) -> None:
    more = job.then(result)
    if not job.future.done():
        job.future.set_result(more)


def fail(job: Job, error: StoreError) -> None:
    if not job.future.done():
        job.future.set_exception(error)
