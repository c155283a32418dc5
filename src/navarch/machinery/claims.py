"""PersistentVolumes and the claims on them: what fits what, who is bound to whom, the annotations that say so.

The scheduler (for pods that wait) and the binder of the controller manager (for claims that do not) must agree on all of
this, so it is said once. Pure: objects in, answers out; the node a volume must be reachable from is the scheduler's matter.

Upstream counterparts: component-helpers/storage/volume and component-helpers/storage/ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import quantity, selectors

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
STORAGE_PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
STORAGE_PROVISIONER_BETA: Final = "volume.beta.kubernetes.io/storage-provisioner"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
MIGRATED_TO: Final = "pv.kubernetes.io/migrated-to"
CLASS_BETA: Final = "volume.beta.kubernetes.io/storage-class"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
MIGRATED: Final = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}
"""In-tree plugins that are gone, and the CSI drivers that do their work."""

_NONE = meta_v1.ObjectMeta()


def meta(obj: core_v1.PersistentVolume | core_v1.PersistentVolumeClaim | core_v1.Pod) -> meta_v1.ObjectMeta:
    """An object's metadata, empty when it has none."""
    return obj.metadata or _NONE


def key(claim: core_v1.PersistentVolumeClaim) -> str:
    """namespace/name."""
    return f"{meta(claim).namespace}/{meta(claim).name}"


def notes(obj: core_v1.PersistentVolume | core_v1.PersistentVolumeClaim) -> dict[str, str]:
    return meta(obj).annotations or {}


