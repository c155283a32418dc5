"""The caches of a custom resource: one for each version that somebody asks for, all of them fed by the store's changes.

What is stored is in one version (the storage version, or an older one of which nobody has rewritten the object). `Versions.primary`
holds it in the storage version; the cache of another version is filled when that version is first asked for, and follows from then on. In
each of them objects are as the version's schema wants them, so that verbs find finished bytes there, as for any kind.

A conversion that only renames is made in the same turn in which a change is applied. One that asks a webhook takes its time: its cache
is behind until the answer comes, and who reads it waits for that (`ready`). When a webhook fails, its cache is forgotten with all that watch it,
and filled again for the next who asks.

Upstream counterpart: the storages per version of apiextensions-apiserver's customresource_handler.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from navarch.apiserver.extensions import custom
from navarch.apiserver.extensions.conversion import MOST_AT_ONCE, Converter, rewrite
from navarch.apiserver.extensions.custom import Tree
from navarch.apiserver.extensions.definition import Definition
from navarch.apiserver.extensions.schemas import Schema
from navarch.apiserver.streams import Turns
from navarch.apiserver.watch_cache import Cache, Entry, Event, splice
from navarch.machinery import codec, errors
from navarch.store.interface import Change, Record, Store

_log = logging.getLogger(__name__)
_SLICE = 50
"""Objects that are made ready in one turn of the loop."""

Start = Callable[[str, Coroutine[Any, Any, None]], object]
EndWatches = Callable[["VersionCache"], None]


def _nothing() -> None:
    """Nobody to tell."""


class VersionCache(Cache):
    """The objects of a resource in one version."""

    def __init__(self, prefix: str, api_version: str, schemas: dict[str, Schema], selectable: Sequence[str], converter: Converter) -> None:
        super().__init__(prefix)
        self.api_version = api_version
        self._schemas = schemas
        self._selectable = tuple(selectable)
        self._converter = converter
        self.fields = self.fields | set(self._selectable)
        self.followers: list[VersionCache] = []
        self._events: list[Event] = []
        """What followers have applied and not told yet."""
        self._converted: Tree | None = None
        """The next change's object, where it had to be converted before."""
        self.strays: dict[str, Change] = {}
        """What came in a version that only a webhook could convert: by key, the last of its changes."""
        self.stray: Callable[[], None] = _nothing
        """Told of each of them."""
        self.touched: set[str] | None = None
        """While the cache is filled: the keys that changed meanwhile."""

    # ---- objects ---------------------------------------------------------------------------------------------------

    def entry(self, key: str, value: bytes, version: int) -> Entry:
        tree, self._converted = self._converted, None
        return self.entry_of(key, self.read(value) if tree is None else tree, version)

    def entry_of(self, key: str, tree: Tree, version: int) -> Entry:
        """An entry of an object as this version has it."""
        metadata = tree["metadata"]
        name, namespace = metadata.get("name") or "", metadata.get("namespace") or ""
        fields = {"metadata.name": name, "metadata.namespace": namespace}
        for field in self._selectable:
            fields[field] = _text(custom.at(tree, field))
        return Entry(key, version, splice(custom.encoded(tree), version), name, namespace, metadata.get("labels") or {}, fields)

    def read(self, value: bytes) -> Tree:
        """A stored object as this version has it. Expired where only a webhook could say: nobody waits for it here."""
        tree = self.decoded(value)
        if tree["apiVersion"] != self.api_version:
            if not self._converter.immediate:
                raise errors.Expired(f"objects of {self.api_version} are not kept as they were: their conversion asks a webhook")
            rewrite(tree, self.api_version)
        self.finish(tree)
        return tree

    def decoded(self, value: bytes) -> Tree:
        """A stored object in the version it is stored in, without what that does not know."""
        tree: Tree = codec.tree(value)
        tree.setdefault("metadata", {})
        if tree["apiVersion"] != self.api_version:
            held = self._schemas.get(tree["apiVersion"].rpartition("/")[2])
            if held is not None:
                custom.pruned(tree, held)
        return tree

    def schema(self) -> Schema:
        """The schema of this version."""
        return self._schemas[self.api_version.rpartition("/")[2]]

    def finish(self, tree: Tree) -> None:
        """Puts an object of this version where its schema wants it."""
        custom.repaired(tree, self.schema())

    # ---- changes ---------------------------------------------------------------------------------------------------

    def apply(self, change: Change) -> Event:
        event = self._applied(change)
        for follower in self.followers:
            follower.feed(change)
        return event

    def mended(self, key: str, change: Change, tree: Tree) -> None:
        """Puts an object in the place of what came of it unconverted, unless it changed since."""
        held = self.get(key)
        if held is not None and held.version == change.revision:
            self._put(self.entry_of(key, tree, change.revision))

    def place(self, key: str, tree: Tree, version: int) -> None:
        """Takes an object that was there before, unless it changed since."""
        if self.touched is None or key not in self.touched:
            self._put(self.entry_of(key, tree, version))

    def _applied(self, change: Change) -> Event:
        if self.touched is not None:
            self.touched.add(change.key[len(self.prefix) :])
        try:
            return super().apply(change)
        except errors.Expired:
            # Written in an older storage version while that changed: `Versions.mend` converts it.
            assert change.value is not None
            self.strays[change.key[len(self.prefix) :]] = change
            self.stray()
            self._converted = self.decoded(change.value)
            return super().apply(change)

    def tell(self, events: Sequence[Event]) -> None:
        super().tell(events)
        for follower in self.followers:
            follower.flush()

    def feed(self, change: Change) -> None:
        """A change of the cache that this one follows."""
        self._events.append(self._applied(change))

    def flush(self) -> None:
        """Tells what was fed."""
        events, self._events = self._events, []
        if events:
            self.tell(events)


