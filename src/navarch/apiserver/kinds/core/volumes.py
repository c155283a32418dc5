"""PersistentVolumes and PersistentVolumeClaims.

Upstream counterparts: pkg/registry/core/{persistentvolume,persistentvolumeclaim}, pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks, template_defaults, templates
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import UNSET, Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy
from navarch.machinery import amounts, codec, field, quantity, timestamps


def default_volume(obj: core_v1.PersistentVolume) -> None:
    spec = obj.spec = obj.spec or core_v1.PersistentVolumeSpec()
    obj.status = obj.status or core_v1.PersistentVolumeStatus()
    obj.status.phase = obj.status.phase or "Pending"
    spec.persistentVolumeReclaimPolicy = spec.persistentVolumeReclaimPolicy or "Retain"
    spec.volumeMode = spec.volumeMode or "Filesystem"
    amounts.canonical(spec.capacity)
    template_defaults.volume_source(spec)


def prepare_volume(obj: core_v1.PersistentVolume, now: float) -> None:
    obj.status = core_v1.PersistentVolumeStatus(phase="Pending", lastPhaseTransitionTime=timestamps.seconds(now))


def prepare_volume_status(new: core_v1.PersistentVolume, old: core_v1.PersistentVolume, now: float) -> None:
    status, before = new.status, old.status
    if status is None or before is None or status.phase == before.phase:
        return
    if status.lastPhaseTransitionTime in (None, before.lastPhaseTransitionTime):
        status.lastPhaseTransitionTime = timestamps.seconds(now)


_VOLUME_SOURCES = tuple(
    f
    for f in core_v1.PersistentVolumeSpec.__struct_fields__
    if f
    not in (
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy", "storageClassName",
        "volumeAttributesClassName", "volumeMode",
    )
)  # fmt: skip


def validate_volume(obj: core_v1.PersistentVolume) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    if not spec.accessModes:
        found.append(field.required("spec.accessModes"))
    _access(found, spec.accessModes)
    capacity = spec.capacity or {}
    if not capacity:
        found += [field.required("spec.capacity"), field.not_supported("spec.capacity", None, ("storage",))]
    elif "storage" not in capacity or len(capacity) > 1:
        found.append(field.not_supported("spec.capacity", capacity, ("storage",)))
    for name, value in capacity.items():
        if quantity.parse(value).nano <= 0:
            found.append(field.invalid(f"spec.capacity[{name}]", str(value), "must be greater than zero"))
    checks.one_of(found, "spec.persistentVolumeReclaimPolicy", spec.persistentVolumeReclaimPolicy, ("Delete", "Recycle", "Retain"))
    sources = [s for s in _VOLUME_SOURCES if getattr(spec, s) is not None]
    if not sources:
        found.append(field.required("spec", "must specify a volume type"))
    found += (field.forbidden(f"spec.{s}", "may not specify more than 1 volume type") for s in sources[1:])
    if spec.hostPath is not None and not spec.hostPath.path:
        found.append(field.required("spec.hostPath.path"))
    if spec.local is not None:
        if not spec.local.path:
            found.append(field.required("spec.local.path"))
        if spec.nodeAffinity is None:
            found.append(field.required("metadata.annotations", "Local volume requires node affinity"))
    if spec.csi is not None:
        found += (field.required(f"spec.csi.{p}") for p in ("driver", "volumeHandle") if not getattr(spec.csi, p))
    if spec.nodeAffinity is not None:
        if spec.nodeAffinity.required is None:
            found.append(field.required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            templates.node_selector(found, "spec.nodeAffinity.required", spec.nodeAffinity.required)
    if spec.storageClassName:
        checks.subdomain(found, "spec.storageClassName", spec.storageClassName)
    checks.one_of(found, "spec.volumeMode", spec.volumeMode, ("Block", "Filesystem"), required=False)
    return found


_ACCESS = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def _access(found: Found, modes: list[str] | None) -> None:
    if not modes:
        return
    for mode in modes:
        checks.one_of(found, "spec.accessModes", mode, _ACCESS)
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        found.append(field.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes"))


def validate_volume_update(new: core_v1.PersistentVolume, old: core_v1.PersistentVolume) -> Found:
    found = validate_volume(new)
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None
    if any(getattr(spec, s) != getattr(before, s) for s in _VOLUME_SOURCES):
        parts = [{s: codec.to_tree(v) for s in _VOLUME_SOURCES if (v := getattr(p, s)) is not None} for p in (before, spec)]
        why = "spec.persistentvolumesource is immutable after creation\n" + templates.difference(*parts)
        found.append(field.forbidden("spec.persistentvolumesource", why))
    checks.same(found, "volumeMode", spec.volumeMode, before.volumeMode)
    return found


def volume_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    ref = spec.get("claimRef")
    claim = f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""
    return [
        name_of(t, now),
        (spec.get("capacity") or {}).get("storage", "0"),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(t),
        claim,
        _class(t),
        spec.get("volumeAttributesClassName") or UNSET,
        status_of(t).get("reason", ""),
        age_of(t, now),
        spec.get("volumeMode") or UNSET,
    ]


_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def _class(t: Tree) -> str:
    note = (t["metadata"].get("annotations") or {}).get(_OLD_CLASS)
    return str(note if note is not None else spec_of(t).get("storageClassName") or "")


def _phase(t: Tree) -> str:
    return "Terminating" if t["metadata"].get("deletionTimestamp") else str(status_of(t).get("phase", ""))


_MODES = (("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP"))


def _modes(held: Iterable[str] | None) -> str:
    there = set(held or ())
    return ",".join(short for full, short in _MODES if full in there)


def default_claim(obj: core_v1.PersistentVolumeClaim) -> None:
    spec = obj.spec = obj.spec or core_v1.PersistentVolumeClaimSpec()
    obj.status = obj.status or core_v1.PersistentVolumeClaimStatus()
    obj.status.phase = obj.status.phase or "Pending"
    template_defaults.claim_spec(spec)
    amounts.canonical(obj.status.capacity)
    amounts.canonical(obj.status.allocatedResources)
    if spec.dataSource is not None and spec.dataSourceRef is None:
        source = spec.dataSource
        spec.dataSourceRef = core_v1.TypedObjectReference(apiGroup=source.apiGroup, kind=source.kind, name=source.name)
    elif spec.dataSourceRef is not None and spec.dataSource is None and not spec.dataSourceRef.namespace:
        ref = spec.dataSourceRef
        spec.dataSource = core_v1.TypedLocalObjectReference(apiGroup=ref.apiGroup, kind=ref.kind, name=ref.name)


def prepare_claim(obj: core_v1.PersistentVolumeClaim, now: float) -> None:
    obj.status = core_v1.PersistentVolumeClaimStatus(phase="Pending")


def validate_claim(obj: core_v1.PersistentVolumeClaim) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    if not spec.accessModes:
        found.append(field.required("spec.accessModes", "at least 1 access mode is required"))
    checks.selector(found, "spec.selector", spec.selector)
    _access(found, spec.accessModes)
    size = (spec.resources.requests or {}).get("storage") if spec.resources else None
    if size is None:
        found.append(field.required("spec.resources[storage]"))
    elif quantity.parse(size).nano <= 0:
        found.append(field.invalid("spec.resources[storage]", str(size), "must be greater than zero"))
    if spec.storageClassName:
        checks.subdomain(found, "spec.storageClassName", spec.storageClassName)
    checks.one_of(found, "spec.volumeMode", spec.volumeMode, ("Block", "Filesystem"), required=False)
    return found


_CLAIM_FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def validate_claim_update(new: core_v1.PersistentVolumeClaim, old: core_v1.PersistentVolumeClaim) -> Found:
    found = validate_claim(new)
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None
    munged = msgspec.structs.replace(spec)
    if not before.volumeName:
        munged.volumeName = before.volumeName
    if before.storageClassName is None:
        munged.storageClassName = None
    if old.status is not None and old.status.phase == "Bound":
        munged.volumeAttributesClassName = before.volumeAttributesClassName
        if munged.resources is not None and munged.resources.requests and before.resources is not None:
            size = (before.resources.requests or {}).get("storage", "0")
            munged.resources = msgspec.structs.replace(munged.resources, requests={**munged.resources.requests, "storage": size})
    if munged != before:
        found.append(field.forbidden("spec", f"{_CLAIM_FIXED}\n{templates.difference(before, munged)}"))
    new_size = (spec.resources.requests or {}).get("storage", "0") if spec.resources else "0"
    old_size = (before.resources.requests or {}).get("storage", "0") if before.resources else "0"
    held = ((old.status.capacity or {}) if old.status else {}).get("storage", "0")
    if quantity.compare(new_size, old_size) < 0 and quantity.compare(new_size, held) <= 0:
        found.append(field.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"))
    checks.same(found, "volumeMode", spec.volumeMode, before.volumeMode)
    return found


def claim_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    capacity = modes = ""
    if spec.get("volumeName"):
        capacity, modes = (status.get("capacity") or {}).get("storage", "0"), _modes(status.get("accessModes"))
    attributes = spec.get("volumeAttributesClassName") or UNSET
    head = [name_of(t, now), _phase(t), spec.get("volumeName", ""), capacity, modes]
    return [*head, _class(t), attributes, age_of(t, now), spec.get("volumeMode") or UNSET]


KINDS: dict[Key, Strategy] = {
    ("", "persistentvolumes"): Strategy(
        default=default_volume,
        prepare_create=prepare_volume,
        prepare_status=prepare_volume_status,
        validate=validate_volume,
        validate_update=validate_volume_update,
        returns_deleted=True,
        columns=sheet("Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|VolumeMode*", volume_row),
    ),
    ("", "persistentvolumeclaims"): Strategy(
        default=default_claim,
        prepare_create=prepare_claim,
        validate=validate_claim,
        validate_update=validate_claim_update,
        returns_deleted=True,
        columns=sheet("Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|VolumeMode*", claim_row),
    ),
}
