"""Discovery: which groups, versions and resources there are, in the old form (one document per group version) and the aggregated
one (KEP-3352), each with an ETag.

Documents are made again only when what they tell of changed; the aggregated one is joined of its groups.

Upstream counterpart: apiserver's endpoints/discovery.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from navarch.api import resources
from navarch.apiserver import answers
from navarch.apiserver.aggregation.discovered import Discovered
from navarch.apiserver.aggregation.registry import Registry, path_of
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.served import Catalog
from navarch.machinery import codec, errors

_AGGREGATED = ("v2", "v2beta1")
Document = dict[str, Any]
Generation = tuple[int, int, int]
"""Of the catalog, of the APIServices, and of what extension servers say."""
_SPARE = 200
"""Documents of groups that are gone, before all are dropped."""


def _resource(r: resources.Resource) -> Document:
    found: Document = {
        "name": r.plural,
        "singularName": r.singular,
        "namespaced": r.namespaced,
        "kind": r.kind,
        "verbs": sorted(r.advertised),
    }
    if r.short_names:
        found["shortNames"] = list(r.short_names)
    if r.categories:
        found["categories"] = list(r.categories)
    if "list" in r.verbs:
        found["storageVersionHash"] = storage_hash(r)
    return found


def storage_hash(r: resources.Resource) -> str:
    """A name for the stored form of a resource, which only has to differ where that differs."""
    digest = hashlib.sha256(f"{r.group}/{r.storage_version}/{r.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _subresources(r: resources.Resource) -> list[Document]:
    found = []
    for sub in sorted(r.subresources.values(), key=lambda s: s.name):
        entry: Document = {"name": f"{r.plural}/{sub.name}", "singularName": "", "namespaced": r.namespaced, "kind": sub.kind}
        if (sub.group, sub.version) != (r.group, r.version):
            entry |= {"group": sub.group, "version": sub.version}
        entry["verbs"] = sorted(sub.verbs)
        found.append(entry)
    return found


def _aggregated_resource(r: resources.Resource) -> Document:
    kind = {"group": r.group, "version": r.version, "kind": r.kind}
    found: Document = {
        "resource": r.plural,
        "responseKind": kind,
        "scope": "Namespaced" if r.namespaced else "Cluster",
        "singularResource": r.singular,
        "verbs": sorted(r.advertised),
    }
    if r.short_names:
        found["shortNames"] = list(r.short_names)
    if r.categories:
        found["categories"] = list(r.categories)
    if r.subresources:
        found["subresources"] = [
            {
                "subresource": s.name,
                "responseKind": {"group": s.group, "version": s.version, "kind": s.kind},
                "verbs": sorted(s.verbs),
            }
            for s in sorted(r.subresources.values(), key=lambda s: s.name)
        ]
    return found


class Discovery:
    """The documents. Each is kept until what it tells of changes: a group's, when the group does."""

    def __init__(self, catalog: Catalog, remotes: Registry, discovered: Discovered) -> None:
        self._catalog = catalog
        self._remotes = remotes
        self._discovered = discovered
        self._made: dict[tuple[str, ...], tuple[Generation, bytes, str]] = {}
        self._items: dict[tuple[str, str], tuple[Generation, bytes]] = {}
        """Groups as the aggregated form has them, by that form's version and their name."""

    def answer(self, call: Call, address: str) -> Answer | None:
        """The answer for /api, /apis and below; None when the path names no group or version."""
        parts = tuple(p for p in call.info.path.split("/") if p)
        version = _wants_aggregated(call) if parts in (("api",), ("apis",)) else ""
        found = self._kept(parts, version, address)
        if found is None:
            return None
        body, tag = found
        if not version:
            return answers.of_json(call, body)
        headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public"}
        media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        if call.headers.get("If-None-Match") == tag:
            return answers.Document(b"", 304, headers={"ETag": tag, "Vary": "Accept"})
        return answers.Document(body, media=media, headers=headers)

    def _kept(self, parts: tuple[str, ...], version: str, address: str) -> tuple[bytes, str] | None:
        """A document and its ETag, made anew if what it tells of has changed."""
        of_group = len(parts) > 1 and parts[0] == "apis"
        generation = self._changed(parts[1]) if of_group else self._generation()
        key = (*parts, version)
        made = self._made.get(key)
        if made is None or made[0] != generation:
            body = self._aggregated(version, core=parts == ("api",)) if version else self._document(parts, address)
            if body is None:
                self._made.pop(key, None)
                return None
            if len(self._made) > 2 * len(self._groups()) + _SPARE:
                self._made.clear()  # groups come and go
            made = self._made[key] = (generation, body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
        return made[1:]

    def _document(self, parts: tuple[str, ...], address: str) -> bytes | None:
        found = self._tree(parts, address)
        return None if found is None else codec.encode(found)

    def _tree(self, parts: tuple[str, ...], address: str) -> Document | None:
        match parts:
            case ("api",):
                where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}
            case ("apis",):
                groups = [self._group(g) for g in self._groups() if g]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ("api", v):
                return self._resources("", v)
            case ("apis", group) if group in self._groups():
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ("apis", group, v):
                return self._resources(group, v)
        return None

    def _generation(self) -> Generation:
        """Another one whenever anything is served that was not before, or is no more."""
        return self._catalog.generation, self._remotes.generation, self._discovered.generation

    def _changed(self, group: str) -> Generation:
        """Another one whenever a group changes."""
        return self._catalog.changed.get(group, 0), self._remotes.changed.get(group, 0), self._discovered.changed.get(group, 0)

    def _groups(self) -> Mapping[str, list[str]]:
        return self._remotes.versions()

    def _group(self, group: str) -> Document:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._groups()[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _virtual(self, group: str, version: str) -> list[resources.Resource]:
        return [r for (g, v, _), r in resources.table().items() if (g, v) == (group, version) and self._catalog.is_virtual(r)]

    def _all(self, group: str, version: str) -> list[resources.Resource]:
        found = [s.resource for s in self._catalog.in_version(group, version)] + self._virtual(group, version)
        return sorted(found, key=lambda r: r.plural)

    def _resources(self, group: str, version: str) -> Document | None:
        found = self._all(group, version)
        if not found:
            return None
        listed: list[Document] = []
        for r in found:
            listed += [_resource(r), *_subresources(r)]
        name = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}

    def _aggregated(self, version: str, *, core: bool) -> bytes:
        items = [self._item(version, group) for group in self._groups() if (group == "") == core]
        if len(self._items) > 4 * len(self._groups()) + _SPARE:
            self._items.clear()
        head = b'{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/%b","metadata":{},"items":[' % version.encode()
        return b"".join((head, b",".join(items), b"]}"))

    def _item(self, form: str, group: str) -> bytes:
        """A group as the aggregated form has it."""
        changed = self._changed(group)
        held = self._items.get((form, group))
        if held is None or held[0] != changed:
            listed = [self._version(group, v) for v in self._groups()[group]]
            metadata = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
            held = self._items[form, group] = (changed, codec.encode({"metadata": metadata, "versions": listed}))
        return held[1]

    def _version(self, group: str, version: str) -> Document | msgspec.Raw:
        """A group version as the aggregated form has it."""
        if self._remotes.at_path(path_of(group, version)) is not None:
            return msgspec.Raw(self._discovered.of(group, version).document(version))
        return {"version": version, "resources": [_aggregated_resource(r) for r in self._all(group, version)], "freshness": "Current"}


def _wants_aggregated(call: Call) -> str:
    """The version of the aggregated form a client prefers, or ""."""
    for clause in call.headers.get("Accept", "").split(","):
        options = {k.strip(): v.strip() for k, _, v in (p.partition("=") for p in clause.split(";")[1:])}
        if options.get("as") == "APIGroupDiscoveryList" and options.get("g") == "apidiscovery.k8s.io":
            if clause.strip().startswith("application/json") and options.get("v") in _AGGREGATED:
                return options["v"]
        elif clause.strip().split(";")[0] in ("application/json", "*/*") and not options.get("as"):
            return ""
    return ""


def not_found() -> errors.NotFound:
    return errors.NotFound("the server could not find the requested resource")
