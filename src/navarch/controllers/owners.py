"""Ownership: which controller an object belongs to, and what is made from a pod template.

Upstream counterparts: metav1.GetControllerOf, pkg/controller/controller_utils.go and controller_ref_manager.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.client.rest import Client
from navarch.lib import integers
from navarch.machinery import errors, selectors

T = TypeVar("T", bound=Object)


def meta(obj: Object) -> meta_v1.ObjectMeta:
    """An object's metadata; objects from the server have it."""
    found: meta_v1.ObjectMeta = getattr(obj, "metadata")  # noqa: B009
    return found


def key_of(obj: Object) -> str:
    m = meta(obj)
    return f"{m.namespace}/{m.name}" if m.namespace else m.name or ""


def split(key: str) -> tuple[str, str]:
    """namespace and name of a key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def controller_of(obj: Object) -> meta_v1.OwnerReference | None:
    """The owner that controls an object, if one does."""
    return next((o for o in meta(obj).ownerReferences or () if o.controller), None)


def controller_key(kind: str) -> Callable[[Object], list[str]]:
    """From an object to the key of the controller of a kind it belongs to."""

    def keys(obj: Object) -> list[str]:
        owner = controller_of(obj)
        if owner is None or owner.kind != kind:
            return []
        namespace = meta(obj).namespace
        return [f"{namespace}/{owner.name}" if namespace else owner.name or ""]

    return keys


def by_controller(obj: Object) -> list[str]:
    """Index: the uid of the controller an object belongs to; orphans are listed under their namespace."""
    owner = controller_of(obj)
    return [owner.uid or ""] if owner is not None else [f"orphan/{meta(obj).namespace}"]


def reference(owner: Object) -> meta_v1.OwnerReference:
    """The reference with which an owner marks what it controls."""
    version, kind = resources.group_version_kind(type(owner))
    m = meta(owner)
    return meta_v1.OwnerReference(apiVersion=version, kind=kind, name=m.name, uid=m.uid, controller=True, blockOwnerDeletion=True)


def pod_from(template: core_v1.PodTemplateSpec, owner: Object, *, name: str = "") -> core_v1.Pod:
    """A pod of a template, owned by `owner`, with a generated name unless one is given."""
    t = template.metadata or meta_v1.ObjectMeta()
    m = meta(owner)
    metadata = meta_v1.ObjectMeta(
        namespace=m.namespace,
        labels=dict(t.labels) if t.labels else None,
        annotations=dict(t.annotations) if t.annotations else None,
        finalizers=list(t.finalizers) if t.finalizers else None,
        ownerReferences=[reference(owner)],
    )
    if name:
        metadata.name = name
    else:
        metadata.generateName = f"{m.name}-"
    return core_v1.Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=template.spec)


async def claim(
    client: Client,
    owner: Object,
    candidates: Iterable[T],
    selector: selectors.Selector,
    still_there: Callable[[], Awaitable[bool]],
) -> list[T]:
    """What `owner` controls among candidates: matching orphans are adopted, what no longer matches is released."""
    m = meta(owner)
    mine: list[T] = []
    checked: bool | None = None
    for obj in candidates:
        held = controller_of(obj)
        matches = selector.matches(meta(obj).labels)
        if held is not None:
            if held.uid != m.uid:
                continue
            if matches:
                mine.append(obj)
            elif m.deletionTimestamp is None:
                await _release(client, obj, m.uid or "")
            continue
        if not matches or m.deletionTimestamp is not None or meta(obj).deletionTimestamp is not None:
            continue
        if checked is None:
            checked = await still_there()
        if checked and (adopted := await _adopt(client, owner, obj)) is not None:
            mine.append(adopted)
    return mine


async def _adopt(client: Client, owner: Object, obj: T) -> T | None:
    m = meta(obj)
    held = [msgspec.to_builtins(o) for o in m.ownerReferences or ()]
    patch: dict[str, Any] = {"metadata": {"uid": m.uid, "ownerReferences": [*held, msgspec.to_builtins(reference(owner))]}}
    try:
        return await client.patch(type(obj), m.name or "", patch, m.namespace or "")
    except errors.NotFound:
        return None


async def _release(client: Client, obj: Object, uid: str) -> None:
    m = meta(obj)
    patch = {"metadata": {"uid": m.uid, "ownerReferences": [{"$patch": "delete", "uid": uid}]}}
    try:
        await client.patch(type(obj), m.name or "", patch, m.namespace or "", how="strategic")
    except (errors.NotFound, errors.Invalid):
        return


def is_active(pod: core_v1.Pod) -> bool:
    """Neither finished nor being deleted."""
    phase = pod.status.phase if pod.status else None
    return phase not in ("Succeeded", "Failed") and meta(pod).deletionTimestamp is None


def condition(pod: core_v1.Pod, kind: str) -> core_v1.PodCondition | None:
    return next((c for c in (pod.status.conditions or ()) if c.type == kind), None) if pod.status else None


def is_ready(pod: core_v1.Pod) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found.status == "True"


def is_available(pod: core_v1.Pod, minimum_seconds: int, now: float) -> bool:
    """Ready, and for as long as `minReadySeconds` asks."""
    from navarch.machinery import timestamps

    found = condition(pod, "Ready")
    if found is None or found.status != "True":
        return False
    if not minimum_seconds:
        return True
    return bool(found.lastTransitionTime) and timestamps.parse(found.lastTransitionTime or "") + minimum_seconds <= now


_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(pod: core_v1.Pod, now: float, crowd: int = 0) -> tuple[Any, ...]:
    """Sorts pods so that those that are least missed come first: unassigned, pending, not ready, cheap, crowded, young, restarting."""
    from navarch.machinery import timestamps

    spec, status = pod.spec or core_v1.PodSpec(), pod.status or core_v1.PodStatus()
    ready = condition(pod, "Ready")
    ready_since = timestamps.parse(ready.lastTransitionTime) if ready is not None and ready.lastTransitionTime else 0.0
    created = timestamps.parse(meta(pod).creationTimestamp or "1970-01-01T00:00:00Z")
    cost = (meta(pod).annotations or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    restarts = max((s.restartCount or 0 for s in status.containerStatuses or ()), default=0)
    return (
        bool(spec.nodeName),
        _PHASE_RANK.get(status.phase or "", 0),
        is_ready(pod),
        integers.parse(cost, -(2**31), 2**31 - 1) or 0,
        -crowd,
        -_log_age(now - ready_since) if is_ready(pod) else 0,
        -restarts,
        -_log_age(now - created),
        meta(pod).uid or "",
    )


def _log_age(seconds: float) -> int:
    """Ages compared on a logarithmic scale, so that small differences do not count (KEP-2185)."""
    return -int(max(seconds, 1)).bit_length()
