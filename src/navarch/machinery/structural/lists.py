"""Lists whose items must differ: all of them (list-type `set`), or in their keys (list-type `map`).

In: an object and its schema. Out: a `Duplicate value` for each item that is there a second time; a third is not told again.

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/schema/listtype.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from navarch.machinery import field, goform
from navarch.machinery.field import Problem
from navarch.machinery.structural.schema import Structural


def problems(value: Any, schema: Structural, path: str = "") -> list[Problem]:
    """What is there twice, at a place or below it."""
    found: list[Problem] = []
    if schema.below.lists:
        _visit(value, schema, path, found)
    return found


def _visit(value: Any, schema: Structural, path: str, found: list[Problem]) -> None:
    if value.__class__ is dict:
        for key, held in value.items():
            child = schema.properties.get(key)
            if child is not None:
                if child.below.lists:
                    _visit(held, child, f"{path}.{key}" if path else key, found)
            elif schema.additional_schema is not None and schema.additional_schema.below.lists:
                _visit(held, schema.additional_schema, f"{path}[{key}]", found)
    elif value.__class__ is list:
        _own(value, schema, path, found)
        if schema.items is not None and schema.items.below.lists:
            for i, item in enumerate(value):
                _visit(item, schema.items, f"{path}[{i}]", found)


def _own(items: list[Any], schema: Structural, path: str, found: list[Problem]) -> None:
    if schema.list_type == "set":
        found += (field.duplicate(f"{path}[{i}]", items[i]) for i in repeated([_key(item) for item in items]))
    elif schema.list_type == "map":
        for i, item in enumerate(items):
            if item is not None and item.__class__ is not dict:
                found.append(field.invalid(f"{path}[{i}]", item, "must be an object for an array of list-type map"))
                return
        twice = repeated([_keys(item or {}, schema.list_keys) for item in items])
        found += (field.duplicate(f"{path}[{i}]", {k: items[i][k] for k in schema.list_keys if k in (items[i] or {})}) for i in twice)


def _keys(item: dict[str, Any], names: Sequence[str]) -> Hashable:
    """An item's keys; one that it lacks is equal to none that it has."""
    if len(names) == 1:
        return _key(item[names[0]]) if names[0] in item else None
    return tuple(_key(item[name]) if name in item else None for name in names)


def repeated(keys: Sequence[Hashable]) -> Iterable[int]:
    """Where a key is for the second time."""
    if len(set(keys)) == len(keys):
        return
    times: dict[Hashable, int] = {}
    for i, key in enumerate(keys):
        times[key] = times.get(key, 0) + 1
        if times[key] == 2:
            yield i


def _key(value: Any) -> Hashable:
    """Numbers of two types differ, as do true and 1; what holds others is compared by its text."""
    if value.__class__ is str:
        return ("", value) if value[:1] in "[{" else value  # never equal to a text of the last kind
    return goform.json(value) if value.__class__ in (dict, list) else (value.__class__, value)
