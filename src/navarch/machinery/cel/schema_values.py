"""What a schema means by the values in an object, where expressions meet them.

An object's dicts and lists are used as they are. What a schema says beyond JSON is looked at where a value is selected or computed with:
a string of format date-time becomes a timestamp, a list of list-type `set` equals another in any order.

Upstream counterpart: apiserver's pkg/cel/common/valuesunstructured.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Hashable
from typing import Any

from navarch.machinery import goform
from navarch.machinery.cel import times, values
from navarch.machinery.cel.declared import Declared
from navarch.machinery.cel.syntax import Call, Node
from navarch.machinery.cel.types import Type, is_dyn
from navarch.machinery.cel.values import Duration, EvaluationError, Optional, Timestamp, TypeValue, Uint
from navarch.machinery.structural.ratcheting import MapList
from navarch.machinery.structural.schema import Structural

Convert = Callable[[Any], Any]
_CLASSES: dict[str, type] = {
    "bool": bool,
    "int": int,
    "uint": Uint,
    "double": float,
    "string": str,
    "bytes": bytes,
    "list": list,
    "map": dict,
    "timestamp": Timestamp,
    "duration": Duration,
    "optional_type": Optional,
    "type": TypeValue,
    "null_type": type(None),
}
_SCALARS = frozenset({"bool", "int", "uint", "double", "timestamp", "duration"})
_GO_TYPES = {bool: "types.Bool", int: "types.Int", float: "types.Double", str: "types.String", bytes: "types.Bytes", type(None): "types.Null"}


# ---- names ---------------------------------------------------------------------------------------------------------


def raw_name(held: Type | None, field: str) -> str:
    """A field's own name, by the one an expression uses."""
    if held is not None and held.name == "optional_type" and held.parameters:
        held = held.parameters[0]
    declared = held.schema if held is not None else None
    names = declared.names if isinstance(declared, Declared) else None
    return field if names is None else names.get(field, field)


def hides_null(held: Type | None) -> bool:
    """Whether a field of the type that is null is as one that is missing: so with fields a schema names, in maps not."""
    if held is not None and held.name == "optional_type" and held.parameters:
        held = held.parameters[0]
    declared = held.schema if held is not None else None
    return isinstance(declared, Declared) and declared.fields is not None


def maker(held: Type) -> Convert:
    """What makes a value of an object type from its fields."""
    make = held.schema
    return make if callable(make) else lambda fields: fields


# ---- values --------------------------------------------------------------------------------------------------------


def converter(held: Type | None) -> Convert | None:
    """What makes the value an expression sees of the one in the object; None where they are the same."""
    return None if held is None else _CONVERTERS.get(held.name)


def _timestamp(value: Any) -> Any:
    if value.__class__ is not str:
        return value
    try:
        return times.date(value) if len(value) == 10 else times.timestamp(value)
    except EvaluationError as error:
        raise EvaluationError(f"Invalid date-time formatted string {value}: {error}") from None


def _duration(value: Any) -> Any:
    if value.__class__ is not str:
        return value
    try:
        return times.duration(value)
    except EvaluationError as error:
        raise EvaluationError(f"Invalid duration {value}: {error}") from None


def _bytes(value: Any) -> Any:
    if value.__class__ is not str:
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvaluationError(f"Invalid byte formatted string {value}: {error}") from None


def _double(value: Any) -> Any:
    return float(value) if value.__class__ is int else value


_CONVERTERS: dict[str, Convert] = {"timestamp": _timestamp, "duration": _duration, "bytes": _bytes, "double": _double}
_BY_FORMAT: dict[str, Convert] = {"date": _timestamp, "date-time": _timestamp, "duration": _duration, "byte": _bytes}


def accepts(parameter: Type) -> Callable[[Any], bool]:
    """Whether a value may be given for a parameter, as far as can be seen at once."""
    if parameter.variable or is_dyn(parameter):
        return lambda value: True
    one = _CLASSES.get(parameter.name)
    if one is None:
        name = parameter.name
        return lambda value: getattr(value, "type_name", "") == name
    return lambda value: value.__class__ is one


def is_scalar(held: Type | None) -> bool:
    """Whether values of the type are of one size."""
    return held is not None and held.name in _SCALARS


def shown(value: Any) -> str:
    """A value in a message, as %v prints it."""
    if value.__class__ is bool:
        return "true" if value else "false"
    return goform.number(value) if values.is_number(value) else str(value)


def go_type(value: Any) -> str:
    return _GO_TYPES.get(value.__class__, f"types.{values.type_name(value)}")


