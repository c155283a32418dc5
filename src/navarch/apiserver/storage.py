"""The caches and the store behind them: the only place that writes.

In: typed changes from the verbs. Out: bytes. Every committed change passes through `_apply`, in order, before the writer
that made it goes on: whoever reads after its own write sees it.

That holds as long as caches and store agree. When they do not (a cache could not take a change; the store says that an object has
another revision than the cache, which has heard of all), or when the disk has failed, `failed` says why, and the process must end: what is
true is read from the disk when it starts again. Objects whose stored bytes are damaged are set aside when the caches are filled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from navarch.apiserver.contention import KeyMutex
from navarch.apiserver.freshness import Freshness
from navarch.apiserver.served import ROOT, Catalog, Served
from navarch.apiserver.watch_cache import Cache, Entry, Event
from navarch.lib import heap
from navarch.machinery import errors
from navarch.store import interface as stores
from navarch.store.interface import Change, Committed, Conflict, Delete, Put, Readable

_log = logging.getLogger(__name__)
_MOST_BYTES = 1_572_864
REMEMBERED, REMEMBERED_BYTES = 2000, 8 * 1024 * 1024
"""Revisions before the start, and bytes of them, that the caches are given: what clients missed while a server was started again."""


Alongside = Callable[[str, Entry | None, bytes | None], list[Put | Delete]]
"""`alongside(key, old, new)`: what is written together with an object that was `old` and becomes `new` (None: is none)."""


class Overtaken(errors.Conflict):
    """Another server took first what was to be written together with an object: the write is to be made anew."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Operation cannot be fulfilled: another server has written {key} meanwhile; please try again")


