"""The persistent volume claims of a StatefulSet's pods: their names, how pods use them, and who owns them under a retention policy. Pure.

`persistentVolumeClaimRetentionPolicy` is carried out by owner references alone: a claim that is to go with its set is owned by the set, one
that is to go when its replica is scaled away is owned by that replica's pod; the garbage collector does the rest.

Upstream counterpart: pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

import msgspec

from navarch.api import resources
from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.objects import meta, ownership


def name_of(template: core_v1.PersistentVolumeClaim, owner: apps_v1.StatefulSet, ordinal: int) -> str:
    return f"{meta.of(template).name}-{meta.of(owner).name}-{ordinal}"


def may_use(owner: apps_v1.StatefulSet, name: str) -> bool:
    """Whether a claim's name may be that of one of the set's replicas."""
    templates = (owner.spec.volumeClaimTemplates if owner.spec else None) or ()
    return any(name.startswith(f"{meta.of(t).name}-{meta.of(owner).name}-") for t in templates)


def wanted(owner: apps_v1.StatefulSet, ordinal: int) -> list[core_v1.PersistentVolumeClaim]:
    """The claims of one replica, made from the set's templates."""
    assert owner.spec is not None
    selector = owner.spec.selector or meta_v1.LabelSelector()
    found = []
    for template in owner.spec.volumeClaimTemplates or ():
        m = meta.of(template)
        metadata = msgspec.structs.replace(
            m, name=name_of(template, owner, ordinal), namespace=meta.of(owner).namespace, labels={**(m.labels or {}), **(selector.matchLabels or {})}
        )
        if policy(owner)[1] == "Delete":
            metadata.ownerReferences = [*(m.ownerReferences or ()), ownership.reference(owner)]
        found.append(core_v1.PersistentVolumeClaim(apiVersion="v1", kind="PersistentVolumeClaim", metadata=metadata, spec=template.spec))
    return found


def volumes(owner: apps_v1.StatefulSet, ordinal: int, spec: core_v1.PodSpec) -> list[core_v1.Volume]:
    """A pod's volumes with those of the set's claims, which replace others of the same names."""
    assert owner.spec is not None
    made = [
        core_v1.Volume(name=meta.of(t).name, persistentVolumeClaim=core_v1.PersistentVolumeClaimVolumeSource(claimName=name_of(t, owner, ordinal)))
        for t in owner.spec.volumeClaimTemplates or ()
    ]
    names = {v.name for v in made}
    return [*made, *(v for v in spec.volumes or () if v.name not in names)]


def used(owner: apps_v1.StatefulSet, ordinal: int, pod: core_v1.Pod) -> bool:
    """Whether a pod's volumes are the claims of its replica."""
    assert owner.spec is not None
    held = {v.name: v.persistentVolumeClaim.claimName for v in (pod.spec.volumes if pod.spec else None) or () if v.persistentVolumeClaim is not None}
    return all(held.get(meta.of(t).name) == name_of(t, owner, ordinal) for t in owner.spec.volumeClaimTemplates or ())


def policy(owner: apps_v1.StatefulSet) -> tuple[str, str]:
    """(whenScaled, whenDeleted), each "Retain" or "Delete"."""
    found = owner.spec.persistentVolumeClaimRetentionPolicy if owner.spec else None
    if found is None:
        return "Retain", "Retain"
    return found.whenScaled or "Retain", found.whenDeleted or "Retain"


def _names(reference: meta_v1.OwnerReference, obj: Object) -> bool:
    version, kind = resources.group_version_kind(type(obj))
    return (reference.apiVersion, reference.kind, reference.name) == (version, kind, meta.of(obj).name)


def _owned_by(claim: core_v1.PersistentVolumeClaim, obj: Object) -> bool:
    return any(o.uid == meta.of(obj).uid for o in meta.of(claim).ownerReferences or ())


def stale(claim: core_v1.PersistentVolumeClaim, obj: Object) -> bool:
    """Whether a claim is owned by a former object of this name: the garbage collector is about to take it."""
    found = next((o for o in meta.of(claim).ownerReferences or () if _names(o, obj)), None)
    return found is not None and found.uid != meta.of(obj).uid


def conflicting(claim: core_v1.PersistentVolumeClaim, owner: apps_v1.StatefulSet, pod: core_v1.Pod) -> bool:
    """Whether somebody else controls a claim that the policy would have us own."""
    if policy(owner) == ("Retain", "Retain"):
        return False
    for reference in meta.of(claim).ownerReferences or ():
        mine = next((o for o in (owner, pod) if _names(reference, o)), None)
        if mine is not None and reference.uid != meta.of(mine).uid:
            return True
        if mine is None and reference.controller:
            return True
    return False


def _owners(owner: apps_v1.StatefulSet, pod: core_v1.Pod, scaled_away: bool) -> list[Object]:
    """Who owns a claim under the policy."""
    match policy(owner):
        case ("Retain", "Delete"):
            return [owner]
        case ("Delete", "Retain"):
            return [pod] if scaled_away else []
        case ("Delete", "Delete"):
            return [pod if scaled_away else owner]
    return []


def brought_in_line(
    claim: core_v1.PersistentVolumeClaim, owner: apps_v1.StatefulSet, pod: core_v1.Pod, *, scaled_away: bool
) -> core_v1.PersistentVolumeClaim | None:
    """The claim with the owner references that the policy asks for; None when it has them, or is not ours to touch."""
    if stale(claim, owner) or stale(claim, pod):
        return None
    references = list(meta.of(claim).ownerReferences or ())
    others = [o for o in references if not _names(o, owner) and not _names(o, pod)]
    if conflicting(claim, owner, pod):
        if not _owned_by(claim, owner) and not _owned_by(claim, pod):
            return None
        return _with(claim, others)
    wanted = _owners(owner, pod, scaled_away)
    ours = [o for o in references if _names(o, owner) or _names(o, pod)]
    if {o.uid for o in ours} == {meta.of(o).uid for o in wanted} and all(o.controller for o in ours):
        return None
    return _with(claim, [*others, *(ownership.reference(o) for o in wanted)])


def _with(claim: core_v1.PersistentVolumeClaim, references: list[meta_v1.OwnerReference]) -> core_v1.PersistentVolumeClaim:
    return msgspec.structs.replace(claim, metadata=msgspec.structs.replace(meta.of(claim), ownerReferences=references or None))
