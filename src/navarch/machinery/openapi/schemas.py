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
import hashlib
import importlib.resources
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from navarch.machinery import schema as schemas
from navarch.machinery.openapi import prose
from navarch.machinery.structural import publish
from navarch.machinery.structural.schema import Structural, Unsupported, parse

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
    document: bytes | msgspec.Raw = dataclasses.field(default=b"", compare=False)
    """Its `openAPIV3Schema` as JSON; empty for none."""
    stamp: str = ""
    """Another one for another document; made from it, if not given."""
    preserve: bool = False
    """Whether the definition keeps unknown fields everywhere (`spec.preserveUnknownFields`)."""
    subresources: tuple[str, ...] = ()
    selectable: tuple[str, ...] = ()
    """JSON paths that field selectors may name."""

    def __post_init__(self) -> None:
        if not self.stamp:
            object.__setattr__(self, "stamp", stamp_of(self.document))

    @property
    def tree(self) -> Structural | None:
        """Its schema; None where there is none that can be published."""
        if not memoryview(self.document).nbytes:
            return None
        try:
            return parse(msgspec.json.decode(self.document))
        except Unsupported:
            return None

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


def stamp_of(document: bytes | msgspec.Raw) -> str:
    """A document's fingerprint."""
    return hashlib.blake2b(document, digest_size=16).hexdigest()


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
    given = custom.tree
    if given is None or (not dialect.v3 and (given.preserve or custom.preserve)):
        # kubectl takes any named property to mean that there are no others.
        return {"type": "object"}
    made = publish.v3(given) if dialect.v3 else without_defaults(publish.v2(given))
    for below in inside(made):
        tell_embedded(below, dialect)
    properties = {**made.get("properties", {}), **envelope()}
    properties["metadata"] = described(dialect, OBJECT_META, prose.OBJECT["metadata"])
    return {**made, "type": "object", "properties": dict(sorted(properties.items()))}


def envelope() -> Tree:
    return {name: {"type": "string", "description": text} for name, text in prose.ENVELOPE.items()}


def described(dialect: Dialect, name: str, text: str) -> Tree:
    return with_text(dialect.reference(name), text, dialect)


def inside(made: Tree) -> Iterator[Tree]:
    """The schemas within one, but for its clauses."""
    for below in (*made.get("properties", {}).values(), made.get("items"), made.get("additionalProperties")):
        if isinstance(below, dict):
            yield below


def without_defaults(made: Tree) -> Tree:
    """A v2 schema as it is merged with the built-in ones, which name no defaults there."""
    made.pop("default", None)
    for below in inside(made):
        without_defaults(below)
    return made


def tell_embedded(made: Tree, dialect: Dialect) -> None:
    """Gives objects within objects what objects have of themselves."""
    for below in inside(made):
        tell_embedded(below, dialect)
    if not made.get("x-kubernetes-embedded-resource") or (not dialect.v3 and made.get("x-kubernetes-preserve-unknown-fields")):
        return
    metadata = described(dialect, OBJECT_META, prose.OBJECT["metadata"])
    made["properties"] = {**made.get("properties", {}), **envelope(), "metadata": metadata}
    made["required"] = [*made.get("required", []), *(f for f in ("kind", "apiVersion") if f not in made.get("required", []))]
