"""Whole OpenAPI documents, with their ETags: what `/openapi/v2` and `/openapi/v3` answer.

In: the built-in tables and the custom resources served now. Out: bytes, made when first asked for and kept; the parts that
custom resources do not touch are made once for all.

A document's ETag comes from what it is made of, not from its bytes: so the index, which names all ETags, costs nothing.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from navarch.machinery.openapi import gnostic, paths, prose, schemas
from navarch.machinery.openapi.schemas import V2, V3, Custom, Tree

INFO = {"title": "Kubernetes", "version": "1.36"}
SECURITY = {"BearerToken": {"type": "apiKey", "description": "A bearer token.", "name": "authorization", "in": "header"}}
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_PROTOBUF_ANSWERED = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
V3_PROTOBUF = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"


class Document(NamedTuple):
    """An answer and its ETag (without quotes)."""

    data: bytes
    etag: str


@functools.cache
def facts() -> Tree:
    data = importlib.resources.files("navarch.api").joinpath("facts", "resources.json").read_bytes()
    made: Tree = msgspec.json.decode(data)
    return made


def builtin_versions() -> list[tuple[str, str]]:
    """The built-in group versions."""
    return sorted({(group, version) for group, version, *_ in (key.split("/") for key in facts())})


def v3_path(group: str, version: str) -> str:
    """A group version's place below `/openapi/v3/`."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


# ---- v3 ------------------------------------------------------------------------------------------------------------


def v3(group: str, version: str, customs: Sequence[Custom] = (), *, builtin: bool = True) -> Tree:
    """The v3 document of a group version: its built-in resources and these custom ones."""
    resources = paths.of_facts(facts(), group, version) if builtin else []
    resources += [resource for custom in customs for resource in paths.of_custom(custom)]
    found = paths.of_discovery(paths.discovery_at(v3_path(group, version)), V3) | paths.of_resources(resources, V3)
    components: Tree = {}
    for custom in customs:
        components |= schemas.of_custom(custom, V3)
    needed = paths.types_of(resources) | ({schemas.OBJECT_META, schemas.LIST_META} if customs else set())
    for name in schemas.closure(needed):
        components[name] = schemas.of_type(name, V3, group, version)
    return document_v3(found, components)


def document_v3(found: Tree, components: Tree) -> Tree:
    made = {"schemas": dict(sorted(components.items())), "securitySchemes": SECURITY}
    return {"openapi": "3.0.0", "info": INFO, "paths": found, "components": made}


def v3_root(name: str) -> Tree:
    """The v3 document of a place that is no group version: api, apis, version, apis/GROUP."""
    document = paths.discovery_at(name)
    components = {each: schemas.of_type(each, V3) for each in schemas.closure([document.type_name])}
    return document_v3(paths.of_discovery(document, V3), components)


# ---- v2 ------------------------------------------------------------------------------------------------------------


def v2(customs: Sequence[Custom] = (), versions: Sequence[tuple[str, str]] | None = None) -> Tree:
    """The v2 document: the built-in resources of these group versions (all, if not given) and these custom ones."""
    resources: list[paths.Resource] = []
    for group, version in builtin_versions() if versions is None else versions:
        resources += paths.of_facts(facts(), group, version)
    resources += [resource for custom in customs for resource in paths.of_custom(custom)]
    definitions: Tree = {}
    for custom in customs:
        definitions |= schemas.of_custom(custom, V2)
    for name in schemas.closure(paths.types_of(resources) | {schemas.OBJECT_META, schemas.LIST_META}):
        definitions[name] = schemas.of_type(name, V2)
    found = paths.of_resources(resources, V2)
    served = {(resource.group, resource.version) for resource in resources if not resource.custom}
    for place in sorted({*paths.ROOTS, *(f"apis/{group}" for group, _ in served if group), *(v3_path(*version) for version in served)}):
        document = paths.discovery_at(place)
        found |= paths.of_discovery(document, V2)
        definitions |= {each: schemas.of_type(each, V2) for each in schemas.closure([document.type_name])}
    return {
        "swagger": "2.0",
        "info": INFO,
        "paths": found,
        "definitions": dict(sorted(definitions.items())),
        "parameters": paths.shared_parameters(),
        "securityDefinitions": SECURITY,
        "security": [{"BearerToken": []}],
    }


