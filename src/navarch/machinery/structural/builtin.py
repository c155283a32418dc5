"""The built-in kinds as structural schemas: for expressions, which see an object by its schema.

In: group, version and kind. Out: a `Structural` in which every reference is replaced by what it refers to; where a type refers to itself,
anything goes. None for what is no built-in kind.

Upstream counterpart: apiserver's pkg/cel/openapi/resolver.
"""

from __future__ import annotations

import functools
from typing import Any

from navarch.machinery import schema as schemas
from navarch.machinery.openapi import schemas as openapi
from navarch.machinery.structural import schema
from navarch.machinery.structural.schema import Structural

Document = dict[str, Any]
_ANYTHING: Document = {"x-kubernetes-preserve-unknown-fields": True}


@functools.lru_cache(maxsize=64)
def kind(group: str, version: str, name: str) -> Structural | None:
    found = openapi.types_by_kind().get((group, version, name))
    return None if found is None else schema.parse(_of_type(found, ()))


def _of_type(name: str, within: tuple[str, ...]) -> Document:
    declared = schemas.builtin().types.get(name)
    if declared is None or name in within:
        return _ANYTHING
    if name == openapi.INT_OR_STRING:
        return {"x-kubernetes-int-or-string": True}
    if "fields" not in declared:
        return openapi.primitive(declared["scalar"]) if declared["scalar"] != "any" else _ANYTHING
    fields = declared["fields"]
    return {
        "type": "object",
        "properties": {field: _of_field(fact, (*within, name)) for field, fact in fields.items()},
        "required": [field for field, fact in fields.items() if fact.get("req")],
    }


def _of_field(fact: Document, within: tuple[str, ...]) -> Document:
    made = _of_shape(fact["t"], within)
    beside = {key: fact[short] for short, key in openapi.EXTENSIONS.items() if short in fact}
    return {**made, **beside}


def _of_shape(shape: Any, within: tuple[str, ...]) -> Document:
    if isinstance(shape, list):
        inner = _of_shape(shape[1], within)
        return {"type": "array", "items": inner} if shape[0] == "list" else {"type": "object", "additionalProperties": inner}
    if "." in shape:
        return _of_type(shape, within)
    return _ANYTHING if shape == "any" else openapi.primitive(shape)
