"""How the parts of any object behave when they are merged: the one description that patches and field management walk.

In: the fact table of the built-in types (`api/facts/types.json`), or the structural OpenAPI v3 schema of a custom resource.
Out: a `Schema` for a type, whose fields and elements are `Schema`s again, made when first asked for and then kept.

A schema says of a place in an object: what it holds (`Kind`); for a list of objects, which of their fields identify one (`keys`,
with `defaults`); what strategic merge does there (`patch`, `merge_key`); and whether Go's encoder would write it even when
nothing was set (`present`): an absent `spec.strategy` of a Deployment is an empty one, since its Go field is a struct, not a
pointer, and nobody can own its being there.

Upstream counterparts: structured-merge-diff's schema, kube-openapi's schemaconv, strategicpatch's meta.

What it is not: it checks nothing (see `problems` in `patch.typed`), and knows nothing of defaulting.
"""

from __future__ import annotations

import enum
import functools
import importlib.resources
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec


class Kind(enum.Enum):
    """What a place in an object holds, as far as ownership goes."""

    SCALAR = "scalar"
    STRUCT = "struct"
    """Named fields, each its own."""
    MAP = "map"
    """Any keys, each its own."""
    ATOMIC = "atomic"
    """An object that is one value."""
    LIST = "list"
    """A list that is one value."""
    SET = "set"
    """A list of distinct scalars, each its own."""
    KEYED = "keyed"
    """A list of objects, each its own, told apart by `keys`."""
    ANY = "any"
    """Whatever comes: an object's fields are their own, a list is one value."""


class Scalar(enum.Enum):
    STRING = "string"
    NUMERIC = "numeric"
    BOOLEAN = "boolean"
    UNTYPED = "untyped"


NO_FIELDS: Mapping[str, Schema] = {}
PRIMITIVES = {"string": Scalar.STRING, "boolean": Scalar.BOOLEAN, "integer": Scalar.NUMERIC, "number": Scalar.NUMERIC}
RAW = ("io.k8s.apimachinery.pkg.runtime.RawExtension",)


class Schema:
    """One place in an object. Do not change it."""

    __slots__ = ("_always", "_element", "_fields", "defaults", "kind", "merge_key", "name", "open", "patch", "present", "scalar", "source")

    def __init__(self, kind: Kind, source: Source | None = None, name: str = "") -> None:
        self.kind = kind
        self.source = source
        self.name = name
        """The type's full name, "" for what has none."""
        self.scalar = Scalar.UNTYPED
        self.open: Schema | None = None
        """For a STRUCT: what fields it does not name hold; None when it may have no others."""
        self.defaults: dict[str, Any] = {}
        """For a KEYED list: its keys in order of name, each with its default (None: none)."""
        self.patch: frozenset[str] = frozenset()
        """Strategic merge: any of "merge", "retainKeys", "replace"."""
        self.merge_key = ""
        self.present: Any = None
        """`{}` or `[]` when the place is never absent where its parent is there; None otherwise."""
        self._fields: Mapping[str, Schema] | None = None
        self._always: tuple[str, ...] | None = None
        self._element: Schema | None = None

    def __repr__(self) -> str:
        return f"Schema({self.kind.value}{' ' + self.name if self.name else ''})"

    @property
    def fields(self) -> Mapping[str, Schema]:
        """The named fields of a STRUCT (or of an ATOMIC object that has names)."""
        if self._fields is None:
            self._fields = self.source.fields(self) if self.source is not None else NO_FIELDS
        return self._fields

    @property
    def always(self) -> tuple[str, ...]:
        """The names of the fields that are `present`."""
        if self._always is None:
            self._always = tuple(name for name, field in self.fields.items() if field.present is not None)
        return self._always

    @property
    def element(self) -> Schema:
        """What a MAP or a list holds."""
        if self._element is None:
            self._element = self.source.element(self) if self.source is not None else ANY
        return self._element

    def field(self, name: str) -> Schema | None:
        """What a field holds; None when there must be no such field."""
        kind = self.kind
        if kind is Kind.STRUCT:
            return self.fields.get(name, self.open)
        if kind is Kind.MAP:
            return self.element
        if kind is Kind.ATOMIC:
            return self.fields.get(name, self.open) if self.fields else self.element
        return ANY


