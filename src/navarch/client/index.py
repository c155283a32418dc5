"""A local copy of objects with indexes: what an informer keeps.

Objects are shared by everyone who reads them and are never changed. Upstream counterpart: client-go's cache.Indexer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from navarch.api.scalars import Object

T = TypeVar("T", bound=Object)
Indexer = Callable[[T], Iterable[str]]


def key_of(obj: Object) -> str:
    """`namespace/name`, or the name alone."""
    metadata: Any = getattr(obj, "metadata", None)
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


class Index(Generic[T]):
    """Objects by key, and by every value of every index."""

    def __init__(self, indexes: Mapping[str, Indexer[T]] | None = None) -> None:
        self._indexers = dict(indexes or {})
        self._objects: dict[str, T] = {}
        self._indexed: dict[str, dict[str, dict[str, T]]] = {name: {} for name in self._indexers}

    def add(self, name: str, indexer: Indexer[T]) -> Handle[T]:
        """Adds an index over what is here and what comes; the same one again is the same. ValueError when the name means another."""
        held = self._indexers.get(name)
        if held is not None and held != indexer:
            raise ValueError(f'there is an index "{name}" already, by another function')
        if held is None:
            self._build(name, indexer)
        return Handle(self, name)

    def _build(self, name: str, indexer: Indexer[T]) -> None:
        self._indexers[name] = indexer
        table: dict[str, dict[str, T]] = {}
        for key, obj in self._objects.items():
            for value in indexer(obj):
                table.setdefault(value, {})[key] = obj
        self._indexed[name] = table

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def keys(self) -> Iterable[str]:
        return self._objects.keys()

    def get(self, key: str) -> T | None:
        return self._objects.get(key)

    def put(self, obj: T) -> T | None:
        """Stores an object and returns what it replaces."""
        key = key_of(obj)
        old = self._objects.get(key)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        for name, indexer in self._indexers.items():
            for value in indexer(obj):
                self._indexed[name].setdefault(value, {})[key] = obj
        return old

    def remove(self, key: str) -> T | None:
        """Forgets an object and returns it."""
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
        return old

    def by(self, index: str, value: str) -> list[T]:
        """The objects an index lists under a value."""
        return list(self._indexed[index].get(value, {}).values())

    def values(self, index: str) -> list[str]:
        """The values an index has."""
        return list(self._indexed[index])

    def _unindex(self, key: str, obj: T) -> None:
        for name, indexer in self._indexers.items():
            table = self._indexed[name]
            for value in indexer(obj):
                if (bucket := table.get(value)) is not None:
                    bucket.pop(key, None)
                    if not bucket:
                        del table[value]


@dataclass(frozen=True, slots=True)
class Handle(Generic[T]):
    """One index, as who asked for it holds it."""

    _index: Index[T]
    _name: str

    def of(self, value: str) -> list[T]:
        """The objects under a value."""
        return self._index.by(self._name, value)