class Storage:
    """Reads from memory, writes through the store."""

    def __init__(self, store: Readable, catalog: Catalog) -> None:
        self.store = store
        self.catalog = catalog
        self.revision = 0
        self.loaded = 0
        """The revision the caches were filled at."""

        self.alone = store.alone
        self._freshness = Freshness(store, self.reach)
        self.alongside: dict[str, Alongside] = {}
        """What is written together with the objects of a resource, in one transaction: by the resource's prefix."""

        self.mutex = KeyMutex()
        self.failed: asyncio.Future[str]
        """Done, with the reason, once nothing that is served can be relied on."""

        self._listeners: list[Callable[[Cache, Event], None]] = []
        self._unsubscribe: Callable[[], None] | None = None
        self.progressed: asyncio.Event = asyncio.Event()

    async def start(self) -> None:
        """Fills the caches and follows the store from there."""
        self.failed = asyncio.get_running_loop().create_future()
        self.store.failed.add_done_callback(self._store_failed)
        pending: list[tuple[Change, ...]] = []
        loading = self.store.subscribe(pending.append)
        with heap.unwatched():
            found = await self.store.range(ROOT, stores.END, set_aside=True)
            self._load(found)
            await self._remember(found.revision)
        loading()
        self._unsubscribe = self.store.subscribe(self._follow)
        for changes in pending:
            self._apply(tuple(c for c in changes if c.revision > found.revision))

    def _load(self, found: stores.Range) -> None:
        for damage in found.damaged:
            self._set_aside(damage)
        for record in found.records:
            cache = self.cache_of(record.key)
            if cache is not None:
                cache.load(record.key[len(cache.prefix) :], record.value, record.mod_revision)
        self.revision = self.loaded = found.revision
        for cache in self.catalog.caches.values():
            cache.complete_since = found.revision

    async def _remember(self, revision: int) -> None:
        """Gives the caches the latest changes before a revision, so that those who come back go on from memory."""
        since = max(revision - REMEMBERED, await self.store.oldest())
        found: list[Change] = []
        reached, size = since, 0
        try:
            while reached < revision:
                piece = await self.store.changes(ROOT, stores.END, reached)
                read = sum(len(change.value or b"") + len(change.previous or b"") for change in piece.changes)
                if size + read > REMEMBERED_BYTES:
                    found, since, size = [], reached, 0
                    if read > REMEMBERED_BYTES:
                        since, reached = piece.until, piece.until
                        continue
                found += piece.changes
                reached, size = piece.until, size + read
        except stores.Compacted:
            return
        by_cache: dict[str, list[Change]] = {}
        for change in found:
            if change.revision <= revision and (cache := self.cache_of(change.key)) is not None:
                by_cache.setdefault(cache.prefix, []).append(change)
        for prefix, cache in self.catalog.caches.items():
            cache.remember(by_cache.get(prefix, ()), since)

    async def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
        self.store.failed.remove_done_callback(self._store_failed)

    async def fresh(self) -> None:
        """Waits until the caches hold all that was committed before the call, by whichever server. Free while no other server writes."""
        if not self.alone:
            await self._freshness.wait()

    async def reach(self, revision: int) -> None:
        """Waits until the caches hold a revision that is known to be committed."""
        while self.revision < revision:
            await self.progressed.wait()

    @property
    def damaged(self) -> list[str]:
        """The objects that are set aside, as `resource/namespace/name`."""
        return [cache.prefix[len(ROOT) :] + key for cache in self.catalog.caches.values() for key in cache.damaged]

    def _set_aside(self, damage: stores.Damaged) -> None:
        _log.error("%s; the object is set aside", damage)
        cache = self.cache_of(damage.key)
        if cache is not None:
            cache.damaged[damage.key[len(cache.prefix) :]] = str(damage)

    def _store_failed(self, failed: asyncio.Future[stores.StoreFailed]) -> None:
        if not failed.cancelled():
            self._fail(str(failed.result()))

    def _fail(self, reason: str) -> None:
        if not self.failed.done():
            _log.critical("the API server cannot go on: %s", reason)
            self.failed.set_result(reason)

    def cache_of(self, key: str) -> Cache | None:
        """The cache a store key belongs to."""
        return self.catalog.caches.get(key[: key.find("/", len(ROOT)) + 1])

    def listen(self, receive: Callable[[Cache, Event], None]) -> None:
        """Calls `receive` for every committed event of every resource: for what the server itself derives from objects."""
        self._listeners.append(receive)

    def _follow(self, changes: tuple[Change, ...]) -> None:
        try:
            self._apply(changes)
        except Exception as error:
            _log.exception("a change could not be taken")
            self._fail(f"the caches could not take revision {changes[-1].revision}: {type(error).__name__}: {error}")

    def _apply(self, changes: tuple[Change, ...]) -> None:
        told: dict[str, list[Event]] = {}
        for change in changes:
            cache = self.cache_of(change.key)
            if cache is not None:
                event = cache.apply(change)
                if cache.damaged:
                    cache.damaged.pop(event.key, None)
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
        """Writes an object that has `expected` as its revision (0: does not exist). The new revision, or None on conflict. Overtaken."""
        if served.inward is not None:
            value = await served.inward(value)
        if len(value) > _MOST_BYTES:
            raise errors.RequestEntityTooLarge("Request entity too large: limit is 1572864")
        return await self._write(served, served.key(name, namespace), value, expected, ttl)

    async def delete(self, served: Served, name: str, namespace: str, expected: int) -> int | None:
        """Removes an object that has `expected` as its revision. The revision of the removal, or None on conflict."""
        return await self._write(served, served.key(name, namespace), None, expected, None)

    async def _write(self, served: Served, key: str, value: bytes | None, expected: int, ttl: float | None) -> int | None:
        cache = served.cache
        stored = cache.prefix + key
        first = Delete(stored, expected) if value is None else Put(stored, value, expected, ttl)
        if (alongside := self.alongside.get(cache.prefix)) is not None:
            old = cache.get(key)
            outcome = await self._commit(first, *alongside(key, old if old is not None and old.version == expected else None, value))
        else:
            outcome = await self._commit(first)
        if isinstance(outcome, Committed):
            return outcome.revision
        if outcome.key != stored:
            raise Overtaken(outcome.key)
        await self._check_agreement(served, key, expected)
        return None

    async def delete_damaged(self, served: Served, name: str, namespace: str) -> None:
        """Removes an object that is set aside, whatever is stored of it."""
        await self._commit(Delete(served.store_key(name, namespace)))

    async def _check_agreement(self, served: Served, key: str, expected: int) -> None:
        """After a conflict: the cache has heard of all that came before it, so it must not be where the writer found it.

        A cache that is leads every writer of the object into the same conflict for ever. Raises InternalError, and ends the server.
        """
        cache = self.catalog.caches.get(served.cache.prefix, served.cache)
        entry = cache.get(key)
        if (entry.version if entry is not None else 0) != expected:
            return
        if expected == 0:
            # It may have been created and deleted meanwhile; only both sides at one revision tell.
            held = await self.store.get(cache.prefix + key, self.revision)
            if held is None:
                return
        reason = f"the cache has {cache.prefix}{key} at revision {expected}, the store has it at another"
        self._fail(reason)
        raise errors.internal(reason)

    async def commit(self, *operations: Put | Delete) -> bool:
        """Writes what is no object of a client's, all or nothing; whether it was written."""
        return isinstance(await self._commit(*operations), Committed)

    async def _commit(self, *operations: Put | Delete) -> Committed | Conflict:
        try:
            return await self.store.txn(*operations)
        except stores.StoreFull as error:
            raise errors.ApiError(str(error), code=507) from error
        except stores.StoreFailed as error:
            raise errors.Timeout(str(error)) from error
        except stores.Damaged as error:
            raise errors.internal(str(error)) from error
        except stores.StoreUnavailable as error:
            raise errors.ServiceUnavailable(str(error)) from error
