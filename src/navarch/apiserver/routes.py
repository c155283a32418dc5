"""Paths: `/apis/apps/v1/namespaces/web/deployments/shop/scale` → a `RequestInfo`.

Upstream counterpart: apiserver's endpoints/request.RequestInfoFactory.
"""

from __future__ import annotations

from navarch.apiserver.context import RequestInfo

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


def parse(method: str, path: str, query: str) -> RequestInfo:
    """What a request asks for. Anything that is no resource path is a plain path."""
    parts = [p for p in path.split("/") if p]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(method.lower(), path)
    watch = rest[0] == "watch"
    proxy = rest[0] == "proxy"
    if (watch or proxy) and len(rest) > 1:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    tail = "/".join(rest[3:])
    if subresource == "proxy" and len(rest) > 3:
        tail = path.split("/proxy/", 1)[1]
    verb = _VERBS.get(method, method.lower())
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if verb in ("list", "get") and (watch or (not subresource and _watches(query))):
        verb = "watch"
    return RequestInfo(verb, path, True, group, version, namespace, rest[0], name, subresource, tail)


def _watches(query: str) -> bool:
    if "watch=" not in query and query != "watch" and "&watch" not in query:
        return False
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key == "watch":
            return value.lower() not in ("0", "false", "f")
    return False
