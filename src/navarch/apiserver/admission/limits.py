"""LimitRanger: defaults and bounds a namespace sets for what its containers, pods and claims ask for.

Upstream counterpart: plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Quantity
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.served import Catalog
from navarch.apiserver.watch_cache import Scope
from navarch.machinery import amounts, codec, pod_resources, quantity

Amounts = Mapping[str, Quantity]
_NOTE = "kubernetes.io/limit-ranger"


def _items(attributes: Attributes, catalog: Catalog) -> list[core_v1.LimitRangeItem]:
    cache = catalog.of("", "limitranges").cache
    if not len(cache):
        return []
    ranges = [codec.decode(core_v1.LimitRange, e.body) for e in cache.select(Scope(attributes.namespace))]
    return [item for r in ranges if r.spec for item in r.spec.limits or ()]


async def mutate(attributes: Attributes, catalog: Catalog) -> None:
    """Gives a new pod's containers the namespace's defaults."""
    if attributes.key != ("", "pods") or attributes.operation != "CREATE" or attributes.subresource:
        return
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    for item in _items(attributes, catalog):
        if item.type == "Container":
            requests |= item.defaultRequest or {}
            limits |= item.default or {}
    if not requests and not limits:
        return
    pod: core_v1.Pod = attributes.obj
    assert pod.spec is not None and pod.metadata is not None
    notes = [n for c in pod.spec.containers or () for n in _merge(c, requests, limits, "container")]
    notes += [n for c in pod.spec.initContainers or () for n in _merge(c, requests, limits, "init container")]
    if notes:
        pod.metadata.annotations = {**(pod.metadata.annotations or {}), _NOTE: "LimitRanger plugin set: " + "; ".join(notes)}


def _merge(container: core_v1.Container, requests: Amounts, limits: Amounts, role: str) -> Iterator[str]:
    held = container.resources = container.resources or core_v1.ResourceRequirements()
    new_limits = sorted(k for k in limits if k not in (held.limits or {}))
    new_requests = sorted(k for k in requests if k not in (held.requests or {}))
    held.limits = {**limits, **(held.limits or {})} or None
    held.requests = {**requests, **(held.requests or {})} or None
    if new_requests:
        yield f"{', '.join(new_requests)} request for {role} {container.name}"
    if new_limits:
        yield f"{', '.join(new_limits)} limit for {role} {container.name}"


async def validate(attributes: Attributes, catalog: Catalog) -> None:
    """Refuses what is out of bounds."""
    if attributes.key == ("", "pods"):
        resized = attributes.operation == "UPDATE" and attributes.subresource == "resize"
        if not resized and (attributes.operation != "CREATE" or attributes.subresource):
            return
        found = [w for item in _items(attributes, catalog) for w in _pod(item, attributes.obj)]
    elif attributes.key == ("", "persistentvolumeclaims") and attributes.operation in ("CREATE", "UPDATE") and not attributes.subresource:
        found = [w for item in _items(attributes, catalog) for w in _claim(item, attributes.obj)]
    else:
        return
    if found:
        unique = list(dict.fromkeys(found))
        raise refuse(attributes, unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")


def _claim(item: core_v1.LimitRangeItem, claim: core_v1.PersistentVolumeClaim) -> Iterator[str]:
    if item.type != "PersistentVolumeClaim" or claim.spec is None:
        return
    requests = (claim.spec.resources.requests or {}) if claim.spec.resources else {}
    for name, bound in (item.min or {}).items():
        yield from _least(item.type, name, bound, requests, {})
    for name, bound in (item.max or {}).items():
        asked = requests.get(name)
        head = f"maximum {name} usage per {item.type} is {bound}"
        if asked is None:
            yield f"{head}.  No request is specified"
        elif quantity.compare(asked, bound) > 0:
            yield f"{head}, but request is {asked}"


def _pod(item: core_v1.LimitRangeItem, pod: core_v1.Pod) -> Iterator[str]:
    spec = pod.spec
    assert spec is not None
    if item.type == "Container":
        for container in (*(spec.containers or ()), *(spec.initContainers or ())):
            held = container.resources or core_v1.ResourceRequirements()
            yield from _bounds(item, held.requests or {}, held.limits or {})
    elif item.type == "Pod":
        requests = amounts.total([pod_resources.pod_total(spec, "requests")])
        yield from _bounds(item, requests, pod_resources.pod_total(spec, "limits"))


def _bounds(item: core_v1.LimitRangeItem, requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = item.type or ""
    for name, bound in (item.min or {}).items():
        yield from _least(kind, name, bound, requests, limits)
    for name, bound in (item.max or {}).items():
        yield from _most(kind, name, bound, requests, limits)
    for name, bound in (item.maxLimitRequestRatio or {}).items():
        yield from _ratio(kind, name, bound, requests, limits)


def _least(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    head = f"minimum {name} usage per {kind} is {bound}"
    if name not in requests:
        yield f"{head}.  No request is specified"
    elif quantity.compare(requests[name], bound) < 0:
        yield f"{head}, but request is {requests[name]}"
    elif name in limits and quantity.compare(limits[name], bound) < 0:
        yield f"{head}, but limit is {limits[name]}"


def _most(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in limits:
        yield f"{head}.  No limit is specified"
    elif quantity.compare(limits[name], bound) > 0:
        yield f"{head}, but limit is {limits[name]}"
    elif name in requests and quantity.compare(requests[name], bound) > 0:
        yield f"{head}, but request is {requests[name]}"


def _ratio(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    head = f"{name} max limit to request ratio per {kind} is {bound}"
    request, limit = (quantity.parse(part.get(name, 0)).nano for part in (requests, limits))
    if not request:
        yield f"{head}, but no request is specified or request is 0"
    elif not limit:
        yield f"{head}, but no limit is specified or limit is 0"
    elif limit * quantity.NANO > quantity.parse(bound).nano * request:
        yield f"{head}, but provided ratio is {limit / request:f}"
