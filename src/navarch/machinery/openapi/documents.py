"""Whole OpenAPI documents, with their ETags: what `/openapi/v2` and `/openapi/v3` answer.

In: the built-in tables and the custom resources served now. Out: bytes, made when first asked for and kept; the parts that
custom resources do not touch are made once for all.

A document's ETag comes from what it is made of, not from its bytes: so the index, which names all ETags, costs nothing.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from navarch.machinery.openapi import gnostic, merging, paths, prose, schemas
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
    definitions: Tree = {}
    for name in schemas.closure(paths.types_of(resources) | {schemas.OBJECT_META, schemas.LIST_META}):
        definitions[name] = schemas.of_type(name, V2)
    found = paths.of_resources(resources, V2)
    served = {(resource.group, resource.version) for resource in resources}
    for place in sorted({*paths.ROOTS, *(f"apis/{group}" for group, _ in served if group), *(v3_path(*version) for version in served)}):
        document = paths.discovery_at(place)
        found |= paths.of_discovery(document, V2)
        definitions |= {each: schemas.of_type(each, V2) for each in schemas.closure([document.type_name])}
    for custom in customs:
        part = v2_part(custom)
        found |= part["paths"]
        definitions |= part["definitions"]
    return {
        "swagger": "2.0",
        "info": INFO,
        "definitions": dict(sorted(definitions.items())),
        "parameters": paths.shared_parameters(),
        "securityDefinitions": SECURITY,
        "security": [{"BearerToken": []}],
        "paths": found,
    }


def v2_part(custom: Custom) -> Tree:
    """What a custom resource adds to the v2 document: paths and definitions. The types that it refers to are there for the built-in ones."""
    return {"paths": paths.of_resources(paths.of_custom(custom), V2), "definitions": schemas.of_custom(custom, V2)}


# ---- what a server answers -----------------------------------------------------------------------------------------


class Part(NamedTuple):
    """What a custom resource adds to the v2 document, compressed: there may be thousands, and seldom does anybody ask."""

    paths: bytes
    definitions: bytes
    protobuf: bytes


class Foreign(NamedTuple):
    """What another server adds: the places of its v3 documents, which it answers itself, and its v2 document, compressed JSON of paths and
    definitions with a digest ("" where it has none)."""

    links: tuple[tuple[str, str], ...] = ()
    v2: bytes = b""
    digest: str = ""


class Publisher:
    """The documents of a server. `release` is anything that changes when the program does; `versions` the built-in group versions
    it serves (all, if not given).

    Documents are made when they are asked for, which may be in a thread: what is asked for belongs to what was set last before.
    """

    def __init__(self, release: str, versions: Sequence[tuple[str, str]] | None = None) -> None:
        self._release = release
        self._versions = builtin_versions() if versions is None else sorted(versions)
        self._customs: tuple[Custom, ...] = ()
        self._by_path: dict[str, tuple[Custom, ...]] = {}
        self._digests: dict[Custom, str] = {}
        self._parts: dict[Custom, Part] = {}
        self._foreign: tuple[Foreign, ...] = ()
        self._made: dict[str, Document] = {}
        self._index: Document | None = None

    def set_foreign(self, foreign: Sequence[Foreign]) -> None:
        """What other servers add from now on, those first whose paths and names count first."""
        self._foreign = tuple(foreign)
        self._index = None

    def set_custom(self, customs: Iterable[Custom]) -> None:
        """The custom resources served from now on. Documents they do not touch stay."""
        found = tuple(sorted(customs, key=lambda custom: (custom.group, custom.version, custom.plural)))
        if found == self._customs:
            return
        self._customs = found
        known = self._digests
        self._digests = {custom: known.get(custom) or digest(msgspec.json.encode(seen(custom)))[:32] for custom in found}
        self._parts = {custom: part for custom, part in self._parts.items() if custom in self._digests}
        by_path: dict[str, list[Custom]] = {}
        for custom in found:
            by_path.setdefault(v3_path(custom.group, custom.version), []).append(custom)
        self._by_path = {path: tuple(customs) for path, customs in by_path.items()}
        self._made = {path: made for path, made in self._made.items() if made.etag == self._etag(path)}
        self._index = None

    def index(self) -> Document:
        """What `/openapi/v3` answers."""
        if self._index is None:
            found = {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._etag(path)}"} for path in self.v3_paths()}
            for path, url in (each for foreign in self._foreign for each in foreign.links):
                found.setdefault(path, {"serverRelativeURL": url})
            data = msgspec.json.encode({"paths": dict(sorted(found.items()))})
            self._index = Document(data, digest(data))
        return self._index

    def v3_paths(self) -> list[str]:
        """The places below `/openapi/v3/` that have a document."""
        places = {*paths.ROOTS, *self._by_path, *(v3_path(group, version) for group, version in self._versions)}
        return sorted({*places, *(f"apis/{place.split('/')[1]}" for place in places if place.startswith("apis/"))})

    def v3(self, path: str) -> Document | None:
        """What `/openapi/v3/PATH` answers; None for a place that has no document."""
        if path not in self.v3_paths():
            return None
        return self._kept(path, lambda: msgspec.json.encode(self._v3_tree(path)))

    def weight(self, path: str) -> int:
        """Bytes of schemas that a document is made of, about: whether it is worth a thread."""
        return sum(memoryview(custom.document).nbytes for custom in self._by_path.get(path, ()))

    def _v3_tree(self, path: str) -> Tree:
        parts = path.split("/")
        if path in paths.ROOTS or len(parts) < 2 or (parts[0] == "apis" and len(parts) == 2):
            return v3_root(path)
        group, version = (parts[1], parts[2]) if parts[0] == "apis" else ("", parts[1])
        return v3(group, version, self._by_path.get(path, ()), builtin=(group, version) in self._versions)

    def v2(self) -> Document:
        """What `/openapi/v2` answers as JSON."""
        return self._kept("v2", self._v2_json)

    def v2_protobuf(self) -> Document:
        """What `/openapi/v2` answers as protobuf; the same ETag."""
        data = self._kept("v2 protobuf", self._v2_protobuf).data
        return Document(data, self._etag("v2"))

    def _v2_json(self) -> bytes:
        """The built-in document with the parts of custom resources put in at the end of its two large objects."""
        tree = v2((), self._versions)
        parts = [self._part(custom) for custom in self._customs]
        added = self._added(tree)
        found = {
            "paths": _joined(tree["paths"], (*(zlib.decompress(part.paths) for part in parts), *(_inner(a["paths"]) for a in added))),
            "definitions": _joined(
                tree["definitions"], (*(zlib.decompress(part.definitions) for part in parts), *(_inner(a["definitions"]) for a in added))
            ),
        }
        return msgspec.json.encode(tree | found)

    def _v2_protobuf(self) -> bytes:
        """Protobuf messages are joined by writing one behind the other."""
        parts = (zlib.decompress(self._part(custom).protobuf) for custom in self._customs)
        tree = v2((), self._versions)
        return b"".join((gnostic.encode(tree), *parts, *map(gnostic.encode, self._added(tree))))

    def _added(self, tree: Tree) -> list[Tree]:
        """What other servers add to the v2 document, under names that are free."""
        known_paths, known, added = dict(tree["paths"]), dict(tree["definitions"]), []
        for custom in self._customs if self._foreign else ():
            known |= schemas.of_custom(custom, V2)
        for foreign in self._foreign:
            if foreign.v2:
                more = merging.renamed(known_paths, known, msgspec.json.decode(zlib.decompress(foreign.v2)))
                known_paths |= more["paths"]
                known |= more["definitions"]
                added.append(more)
        return added

    def _part(self, custom: Custom) -> Part:
        part = self._parts.get(custom)
        if part is None:
            tree = v2_part(custom)
            forms = (_inner(tree["paths"]), _inner(tree["definitions"]), gnostic.encode(tree))
            part = self._parts[custom] = Part(*(zlib.compress(form, 1) for form in forms))
        return part

    def _kept(self, path: str, make: Callable[[], bytes]) -> Document:
        etag = self._etag(path)
        made = self._made.get(path)
        if made is None or made.etag != etag:
            made = Document(make(), etag)
            if etag == self._etag(path):
                self._made[path] = made
        return made

    def _etag(self, path: str) -> str:
        """What a document is made of, as a digest."""
        whole = path.startswith("v2")
        customs = self._customs if whole else self._by_path.get(path, ())
        foreign = [each.digest for each in self._foreign if each.digest] if whole else []
        return digest(msgspec.json.encode([self._release, prose.edition(), path, *(self._digests[custom] for custom in customs), *foreign]))


def _inner(tree: Tree) -> bytes:
    """An object's members, without its braces."""
    return msgspec.json.encode(tree)[1:-1]


def _joined(tree: Tree, more: Iterable[bytes]) -> msgspec.Raw:
    return msgspec.Raw(b"{" + b",".join(filter(None, [_inner(tree), *more])) + b"}")


def seen(custom: Custom) -> Any:
    """All that a custom resource's documents depend on."""
    return [getattr(custom, name) for name in Custom.__dataclass_fields__ if name != "document"]


def digest(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest().upper()
