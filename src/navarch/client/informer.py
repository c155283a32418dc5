"""Informers: a live, indexed copy of a collection, kept by list and watch.

    pods = Informer(client, core_v1.Pod, fields="spec.nodeName=n1")
    pods.subscribe(on_change)
    group.start("pods", pods.run())
    await pods.synced.wait()

Objects are shared and must not be changed. managedFields are dropped, since no component reads them. Of many large objects an
informer can keep less than it tells its subscribers (`keep`). A lost connection or an expired version is answered by watching or
listing again; subscribers then hear only of what really differs.

Upstream counterpart: client-go's Reflector and SharedInformer.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from navarch.api import resources
from navarch.api.scalars import Object
from navarch.client import reflector, watch
from navarch.client.index import Handle, Index, Indexer, key_of
from navarch.client.rest import Client, Request, _query, items_of
from navarch.machinery import codec

T = TypeVar("T", bound=Object)
_log = logging.getLogger(__name__)
_SLICE = 256
"""Objects of a list that are taken over before others get their turn on the loop."""


@dataclass(frozen=True, slots=True)
class Added(Generic[T]):
    obj: T


@dataclass(frozen=True, slots=True)
class Modified(Generic[T]):
    old: T
    new: T


@dataclass(frozen=True, slots=True)
class Deleted(Generic[T]):
    obj: T


Change = Added[T] | Modified[T] | Deleted[T]


def _version(obj: Object) -> str:
    metadata: Any = getattr(obj, "metadata", None)
    return metadata.resourceVersion or ""


class Informer(Generic[T]):
    """A copy of all objects of a type, or of those of a namespace or selector."""

    def __init__(
        self,
        client: Client,
        kind: type[T],
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, Indexer[T]] | None = None,
        keep: Callable[[T], T] | None = None,
    ) -> None:
        """`keep` makes of an object what is kept of it; subscribers are told of the whole one if they subscribe before `run`."""
        self.kind = kind
        self.name = kind.__name__
        self._keep = keep
        self.synced = asyncio.Event()
        self.version = ""
        self._client = client
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._index: Index[T] = Index(indexes)
        self._subscribers: list[Callable[[Change[T]], None]] = []

    # ---- reading ----

    def get(self, name: str, namespace: str = "") -> T | None:
        return self._index.get(f"{namespace}/{name}" if namespace else name)

    def by_key(self, key: str) -> T | None:
        """The object of a `namespace/name` key."""
        return self._index.get(key)

    def list(self) -> builtins.list[T]:
        return list(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def by_index(self, index: str, value: str) -> builtins.list[T]:
        return self._index.by(index, value)

    def index(self, name: str, indexer: Indexer[T]) -> Handle[T]:
        """An index of the copy, shared by all who ask for the same. ValueError when the name means another function."""
        return self._index.add(name, indexer)

    def subscribe(self, receive: Callable[[Change[T]], None]) -> None:
        """Calls `receive` for every change from now on, and for what is there already."""
        self._subscribers.append(receive)
        for obj in self._index:
            receive(Added(obj))

    # ---- keeping it true ----

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        await reflector.follow(self, self._client.clock)

    async def relist(self) -> None:
        """Takes over what there is now. Of an object that cannot be read nothing is kept, and the log says so."""
        path = resources.of(self.kind).path(namespace=self._namespace)
        query = _query(labelSelector=self._labels, fieldSelector=self._fields)
        listed = items_of(self.kind, await self._client.send(Request("GET", path, query)))
        there = list(listed.keys())
        if len(self._index):
            for key in set(self._index.keys()).difference(there):
                self._drop(key)
        for number, key in enumerate(there):
            try:
                self._take(listed.item(number))
            except codec.DecodeError as error:
                _log.warning("%s %s cannot be read and is left out: %s", self.name, key, error)
                self._drop(key)
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        self.version = listed.version
        self.synced.set()

    async def events(self) -> AsyncIterator[None]:
        """Takes over every event after the version we know."""
        timeout = random.randint(300, 600)
        async for event in watch.stream(
            self._client,
            self.kind,
            namespace=self._namespace,
            labels=self._labels,
            fields=self._fields,
            version=self.version,
            timeout=timeout,
        ):
            self.version = _version(event.object)
            if event.type == "DELETED":
                self._drop(key_of(event.object), event.object)
            elif event.type != "BOOKMARK":
                self._take(event.object)
            yield

    def _take(self, obj: T) -> None:
        metadata: Any = getattr(obj, "metadata", None)
        metadata.managedFields = None
        old = self._index.put(obj if self._keep is None else self._keep(obj))
        if old is None:
            self._tell(Added(obj))
        elif _version(old) != _version(obj):
            self._tell(Modified(old, obj))

    def _drop(self, key: str, last: T | None = None) -> None:
        old = self._index.remove(key)
        if old is not None:
            self._tell(Deleted(last if last is not None else old))

    def _tell(self, change: Change[T]) -> None:
        for receive in self._subscribers:
            try:
                receive(change)
            except Exception:
                _log.exception("a subscriber to %s failed", self.kind.__name__)
