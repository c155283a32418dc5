"""What claims and volumes need beside being bound: who uses them, the finalizers that keep them, claims of ephemeral volumes. Pure.

Upstream counterparts: pkg/controller/volume/{pvcprotection,pvprotection,ephemeral} and persistentvolume's updateClaimStatus.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import claims, quantity
from navarch.objects import meta, ownership, pods

T = TypeVar("T", core_v1.PersistentVolumeClaim, core_v1.PersistentVolume)
CLAIM, VOLUME = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


def guarded(obj: T, finalizer: str, *, used: bool) -> T | None:
    """The object as it should be: without the finalizer when it is deleted and unused, with it when it is not deleted. None: it is so."""
    m = meta.of(obj)
    held: list[str] = m.finalizers or []
    if m.deletionTimestamp is not None:
        wanted = [f for f in held if f != finalizer or used]
    else:
        wanted = held if finalizer in held else [*held, finalizer]
    return None if wanted == held else msgspec.structs.replace(obj, metadata=msgspec.structs.replace(m, finalizers=wanted or None))


def uses(pod: core_v1.Pod, claim: core_v1.PersistentVolumeClaim) -> bool:
    """Whether a pod keeps a claim: it has a node (a kubelet would not start it with a claim that is going) and names it."""
    spec = pod.spec or core_v1.PodSpec()
    name = meta.of(claim).name
    if not spec.nodeName or meta.of(pod).namespace != meta.of(claim).namespace:
        return False
    for volume in spec.volumes or ():
        if volume.persistentVolumeClaim is not None and volume.persistentVolumeClaim.claimName == name:
            return True
        if volume.ephemeral is not None and claims.ephemeral_name(meta.of(pod).name or "", volume.name or "") == name:
            m = meta.of(pod)
            if not _shut_down(pod) and not claims.not_made_for(claim, m.namespace or "", m.name or "", m.uid or ""):
                return True
    return False


def _shut_down(pod: core_v1.Pod) -> bool:
    """Whether the kubelet is done with a pod that is being deleted."""
    return meta.of(pod).deletionTimestamp is not None and (pods.finished(pod) or meta.of(pod).deletionGracePeriodSeconds == 0)


def ephemeral(pod: core_v1.Pod) -> list[tuple[str, core_v1.PersistentVolumeClaim]]:
    """(volume, claim) for each ephemeral volume of a pod; nothing for one that is going."""
    m, found = meta.of(pod), []
    for volume in (pod.spec.volumes if pod.spec else None) or () if m.deletionTimestamp is None else ():
        template = volume.ephemeral.volumeClaimTemplate if volume.ephemeral is not None else None
        if template is None:
            continue
        given = template.metadata or meta_v1.ObjectMeta()
        metadata = meta_v1.ObjectMeta(
            name=claims.ephemeral_name(m.name or "", volume.name or ""),
            namespace=m.namespace,
            labels=given.labels,
            annotations=given.annotations,
            ownerReferences=[ownership.reference(pod)],
        )
        found.append((volume.name or "", core_v1.PersistentVolumeClaim(metadata=metadata, spec=template.spec)))
    return found


def claims_of_pod(pod: core_v1.Pod) -> list[str]:
    """An index by the claims a pod uses."""
    return [f"{meta.of(pod).namespace}/{name}" for name in claims.names_of(pod)]


def claim_status(
    held: core_v1.PersistentVolumeClaimStatus, phase: str, volume: core_v1.PersistentVolume | None
) -> core_v1.PersistentVolumeClaimStatus:
    """The status of a claim in a phase: with the modes and the size of its volume, when it has one."""
    if volume is None:
        return msgspec.structs.replace(held, phase=phase, accessModes=None, capacity=None, currentVolumeAttributesClassName=None)
    spec = volume.spec or core_v1.PersistentVolumeSpec()
    found = msgspec.structs.replace(held, phase=phase, accessModes=spec.accessModes)
    if held.phase == phase:  # only in becoming bound: later the file system may be smaller than its device on purpose
        return found
    size, known = (spec.capacity or {}).get("storage"), (held.capacity or {}).get("storage")
    if size is not None and (known is None or quantity.compare(size, known)):
        found.capacity = spec.capacity
    if held.phase == "Pending":
        found.currentVolumeAttributesClassName = spec.volumeAttributesClassName
    return found
