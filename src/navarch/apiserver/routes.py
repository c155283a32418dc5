"""Paths: `/apis/apps/v1/namespaces/web/deployments/shop/scale` → a `RequestInfo`, and whether a resource can be where a path has it.

The path is taken apart once; what is authorized and what is done both go by the result. Slashes count whether they are written
`/` or `%2F`, empty segments are segments, and nothing is normalized. Clients ask for the same again and again (a node renews its lease,
a controller lists by one selector): what a short request line asks for is remembered.

Upstream counterpart: apiserver's endpoints/request.RequestInfoFactory, and the paths that endpoints/installer.go registers.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from urllib.parse import unquote

from navarch.api.resources import Resource
from navarch.apiserver.query import Query
from navarch.lib import texts
from navarch.machinery import names, selectors

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"get": "list", "delete": "deletecollection"}
_WITH_SELECTORS = frozenset({"list", "watch", "deletecollection"})
_PREFIX_VERBS = frozenset({"watch", "proxy"})
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a path and method ask for. `verb` is the API's (get, list, create, ...) for resources, the method in lower case else.

    `name` is the path's, or the one a list or watch confines itself to by `fieldSelector=metadata.name=...`. The selectors are as
    the client wrote them, of lists, watches and deletions of collections alone. `nested`: `namespaces` below a namespace.
    """

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    nested: bool = False
    field_selector: str = ""
    label_selector: str = ""

    @property
    def resource(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


def parse(method: str, target: str) -> tuple[RequestInfo, Query]:
    """What a request line (`GET`, `/api/v1/pods?limit=5`) asks for. Anything that is no resource path is a plain path."""
    return _parsed(f"{method} {target}")


@texts.remembered(_REMEMBERED)
def _parsed(line: str) -> tuple[RequestInfo, Query]:
    method, _, target = line.partition(" ")
    path, _, raw = target.partition("#")[0].partition("?")
    query = Query(raw)
    return _info(method, _decoded(path) or "/", query), query


def _decoded(path: str) -> str:
    """A path without its percent signs; bytes that are no UTF-8 keep theirs."""
    return unquote(path, errors=_KEEP) if "%" in path else path


def _keep_encoded(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"%{byte:02x}" for byte in error.object[error.start : error.end]), error.end


_KEEP = "navarch.percent"
codecs.register_error(_KEEP, _keep_encoded)


def _info(method: str, path: str, query: Query) -> RequestInfo:
    parts = path.strip("/").split("/")
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(method.lower(), path)
    verb = _VERBS.get(method, method.lower())
    prefixed = rest[0] in _PREFIX_VERBS and len(rest) > 1
    if prefixed:
        verb, rest = rest[0], rest[1:]
    namespace, nested = "", False
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
            nested = rest[0] == "namespaces"
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    fields = labels = ""
    if not name:
        verb = _COLLECTION_VERBS.get(verb, verb)
        if query and verb in _WITH_SELECTORS and not prefixed:
            if verb == "list" and _watches(query):
                verb = "watch"
            fields, labels = query.get("fieldSelector"), query.get("labelSelector")
            if fields and verb != "deletecollection":
                name = _selected_name(fields)
    tail = "/".join(rest[3:])
    return RequestInfo(verb, path, True, group, version, namespace, rest[0], name, subresource, tail, nested, fields, labels)


def _watches(query: Query) -> bool:
    return "watch" in query and query.get("watch").lower() not in ("0", "false")


def _selected_name(text: str) -> str:
    """The one name a field selector leaves, or "": what a list is asked for by in authorization."""
    if "metadata.name" not in text:
        return ""
    try:
        terms = selectors.parse_fields(text)
    except ValueError:
        return ""
    name = next((t.value for t in terms if t.equal and t.field == "metadata.name"), "")
    return "" if names.path_segment(name) else name


def exists(info: RequestInfo, resource: Resource) -> bool:
    """Whether a path has a resource where its scope allows.

    Asked before authorization, for stored, virtual and subresources alike: a cluster-scoped resource below a namespace would be
    granted by that namespace's roles.
    """
    if info.rest and info.subresource != "proxy":
        return False
    if resource.namespaced:
        return bool(info.namespace) or (not info.subresource and "list" in resource.verbs and (not info.name or info.verb in ("list", "watch")))
    if not info.namespace:
        return True
    return info.plural == "namespaces" and not info.group and info.name == info.namespace and not info.nested
