"""Sets what an object leaves out and its schema has a default for.

In: an object as plain dicts, which is changed, and the tree of its schema. A null that may not be one counts as left out. Parts of
the schema without any default are not walked.

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/schema/defaulting/algorithm.go.
"""

from __future__ import annotations

from typing import Any

from navarch.machinery.structural.schema import Structural


def default(value: Any, schema: Structural | None) -> None:
    """Sets the defaults at a place and below it."""
    if schema is None or not schema.below.defaults:
        return
    if value.__class__ is dict:
        _object(value, schema)
    elif value.__class__ is list and schema.items is not None:
        _list(value, schema.items)


def _object(obj: dict[str, Any], schema: Structural) -> None:
    for key, child in schema.properties.items():
        if not child.below.defaults:
            continue
        held = obj.get(key)
        if held is None and child.default is not None and (key not in obj or not child.nullable):
            held = obj[key] = copied(child.default)
        if held.__class__ is dict or held.__class__ is list:
            default(held, child)
    extra = schema.additional_schema
    if extra is not None and extra.below.defaults:
        for key, held in obj.items():
            if key not in schema.properties:
                obj[key] = _standing(held, extra)


def _list(items: list[Any], schema: Structural) -> None:
    if schema.below.defaults:
        for i, item in enumerate(items):
            items[i] = _standing(item, schema)


def _standing(value: Any, schema: Structural) -> Any:
    """A value that is there already: replaced only when it is a null that may not be."""
    if value is None and not schema.nullable:
        value = copied(schema.default)
    default(value, schema)
    return value


def copied(value: Any) -> Any:
    """A value whose dicts and lists are its own."""
    if value.__class__ is dict:
        return {key: copied(held) for key, held in value.items()}
    if value.__class__ is list:
        return [copied(held) for held in value]
    return value
