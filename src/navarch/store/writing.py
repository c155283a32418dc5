"""The writer's thread: takes what waits, makes it durable with one statement and one sync, posts it back in one call.

In: decided transactions and upkeep jobs, from the event loop. Out: calls on the event loop, in the same order. After a failed
commit it refuses everything that was decided before the loop heard of the failure (the same `epoch`): that was built on what
did not happen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from navarch.store import database
from navarch.store.interface import Committed, Conflict, StoreError, StoreUnavailable
from navarch.store.ledger import Row

MAX_BATCH = 256
"""Transactions in one commit."""
LOG_PAGES_IDLE, LOG_PAGES_BUSY, LOG_PAGES_MAX = 256, 1024, 8192
"""How long the write-ahead log may grow before it is copied into the file: when nobody waits; by another thread, while commits
go on; and, when that cannot keep up, in the way of commits."""
IDLE_SECONDS = 0.05

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


class Writing:
    """The thread. `settle(batch, error)` is called on the loop for each batch."""

    def __init__(
        self,
        path: str,
        writer: database.Writer,
        loop: asyncio.AbstractEventLoop,
        settle: Callable[[list[Pending], StoreError | None], None],
    ) -> None:
        self._path = path
        self._writer = writer
        self._loop = loop
        self._settle = settle
        self._queue: queue.SimpleQueue[Pending | Job | None] = queue.SimpleQueue()
        self.submit = self._queue.put
        self._refused = -1
        self._copier = database.Copier(path)
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
            self._copier.close()
            with contextlib.suppress(sqlite3.Error):
                self._writer.checkpoint(truncate=True)
            self._writer.close()
        finally:
            self._post(self._stopped.set_result, None)

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
        """The next item; meanwhile, while nobody waits, the log is copied into the file."""
        if self._writer.unsaved_pages > LOG_PAGES_IDLE:
            try:
                return self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._checkpoint()
        return self._queue.get()

    def _checkpoint(self) -> None:
        try:
            self._writer.checkpoint()
        except sqlite3.Error as error:
            self._writer.unsaved_pages = 0
            log.warning("could not copy the write-ahead log into %s: %s", self._path, error)

    def _commit(self, batch: list[Pending]) -> None:
        if batch[0].epoch <= self._refused:
            batch = [p for p in batch if p.epoch > self._refused]
        if not batch:
            return
        rows = batch[0].rows if len(batch) == 1 else [row for pending in batch for row in pending.rows]
        try:
            if any(pending.unread for pending in batch):
                self._read_befores(batch)
            self._writer.insert(rows)
        except Exception as error:
            self._refused = batch[-1].epoch
            self._post(self._settle, batch, self._reason(error))
            return
        self._post(self._settle, batch, None)
        if self._writer.unsaved_pages > LOG_PAGES_MAX:
            self._checkpoint()
        elif self._writer.unsaved_pages > LOG_PAGES_BUSY:
            self._copier.copy_soon()

    def _read_befores(self, batch: list[Pending]) -> None:
        written = {row.id: row.value for pending in batch for row in pending.rows}
        for pending in batch:
            if not pending.unread:
                continue
            for n, row in enumerate(pending.rows):
                if row.previous and pending.befores[n] is None:
                    found = written.get(row.previous)
                    pending.befores[n] = self._writer.value(row.previous) if found is None else found

    def _do(self, job: Job) -> None:
        try:
            result = job.run(self._writer)
        except Exception as error:
            self._post(fail, job, self._reason(error))
        else:
            self._post(succeed, job, result)

    def _reason(self, error: Exception) -> StoreError:
        if isinstance(error, sqlite3.Error):
            return database.translate(error, self._path)
        log.error("the store's writer failed", exc_info=error)
        return StoreUnavailable(f"{self._path}: {error}")

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
