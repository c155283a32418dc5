"""Types as OpenAPI schemas.

In: the fact table of the built-in types and what `prose` says of them, or a custom resource's `openAPIV3Schema`. Out: plain dicts,
in the dialect of v2 or v3.
The dialects differ: v3 knows defaults, `nullable` and `oneOf`, and wraps a reference that has anything beside it in `allOf`; v2
knows none of these.

References are by type name; `closure` finds all types that some types need.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from navarch.machinery import schema as schemas
from navarch.machinery.openapi import prose

Tree = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
OBJECT_META, LIST_META = META + "ObjectMeta", META + "ListMeta"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
GVK = "x-kubernetes-group-version-kind"
EXTENSIONS = {"list": "x-kubernetes-list-type", "keys": "x-kubernetes-list-map-keys", "map": "x-kubernetes-map-type"}
PATCHES = {"patch": "x-kubernetes-patch-strategy", "mergeKey": "x-kubernetes-patch-merge-key"}


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """v2 or v3: how references look and what may be said."""

    prefix: str
    v3: bool

    def reference(self, name: str) -> Tree:
        return {"$ref": self.prefix + name}


V2 = Dialect("#/definitions/", v3=False)
V3 = Dialect("#/components/schemas/", v3=True)


# ---- built-in types ------------------------------------------------------------------------------------------------


@functools.cache
def types_by_kind() -> Mapping[tuple[str, str, str], str]:
    """(group, version, kind) → the type's full name."""
    found: dict[tuple[str, str, str], str] = {}
    for name, declared in schemas.builtin().types.items():
        for group, version, kind in declared.get("gvk", ()):
            found.setdefault((group, version, kind), name)
    return found


def closure(names: Iterable[str]) -> list[str]:
    """These types and all that they refer to, by name."""
    types = schemas.builtin().types
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name not in types:
            continue
        found.add(name)
        for fact in types[name].get("fields", {}).values():
            waiting += referred(fact["t"])
    return sorted(found)


def referred(shape: Any) -> Iterator[str]:
    if isinstance(shape, list):
        yield from referred(shape[1])
    elif "." in shape:
        yield shape


def of_type(name: str, dialect: Dialect, group: str | None = None, version: str = "") -> Tree:
    """A built-in type's schema. Kinds that every group has (DeleteOptions, WatchEvent) name that of a group version and the core's."""
    table = schemas.builtin()
    declared = table.types[name]
    told = prose.of_type(name, declared)
    about: Tree = {"description": told[prose.ABOUT]} if prose.ABOUT in told else {}
    if "fields" not in declared:
        return {**about, **of_scalar(name, declared["scalar"], dialect)}
    made: Tree = {**about, "type": "object"}
    required = [field for field, fact in declared["fields"].items() if fact.get("req")]
    if required:
        made["required"] = sorted(required)
    made["properties"] = {
        field: of_field(fact, dialect, present=table.embedded(name, field) or fact["t"] == LIST_META)
        for field, fact in sorted(declared["fields"].items())
    }
    for field, values in enums().get(name, {}).items():
        allow(made["properties"][field], values)
    for field, text in told.items():
        if field in made["properties"]:
            made["properties"][field] = with_text(made["properties"][field], text, dialect)
    if declared.get("gvk"):
        kinds = [gvk for gvk in declared["gvk"] if group is None or len(declared["gvk"]) < 3 or gvk[:2] in (["", "v1"], [group, version])]
        made[GVK] = [{"group": g, "kind": k, "version": v} for g, v, k in kinds]
    if "map" in declared:
        made["x-kubernetes-map-type"] = declared["map"]
    if "unions" in declared:
        made["x-kubernetes-unions"] = declared["unions"]
    return made


@functools.cache
def enums() -> Mapping[str, Mapping[str, list[str]]]:
    """The values that a field may have, by type and field."""
    data = importlib.resources.files("navarch.machinery.openapi").joinpath("enums.json").read_bytes()
    made: Mapping[str, Mapping[str, list[str]]] = msgspec.json.decode(data)
    return made


def allow(place: Tree, values: list[str]) -> None:
    """Says which values a field, or its elements, may have."""
    inner = place.get("items") or place.get("additionalProperties") or place
    inner["enum"] = values