class View(VersionCache):
    """The objects in another version than the one they are stored in."""

    def __init__(self, versions: Versions, api_version: str, selectable: Sequence[str]) -> None:
        super().__init__(versions.prefix, api_version, versions.schemas, selectable, versions.converter)
        self._versions = versions
        self._filled = False
        self._filling = asyncio.Lock()
        self._waiting: deque[Change] = deque()
        self._following = False
        self._moved = asyncio.Event()

    async def ready(self) -> None:
        """Waits until the cache holds all that is known to have been written. ApiError when objects cannot be converted."""
        if not self._filled:
            async with self._filling:
                if not self._filled:
                    await self._fill()
        wanted = self._versions.primary.version
        while self._waiting and self.version < wanted:
            await self._moved.wait()
            if not self._filled:
                return await self.ready()
        return None

    async def _fill(self) -> None:
        self._versions.primary.followers.append(self)
        try:
            await self._versions.load(self)
        except BaseException:
            self.forget()
            raise
        self._filled = True
        self._follow()

    def forget(self) -> None:
        """Drops everything; who watches begins again."""
        if self in self._versions.primary.followers:
            self._versions.primary.followers.remove(self)
        self._filled = False
        self._waiting.clear()
        self._events.clear()
        self._entries.clear()
        self._keys.clear()
        self._by_label.clear()
        self.history.clear()
        self._history_bytes = 0
        self._versions.end_watches(self)
        self._progress()

    def feed(self, change: Change) -> None:
        if self._converter.immediate:
            super().feed(change)
            return
        self._waiting.append(change)
        if self._filled:
            self._follow()

    def _follow(self) -> None:
        if self._waiting and not self._following:
            self._following = True
            self._versions.start(f"convert to {self.api_version}", self._catch_up())

    async def _catch_up(self) -> None:
        """Converts and applies what waits, in order."""
        try:
            while self._waiting:
                changes = [self._waiting[i] for i in range(min(len(self._waiting), MOST_AT_ONCE))]
                trees = await self._versions.converted(self, [c.value for c in changes if c.value is not None])
                if not self._waiting:
                    return  # forgotten meanwhile
                self._take(changes, trees)
        except errors.ApiError as error:
            _log.warning("%s: %s", self.api_version, error.status.message)
            self.forget()
        finally:
            self._following = False

    def _take(self, changes: Sequence[Change], trees: list[Tree]) -> None:
        made = iter(trees)
        events = []
        for change in changes:
            self._converted = next(made) if change.value is not None else None
            events.append(self._applied(change))
            self._waiting.popleft()
        self.tell(events)
        self._progress()

    def _progress(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


class Versions:
    """All of a definition's caches, and the way of objects between its versions."""

    def __init__(
        self, definition: Definition, prefix: str, converter: Converter, store: Store, turns: Turns, start: Start, end_watches: EndWatches
    ) -> None:
        self.prefix = prefix
        self.converter = converter
        self.start = start
        self.end_watches = end_watches
        self.schemas = {v.name: Schema(v.document, preserve=definition.spec.preserveUnknownFields) for v in definition.spec.versions}
        self._store = store
        self._turns = turns
        selectable = {v.name: [f.jsonPath.removeprefix(".") for f in v.selectableFields] for v in definition.spec.versions}
        stored = definition.storage_version.name
        self.storage_version = f"{definition.group}/{stored}"
        self.primary = VersionCache(prefix, self.storage_version, self.schemas, selectable[stored], converter)
        self.primary.stray = self._stray
        self._mended = asyncio.Event()
        self._mended.set()
        self._views = {name: View(self, f"{definition.group}/{name}", fields) for name, fields in selectable.items() if name != stored}

    def cache(self, version: str) -> VersionCache:
        """The cache of a version."""
        return self._views.get(version, self.primary)

    def view(self, version: str) -> View | None:
        """The cache of a version that is not the storage version."""
        return self._views.get(version)

    def end(self) -> None:
        """Ends all watches: these caches follow nothing any more."""
        for cache in (self.primary, *self._views.values()):
            self.end_watches(cache)

    async def stored(self, value: bytes) -> bytes:
        """An object as it is stored, from any version. ApiError when it cannot be converted."""
        primary = self.primary
        tree = primary.decoded(value)
        if tree["apiVersion"] != self.storage_version:
            (tree,) = await self.converter.convert([tree], self.storage_version)
            custom.pruned(tree, self.schemas[self.storage_version.rpartition("/")[2]])
        return custom.encoded(tree)

    async def converted(self, cache: VersionCache, values: Sequence[bytes]) -> list[Tree]:
        """Stored objects as a cache has them. ApiError."""
        trees = [cache.decoded(value) for value in values]
        trees = await self.converter.convert(trees, cache.api_version)
        for tree in trees:
            cache.finish(tree)
        return trees

    def ready_for(self, version: str) -> Callable[[], Awaitable[None]] | None:
        """What waits until a version's cache can be read; None where it always can."""
        view = self._views.get(version)
        if view is not None:
            return view.ready
        return None if self.converter.immediate else self._ready

    async def _ready(self) -> None:
        """Waits until the storage version's cache holds nothing of another version."""
        await self._mended.wait()

    def _stray(self) -> None:
        if self._mended.is_set():
            self._mended.clear()
            self.start(f"convert to {self.storage_version}", self._mend())

    async def _mend(self) -> None:
        """Converts what was written in the old storage version while that changed."""
        primary = self.primary
        try:
            while primary.strays:
                strays, primary.strays = primary.strays, {}
                changes = list(strays.items())
                for at in range(0, len(changes), MOST_AT_ONCE):
                    some = changes[at : at + MOST_AT_ONCE]
                    trees = await self.converted(primary, [change.value for _, change in some if change.value is not None])
                    for (key, change), tree in zip(some, trees, strict=True):
                        primary.mended(key, change, tree)
        except errors.ApiError as error:
            _log.warning("%s: %s", self.storage_version, error.status.message)
        finally:
            self._mended.set()

    async def load(self, cache: VersionCache) -> None:
        """Fills a cache that is fed already: what came meanwhile is newer than what is read. ApiError."""
        start, end = self.prefix, f"{self.prefix[:-1]}0"
        step = _SLICE if self.converter.immediate else MOST_AT_ONCE
        revision = 0
        cache.touched = set()
        while True:
            found = await self._store.range(start, end, revision=revision, limit=MOST_AT_ONCE, counted=False, set_aside=True)
            revision = revision or found.revision
            for damage in found.damaged:
                cache.damaged[damage.key[len(self.prefix) :]] = str(damage)
            for at in range(0, len(found.records), step):
                await self._load(cache, found.records[at : at + step])
            if not found.more:
                break
            start = f"{found.records[-1].key}\0"
        cache.touched = None
        cache.version = max(cache.version, revision)
        cache.complete_since = max(cache.complete_since, revision)

    async def _load(self, cache: VersionCache, records: Sequence[Record]) -> None:
        trees = await self.converted(cache, [record.value for record in records])
        async with self._turns:
            for record, tree in zip(records, trees, strict=True):
                cache.place(record.key[len(self.prefix) :], tree, record.mod_revision)


def _text(value: Any) -> str:
    """A selectable field's value, as selectors write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
