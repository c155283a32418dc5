"""Discovery: which groups, versions and resources there are, in the old form (one document per group version) and the aggregated
one (KEP-3352), each with an ETag.

Documents are made again only when the catalog changed.

Upstream counterpart: apiserver's endpoints/discovery.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from navarch.api import resources
from navarch.apiserver import answers
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.served import Catalog, Served
from navarch.machinery import codec, errors

_AGGREGATED = ("v2", "v2beta1")
Document = dict[str, Any]


def _resource(r: resources.Resource) -> Document:
    found: Document = {
        "name": r.plural,
        "singularName": r.singular,
        "namespaced": r.namespaced,
        "kind": r.kind,
        "verbs": sorted(r.verbs),
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
    digest = hashlib.sha256(f"{r.group}/{r.version}/{r.kind}".encode()).digest()
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
        "verbs": sorted(r.verbs),
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
    """The documents, cached by the catalog's generation."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._made: dict[tuple[str, ...], tuple[bytes, str]] = {}
        self._generation = -1

    def answer(self, call: Call, address: str) -> Answer | None:
        """The answer for /api, /apis and below; None when the path names no group or version."""
        parts = tuple(p for p in call.info.path.split("/") if p)
        if self._generation != self._catalog.generation:
            self._made.clear()
            self._generation = self._catalog.generation
        version = _wants_aggregated(call) if parts in (("api",), ("apis",)) else ""
        key = (*parts, version)
        made = self._made.get(key)
        if made is None:
            document = self._document(parts, version, address)
            if document is None:
                return None
            body = codec.encode(document)
            made = self._made[key] = (body, f'"{hashlib.sha256(body).hexdigest().upper()}"')
        body, tag = made
        if not version:
            return answers.of_json(call, body)
        headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public"}
        media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        if call.headers.get("If-None-Match") == tag:
            return answers.Document(b"", 304, headers={"ETag": tag, "Vary": "Accept"})
        return answers.Document(body, media=media, headers=headers)

    def _document(self, parts: tuple[str, ...], version: str, address: str) -> Document | None:
        match parts:
            case ("api",) if version:
                return self._aggregated(version, core=True)
            case ("apis",) if version:
                return self._aggregated(version, core=False)
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

    def _groups(self) -> dict[str, list[str]]:
        return dict(self._catalog.versions())

    def _group(self, group: str) -> Document:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._groups()[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _of(self, group: str, version: str) -> list[Served]:
        found = [s for s in self._catalog if (s.resource.group, s.resource.version) == (group, version)]
        return sorted(found, key=lambda s: s.plural)

    def _virtual(self, group: str, version: str) -> list[resources.Resource]:
        return [r for (g, v, _), r in resources.table().items() if (g, v) == (group, version) and self._catalog.is_virtual(r)]

    def _all(self, group: str, version: str) -> list[resources.Resource]:
        found = [s.resource for s in self._of(group, version)] + self._virtual(group, version)
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

    def _aggregated(self, version: str, *, core: bool) -> Document:
        items = []
        for group, versions in self._groups().items():
            if (group == "") != core:
                continue
            listed = [{"version": v, "resources": [_aggregated_resource(r) for r in self._all(group, v)], "freshness": "Current"} for v in versions]
            metadata = {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None}
            items.append({"metadata": metadata, "versions": listed})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}, "items": items}


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