def has_class(claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether a claim names a class, if only the empty one."""
    return CLASS_BETA in notes(claim) or (claim.spec is not None and claim.spec.storageClassName is not None)


def class_of(obj: core_v1.PersistentVolume | core_v1.PersistentVolumeClaim) -> str:
    """The class of a claim or volume; "" for none."""
    old = notes(obj).get(CLASS_BETA)
    return old if old is not None else (obj.spec.storageClassName if obj.spec is not None else None) or ""


def volume_of(claim: core_v1.PersistentVolumeClaim) -> str:
    """The volume a claim names; "" for none."""
    return (claim.spec.volumeName if claim.spec is not None else None) or ""


def reference_of(volume: core_v1.PersistentVolume) -> core_v1.ObjectReference | None:
    """The claim a volume is kept for."""
    return volume.spec.claimRef if volume.spec is not None else None


def phase(volume: core_v1.PersistentVolume) -> str:
    return (volume.status.phase if volume.status is not None else None) or ""


def requested(claim: core_v1.PersistentVolumeClaim) -> int:
    """Billionths of a byte that a claim asks for."""
    resources = claim.spec.resources if claim.spec is not None else None
    asked = ((resources.requests if resources is not None else None) or {}).get("storage")
    return 0 if asked is None else quantity.parse(asked).nano


def capacity(volume: core_v1.PersistentVolume) -> int:
    """Billionths of a byte that a volume holds."""
    held = ((volume.spec.capacity if volume.spec is not None else None) or {}).get("storage")
    return 0 if held is None else quantity.parse(held).nano


def is_bound(claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether the binding is complete as far as the claim goes."""
    return bool(volume_of(claim)) and BIND_COMPLETED in notes(claim)


def is_for(volume: core_v1.PersistentVolume, claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether a volume is bound to a claim, or kept for it; one kept for a name is for whoever has that name."""
    held, m = reference_of(volume), meta(claim)
    if held is None or (held.namespace, held.name) != (m.namespace, m.name):
        return False
    return not held.uid or held.uid == m.uid


def same_mode(volume: core_v1.PersistentVolume, claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether both are file systems, or both block devices."""
    held = (volume.spec.volumeMode if volume.spec is not None else None) or "Filesystem"
    return held == ((claim.spec.volumeMode if claim.spec is not None else None) or "Filesystem")


def same_attributes(volume: core_v1.PersistentVolume, claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether both have the same VolumeAttributesClass."""
    held = (volume.spec.volumeAttributesClassName if volume.spec is not None else None) or ""
    return held == ((claim.spec.volumeAttributesClassName if claim.spec is not None else None) or "")


def allows(volume: core_v1.PersistentVolume, claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether a volume has all access modes a claim asks for."""
    held = (volume.spec.accessModes if volume.spec is not None else None) or ()
    return all(mode in held for mode in (claim.spec.accessModes if claim.spec is not None else None) or ())


def usable(volume: core_v1.PersistentVolume, claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether a volume could serve a claim at all: large enough, of its mode, not going away, not kept for another."""
    if reference_of(volume) is not None and not is_for(volume, claim):
        return False
    if capacity(volume) < requested(claim) or meta(volume).deletionTimestamp is not None:
        return False
    return same_mode(volume, claim) and same_attributes(volume, claim)


def matches(volume: core_v1.PersistentVolume, claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether a usable volume that is nobody's is what a claim asks for: free, of its class, chosen by its selector."""
    if phase(volume) != "Available" or class_of(volume) != class_of(claim):
        return False
    chosen = claim.spec.selector if claim.spec is not None else None
    return chosen is None or selectors.from_object(chosen).matches(meta(volume).labels or {})


def by_size(volumes: Iterable[core_v1.PersistentVolume]) -> list[core_v1.PersistentVolume]:
    """The smallest first; of one size, by name."""
    return sorted(volumes, key=lambda v: (capacity(v), meta(v).name or ""))


def reference(claim: core_v1.PersistentVolumeClaim) -> core_v1.ObjectReference:
    """How a volume says whose it is."""
    m = meta(claim)
    return core_v1.ObjectReference(
        apiVersion="v1", kind="PersistentVolumeClaim", name=m.name, namespace=m.namespace, uid=m.uid, resourceVersion=m.resourceVersion
    )


def bound_to(volume: core_v1.PersistentVolume, claim: core_v1.PersistentVolumeClaim) -> core_v1.PersistentVolume | None:
    """The volume as it must be to be the claim's; None when it is so already. One that nobody had kept for the claim is marked."""
    held, m = reference_of(volume), meta(volume)
    complete = held is not None and is_for(volume, claim) and held.uid == meta(claim).uid
    marked = is_for(volume, claim) or BOUND_BY_CONTROLLER in notes(volume)
    if complete and marked:
        return None
    spec = volume.spec or core_v1.PersistentVolumeSpec()
    if not complete:
        spec = msgspec.structs.replace(spec, claimRef=reference(claim))
    if not marked:
        m = msgspec.structs.replace(m, annotations={**(m.annotations or {}), BOUND_BY_CONTROLLER: "yes"})
    return msgspec.structs.replace(volume, metadata=m, spec=spec)


def annotated(claim: core_v1.PersistentVolumeClaim, more: dict[str, str]) -> core_v1.PersistentVolumeClaim:
    """The claim with more annotations."""
    m = meta(claim)
    return msgspec.structs.replace(claim, metadata=msgspec.structs.replace(m, annotations={**(m.annotations or {}), **more}))


# ---- claims of pods -----------------------------------------------------------------------------------------------


def ephemeral_name(pod: str, volume: str) -> str:
    """The name of the claim that is made for a pod's ephemeral volume."""
    return f"{pod}-{volume}"


def not_made_for(claim: core_v1.PersistentVolumeClaim, namespace: str, pod: str, uid: str) -> str:
    """Why a claim is not the one made for a pod's ephemeral volume; "" when it is."""
    m = meta(claim)
    if m.namespace == namespace and any(o.controller and o.uid == uid for o in m.ownerReferences or ()):
        return ""
    return f"PVC {m.namespace}/{m.name} was not created for pod {namespace}/{pod} (pod is not owner)"


def names_of(pod: core_v1.Pod) -> list[str]:
    """The claims a pod uses, by name, those of ephemeral volumes included."""
    found: list[str] = []
    for volume in (pod.spec.volumes if pod.spec is not None else None) or ():
        if volume.persistentVolumeClaim is not None:
            found.append(volume.persistentVolumeClaim.claimName or "")
        elif volume.ephemeral is not None:
            found.append(ephemeral_name(meta(pod).name or "", volume.name or ""))
    return found
