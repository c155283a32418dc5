"""The caches and the store behind them: the only place that writes.

In: typed changes from the verbs. Out: bytes. Every committed change passes through `_apply`, in order, before the writer
that made it goes on: whoever reads after its own write sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from navarch.apiserver.served import ROOT, Catalog, Served
from navarch.apiserver.watch_cache import Cache, Event
from navarch.machinery import errors
from navarch.store import interface as stores
from navarch.store.interface import Change, Committed, Conflict, Delete, Put, Store


class Storage:
    """Reads from memory, writes through the store."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self.store = store
        self.catalog = catalog
        self.revision = 0
        self.loaded = 0
        """The revision the caches were filled at."""

        self._listeners: list[Callable[[Cache, Event], None]] = []
        self._unsubscribe: Callable[[], None] | None = None
        self.progressed: asyncio.Event = asyncio.Event()

    async def start(self) -> None:
        """Fills the caches and follows the store from there."""
        pending: list[tuple[Change, ...]] = []
        loading = self.store.subscribe(pending.append)
        found = await self.store.range(ROOT, stores.END)
        for record in found.records:
            cache = self.cache_of(record.key)
            if cache is not None:
                cache.load(record.key[len(cache.prefix) :], record.value, record.mod_revision)
        self.revision = self.loaded = found.revision
        for cache in self.catalog.caches.values():
            cache.complete_since = found.revision
        loading()
        self._unsubscribe = self.store.subscribe(self._apply)
        for changes in pending:
            self._apply(tuple(c for c in changes if c.revision > found.revision))

    async def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()

    def cache_of(self, key: str) -> Cache | None:
        """The cache a store key belongs to."""
        return self.catalog.caches.get(key[: key.find("/", len(ROOT)) + 1])

    def listen(self, receive: Callable[[Cache, Event], None]) -> None:
        """Calls `receive` for every committed event of every resource: for what the server itself derives from objects."""
        self._listeners.append(receive)

    def _apply(self, changes: tuple[Change, ...]) -> None:
        told: dict[str, list[Event]] = {}
        for change in changes:
            cache = self.cache_of(change.key)
            if cache is not None:
                event = cache.apply(change)
                told.setdefault(cache.prefix, []).append(event)
                for receive in self._listeners:
                    receive(cache, event)
        if changes:
            self.revision = changes[-1].revision
        for prefix, events in told.items():
            self.catalog.caches[prefix].tell(events)
        progressed, self.progressed = self.progressed, asyncio.Event()
        progressed.set()

    async def put(self, served: Served, name: str, namespace: str, value: bytes, expected: int, ttl: float | None = None) -> int | None:
        """Writes an object that has `expected` as its revision (0: does not exist). The new revision, or None on conflict."""
        if len(value) > 1_572_864:
            raise errors.RequestEntityTooLarge("Request entity too large: limit is 1572864")
        outcome = await self._commit(Put(served.store_key(name, namespace), value, expected, ttl))
        return outcome.revision if isinstance(outcome, Committed) else None

    async def delete(self, served: Served, name: str, namespace: str, expected: int) -> int | None:
        """Removes an object that has `expected` as its revision. The revision of the removal, or None on conflict."""
        outcome = await self._commit(Delete(served.store_key(name, namespace), expected))
        return outcome.revision if isinstance(outcome, Committed) else None

    async def _commit(self, operation: Put | Delete) -> Committed | Conflict:
        try:
            return await self.store.txn(operation)
        except stores.StoreFull as error:
            raise errors.ApiError(str(error), code=507) from error
        except stores.StoreUnavailable as error:
            raise errors.ServiceUnavailable(str(error)) from error