def of_scalar(name: str, scalar: str, dialect: Dialect) -> Tree:
    if name == QUANTITY:
        return {"oneOf": [{"type": "string"}, {"type": "number"}]} if dialect.v3 else {"type": "string"}
    if name == INT_OR_STRING:
        if dialect.v3:
            return {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        return {"type": "string", "format": "int-or-string"}
    return primitive(scalar)


def primitive(scalar: str) -> Tree:
    if scalar == "any":
        return {}
    kind, _, form = scalar.partition(":")
    return {"type": kind, "format": form} if form else {"type": kind}


def of_field(fact: Tree, dialect: Dialect, *, present: bool) -> Tree:
    made = of_shape(fact["t"], dialect)
    beside: Tree = {key: fact[short] for short, key in {**EXTENSIONS, **PATCHES}.items() if short in fact}
    if dialect.v3:
        if present:
            beside["default"] = {}
        elif "default" in fact:
            beside["default"] = fact["default"]
        if beside and "$ref" in made:
            made = {"allOf": [made]}
    return {**made, **beside}


def with_text(place: Tree, text: str, dialect: Dialect) -> Tree:
    """A field's schema, described. v2 says it beside a reference, which v3 must wrap for that."""
    return {"description": text, **({"allOf": [place]} if dialect.v3 and "$ref" in place else place)}


def of_shape(shape: Any, dialect: Dialect) -> Tree:
    if isinstance(shape, list):
        inner = of_shape(shape[1], dialect)
        return {"type": "array", "items": inner} if shape[0] == "list" else {"type": "object", "additionalProperties": inner}
    return dialect.reference(shape) if "." in shape else primitive(shape)


# ---- custom resources ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Custom:
    """One version of a custom resource, as far as its documents go."""

    group: str
    version: str
    plural: str
    kind: str
    list_kind: str
    namespaced: bool
    schema: Tree | None = None
    """Its `openAPIV3Schema`."""
    preserve: bool = False
    """Whether the definition keeps unknown fields everywhere (`spec.preserveUnknownFields`)."""
    subresources: tuple[str, ...] = ()
    selectable: tuple[str, ...] = ()
    """JSON paths that field selectors may name."""

    @property
    def name(self) -> str:
        """The schema's name: the group backwards, the version, the kind."""
        return f"{self._prefix}.{self.kind}"

    @property
    def list_name(self) -> str:
        return f"{self._prefix}.{self.list_kind}"

    @property
    def _prefix(self) -> str:
        return ".".join([*reversed(self.group.split(".")), self.version])


def of_custom(custom: Custom, dialect: Dialect) -> dict[str, Tree]:
    """The schemas of a custom resource and its list, by name."""
    made = root(custom, dialect)
    listed: Tree = {
        "type": "object",
        "description": f"{custom.list_kind} is a list of {custom.kind}",
        "required": ["items"],
        "properties": {
            **envelope(),
            "items": {"type": "array", "description": f"The {custom.plural}.", "items": dialect.reference(custom.name)},
            "metadata": described(dialect, LIST_META, prose.LIST["metadata"]),
        },
    }
    for kind, tree in ((custom.kind, made), (custom.list_kind, listed)):
        tree[GVK] = [{"group": custom.group, "kind": kind, "version": custom.version}]
        if custom.selectable and dialect.v3:
            tree["x-kubernetes-selectable-fields"] = [{"fieldPath": path.removeprefix(".")} for path in custom.selectable]
    return {custom.name: made, custom.list_name: listed}


def root(custom: Custom, dialect: Dialect) -> Tree:
    given = custom.schema
    if given is None or (not dialect.v3 and (given.get("x-kubernetes-preserve-unknown-fields") or custom.preserve)):
        # kubectl takes any named property to mean that there are no others.
        return {"type": "object"}
    made = copied(given, dialect)
    properties = {**made.get("properties", {}), **envelope()}
    properties["metadata"] = described(dialect, OBJECT_META, prose.OBJECT["metadata"])
    return {**made, "type": "object", "properties": dict(sorted(properties.items()))}


def envelope() -> Tree:
    return {name: {"type": "string", "description": text} for name, text in prose.ENVELOPE.items()}


def described(dialect: Dialect, name: str, text: str) -> Tree:
    return with_text(dialect.reference(name), text, dialect)


def copied(node: Tree, dialect: Dialect) -> Tree:
    """A structural schema in a dialect, with what embedded objects have of themselves."""
    made = {key: copied_value(key, value, dialect) for key, value in node.items()}
    if not dialect.v3:
        reduce_to_v2(made, node)
    elif node.get("x-kubernetes-int-or-string") and "anyOf" not in made:
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if made.get("x-kubernetes-embedded-resource") and (dialect.v3 or not made.get("x-kubernetes-preserve-unknown-fields")):
        metadata = described(dialect, OBJECT_META, prose.OBJECT["metadata"])
        made["properties"] = {**made.get("properties", {}), **envelope(), "metadata": metadata}
        made["required"] = [*made.get("required", []), *(f for f in ("kind", "apiVersion") if f not in made.get("required", []))]
    return made


def copied_value(key: str, value: Any, dialect: Dialect) -> Any:
    if key == "properties" and isinstance(value, dict):
        return {name: copied(inner, dialect) for name, inner in sorted(value.items())}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return copied(value, dialect)
    return value


def reduce_to_v2(made: Tree, node: Tree) -> None:
    """Takes out what v2 does not know or kubectl, reading v2, would misunderstand."""
    for key in ("allOf", "oneOf", "anyOf", "not", "nullable", "default", "x-kubernetes-validations"):
        made.pop(key, None)
    preserved = made.get("x-kubernetes-preserve-unknown-fields")
    if node.get("nullable") or preserved:
        made.pop("items", None)
        made.pop("properties", None)
    if node.get("nullable") or (made.get("type") == "array" and "items" not in made) or (preserved and made.get("type") == "object"):
        made.pop("type", None)
    gone = {name for name, inner in (node.get("properties") or {}).items() if inner.get("nullable")}
    if gone and "required" in made:
        made["required"] = [name for name in made["required"] if name not in gone]
        if not made["required"]:
            del made["required"]
