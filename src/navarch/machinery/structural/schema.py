"""A structural schema as a frozen tree.

In: an `openAPIV3Schema`: the generated struct, or plain dicts. Out: a `Structural`, whose places are `Structural`s again; `Unsupported`
when the schema uses what a structural schema cannot hold.

A tree says of each place its structure (type, properties, items, additionalProperties, the x-kubernetes extensions), what a value
there must be (`Values`, whose clauses under allOf, anyOf, oneOf and not are trees too), and what is worth knowing of all that lies
below: whether anything there has a default, an embedded object, a list-type, a rule. Walks skip what has none.

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/schema (structural.go, convert.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any

import msgspec

from navarch.api.apiextensions import v1 as extensions_v1
from navarch.machinery import codec

Document = Mapping[str, Any]
MAX_DEPTH = 128
"""How deep a schema may nest. Upstream has no bound of its own; schemas in use stay below 40."""
META_FIELDS = frozenset({"apiVersion", "kind", "metadata"})


class Unsupported(ValueError):
    """The schema holds what no structural schema can; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One of `x-kubernetes-validations`."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str | None = None
    field_path: str = ""
    optional_old_self: bool | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Values:
    """What a value must be, beyond its structure. Clauses are trees."""

    format: str = ""
    maximum: float | None = None
    exclusive_maximum: bool = False
    minimum: float | None = None
    exclusive_minimum: bool = False
    max_length: int | None = None
    min_length: int | None = None
    pattern: str = ""
    max_items: int | None = None
    min_items: int | None = None
    unique_items: bool = False
    multiple_of: float | None = None
    enum: tuple[Any, ...] | None = None
    max_properties: int | None = None
    min_properties: int | None = None
    required: tuple[str, ...] = ()
    all_of: tuple[Structural, ...] = ()
    any_of: tuple[Structural, ...] = ()
    one_of: tuple[Structural, ...] = ()
    not_: Structural | None = None

    def clauses(self) -> Iterator[tuple[str, Structural]]:
        """The clauses with the path of each below its schema's: `allOf[0]`, `not`."""
        for name, held in (("allOf", self.all_of), ("anyOf", self.any_of), ("oneOf", self.one_of)):
            yield from ((f"{name}[{i}]", clause) for i, clause in enumerate(held))
        if self.not_ is not None:
            yield "not", self.not_


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Below:
    """What is to be found at a place or below it."""

    defaults: bool = False
    embedded: bool = False
    lists: bool = False
    """A list-type `set` or `map`."""
    meanings: bool = False
    """What is equal to more than what is written the same: list-types, dates, durations, bytes."""
    rules: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Structural:
    """One place. `default` is None where there is none; upstream takes `default: null` to mean that too."""

    type: str = ""
    nullable: bool = False
    default: Any = None
    properties: Mapping[str, Structural] = field(default_factory=dict)
    additional: Structural | bool | None = None
    items: Structural | None = None
    int_or_string: bool = False
    preserve: bool = False
    """x-kubernetes-preserve-unknown-fields"""
    embedded: bool = False
    """x-kubernetes-embedded-resource"""
    list_type: str | None = None
    list_keys: tuple[str, ...] = ()
    map_type: str | None = None
    rules: tuple[Rule, ...] = ()
    values: Values = field(default_factory=Values)
    prose: Mapping[str, Any] | None = None
    """description, title, example and externalDocs, where there are any."""
    below: Below = field(default_factory=Below)

    @property
    def additional_schema(self) -> Structural | None:
        """The schema of additional properties, if it is more than a yes or no."""
        return self.additional if isinstance(self.additional, Structural) else None

    def field(self, name: str) -> Structural | None:
        """The schema of one property, named or additional."""
        return self.properties.get(name) or self.additional_schema

    def children(self) -> Iterator[tuple[str, Structural]]:
        """The places one step down, with the path of each below its schema's. Clauses are not among them."""
        for name, child in self.properties.items():
            yield f".properties[{name}]", child
        if isinstance(self.additional, Structural):
            yield ".additionalProperties", self.additional
        if self.items is not None:
            yield ".items", self.items


NOTHING = Structural()
ANYTHING = Structural(type="object", preserve=True)
_NO_VALUES = Values()
_PROSE = ("description", "title", "example", "externalDocs")
_MEANINGS = frozenset({"date", "date-time", "duration", "byte"})
_FOREIGN = ("id", "$schema", "$ref", "patternProperties", "dependencies", "additionalItems", "definitions")
"""What a structural schema cannot hold; upstream names `$schema` without its sign."""
_CLAUSES = {"allOf": "all_of", "anyOf": "any_of", "oneOf": "one_of"}
_SIMPLE = {
    "format": "format",
    "exclusiveMaximum": "exclusive_maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "maxLength": "max_length",
    "minLength": "min_length",
    "pattern": "pattern",
    "maxItems": "max_items",
    "minItems": "min_items",
    "uniqueItems": "unique_items",
    "maxProperties": "max_properties",
    "minProperties": "min_properties",
}
"""JSON name → name in `Values`, of what is taken as it is."""
_BOUNDS = {"maximum": "maximum", "minimum": "minimum", "multipleOf": "multiple_of"}
"""What is a float64, however it is written."""
_RULE = {
    "rule": "rule",
    "message": "message",
    "messageExpression": "message_expression",
    "reason": "reason",
    "fieldPath": "field_path",
    "optionalOldSelf": "optional_old_self",
}


