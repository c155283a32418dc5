"""The objects that expressions of MutatingAdmissionPolicies make: `Object{…}`, `Object.spec{…}` and `JSONPatch{…}`.

What `Object` has for fields is not known: any may be set, to anything. A type's name tells where it belongs, and is held to it once the
value is there (`misplaced`).

In: what an expression gave. Out: builtin values as JSON has them; `Unfit` for what JSON cannot say, or stands where it does not belong.

Upstream counterparts: apiserver's pkg/cel/mutation, pkg/admission/plugin/policy/mutating/patch/json_patch.go.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from navarch.machinery.cel import times, types
from navarch.machinery.cel.types import Type
from navarch.machinery.cel.values import Duration, EvaluationError, Timestamp

_ROOT = "Object"


class Unfit(ValueError):
    """A value that makes no patch; the message is upstream's."""


class Made(dict[str, Any]):
    """An object that an expression made. Two are equal that have one type and the same fields."""

    __slots__ = ("type_name",)

    def __init__(self, type_name: str, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.type_name = type_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and other.type_name == self.type_name and dict.__eq__(self, other)

    __hash__ = None

    def field(self, name: Any) -> Any:
        try:
            return self[name]
        except KeyError:
            raise EvaluationError(f"no such key: {name}") from None

    def has(self, name: Any) -> bool:
        return name in self


class _AnyField(Mapping[str, Type]):
    """Every field there may be."""

    def __getitem__(self, name: str) -> Type:
        return types.DYN

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ANY_FIELD = _AnyField()


def _type(name: str, fields: Mapping[str, Type]) -> Type:
    return Type(name, fields=fields, schema=lambda made: Made(name, made))


OBJECT = _type(_ROOT, _ANY_FIELD)
JSON_PATCH = _type("JSONPatch", {"op": types.STRING, "path": types.STRING, "from": types.STRING, "value": types.DYN})


class _Objects(Mapping[str, Type]):
    """Types by name: `JSONPatch`, `Object`, and whatever begins with `Object.`."""

    def __getitem__(self, name: str) -> Type:
        if name == _ROOT:
            return OBJECT
        if name == JSON_PATCH.name:
            return JSON_PATCH
        if name.startswith(f"{_ROOT}."):
            return _type(name, _ANY_FIELD)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter((_ROOT, JSON_PATCH.name))

    def __len__(self) -> int:
        return 2


OBJECTS: Mapping[str, Type] = _Objects()


def configuration(value: Any) -> dict[str, Any]:
    """The fields of an `Object{…}`. Unfit."""
    if not isinstance(value, Made) or value.type_name != _ROOT:
        raise Unfit("unsupported return type from ApplyConfiguration expression")
    _check(value)
    made = as_json(value)
    assert isinstance(made, dict)
    return made


def operations(value: Any) -> list[dict[str, Any]]:
    """The operations of a list of `JSONPatch{…}`, as RFC 6902 has them. Unfit."""
    made = []
    for held in value:
        if not isinstance(held, Made) or held.type_name != JSON_PATCH.name:
            raise Unfit("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch")
        operation = {"op": held.get("op", ""), "path": held.get("path", "")}
        if held.get("from"):
            operation["from"] = held["from"]
        if "value" in held:
            if isinstance(held["value"], Made):
                _check(held["value"])
            operation["value"] = as_json(held["value"])
        made.append(operation)
    return made


def _check(value: Made) -> None:
    problems = list(misplaced(value, value.type_name if value.type_name == JSON_PATCH.name else _ROOT))
    if problems:
        raise Unfit("type mismatch: " + "\n".join(problems))


def misplaced(value: Any, place: str) -> Iterator[str]:
    """What is wrong with the names of types, told from the place they stand at."""
    if isinstance(value, Made):
        if value.type_name != place:
            yield f'unexpected type name "{value.type_name}", expected "{place}", which matches field name path from root Object type'
        for name, held in value.items():
            yield from misplaced(held, f"{place}.{name}")
    elif isinstance(value, list):
        for held in value:
            yield from misplaced(held, place)
    elif isinstance(value, dict):
        for held in value.values():
            yield from misplaced(held, place)


def as_json(value: Any) -> Any:
    """A value as builtin values that JSON can say. Unfit."""
    if isinstance(value, dict):
        if any(key.__class__ is not str for key in value):
            raise Unfit("JSONPath valueExpression evaluated to a type that could not marshal to JSON: map keys must be strings")
        return {key: as_json(held) for key, held in value.items()}
    if isinstance(value, list):
        return [as_json(held) for held in value]
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return times.show_timestamp(value)
    if isinstance(value, Duration):
        return times.show_duration(value)
    raise Unfit(f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {getattr(value, 'type_name', type(value).__name__)}")
