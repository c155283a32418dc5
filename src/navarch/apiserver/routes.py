"""Paths: `/apis/apps/v1/namespaces/web/deployments/shop/scale` → a `RequestInfo`, and whether a resource can be where a path has it.

The path is taken apart once; what is authorized and what is done both go by the result. Slashes count whether they are written
`/` or `%2F`, empty segments are segments, and nothing is normalized.

Upstream counterpart: apiserver's endpoints/request.RequestInfoFactory, and the paths that endpoints/installer.go registers.
"""

from __future__ import annotations

from collections.abc import Mapping

from yarl import URL

from navarch.api.resources import Resource
from navarch.apiserver.context import RequestInfo
from navarch.machinery import names, selectors

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"get": "list", "delete": "deletecollection"}
_WITH_SELECTORS = frozenset({"list", "watch", "deletecollection"})
_PREFIX_VERBS = frozenset({"watch", "proxy"})
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


def parse(method: str, url: URL) -> RequestInfo:
    """What a request asks for. Anything that is no resource path is a plain path."""
    path = url.path
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
        if url.raw_query_string and verb in _WITH_SELECTORS and not prefixed:
            query = url.query
            if verb == "list" and _watches(query):
                verb = "watch"
            fields, labels = query.get("fieldSelector", ""), query.get("labelSelector", "")
            if fields and verb != "deletecollection":
                name = _selected_name(fields)
    tail = "/".join(rest[3:])
    return RequestInfo(verb, path, True, group, version, namespace, rest[0], name, subresource, tail, nested, fields, labels)


def _watches(query: Mapping[str, str]) -> bool:
    value = query.get("watch")
    return value is not None and value.lower() not in ("0", "false")


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
