"""The types that a structural schema gives to expressions, and how large their values can be.

In: a tree of a schema. Out: a `Declared`: the type, the most elements a value can have (characters, items, properties), and the fewest
bytes it takes, by which the number of its kind in one request is bounded. None for what expressions cannot see.

Upstream counterparts: apiserver's pkg/cel/common/schemas.go, pkg/cel/types.go (DeclType).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from navarch.machinery.cel import types
from navarch.machinery.cel.escaping import RESERVED, escape
from navarch.machinery.cel.types import Type
from navarch.machinery.structural.schema import Structural

MAX_REQUEST = 3 * 1024 * 1024
"""Bytes of the largest request that costs are estimated for."""
_STRING = Structural(type="string")
_META = Structural(type="object", properties={"name": _STRING, "generateName": _STRING})
_SIMPLE = {"boolean": types.BOOL, "number": types.DOUBLE, "integer": types.INT}
_SIMPLE_BYTES = {"boolean": 4, "number": 1, "integer": 1}
_FORMATS = {
    "duration": (types.DURATION, 32, 3),
    "date": (types.TIMESTAMP, 12, 12),
    "date-time": (types.TIMESTAMP, 32, 21),
}
"""Type, most characters, fewest bytes."""


@dataclass(frozen=True, eq=False)
class Declared:
    type: Type
    most: int
    """Elements a value has at most."""
    fewest: int
    """Bytes of the smallest value, in JSON."""
    fields: Mapping[str, Declared] | None = None
    """By the names expressions use."""
    names: Mapping[str, str] | None = None
    """The name in expressions → the field's own."""
    key: Declared | None = None
    element: Declared | None = None
    schema: Structural | None = None


def declare(schema: Structural, *, root: bool = False, name: str = "selfType") -> Declared | None:
    """The type of a place. `root`: the place is a whole object. `name`: what objects are called in messages."""
    if schema.int_or_string:
        longest = schema.values.max_length
        return Declared(types.DYN, MAX_REQUEST - 2 if longest is None else 4 * max(0, longest), 1, schema=schema)
    if root:
        schema = whole(schema)
    match schema.type:
        case "array":
            return _list(schema, name)
        case "object":
            return _map(schema, name) if schema.additional_schema is not None else _object(schema, name)
        case "string":
            return _string(schema)
        case "boolean" | "number" | "integer":
            return Declared(_SIMPLE[schema.type], 0, _SIMPLE_BYTES[schema.type], schema=schema)
        case _:
            return None


def whole(schema: Structural) -> Structural:
    """The schema of a whole object: apiVersion, kind and the names in metadata are always seen, and of metadata no more."""
    metadata = schema.properties.get("metadata")
    named = metadata is not None and all(_is_string(metadata, key) for key in ("name", "generateName"))
    if named and all(_is_string(schema, key) for key in ("kind", "apiVersion")):
        return schema
    return replace(schema, properties={**schema.properties, "kind": _STRING, "apiVersion": _STRING, "metadata": _META})


def _is_string(schema: Structural, name: str) -> bool:
    return name in schema.properties and schema.properties[name].type == "string"


def _list(schema: Structural, name: str) -> Declared | None:
    element = None if schema.items is None else declare(schema.items, root=schema.items.embedded, name=f"{name}.@idx")
    if element is None:
        return None
    most = schema.values.max_items
    bound = (MAX_REQUEST - 2) // (element.fewest + 1) if most is None else max(0, most)
    made = Declared(types.DYN, bound, 2, element=element, schema=schema)
    return replace(made, type=Type("list", (element.type,), schema=made))


_KEY = Declared(types.STRING, 0, 2)
"""Upstream takes keys to be of no length."""


def _map(schema: Structural, name: str) -> Declared | None:
    inner = schema.additional_schema
    element = None if inner is None else declare(inner, root=inner.embedded, name=f"{name}.@elem")
    if element is None:
        return None
    most = schema.values.max_properties
    bound = (MAX_REQUEST - 2) // (element.fewest + 6) if most is None else max(0, most)
    made = Declared(types.DYN, bound, 2, key=_KEY, element=element, schema=schema)
    return replace(made, type=Type("map", (types.STRING, element.type), schema=made))


def _object(schema: Structural, name: str) -> Declared:
    fields: dict[str, Declared] = {}
    names: dict[str, str] = {}
    fewest = 2
    for field, inner in schema.properties.items():
        escaped = escape(field)
        declared = declare(inner, root=inner.embedded, name=f"{name}.{escaped}")
        if declared is None:
            continue
        if escaped is not None:
            fields[escaped], names[escaped] = declared, field
        if field in RESERVED:  # a field may be selected by such a name as well
            fields[field], names[field] = declared, field
        if field in schema.values.required and inner.default is None:
            fewest += len(field) + declared.fewest + 4
    made = Declared(types.DYN, 0, fewest, fields, names, schema=schema)
    held = {escaped: declared.type for escaped, declared in fields.items()}
    return replace(made, type=Type(name, fields=held, schema=made))


def _string(schema: Structural) -> Declared:
    longest = schema.values.max_length
    if schema.values.format in _FORMATS:
        held, most, fewest = _FORMATS[schema.values.format]
        return Declared(held, most, fewest, schema=schema)
    if schema.values.format == "byte":
        return Declared(types.BYTES, MAX_REQUEST - 2 if longest is None else max(0, longest), 2, schema=schema)
    if longest is not None:
        return Declared(types.STRING, 4 * max(0, longest), 2, schema=schema)
    if schema.values.enum:
        most = max((len(one.encode()) for one in schema.values.enum if isinstance(one, str)), default=0)
        return Declared(types.STRING, most, 2, schema=schema)
    return Declared(types.STRING, MAX_REQUEST - 2, 2, schema=schema)