class Source(Protocol):
    """Where the insides of schemas come from."""

    def fields(self, schema: Schema) -> Mapping[str, Schema]: ...

    def element(self, schema: Schema) -> Schema: ...


ANY = Schema(Kind.ANY)
ANY_LIST = Schema(Kind.LIST)


# ---- the built-in types --------------------------------------------------------------------------------------------


@functools.cache
def builtin() -> Builtin:
    """The table of the built-in types; read once, 5 ms."""
    facts = importlib.resources.files("navarch.api").joinpath("facts", "types.json").read_bytes()
    present = importlib.resources.files("navarch.machinery").joinpath("present.json").read_bytes()
    return Builtin(msgspec.json.decode(facts), msgspec.json.decode(present))


def named(type_name: str) -> Schema:
    """The schema of a built-in type, by full name (`io.k8s.api.core.v1.Pod`). KeyError when there is none."""
    return builtin().named(type_name)


class Builtin:
    """The fact table as schemas."""

    def __init__(self, types: dict[str, Any], present: dict[str, dict[str, str]]) -> None:
        self.types = types
        self._present = present
        self._named: dict[str, Schema] = {}
        self._fields: dict[str, Mapping[str, Schema]] = {}

    def named(self, type_name: str) -> Schema:
        schema = self._named.get(type_name)
        if schema is None:
            schema = self._named[type_name] = self._place({"t": type_name})
        return schema

    def fields(self, schema: Schema) -> Mapping[str, Schema]:
        found = self._fields.get(schema.name)
        if found is None:
            declared = self.types[schema.name].get("fields", {}) if schema.name else {}
            found = {name: self._place(fact) for name, fact in declared.items()}
            for name, form in self._present.get(schema.name, {}).items():
                found[name].present = {} if form == "struct" or not isinstance(declared[name]["t"], list) else []
            self._fields[schema.name] = found
        return found

    def embedded(self, type_name: str, field: str) -> bool:
        """Whether a field of a type is an object that is always there (in Go: a struct, not a pointer)."""
        return self._present.get(type_name, {}).get(field) == "struct"

    def _place(self, fact: dict[str, Any]) -> Schema:
        """A field, or a type on its own, from its fact."""
        shape = fact["t"]
        if isinstance(shape, list):
            schema = self._list(shape[1], fact) if shape[0] == "list" else self._map(shape[1], fact)
        else:
            schema = self._single(shape, fact.get("map", ""))
        if "patch" in fact:
            schema.patch = frozenset(fact["patch"].split(","))
        schema.merge_key = fact.get("mergeKey", "")
        return schema

    def _list(self, element: Any, fact: dict[str, Any]) -> Schema:
        kind = fact.get("list", "")
        keys = fact.get("keys", [])
        if not kind and "merge" in fact.get("patch", ""):
            keys = [fact["mergeKey"]] if "mergeKey" in fact else []
            kind = "map" if keys else "set"
        schema = Schema({"map": Kind.KEYED, "set": Kind.SET}.get(kind, Kind.LIST), _Element(self, element))
        if schema.kind is Kind.KEYED:
            declared = self.types[element]["fields"]
            schema.defaults = {key: declared[key].get("default") for key in sorted(keys)}
        return schema

    def _map(self, element: Any, fact: dict[str, Any]) -> Schema:
        return Schema(Kind.ATOMIC if fact.get("map") == "atomic" else Kind.MAP, _Element(self, element))

    def _single(self, type_name: str, relation: str) -> Schema:
        declared = self.types.get(type_name)
        if declared is None or "fields" not in declared:
            scalar = type_name if declared is None else declared["scalar"]
            if scalar == "any" or type_name in RAW:
                return Schema(Kind.ATOMIC if type_name in RAW else Kind.ANY, name=type_name)
            if scalar == "object":
                return Schema(Kind.ANY, name=type_name if declared else "")
            schema = Schema(Kind.SCALAR, name=type_name if declared else "")
            if declared is None:
                schema.scalar = PRIMITIVES.get(scalar.partition(":")[0], Scalar.UNTYPED)
            return schema
        relation = relation or declared.get("map", "")
        return Schema(Kind.ATOMIC if relation == "atomic" else Kind.STRUCT, _Named(self), type_name)


