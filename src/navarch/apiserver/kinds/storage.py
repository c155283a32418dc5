"""storage.k8s.io: StorageClasses, VolumeAttributesClasses, attachments, and what CSI drivers say of themselves.

Upstream counterparts: pkg/apis/storage/{v1/defaults.go,validation}, pkg/registry/storage.
"""

from __future__ import annotations

from typing import Any

from navarch.api.storage import v1 as storage_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, UNSET, Tree, age_of, marked_name, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy
from navarch.machinery import amounts, field


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


def csi_driver_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    requests = spec.get("tokenRequests")
    tokens = UNSET if requests is None else ",".join(r.get("audience", "") for r in requests)
    flags = [spec.get("attachRequired", True), spec.get("podInfoOnMount", False), spec.get("storageCapacity", False)]
    modes = ",".join(spec.get("volumeLifecycleModes") or ()) or NOTHING
    return [name_of(t, now), *flags, tokens, spec.get("requiresRepublish", False), modes, age_of(t, now)]


def csi_node_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), len(spec_of(t).get("drivers") or ()), age_of(t, now)]


def default_csi_capacity(obj: storage_v1.CSIStorageCapacity) -> None:
    for name in ("capacity", "maximumVolumeSize"):
        if getattr(obj, name) is not None:
            setattr(obj, name, amounts.stored(getattr(obj, name)))


def csi_capacity_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), t.get("storageClassName", ""), t.get("capacity", UNSET)]


def prepare_attachment(obj: storage_v1.VolumeAttachment, now: float) -> None:
    obj.status = storage_v1.VolumeAttachmentStatus(attached=False)


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
    (GROUP, "volumeattributesclasses"): Strategy(returns_deleted=True, columns=sheet("Name|DriverName|Age", attributes_class_row)),
    (GROUP, "csidrivers"): Strategy(
        default=default_csi_driver,
        generation=True,
        conditional_update=True,
        returns_deleted=True,
        columns=sheet("Name|AttachRequired?|PodInfoOnMount?|StorageCapacity?|TokenRequests|RequiresRepublish?|Modes|Age", csi_driver_row),
    ),
    (GROUP, "csinodes"): Strategy(conditional_update=True, returns_deleted=True, columns=sheet("Name|Drivers#|Age", csi_node_row)),
    (GROUP, "csistoragecapacities"): Strategy(
        default=default_csi_capacity,
        conditional_update=True,
        returns_deleted=True,
        columns=sheet("Name|StorageClassName|Capacity", csi_capacity_row),
    ),
    (GROUP, "volumeattachments"): Strategy(
        prepare_create=prepare_attachment,
        conditional_update=True,
        returns_deleted=True,
        columns=sheet("Name|Attacher|PV|Node|Attached?|Age", attachment_row),
    ),
}
