"""Takes out of an object what its schema does not name, and nulls that may not be.

In: an object as plain dicts, which is changed, and the tree of its schema. Out: the paths of what was taken out, as strict and
warning field validation report them (`unknown field "spec.foo"`).

The walk looks at each key once and makes no paths: only where something is unknown does its path grow on the way back up. Below a
place that keeps unknown fields the walk goes on along what the schema names, as upstream's does.

Upstream counterparts: apiextensions-apiserver's pkg/apiserver/schema/pruning and schema/defaulting/prunenulls.go.
"""

from __future__ import annotations

from typing import Any

from navarch.machinery.structural.schema import META_FIELDS, Structural

Unknown = list[str] | None
"""Paths below a place, each starting with a name or an index; None when all is known."""


def prune(obj: dict[str, Any], schema: Structural, *, root: bool = True, nulls: bool = False) -> list[str]:
    """Removes unknown fields; their paths, sorted. At the root (`root`) apiVersion, kind and metadata stand whatever the schema says.

    `nulls`: removes also the nulls of fields that are not nullable; those that have a default stay, since defaulting replaces them.
    """
    return sorted(_object(obj, schema, root or schema.embedded, schema.preserve, nulls) or ())


def pruned(value: Any, schema: Structural, *, root: bool = False) -> list[str]:
    """`prune` for a value of any type that stands alone, as a default does."""
    return prune(value, schema, root=root) if value.__class__ is dict else sorted(_value(value, schema, False) or ())


def _value(value: Any, schema: Structural | None, nulls: bool) -> Unknown:
    if value.__class__ is dict:
        return _unnamed(value) if schema is None else _object(value, schema, schema.embedded, schema.preserve, nulls)
    if value.__class__ is list:
        return _unnamed_lists(value) if schema is None else _list(value, schema.items, schema.preserve, nulls)
    return None


def _object(obj: dict[str, Any], schema: Structural, embedded: bool, keep: bool, nulls: bool) -> Unknown:
    found: Unknown = None
    gone: list[str] | None = None
    named = schema.properties
    for key, value in obj.items():
        child = named.get(key)
        if child is not None:
            if value.__class__ is not dict and value.__class__ is not list:
                if value is None and nulls and not child.nullable and child.default is None:
                    gone = [key] if gone is None else [*gone, key]
                continue
            if embedded and key in META_FIELDS:
                if nulls:
                    drop_nulls(value, child)
                continue
            below = _value(value, child, nulls)
        elif schema.additional is not None:
            extra = schema.additional_schema
            if value is None and nulls and extra is not None and not extra.nullable and extra.default is None:
                gone = [key] if gone is None else [*gone, key]
                continue
            if embedded and key in META_FIELDS:
                if nulls:
                    drop_nulls(value, extra)
                continue
            below = _value(value, extra, nulls)
        elif keep or (embedded and key in META_FIELDS):
            continue
        else:
            gone = [key] if gone is None else [*gone, key]
            found = [key] if found is None else [*found, key]
            continue
        if below is not None:
            found = [*(found or ()), *_prefixed(key, below)]
    for key in gone or ():
        del obj[key]
    return found


def _list(items: list[Any], schema: Structural | None, keep: bool, nulls: bool) -> Unknown:
    """`keep`: an unknown field of an item stays, since the list's schema says so."""
    if schema is None and keep:
        return None
    found: Unknown = None
    for i, item in enumerate(items):
        if item.__class__ is dict or item.__class__ is list:
            below = _kept(item, schema, nulls) if keep and schema is not None else _value(item, schema, nulls)
            if below is not None:
                found = [*(found or ()), *_prefixed(f"[{i}]", below)]
    return found


def _kept(value: Any, schema: Structural, nulls: bool) -> Unknown:
    if value.__class__ is dict:
        return _object(value, schema, schema.embedded, True, nulls)
    return _list(value, schema.items, True, nulls)


def _unnamed(obj: dict[str, Any]) -> Unknown:
    found = list(obj) or None
    obj.clear()
    return found


def _unnamed_lists(items: list[Any]) -> Unknown:
    """Lists in lists that no schema describes may nest as deep as the request; objects in them are emptied."""
    found: list[str] = []
    waiting: list[tuple[str, list[Any]]] = [("", items)]
    while waiting:
        path, held = waiting.pop()
        for i, item in enumerate(held):
            if item.__class__ is dict:
                found += _prefixed(f"{path}[{i}]", list(item))
                item.clear()
            elif item.__class__ is list:
                waiting.append((f"{path}[{i}]", item))
    return found or None


def _prefixed(step: str, below: list[str]) -> list[str]:
    return [f"{step}{path}" if path[:1] == "[" else f"{step}.{path}" for path in below]


def drop_nulls(value: Any, schema: Structural | None) -> None:
    """Removes what `nulls` removes, and no unknown fields."""
    if schema is None:
        return
    if value.__class__ is dict:
        named, extra = schema.properties, schema.additional_schema
        gone = None
        for key, held in value.items():
            if held is None:
                child = named.get(key, extra)
                if child is not None and not child.nullable and child.default is None:
                    gone = [key] if gone is None else [*gone, key]
            elif held.__class__ is dict or held.__class__ is list:
                drop_nulls(held, named.get(key, extra))
        for key in gone or ():
            del value[key]
    elif value.__class__ is list and schema.items is not None:
        for item in value:
            drop_nulls(item, schema.items)