# ---- what is equal -------------------------------------------------------------------------------------------------


def operation(call: Call) -> Callable[..., Any] | None:
    """What an operator does with values whose schema says what is equal; None for all else."""
    match call.function:
        case "_==_" | "_!=_":
            left, right = (_written(node) for node in call.args)
            same = equality(left) or equality(right, ordered=True)
            return same if same is None or call.function == "_==_" else _negated(same)
        case "@in":
            held = call.args[1].type
            same = equality(held.parameters[0]) if held is not None and held.name == "list" else None
            return None if same is None else lambda one, other: any(same(item, one) for item in other)
        case "_+_":
            schema = _schema(call.operands()[0].type)
            if schema is None or schema.list_type not in ("set", "map"):
                return None
            return lambda one, other: _added(one, other, schema)
    return None


def _negated(same: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda one, other: not same(one, other)


def equality(held: Type | None, *, ordered: bool = False) -> Callable[[Any, Any], bool] | None:
    """What says whether two values of a type are one, where plain comparing would not do. `ordered`: at the top, even sets in order."""
    if held is None:
        return None
    schema = _schema(held)
    if schema is not None:
        return (lambda one, other: equal(one, other, schema, ordered)) if schema.below.meanings else None
    inner = equality(held.parameters[-1]) if held.name in ("list", "map", "optional_type") and held.parameters else None
    return None if inner is None else lambda one, other: _equal_within(values.limited(one), values.limited(other), inner)


def _equal_within(left: Any, right: Any, same: Callable[[Any, Any], bool]) -> bool:
    if left.__class__ is not right.__class__:
        return values.equal(left, right)
    if left.__class__ is Optional:
        return left.present == right.present and (not left.present or same(left.held, right.held))
    if left.__class__ is dict:
        return len(left) == len(right) and all(k in right and same(v, right[k]) for k, v in left.items())
    return len(left) == len(right) and all(map(same, left, right))


def _written(node: Node) -> Type | None:
    """The type of a node, also behind `dyn()`."""
    while isinstance(node, Call) and node.function == "dyn" and len(node.args) == 1:
        node = node.args[0]
    return node.type


def _schema(held: Type | None) -> Structural | None:
    declared = held.schema if held is not None else None
    return declared.schema if isinstance(declared, Declared) else None


def items_converter(held: Type | None) -> Convert | None:
    """What makes a list an expression sees of the one in the object."""
    if held is None or held.name != "list" or _schema(held) is None:
        return None
    convert = converter(held.parameters[0])
    return None if convert is None else lambda items: [convert(item) for item in items] if items.__class__ is list else items


def equal(left: Any, right: Any, schema: Structural | None, ordered: bool = False) -> bool:
    """Whether two values of a schema are one: sets and maps in any order, dates in any zone."""
    if schema is None or not schema.below.meanings:
        return values.equal(left, right)
    convert = _BY_FORMAT.get(schema.values.format)
    if convert is not None and schema.type == "string":
        return values.equal(convert(left), convert(right))
    if left.__class__ is not right.__class__:
        return values.equal(left, right)
    if left.__class__ is dict:
        return len(left) == len(right) and all(k in right and equal(v, right[k], schema.field(k)) for k, v in left.items())
    if left.__class__ is not list:
        return values.equal(left, right)
    if len(left) != len(right):
        return False
    if schema.list_type == "set" and not ordered:
        held = {_key(item) for item in left}
        return all(_key(item) in held for item in right)
    if schema.list_type == "map" and not ordered:
        items = MapList(schema.list_keys, left)
        return all((found := items.get(item)) is not None and equal(found, item, schema.items) for item in right)
    return all(equal(one, other, schema.items) for one, other in zip(left, right, strict=True))


def _key(item: Any) -> Hashable:
    return (item.__class__, item) if item.__class__ not in (dict, list) else goform.json(item)


def _added(left: list[Any], right: list[Any], schema: Structural) -> list[Any]:
    """Sets unite; in maps what is on the right replaces what has its key."""
    if schema.list_type == "set":
        held = {_key(item) for item in left}
        made = list(left)
        for item in right:
            if _key(item) not in held:
                held.add(_key(item))
                made.append(item)
        return made
    made = list(left)
    places = {_keys(item, schema): i for i, item in enumerate(made)}
    for item in right:
        place = places.get(_keys(item, schema))
        if place is None:
            made.append(item)
        else:
            made[place] = item
    return made


def _keys(item: Any, schema: Structural) -> Hashable:
    return tuple(_key(item.get(name)) for name in schema.list_keys) if item.__class__ is dict else _key(item)