class _Named:
    def __init__(self, table: Builtin) -> None:
        self.table = table

    def fields(self, schema: Schema) -> Mapping[str, Schema]:
        return self.table.fields(schema)

    def element(self, schema: Schema) -> Schema:
        return ANY


class _Element:
    """The inside of a list or map: `shape` is the element's type."""

    def __init__(self, table: Builtin, shape: Any) -> None:
        self.table = table
        self.shape = shape

    def fields(self, schema: Schema) -> Mapping[str, Schema]:
        return NO_FIELDS

    def element(self, schema: Schema) -> Schema:
        if isinstance(self.shape, str):
            return self.table.named(self.shape)
        return self.table._place({"t": self.shape})


# ---- custom resources ----------------------------------------------------------------------------------------------


def custom(openapi: dict[str, Any] | None) -> Schema:
    """The schema of a custom resource from its `openAPIV3Schema` (None: anything goes, as with preserveUnknownFields)."""
    document = openapi or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    root = Schema(Kind.STRUCT, _OpenAPI(document, bool(document.get("x-kubernetes-preserve-unknown-fields"))))
    root._fields = {**root.fields, **_envelope()}
    root.open = ANY if document.get("x-kubernetes-preserve-unknown-fields") else None
    return root


def _envelope() -> dict[str, Schema]:
    text = Schema(Kind.SCALAR)
    text.scalar = Scalar.STRING
    return {"apiVersion": text, "kind": text, "metadata": named("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")}


class _OpenAPI:
    """The inside of one node of an OpenAPI v3 schema."""

    def __init__(self, node: dict[str, Any], preserve: bool) -> None:
        self.node = node
        self.preserve = preserve

    def fields(self, schema: Schema) -> Mapping[str, Schema]:
        made = {name: from_openapi(node, self.preserve) for name, node in (self.node.get("properties") or {}).items()}
        if self.node.get("x-kubernetes-embedded-resource"):
            made = {**_envelope(), **made}
        return made

    def element(self, schema: Schema) -> Schema:
        inner = self.node.get("items") if schema.kind in (Kind.LIST, Kind.SET, Kind.KEYED) else self.node.get("additionalProperties")
        return from_openapi(inner, self.preserve) if isinstance(inner, dict) else ANY


def from_openapi(node: dict[str, Any], preserve: bool = False) -> Schema:
    """The schema of one node. `preserve`: an ancestor keeps fields it does not name."""
    preserve = preserve or node.get("x-kubernetes-preserve-unknown-fields") is True
    source = _OpenAPI(node, preserve)
    match node.get("type"):
        case "object":
            return _object(node, source)
        case "array":
            return _array(node, source)
        case None | "":
            if node.get("properties"):
                return _object(node, source)
            return Schema(Kind.ATOMIC if node.get("x-kubernetes-map-type") == "atomic" else Kind.ANY)
        case str(primitive):
            schema = Schema(Kind.SCALAR)
            if primitive != "string" or node.get("format", "") in ("", "byte"):
                schema.scalar = PRIMITIVES.get(primitive, Scalar.UNTYPED)
            return schema
        case _:
            return ANY


def _object(node: dict[str, Any], source: _OpenAPI) -> Schema:
    atomic = node.get("x-kubernetes-map-type") == "atomic"
    additional = node.get("additionalProperties")
    if not node.get("properties") and not node.get("x-kubernetes-embedded-resource"):
        return Schema(Kind.ATOMIC if atomic else Kind.MAP, source)
    schema = Schema(Kind.ATOMIC if atomic else Kind.STRUCT, source)
    if isinstance(additional, dict):
        schema.open = from_openapi(additional, source.preserve)
    elif additional or (additional is None and source.preserve):
        schema.open = ANY
    return schema


def _array(node: dict[str, Any], source: _OpenAPI) -> Schema:
    match node.get("x-kubernetes-list-type"):
        case "set":
            return Schema(Kind.SET, source)
        case "map":
            schema = Schema(Kind.KEYED, source)
            properties = (node.get("items") or {}).get("properties") or {}
            keys = sorted(node.get("x-kubernetes-list-map-keys") or [])
            schema.defaults = {key: properties.get(key, {}).get("default") for key in keys}
            return schema
        case _:
            return Schema(Kind.LIST, source)
