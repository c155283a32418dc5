"""The objects that a binding hands to its policy: by name, or by selector.

In: the kind that the policy declares, and the reference of the binding. Out: a list of objects as JSON has them, [None] where there is
nothing to hand, [] where the policy is not to run; `Misconfigured` in upstream's words when neither can be said.

Upstream counterpart: apiserver's admission/plugin/policy/generic (CollectParams).
"""

from __future__ import annotations

from typing import Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.apiserver import background
from navarch.apiserver.admission import matching
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.watch_cache import Entry, Scope
from navarch.machinery import codec
from navarch.machinery.selectors import Selector

Tree = dict[str, Any]
MOST = 1000
"""Objects that one binding may hand over: each is an evaluation of its policy, for every request."""
MOST_BYTES = 1024 * 1024
"""Bytes of them: they are read for every request."""


class Misconfigured(ValueError):
    """A policy or binding that cannot be gone by."""


def served_kind(catalog: Catalog, kind: admission_v1.ParamKind) -> Served:
    """What is served of a paramKind. Misconfigured when nothing is."""
    group, _, version = (kind.apiVersion or "").rpartition("/")
    served = catalog.by_kind(group, version, kind.kind or "")
    if served is None:
        shown = f"{kind.apiVersion}, Kind={kind.kind}"
        raise Misconfigured(f"failed to find resource referenced by paramKind: '{shown}'")
    return served


async def collect(catalog: Catalog, kind: admission_v1.ParamKind | None, ref: admission_v1.ParamRef | None, namespace: str) -> list[Tree | None]:
    """`namespace`: the request's. Misconfigured."""
    if kind is None or ref is None:
        return [None]
    served = served_kind(catalog, kind)
    if served.resource.namespaced:
        namespace = ref.namespace or namespace
        if not namespace:
            raise Misconfigured("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    elif ref.namespace:
        raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
    found = _found(served, ref, namespace if served.resource.namespaced else "")
    if not found and ref.parameterNotFoundAction == "Deny":
        raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
    size = sum(len(entry.body) for entry in found)
    if size > MOST_BYTES:
        raise Misconfigured(f"what paramRef finds takes {size} bytes, more than the {MOST_BYTES} there may be")
    return await background.run(size, _trees, served, found)


def _trees(served: Served, found: list[Entry]) -> list[Tree | None]:
    return [codec.tree(served.outward(entry.body)) for entry in found]


def _found(served: Served, ref: admission_v1.ParamRef, namespace: str) -> list[Entry]:
    if ref.name:
        entry = served.cache.get(served.key(ref.name, namespace))
        return [] if entry is None else [entry]
    if ref.selector is None:
        raise Misconfigured("one of name or selector must be provided")
    found = served.cache.select(Scope(namespace, _selector(ref)))
    if len(found) > MOST:
        raise Misconfigured(f"the selector of paramRef finds {len(found)} objects, more than the {MOST} there may be")
    return found


def _selector(ref: admission_v1.ParamRef) -> Selector:
    try:
        return matching.selector(ref.selector)
    except ValueError as error:
        raise Misconfigured(str(error)) from None