# ---- what a server answers -----------------------------------------------------------------------------------------


class Publisher:
    """The documents of a server. `release` is anything that changes when the program does; `versions` the built-in group versions
    it serves (all, if not given)."""

    def __init__(self, release: str, versions: Sequence[tuple[str, str]] | None = None) -> None:
        self._release = release
        self._versions = builtin_versions() if versions is None else sorted(versions)
        self._customs: tuple[Custom, ...] = ()
        self._made: dict[str, Document] = {}

    def set_custom(self, customs: Sequence[Custom]) -> None:
        """The custom resources served from now on. Documents they do not touch stay."""
        before = {path: self._etag(path) for path in self._made}
        self._customs = tuple(sorted(customs, key=lambda custom: (custom.group, custom.version, custom.plural)))
        self._made = {path: self._made[path] for path, etag in before.items() if etag == self._etag(path)}

    def index(self) -> Document:
        """What `/openapi/v3` answers."""
        found = {}
        for path in self.v3_paths():
            found[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._etag(path)}"}
        data = msgspec.json.encode({"paths": found})
        return Document(data, digest(data))

    def v3_paths(self) -> list[str]:
        """The places below `/openapi/v3/` that have a document."""
        versions = {*self._versions, *((custom.group, custom.version) for custom in self._customs)}
        groups = {f"apis/{group}" for group, _ in versions if group}
        return sorted({*paths.ROOTS, *groups, *(v3_path(group, version) for group, version in versions)})

    def v3(self, path: str) -> Document | None:
        """What `/openapi/v3/PATH` answers; None for a place that has no document."""
        if path not in self.v3_paths():
            return None
        return self._kept(path, lambda: msgspec.json.encode(self._v3_tree(path)))

    def _v3_tree(self, path: str) -> Tree:
        parts = path.split("/")
        if path in paths.ROOTS or len(parts) < 2 or (parts[0] == "apis" and len(parts) == 2):
            return v3_root(path)
        group, version = (parts[1], parts[2]) if parts[0] == "apis" else ("", parts[1])
        return v3(group, version, self._customs_of(group, version), builtin=(group, version) in self._versions)

    def v2(self) -> Document:
        """What `/openapi/v2` answers as JSON."""
        return self._kept("v2", lambda: msgspec.json.encode(v2(self._customs, self._versions)))

    def v2_protobuf(self) -> Document:
        """What `/openapi/v2` answers as protobuf; the same ETag."""
        data = self._kept("v2 protobuf", lambda: gnostic.encode(v2(self._customs, self._versions))).data
        return Document(data, self._etag("v2"))

    def _customs_of(self, group: str, version: str) -> list[Custom]:
        return [custom for custom in self._customs if (custom.group, custom.version) == (group, version)]

    def _kept(self, path: str, make: Callable[[], bytes]) -> Document:
        made = self._made.get(path)
        if made is None:
            made = self._made[path] = Document(make(), self._etag(path))
        return made

    def _etag(self, path: str) -> str:
        customs: Sequence[Custom] = self._customs
        if not path.startswith("v2"):
            customs = [custom for custom in self._customs if v3_path(custom.group, custom.version) == path]
        return digest(msgspec.json.encode([self._release, prose.edition(), path, *map(seen, customs)]))


def seen(custom: Custom) -> Any:
    """All that a custom resource's documents depend on."""
    return [getattr(custom, name) for name in Custom.__dataclass_fields__]


def digest(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest().upper()
