"""Whether a schema is structural: what it must say at each place, and what its clauses may not.

In: a tree and the path at which its schema stands. Out: problems, sorted by their text as upstream sorts them.

A schema is structural when its structure (types, properties, items) is told outside allOf, anyOf, oneOf and not, completely, and
only once. Two patterns that tell the types of `x-kubernetes-int-or-string` are excepted.

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/schema (validation.go, complete.go).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from navarch.machinery import field, regexp
from navarch.machinery.field import Problem
from navarch.machinery.structural.schema import NOTHING, Structural, Values


class Level(enum.Enum):
    """Where a place stands, and how upstream names what must have a type there."""

    ROOT = "at the root"
    ITEM = "for specified array items"
    FIELD = "for specified object fields"


_INT_OR_STRING = ("integer", "string")
_META_ONLY = ({"name"}, {"generateName"}, {"name", "generateName"})


def problems(schema: Structural, path: str) -> list[Problem]:
    """All that keeps a schema from being structural."""
    return sorted([*_invariants(schema, Level.ROOT, path), *_incomplete(schema.values, schema, path, path)], key=str)


def _invariants(schema: Structural, level: Level, path: str) -> Iterator[Problem]:
    if schema.type == "array" and schema.items is None:
        yield field.required(f"{path}.items", "must be specified")
    for step, child in schema.children():
        yield from _invariants(child, Level.ITEM if step == ".items" else Level.FIELD, path + step)
    if schema.additional is not None and level is Level.ROOT:
        yield field.forbidden(f"{path}.additionalProperties", "must not be used at the root")
    yield from _extensions(schema, path)
    yield from _values(schema.values, path, excepted=_excepted(schema.values))
    yield from _type(schema, level, path)
    yield from _envelope(schema, level, path)


def _extensions(schema: Structural, path: str) -> Iterator[Problem]:
    why = "must be false if x-kubernetes-int-or-string is true"
    if schema.int_or_string and schema.preserve:
        yield field.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", True, why)
    if schema.int_or_string and schema.embedded:
        yield field.invalid(f"{path}.x-kubernetes-embedded-resource", True, why)
    if schema.embedded and schema.additional is not None:
        yield field.forbidden(f"{path}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")
    if schema.embedded and not schema.preserve and not schema.properties:
        why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        yield field.required(f"{path}.properties", why)


def _type(schema: Structural, level: Level, path: str) -> Iterator[Problem]:
    at = f"{path}.type"
    if schema.embedded and schema.type != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield field.invalid(at, schema.type, why) if schema.type else field.required(at, why)
    elif not schema.type and not schema.int_or_string and not schema.preserve:
        yield field.required(at, f"must not be empty {level.value}")
    if level is Level.ROOT and schema.type and schema.type != "object":
        yield field.invalid(at, schema.type, "must be object at the root")


def _envelope(schema: Structural, level: Level, path: str) -> Iterator[Problem]:
    """apiVersion, kind and metadata of a whole object."""
    whole = level is Level.ROOT or schema.embedded
    for name in ("kind", "apiVersion"):
        held = schema.properties.get(name)
        if whole and held is not None and held.type != "string":
            yield field.invalid(f"{path}.properties[{name}].type", held.type, "must be string")
    metadata = schema.properties.get("metadata")
    if metadata is None:
        return
    at = f"{path}.properties[metadata]"
    if whole and metadata.type != "object":
        yield field.invalid(f"{at}.type", metadata.type, "must be object")
    if level is Level.ROOT and not _names_only(metadata):
        yield field.forbidden(at, "must not specify anything other than name and generateName, but metadata is implicitly specified")


def _names_only(metadata: Structural) -> bool:
    properties = {} if set(metadata.properties) in _META_ONLY else metadata.properties
    return not properties and _bare(metadata, but=("type", "default", "properties"))


def _bare(schema: Structural, but: tuple[str, ...]) -> bool:
    """Whether a schema says nothing, but for some of its parts."""
    parts = (name for name in Structural.__slots__ if name not in (*but, "below", "values"))
    return all(getattr(schema, name) == getattr(NOTHING, name) for name in parts) and all(
        getattr(schema.values, name) == getattr(NOTHING.values, name) for name in Values.__slots__
    )


def _tells_int_or_string(values: Values) -> bool:
    """Whether anyOf says "an integer or a string" and no more."""
    return tuple(clause.type for clause in values.any_of) == _INT_OR_STRING and all(_bare(c, but=("type",)) for c in values.any_of)


# ---- clauses -------------------------------------------------------------------------------------------------------


def tells_types(values: Values) -> bool:
    """Whether the clauses already say, in one of the two patterns, that the value is an integer or a string."""
    return bool(_excepted(values))


def _excepted(values: Values) -> frozenset[str]:
    """Where a place tells, as it may, that its value is an integer or a string."""
    found = {"anyOf"} if _tells_int_or_string(values) else set()
    if values.all_of and _tells_int_or_string(values.all_of[0].values):
        found.add("allOf[0]")
    return frozenset(found)


def _values(values: Values, path: str, excepted: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """`excepted`: the clauses that may tell types: anyOf itself, or the one in the first of allOf."""
    for step, clause in values.clauses():
        if not ("anyOf" in excepted and step.startswith("anyOf")):
            yield from _clause(clause, f"{path}.{step}", frozenset({"anyOf"}) if step in excepted else frozenset())
    if values.pattern and (told := regexp.problem(values.pattern)):
        yield field.invalid(f"{path}.pattern", values.pattern, f"must be a valid regular expression, but isn't: {told}")


def _clause(clause: Structural, path: str, excepted: frozenset[str] = frozenset()) -> Iterator[Problem]:
    yield from _values(clause.values, path, excepted)
    for step, child in clause.children():
        if step != ".additionalProperties":
            yield from _clause(child, path + step)
    for name, said, must in _forbidden(clause):
        if said:
            yield field.forbidden(f"{path}.{name}", f"must be {must} to be structural")
    if "metadata" in clause.properties:
        yield field.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _forbidden(clause: Structural) -> Iterator[tuple[str, object, str]]:
    """What a clause may not say: its name, what the clause says of it, what that must be."""
    prose = clause.prose or {}
    yield "type", clause.type, "empty"
    yield "additionalProperties", clause.additional not in (None, False), "undefined"
    yield "default", clause.default is not None, "undefined"
    yield "title", prose.get("title"), "empty"
    yield "description", prose.get("description"), "empty"
    yield "nullable", clause.nullable, "false"
    yield "x-kubernetes-preserve-unknown-fields", clause.preserve, "false"
    yield "x-kubernetes-embedded-resource", clause.embedded, "false"
    yield "x-kubernetes-int-or-string", clause.int_or_string, "false"
    yield "x-kubernetes-list-map-keys", clause.list_keys, "empty"
    yield "x-kubernetes-list-type", clause.list_type is not None, "undefined"
    yield "x-kubernetes-map-type", clause.map_type is not None, "undefined"
    yield "x-kubernetes-validations", clause.rules, "empty"


# ---- completeness --------------------------------------------------------------------------------------------------


def _incomplete(values: Values, schema: Structural, at: str, path: str) -> Iterator[Problem]:
    """What clauses speak of and the structure does not. `at`: the structure's path, `path`: the clauses'."""
    for step, clause in values.clauses():
        yield from _unknown(clause, schema, at, f"{path}.{step}")


def _unknown(clause: Structural, schema: Structural | None, at: str, path: str) -> Iterator[Problem]:
    if schema is None:
        yield field.required(at, f"because it is defined in {path}")
        return
    yield from _incomplete(clause.values, schema, at, path)
    if clause.items is not None:
        yield from _unknown(clause.items, schema.items, f"{at}.items", f"{path}.items")
    for name, child in clause.properties.items():
        step = f".properties[{name}]"
        yield from _unknown(child, schema.properties.get(name), at + step, path + step)
