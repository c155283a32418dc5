"""Which old value a value replaces, so that what did not change need not be valid.

In: a new and an old value and their schema. A `Correlated` pair knows the pairs of its fields, and of the items of a list whose
list-type is `map`: they are told apart by their keys. Items of other lists have no pair: such a list counts as one value.

Upstream counterparts: apiserver's pkg/cel/common (equality.go, maplist.go).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import msgspec

from navarch.machinery.structural.schema import Structural

_canonical = msgspec.json.Encoder(order="deterministic").encode


def same(left: Any, right: Any) -> bool:
    """Whether two values are one in JSON: 1, 1.0 and true are three."""
    return bool(left == right) and (left.__class__ is str or _canonical(left) == _canonical(right))


class MapList:
    """A list of list-type `map`, by key. The first of several items with one key counts."""

    __slots__ = ("_items", "_keys")

    def __init__(self, keys: Sequence[str], items: Sequence[Any]) -> None:
        self._keys = keys
        self._items: dict[Hashable, Any] = {}
        for item in items:
            key = self._key(item)
            if key is not None:
                self._items.setdefault(key, item)

    def get(self, item: Any) -> Any:
        """The list's item that has another one's key; None when there is none."""
        key = self._key(item)
        return None if key is None else self._items.get(key)

    def _key(self, item: Any) -> Hashable | None:
        if item.__class__ is not dict or not self._keys:
            return None
        parts: list[Hashable] = []
        for name in self._keys:
            value = item.get(name)
            if value.__class__ not in (bool, float, int, str):
                return None
            parts += (value.__class__, value)
        return tuple(parts)


class Correlated:
    """A value and the one it replaces."""

    __slots__ = ("_children", "_equal", "_list", "old", "schema", "value")

    def __init__(self, value: Any, old: Any, schema: Structural) -> None:
        self.value = value
        self.old = old
        self.schema = schema
        self._children: dict[str | int, Correlated | None] = {}
        self._equal: bool | None = None
        self._list: MapList | None = None

    def key(self, name: str) -> Correlated | None:
        """The pair of a field; None when it is new, or the schema does not know it."""
        if name not in self._children:
            self._children[name] = self._key(name)
        return self._children[name]

    def _key(self, name: str) -> Correlated | None:
        if self.value.__class__ is not dict or self.old.__class__ is not dict or name not in self.value or name not in self.old:
            return None
        schema = self.schema.field(name)
        return None if schema is None else Correlated(self.value[name], self.old[name], schema)

    def index(self, position: int) -> Correlated | None:
        """The pair of a list's item; None when the item is new, or items of such a list have no pairs."""
        if position not in self._children:
            self._children[position] = self._index(position)
        return self._children[position]

    def _index(self, position: int) -> Correlated | None:
        if self.value.__class__ is not list or self.old.__class__ is not list or self.schema.list_type != "map":
            return None
        if self._list is None:
            self._list = MapList(self.schema.list_keys, self.old)
        old = self._list.get(self.value[position])
        if old is None or self.schema.items is None:
            return None
        return Correlated(self.value[position], old, self.schema.items)

    def equal(self) -> bool:
        """Whether nothing changed. A field that the schema does not know counts as changed, as it does upstream."""
        if self._equal is None:
            self._equal = self._compare()
        return self._equal

    def _compare(self) -> bool:
        value, old = self.value, self.old
        if value is None or old is None or value.__class__ is not old.__class__:
            return value is old
        if value.__class__ is dict:
            return len(value) == len(old) and all(_equal(self.key(name)) for name in value)
        if value.__class__ is not list:
            return same(value, old)
        if len(value) != len(old):
            return False
        if self.schema.list_type != "map":
            return same(value, old)
        return all(_equal(self.index(i)) for i in range(len(value)))


def _equal(pair: Correlated | None) -> bool:
    return pair is not None and pair.equal()
