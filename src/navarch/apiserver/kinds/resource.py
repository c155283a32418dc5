"""resource.k8s.io: claims of devices, their templates and classes, and the slices in which drivers tell what there is.

Upstream counterparts: pkg/apis/resource/v1/defaults.go, pkg/registry/resource.
"""

from __future__ import annotations

from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.api.resource import v1 as resource_v1
from navarch.apiserver.kinds.columns import PLAIN, Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy, selectable
from navarch.machinery import amounts, timestamps


def default_claim(obj: resource_v1.ResourceClaim) -> None:
    _devices(obj.spec)


def _devices(claim_spec: resource_v1.ResourceClaimSpec | None) -> None:
    devices = claim_spec.devices if claim_spec else None
    for request in (devices.requests or ()) if devices else ():
        parts: list[Any] = [request.exactly] if request.exactly is not None else list(request.firstAvailable or ())
        for part in parts:
            part.allocationMode = part.allocationMode or "ExactCount"
            if part.allocationMode == "ExactCount":
                part.count = part.count or 1
            for toleration in part.tolerations or ():
                toleration.operator = toleration.operator or "Equal"


def prepare_claim(obj: resource_v1.ResourceClaim, now: float) -> None:
    obj.status = resource_v1.ResourceClaimStatus()


def claim_row(t: Tree, now: float) -> list[Any]:
    status = status_of(t)
    deleted = bool(t["metadata"].get("deletionTimestamp"))
    states = ["deleted"] if deleted else []
    if status.get("allocation"):
        states += ["allocated", "reserved"] if status.get("reservedFor") else ["allocated"]
    elif not deleted:
        states.append("pending")
    return [name_of(t, now), ",".join(states), age_of(t, now)]


def default_claim_template(obj: resource_v1.ResourceClaimTemplate) -> None:
    if obj.spec is not None:
        obj.spec.metadata = obj.spec.metadata or meta_v1.ObjectMeta()
        _devices(obj.spec.spec)


def default_slice(obj: resource_v1.ResourceSlice) -> None:
    for device in (obj.spec.devices or ()) if obj.spec else ():
        for capacity in (device.capacity or {}).values():
            if capacity.value is not None:
                capacity.value = amounts.stored(capacity.value)


def slice_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    return [name_of(t, now), spec.get("nodeName", ""), spec.get("driver", ""), (spec.get("pool") or {}).get("name", ""), age_of(t, now)]


def prepare_slice(obj: resource_v1.ResourceSlice, now: float) -> None:
    """A taint that does not say since when it is there is there from now on."""
    for device in (obj.spec.devices or ()) if obj.spec else ():
        for taint in device.taints or ():
            taint.timeAdded = taint.timeAdded or timestamps.seconds(now)


def prepare_slice_update(new: resource_v1.ResourceSlice, old: resource_v1.ResourceSlice, now: float) -> None:
    prepare_slice(new, now)


GROUP = "resource.k8s.io"

KINDS: dict[Key, Strategy] = {
    (GROUP, "deviceclasses"): Strategy(generation=True, returns_deleted=True, columns=PLAIN),
    (GROUP, "devicetaintrules"): Strategy(generation=True),
    (GROUP, "resourceclaims"): Strategy(
        default=default_claim, prepare_create=prepare_claim, returns_deleted=True, columns=sheet("Name|State|Age", claim_row)
    ),
    (GROUP, "resourceclaimtemplates"): Strategy(default=default_claim_template, returns_deleted=True, columns=PLAIN),
    (GROUP, "resourceslices"): Strategy(
        default=default_slice,
        prepare_create=prepare_slice,
        prepare_update=prepare_slice_update,
        generation=True,
        returns_deleted=True,
        columns=sheet("Name|Node|Driver|Pool|Age", slice_row),
        selectable=selectable("spec.nodeName", "spec.driver"),
    ),
}
