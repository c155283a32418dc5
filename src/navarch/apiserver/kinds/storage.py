"""storage.k8s.io: StorageClasses, VolumeAttributesClasses, attachments, and what CSI drivers say of themselves.

Upstream counterparts: pkg/apis/storage/{v1/defaults.go,validation}, pkg/registry/storage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from navarch.api.storage import v1 as storage_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, UNSET, Tree, age_of, marked_name, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy
from navarch.machinery import amounts, field, names

_LIFECYCLES = ("Persistent", "Ephemeral")
_MOST_PARAMETERS, _MOST_PARAMETER_BYTES = 512, 256 * 1024
_MOST_NODE_ID = 256
_MOST_ATTACHMENT_BYTES, _MOST_ERROR_BYTES = 256 * 1024, 1024


def default_storage_class(obj: storage_v1.StorageClass) -> None:
    obj.reclaimPolicy = obj.reclaimPolicy or "Delete"
    obj.volumeBindingMode = obj.volumeBindingMode or "Immediate"


def validate_storage_class(obj: storage_v1.StorageClass) -> Found:
    found: Found = []
    if not obj.provisioner:
        found.append(field.required("provisioner"))
    else:
        checks.qualified(found, "provisioner", obj.provisioner.lower())
    for key in obj.parameters or ():
        if not key:
            found.append(field.invalid("parameters", key, "field can not be empty."))
    checks.one_of(found, "reclaimPolicy", obj.reclaimPolicy, ("Delete", "Retain"), required=False)
    checks.one_of(found, "volumeBindingMode", obj.volumeBindingMode, ("Immediate", "WaitForFirstConsumer"))
    return found


def validate_storage_class_update(new: storage_v1.StorageClass, old: storage_v1.StorageClass) -> Found:
    found: Found = []
    if (new.parameters or {}) != (old.parameters or {}):
        found.append(field.invalid("parameters", new.parameters, checks.IMMUTABLE))
    for part in ("provisioner", "reclaimPolicy", "volumeBindingMode"):
        checks.same(found, part, getattr(new, part), getattr(old, part))
    return found


def storage_class_row(t: Tree, now: float) -> list[Any]:
    shown = marked_name(t, now, "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
    policy, binding = t.get("reclaimPolicy", "Delete"), t.get("volumeBindingMode", "Immediate")
    return [shown, t.get("provisioner", ""), policy, binding, bool(t.get("allowVolumeExpansion")), age_of(t, now)]


def validate_attributes_class(obj: storage_v1.VolumeAttributesClass) -> Found:
    found: Found = []
    if not obj.driverName:
        found.append(field.required("driverName"))
    else:
        checks.qualified(found, "driverName", obj.driverName.lower())
    parameters = obj.parameters or {}
    if len(parameters) > _MOST_PARAMETERS:
        found.append(field.too_long("parameters", _MOST_PARAMETERS))
        return found
    if "" in parameters:
        found.append(field.invalid("parameters", "", "field can not be empty."))
    if _bytes(parameters) > _MOST_PARAMETER_BYTES:
        found.append(field.too_long("parameters", _MOST_PARAMETER_BYTES))
    if not parameters:
        found.append(field.required("parameters", "must contain at least one key/value pair"))
    return found


def validate_attributes_class_update(new: storage_v1.VolumeAttributesClass, old: storage_v1.VolumeAttributesClass) -> Found:
    parts = [part for part in ("driverName", "parameters") if getattr(new, part) != getattr(old, part)]
    return [*(field.forbidden(part, f"updates to {part} are forbidden.") for part in parts), *validate_attributes_class(new)]


def _bytes(values: Mapping[str, str]) -> int:
    return sum(len(k.encode()) + len(v.encode()) for k, v in values.items())


def attributes_class_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), t.get("driverName", ""), age_of(t, now)]


def default_csi_driver(obj: storage_v1.CSIDriver) -> None:
    spec = obj.spec = obj.spec or storage_v1.CSIDriverSpec()
    if spec.attachRequired is None:
        spec.attachRequired = True
    for name in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
        if getattr(spec, name) is None:
            setattr(spec, name, False)
    spec.fsGroupPolicy = spec.fsGroupPolicy or "ReadWriteOnceWithFSType"
    spec.volumeLifecycleModes = spec.volumeLifecycleModes or ["Persistent"]


def validate_csi_driver(obj: storage_v1.CSIDriver) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    checks.one_of(found, "spec.fsGroupPolicy", spec.fsGroupPolicy, ("File", "None", "ReadWriteOnceWithFSType"), required=False)
    _token_requests(found, spec.tokenRequests or ())
    for mode in spec.volumeLifecycleModes or ():
        if mode not in _LIFECYCLES:
            found.append(field.not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES))
    period = spec.nodeAllocatableUpdatePeriodSeconds
    if period is not None and period < 10:
        found.append(field.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, "must be greater than or equal to 10 seconds"))
    if spec.serviceAccountTokenInSecrets is not None and not spec.tokenRequests:
        why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        found.append(field.invalid("spec.serviceAccountTokenInSecrets", spec.serviceAccountTokenInSecrets, why))
    return found


def _token_requests(found: Found, requests: Sequence[storage_v1.TokenRequest]) -> None:
    """Each is for another audience, and for ten minutes or more."""
    audiences: set[str] = set()
    for i, request in enumerate(requests):
        at, audience, seconds = f"spec.tokenRequests[{i}]", request.audience or "", request.expirationSeconds
        if audience in audiences:
            found.append(field.duplicate(f"{at}.audience", audience))
            continue
        audiences.add(audience)
        if seconds is not None and seconds < 600:
            found.append(field.invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
        if seconds is not None and seconds > 1 << 32:
            found.append(field.invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"))


def validate_csi_driver_update(new: storage_v1.CSIDriver, old: storage_v1.CSIDriver) -> Found:
    found = validate_csi_driver(new)
    assert new.spec is not None and old.spec is not None
    checks.same(found, "spec.attachedRequired", new.spec.attachRequired, old.spec.attachRequired)
    checks.same(found, "spec.volumeLifecycleModes", new.spec.volumeLifecycleModes, old.spec.volumeLifecycleModes)
    return found


def csi_driver_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    requests = spec.get("tokenRequests")
    tokens = UNSET if requests is None else ",".join(r.get("audience", "") for r in requests)
    flags = [spec.get("attachRequired", True), spec.get("podInfoOnMount", False), spec.get("storageCapacity", False)]
    modes = ",".join(spec.get("volumeLifecycleModes") or ()) or NOTHING
    return [name_of(t, now), *flags, tokens, spec.get("requiresRepublish", False), modes, age_of(t, now)]


def validate_csi_node(obj: storage_v1.CSINode) -> Found:
    found: Found = []
    seen: set[str] = set()
    for i, driver in enumerate((obj.spec.drivers or ()) if obj.spec else ()):
        at, name, identity = f"spec.drivers[{i}]", driver.name or "", driver.nodeID or ""
        _driver_name(found, f"{at}.name", name)
        if not identity:
            found.append(field.required(f"{at}.nodeID"))
        if len(identity.encode()) > _MOST_NODE_ID:
            found.append(field.invalid(f"{at}.nodeID", identity, f"must be {_MOST_NODE_ID} characters or less"))
        checks.not_negative(found, f"{at}.allocatable.count", driver.allocatable.count if driver.allocatable else None)
        if name in seen:
            found.append(field.duplicate(f"{at}.name", name))
        seen.add(name)
        _topology_keys(found, at, driver.topologyKeys or ())
    return found


def _topology_keys(found: Found, at: str, keys: Sequence[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if not key:
            found.append(field.required(at))
        if key in seen:
            found.append(field.duplicate(at, key))
        seen.add(key)
        checks.qualified(found, at, key)


def _driver_name(found: Found, path: str, name: str) -> None:
    if not name:
        found.append(field.required(path))
        return
    if len(name.encode()) > 63:
        found.append(field.too_long(path, 63))
    found += (field.invalid(path, name, p) for p in names.dns_subdomain(name.lower()))


def validate_csi_node_update(new: storage_v1.CSINode, old: storage_v1.CSINode) -> Found:
    """A driver that stays may change how many volumes it can take and nothing else."""
    found = validate_csi_node(new)
    held = {d.name: d for d in ((old.spec.drivers or ()) if old.spec else ())}
    for driver in (new.spec.drivers or ()) if new.spec else ():
        before = held.get(driver.name)
        if before is not None:
            after = msgspec.structs.replace(driver, allocatable=None)
            checks.same(found, "spec.drivers", after, msgspec.structs.replace(before, allocatable=None))
    return found


def csi_node_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), len(spec_of(t).get("drivers") or ()), age_of(t, now)]


def default_csi_capacity(obj: storage_v1.CSIStorageCapacity) -> None:
    for name in ("capacity", "maximumVolumeSize"):
        if getattr(obj, name) is not None:
            setattr(obj, name, amounts.stored(getattr(obj, name)))


def validate_csi_capacity(obj: storage_v1.CSIStorageCapacity) -> Found:
    found: Found = []
    checks.selector(found, "nodeTopology", obj.nodeTopology)
    checks.subdomain(found, "storageClassName", obj.storageClassName or "")
    if obj.capacity is not None:
        checks.amount(found, "capacity", obj.capacity)
    return found


def validate_csi_capacity_update(new: storage_v1.CSIStorageCapacity, old: storage_v1.CSIStorageCapacity) -> Found:
    found: Found = []
    checks.same(found, "nodeTopology", new.nodeTopology, old.nodeTopology)
    checks.same(found, "storageClassName", new.storageClassName, old.storageClassName)
    return found


def csi_capacity_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), t.get("storageClassName", ""), t.get("capacity", UNSET)]


def prepare_attachment(obj: storage_v1.VolumeAttachment, now: float) -> None:
    obj.status = storage_v1.VolumeAttachmentStatus(attached=False)


def validate_attachment(obj: storage_v1.VolumeAttachment) -> Found:
    found: Found = []
    spec = obj.spec or storage_v1.VolumeAttachmentSpec()
    _driver_name(found, "spec.attacher", spec.attacher or "")
    source = spec.source or storage_v1.VolumeAttachmentSource()
    volume, inline = source.persistentVolumeName, source.inlineVolumeSpec
    one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and volume is None:
        found.append(field.required("spec.source", one))
    elif inline is not None and volume is not None:
        found.append(field.forbidden("spec.source", one))
    elif volume == "":
        found.append(field.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName"))
    checks.subdomain(found, "spec.nodeName", spec.nodeName or "")
    status = obj.status or storage_v1.VolumeAttachmentStatus()
    if _bytes(status.attachmentMetadata or {}) > _MOST_ATTACHMENT_BYTES:
        found.append(field.too_long("status.attachmentMetadata", _MOST_ATTACHMENT_BYTES))
    for part in ("attachError", "detachError"):
        error: storage_v1.VolumeError | None = getattr(status, part)
        if error is not None and len((error.message or "").encode()) > _MOST_ERROR_BYTES:
            found.append(field.too_long(f"status.{part}.message", _MOST_ATTACHMENT_BYTES))
        if error is not None and (error.errorCode or 0) < 0:
            found.append(field.invalid(f"status.{part}.errorCode", error.errorCode, checks.between(0, checks.MOST_INT32)))
    if volume is not None:
        checks.subdomain(found, "spec.source.persistentVolumeName", volume)
    return found


def validate_attachment_update(new: storage_v1.VolumeAttachment, old: storage_v1.VolumeAttachment) -> Found:
    found = validate_attachment(new)
    checks.same(found, "spec", new.spec, old.spec)
    return found


def attachment_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    volume = (spec.get("source") or {}).get("persistentVolumeName", "")
    return [name_of(t, now), spec.get("attacher", ""), volume, spec.get("nodeName", ""), status_of(t).get("attached", False), age_of(t, now)]


GROUP = "storage.k8s.io"

KINDS: dict[Key, Strategy] = {
    (GROUP, "storageclasses"): Strategy(
        default=default_storage_class,
        validate=validate_storage_class,
        validate_update=validate_storage_class_update,
        returns_deleted=True,
        columns=sheet("Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age", storage_class_row),
    ),
    (GROUP, "volumeattributesclasses"): Strategy(
        validate=validate_attributes_class,
        validate_update=validate_attributes_class_update,
        returns_deleted=True,
        columns=sheet("Name|DriverName|Age", attributes_class_row),
    ),
    (GROUP, "csidrivers"): Strategy(
        default=default_csi_driver,
        validate=validate_csi_driver,
        validate_update=validate_csi_driver_update,
        generation=True,
        conditional_update=True,
        returns_deleted=True,
        columns=sheet("Name|AttachRequired?|PodInfoOnMount?|StorageCapacity?|TokenRequests|RequiresRepublish?|Modes|Age", csi_driver_row),
    ),
    (GROUP, "csinodes"): Strategy(
        validate=validate_csi_node,
        validate_update=validate_csi_node_update,
        conditional_update=True,
        returns_deleted=True,
        columns=sheet("Name|Drivers#|Age", csi_node_row),
    ),
    (GROUP, "csistoragecapacities"): Strategy(
        default=default_csi_capacity,
        validate=validate_csi_capacity,
        validate_update=validate_csi_capacity_update,
        conditional_update=True,
        returns_deleted=True,
        columns=sheet("Name|StorageClassName|Capacity", csi_capacity_row),
    ),
    (GROUP, "volumeattachments"): Strategy(
        prepare_create=prepare_attachment,
        validate=validate_attachment,
        validate_update=validate_attachment_update,
        validate_status=validate_attachment_update,
        conditional_update=True,
        returns_deleted=True,
        columns=sheet("Name|Attacher|PV|Node|Attached?|Age", attachment_row),
    ),
}
