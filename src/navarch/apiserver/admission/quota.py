"""ResourceQuota: nothing is created that a quota of its namespace has no room for.

Usage is written into the quota's status against the revision it was read at, before the object is stored: two writes cannot
both take the last piece. When the status says that there is no room, or has not been made yet, usage is counted anew from the
objects there are: whether a quota controller runs changes how soon status goes down, not what is allowed.

Upstream counterpart: k8s.io/apiserver's plugin/resourcequota.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from navarch.api.core import v1 as core_v1
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.served import Catalog
from navarch.apiserver.storage import Storage
from navarch.apiserver.watch_cache import Cache, Entry, Scope
from navarch.machinery import codec, errors, quantity, usage

_CHANGING = {("", "pods"): ("", "resize"), ("", "services"): ("",), ("", "persistentvolumeclaims"): ("",)}
"""Kinds whose updates may use more, and the subresources by which they do."""

_TRIES = 8


@dataclass(frozen=True, slots=True)
class Promise:
    """What a creation under way has taken: it counts until the object (`key` of `cache`) is there."""

    quota: str
    cache: Cache
    key: str
    usage: usage.Usage
    since: float


@dataclass(frozen=True, slots=True)
class Quotas:
    """What quotas are counted with: the objects, the way to the store, and what creations under way have taken."""

    catalog: Catalog
    storage: Storage
    promises: dict[str, Promise] = field(default_factory=dict)


async def check(attributes: Attributes, quotas: Quotas) -> None:
    """Takes from the quotas what the write uses. Forbidden when there is not enough."""
    served = quotas.catalog.of("", "resourcequotas")
    if not len(served.cache) or not attributes.namespace or not _uses(attributes):
        return
    for _ in range(_TRIES):
        entries = served.cache.select(Scope(attributes.namespace))
        if all([await _take(attributes, quotas, entry) for entry in entries]):
            return
    raise errors.internal("resource quota evaluation timed out")


def _uses(attributes: Attributes) -> bool:
    if attributes.operation == "CREATE":
        return not attributes.subresource
    return attributes.operation == "UPDATE" and attributes.subresource in _CHANGING.get(attributes.key, ())


async def _take(attributes: Attributes, quotas: Quotas, entry: Entry) -> bool:
    """Takes what is needed from one quota, unless it has been. False when somebody else changed it meanwhile."""
    taken: set[str] = attributes.scratch.setdefault("quotas", set())
    if entry.key in taken:
        return True
    quota = codec.decode(core_v1.ResourceQuota, entry.body)
    if quota.spec is None or quota.metadata is None or attributes.obj is quota:
        return True
    group, plural = attributes.key
    if not usage.matches(quota.spec, group, plural, attributes.obj):
        return True
    hard = quota.spec.hard or {}
    if attributes.key == ("", "pods") and attributes.operation == "CREATE" and (why := usage.missing(attributes.obj, hard)):
        raise refuse(attributes, f"failed quota: {quota.metadata.name}: {why}")
    delta = {n: v for n, v in _delta(attributes, quota.spec).items() if n in hard}
    if not delta:
        return True
    held = _used(attributes, quotas, quota, delta)
    if attributes.operation == "CREATE" and not attributes.dry_run:
        _promise(attributes, quotas, entry.key, delta)
    used = {n: quantity.add(held.get(n, "0"), delta[n]) if n in delta else held.get(n, "0") for n in hard}
    taken.add(entry.key)
    if attributes.dry_run:
        return True
    quota.status = core_v1.ResourceQuotaStatus(hard=dict(hard), used=used)
    quota.metadata.resourceVersion = None
    served = quotas.catalog.of("", "resourcequotas")
    if await quotas.storage.put(served, entry.name, entry.namespace, codec.encode(quota), entry.version) is None:
        taken.discard(entry.key)
        return False
    return True


def _delta(attributes: Attributes, spec: core_v1.ResourceQuotaSpec) -> usage.Usage:
    group, plural = attributes.key
    now = time.time()
    new = usage.of(group, plural, attributes.obj, now)
    if attributes.operation == "UPDATE" and usage.matches(spec, group, plural, attributes.old):
        return usage.growth(new, usage.of(group, plural, attributes.old, now))
    return usage.growth(new, {})


def _used(attributes: Attributes, quotas: Quotas, quota: core_v1.ResourceQuota, delta: usage.Usage) -> usage.Usage:
    """What is used, such that `delta` has room. Forbidden when it has not."""
    assert quota.spec is not None and quota.metadata is not None
    hard = quota.spec.hard or {}
    status = quota.status
    known = status.used if status is not None and status.hard == hard else None
    if known is not None and not usage.exceeded(known, delta, hard):
        return known
    held = usage.total([counted(quotas, quota), *_promised(quotas, f"{quota.metadata.namespace}/{quota.metadata.name}")], hard)
    over = usage.exceeded(held, delta, hard)
    if not over:
        return held
    shown = ", ".join(f"{what}: {usage.show(part, over)}" for what, part in (("requested", delta), ("used", held), ("limited", hard)))
    raise refuse(attributes, f"exceeded quota: {quota.metadata.name}, {shown}")


_PROMISE_SECONDS = 10.0


def _promised(quotas: Quotas, key: str) -> list[usage.Usage]:
    """What writes under way have taken from a quota and not stored yet."""
    now = time.monotonic()
    for name, promise in tuple(quotas.promises.items()):
        if now - promise.since > _PROMISE_SECONDS or promise.cache.get(promise.key) is not None:
            del quotas.promises[name]
    return [p.usage for p in quotas.promises.values() if p.quota == key]


def _promise(attributes: Attributes, quotas: Quotas, key: str, delta: usage.Usage) -> None:
    served = attributes.served
    name = served.key(attributes.obj.metadata.name or "", attributes.namespace)
    quotas.promises[f"{key} {served.cache.prefix}{name}"] = Promise(key, served.cache, name, delta, time.monotonic())


def counted(quotas: Quotas, quota: core_v1.ResourceQuota) -> usage.Usage:
    """What the objects of a quota's namespace use of it."""
    assert quota.spec is not None and quota.metadata is not None
    hard = quota.spec.hard or {}
    now = time.time()
    parts: list[usage.Usage] = []
    for group, plural in _kinds(hard):
        try:
            served = quotas.catalog.of(group, plural)
        except KeyError:
            continue
        stored = quotas.catalog.caches.get(served.cache.prefix, served.cache)  # another version's may not be filled
        for entry in stored.select(Scope(quota.metadata.namespace or "")):
            obj = served.decode(entry.body)
            if usage.matches(quota.spec, group, plural, obj):
                parts.append(usage.of(group, plural, obj, now))
    return usage.total(parts, hard)


def _kinds(hard: dict[str, str | int | float]) -> set[tuple[str, str]]:
    """The kinds a quota counts."""
    found: set[tuple[str, str]] = set()
    for name in hard:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            found.add((group, plural))
        elif name in usage.NAMED:
            found.add(("", name))
        elif name.startswith("services."):
            found.add(("", "services"))
        elif name == "requests.storage" or ".storageclass.storage.k8s.io/" in name:
            found.add(("", "persistentvolumeclaims"))
        else:
            found.add(("", "pods"))
    return found