def document(schema: extensions_v1.JSONSchemaProps | Document) -> Document:
    """A schema as plain dicts, as JSON has it."""
    return codec.to_tree(schema) if isinstance(schema, msgspec.Struct) else schema


def parse(schema: extensions_v1.JSONSchemaProps | Document | None) -> Structural:
    """The tree of a schema; of none, one that keeps whatever comes. Unsupported when there is no such tree."""
    return ANYTHING if schema is None else _node(document(schema), MAX_DEPTH)


def _node(held: Document, depth: int) -> Structural:
    if depth == 0:
        raise Unsupported(f"OpenAPIV3Schema is nested more than {MAX_DEPTH} levels deep; flatten it")
    _refuse_foreign(held)
    made: dict[str, Any] = {
        "values": _values(held, depth),
        "preserve": _preserve(held),
        "items": _items(held.get("items"), depth),
        "type": held.get("type") or "",
        "nullable": bool(held.get("nullable")),
        "default": held.get("default"),
        "properties": {name: _node(child, depth - 1) for name, child in (held.get("properties") or {}).items()},
        "additional": _additional(held.get("additionalProperties"), depth),
        "int_or_string": bool(held.get("x-kubernetes-int-or-string")),
        "embedded": bool(held.get("x-kubernetes-embedded-resource")),
        "list_type": held.get("x-kubernetes-list-type"),
        "list_keys": tuple(held.get("x-kubernetes-list-map-keys") or ()),
        "map_type": held.get("x-kubernetes-map-type"),
        "rules": tuple(rule(r) for r in held.get("x-kubernetes-validations") or ()),
        "prose": {key: held[key] for key in _PROSE if held.get(key)} or None,
    }
    return Structural(**made, below=_below(made))


def _refuse_foreign(held: Document) -> None:
    for key in _FOREIGN:
        if held.get(key) or (key == "additionalItems" and held.get(key) is not None):
            raise Unsupported(f"OpenAPIV3Schema '{key.removeprefix('$') if key == '$schema' else key}' is not supported")


def _preserve(held: Document) -> bool:
    preserve = held.get("x-kubernetes-preserve-unknown-fields")
    if preserve is False:
        raise Unsupported("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")
    return bool(preserve)


def _items(held: Any, depth: int) -> Structural | None:
    """`items: {}` is a schema that allows anything, no items is none."""
    if isinstance(held, Mapping):
        return _node(held, depth - 1)
    if held:
        raise Unsupported("OpenAPIV3Schema 'items' must be a schema, but is an array")
    return None


def _additional(held: Any, depth: int) -> Structural | bool | None:
    return _node(held, depth - 1) if isinstance(held, Mapping) else held


def rule(held: Document) -> Rule:
    return Rule(**{ours: held[key] for key, ours in _RULE.items() if held.get(key) is not None})


def _values(held: Document, depth: int) -> Values:
    made: dict[str, Any] = {ours: held[key] for key, ours in _SIMPLE.items() if held.get(key) is not None}
    made |= {ours: float(held[key]) for key, ours in _BOUNDS.items() if held.get(key) is not None}
    for key, ours in _CLAUSES.items():
        if held.get(key):
            made[ours] = tuple(_node(clause, depth - 1) for clause in held[key])
    if held.get("not") is not None:
        made["not_"] = _node(held["not"], depth - 1)
    if held.get("enum"):
        made["enum"] = tuple(held["enum"])
    if held.get("required"):
        made["required"] = tuple(held["required"])
    return Values(**made) if made else _NO_VALUES


def _below(made: Mapping[str, Any]) -> Below:
    children: list[Structural] = [*made["properties"].values()]
    children += (child for child in (made["additional"], made["items"]) if isinstance(child, Structural))
    own = {
        "defaults": made["default"] is not None,
        "embedded": made["embedded"],
        "lists": made["list_type"] in ("set", "map"),
        "meanings": made["list_type"] in ("set", "map") or made["values"].format in _MEANINGS,
        "rules": bool(made["rules"]),
    }
    return _shared(own[f.name] or _some(children, f.name) for f in fields(Below))


def _some(children: Iterable[Structural], name: str) -> bool:
    return any(getattr(child.below, name) for child in children)


_BELOW = {given: Below(**dict(zip((f.name for f in fields(Below)), given, strict=True))) for given in product((False, True), repeat=5)}


def _shared(found: Iterable[bool]) -> Below:
    return _BELOW[tuple(found)]
