"""What a claim or a volume needs next: pure decisions of the binder.

A volume names its claim (`claimRef`) and a claim its volume (`volumeName`); the two are written one after the other, the volume
first, and whatever was left half done, by this controller, by the scheduler or by a person, is finished or undone from what
the two objects say. In: the object and what it points at. Out: one step, frozen.

Upstream counterpart: pkg/controller/volume/persistentvolume/pv_controller.go (syncClaim, syncVolume).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1
from navarch.api.storage import v1 as storage_v1
from navarch.machinery import claims

Claim = core_v1.PersistentVolumeClaim
Volume = core_v1.PersistentVolume
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_DEFAULT_BETA = "storageclass.beta.kubernetes.io/is-default-class"
_IN_TREE = "kubernetes.io/"


@dataclass(frozen=True, slots=True)
class Said:
    """An event about the object."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Volume and claim become each other's; both become Bound."""

    volume: Volume


@dataclass(frozen=True, slots=True)
class AssignClass:
    """The claim names no class; it gets the default one."""

    name: str


@dataclass(frozen=True, slots=True)
class Provision:
    """An external provisioner is asked to make a volume. `migrated`: it does the work of a former in-tree plugin."""

    provisioner: str
    migrated: bool
    said: Said


@dataclass(frozen=True, slots=True)
class StayPending:
    """Nothing can be done now."""

    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Lose:
    """The claim has lost its volume."""

    said: Said


ClaimStep = Bind | AssignClass | Provision | StayPending | Lose


@dataclass(frozen=True, slots=True)
class SetPhase:
    """The volume's phase is told."""

    phase: str


@dataclass(frozen=True, slots=True)
class Unbind:
    """The volume is nobody's again, or waits for the claim it was made for."""


@dataclass(frozen=True, slots=True)
class LookAtClaim:
    """The claim has yet to be bound to this volume."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The volume is kept for a claim that cannot have it."""

    about_volume: Said
    about_claim: Said


@dataclass(frozen=True, slots=True)
class Release:
    """The volume's claim is gone: it is Released, then its policy holds."""


VolumeStep = SetPhase | Unbind | LookAtClaim | Mismatch | Release


@dataclass(frozen=True, slots=True)
class Keep:
    """Somebody else, or nobody, takes care of a released volume."""


@dataclass(frozen=True, slots=True)
class Fail:
    """A released volume cannot be reclaimed."""

    said: Said


@dataclass(frozen=True, slots=True)
class DeleteFolder:
    """The folder behind a volume goes, and the volume with it."""

    path: str


Reclaim = Keep | Fail | DeleteFolder


# ---- claims -------------------------------------------------------------------------------------------------------


def claim_step(claim: Claim, volumes: Sequence[Volume], classes: Mapping[str, storage_v1.StorageClass], waiting: Sequence[str]) -> ClaimStep:
    """What a claim needs. `volumes`: those it could be bound to; `waiting`: the pods without a node that use it."""
    if claims.BIND_COMPLETED in claims.notes(claim):
        return _bound(claim, volumes)
    if claims.volume_of(claim):
        return _named(claim, volumes)
    delayed = _delayed(claim, classes)
    found = best(claim, volumes, delayed=delayed)
    if found is not None:
        return Bind(found)
    if not claims.has_class(claim) and (name := default_class(classes.values())):
        return AssignClass(name)
    if delayed and claims.SELECTED_NODE not in claims.notes(claim):
        return StayPending(_waiting(waiting))
    if claims.class_of(claim):
        return _provision(claim, classes)
    return StayPending(Said("Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set"))


def _bound(claim: Claim, volumes: Sequence[Volume]) -> ClaimStep:
    """A claim that was bound: is it still?"""
    if not claims.volume_of(claim):
        return Lose(Said("Warning", "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"))
    volume = _by_name(volumes, claims.volume_of(claim))
    if volume is None:
        return Lose(Said("Warning", "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"))
    held = claims.reference_of(volume)
    if held is None or held.uid == claims.meta(claim).uid:
        return Bind(volume)
    text = "Two claims are bound to the same volume, this one is bound incorrectly"
    return Lose(Said("Warning", "ClaimMisbound", text))


def _named(claim: Claim, volumes: Sequence[Volume]) -> ClaimStep:
    """A claim that asks for one volume by name."""
    volume = _by_name(volumes, claims.volume_of(claim))
    if volume is None:
        return StayPending()
    name = claims.meta(volume).name
    if claims.reference_of(volume) is None:
        problem = unsatisfying(volume, claim)
        if problem:
            return StayPending(Said("Warning", "VolumeMismatch", f'Cannot bind to requested volume "{name}": {problem}'))
        return Bind(volume)
    if claims.is_for(volume, claim):
        return Bind(volume)
    return StayPending(Said("Warning", "FailedBinding", f'volume "{name}" already bound to a different claim.'))


def unsatisfying(volume: Volume, claim: Claim) -> str:
    """Why a volume asked for by name is not what its claim asks for; "" when it is."""
    if claims.meta(volume).deletionTimestamp is not None:
        return f'the volume is marked for deletion "{claims.meta(volume).name}"'
    if claims.capacity(volume) < claims.requested(claim):
        return "requested PV is too small"
    if claims.class_of(volume) != claims.class_of(claim):
        return "storageClassName does not match"
    if not claims.same_attributes(volume, claim):
        return "volumeAttributesClassName does not match"
    if not claims.same_mode(volume, claim):
        return "incompatible volumeMode"
    return "" if claims.allows(volume, claim) else "incompatible accessMode"


def best(claim: Claim, volumes: Iterable[Volume], *, delayed: bool) -> Volume | None:
    """The volume kept for a claim, else the smallest that fits, of those with the fewest access modes. `delayed`: only a kept one."""
    groups: dict[tuple[str, ...], list[Volume]] = {}
    for volume in volumes:
        if claims.allows(volume, claim) and claims.usable(volume, claim):
            modes = tuple(sorted(set((volume.spec.accessModes if volume.spec else None) or ())))
            groups.setdefault(modes, []).append(volume)
    for modes in sorted(groups, key=lambda found: (len(found), found)):
        ordered = claims.by_size(groups[modes])
        kept = next((v for v in ordered if claims.is_for(v, claim)), None)
        free = None if delayed else next((v for v in ordered if claims.matches(v, claim)), None)
        if kept is not None or free is not None:
            return kept or free
    return None


def default_class(classes: Iterable[storage_v1.StorageClass]) -> str:
    """The class marked as default, the newest when several are; "" when none is."""
    marked = [c for c in classes if c.metadata is not None and _is_default(c.metadata.annotations or {})]
    marked.sort(key=lambda c: (c.metadata.name if c.metadata else None) or "")
    marked.sort(key=lambda c: (c.metadata.creationTimestamp if c.metadata else None) or "", reverse=True)
    return (marked[0].metadata.name or "") if marked and marked[0].metadata is not None else ""


def _is_default(notes: Mapping[str, str]) -> bool:
    return "true" in (notes.get(_DEFAULT), notes.get(_DEFAULT_BETA))


def _delayed(claim: Claim, classes: Mapping[str, storage_v1.StorageClass]) -> bool:
    found = classes.get(claims.class_of(claim))
    return found is not None and found.volumeBindingMode == "WaitForFirstConsumer"


def _waiting(pods: Sequence[str]) -> Said:
    if not pods:
        return Said("Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    noun = "pods" if len(pods) > 1 else "pod"
    return Said("Normal", "WaitForPodScheduled", f"waiting for {noun} {','.join(pods)} to be scheduled")


def _provision(claim: Claim, classes: Mapping[str, storage_v1.StorageClass]) -> ClaimStep:
    name = claims.class_of(claim)
    found = classes.get(name)
    if found is None:
        return StayPending(Said("Warning", "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found'))
    asked = found.provisioner or ""
    migrated = asked in claims.MIGRATED
    if asked.startswith(_IN_TREE) and not migrated:
        return StayPending(Said("Warning", "ProvisioningFailed", f"no volume plugin matched name: {asked}"))
    driver = claims.MIGRATED.get(asked, asked)
    text = (
        f"Waiting for a volume to be created either by the external provisioner '{driver}' or manually by the system administrator. "
        "If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    )
    return Provision(driver, migrated, Said("Normal", "ExternalProvisioning", text))


def _by_name(volumes: Sequence[Volume], name: str) -> Volume | None:
    return next((v for v in volumes if claims.meta(v).name == name), None)


# ---- volumes ------------------------------------------------------------------------------------------------------


def volume_step(volume: Volume, claim: Claim | None) -> VolumeStep:
    """What a volume needs. `claim`: who has the name it is kept for."""
    held = claims.reference_of(volume)
    if held is None or not held.uid:
        return SetPhase("Available")
    if claim is None or claims.meta(claim).uid != held.uid:
        return Release()
    name = claims.meta(volume).name
    if not claims.volume_of(claim):
        return LookAtClaim() if claims.same_mode(volume, claim) else _mismatch(volume, claim)
    if claims.volume_of(claim) == name:
        return SetPhase("Bound")
    policy = volume.spec.persistentVolumeReclaimPolicy if volume.spec is not None else None
    return Release() if claims.PROVISIONED_BY in claims.notes(volume) and policy == "Delete" else Unbind()


def _mismatch(volume: Volume, claim: Claim) -> Mismatch:
    why = "due to incompatible volumeMode."
    return Mismatch(
        Said("Warning", "VolumeMismatch", f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{claims.meta(claim).name}" {why}'),
        Said("Warning", "VolumeMismatch", f'Cannot bind PersistentVolume "{claims.meta(volume).name}" to requested PersistentVolumeClaim {why}'),
    )


def reclaim(volume: Volume) -> Reclaim:
    """What becomes of a released volume."""
    if claims.MIGRATED_TO in claims.notes(volume):
        return Keep()
    match volume.spec.persistentVolumeReclaimPolicy if volume.spec is not None else None:
        case "Retain":
            return Keep()
        case "Recycle":
            return Fail(Said("Warning", "VolumeFailedRecycle", "No recycler plugin found for the volume!"))
        case "Delete":
            return _delete(volume)
    return Fail(Said("Warning", "VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy"))


def _delete(volume: Volume) -> Reclaim:
    spec = volume.spec or core_v1.PersistentVolumeSpec()
    maker = claims.notes(volume).get(claims.PROVISIONED_BY, "")
    if spec.csi is not None or (maker and not maker.startswith(_IN_TREE)):
        return Keep()
    if spec.hostPath is None:
        why = f'error getting deleter volume plugin for volume "{claims.meta(volume).name}": no deletable volume plugin matched'
        return Fail(Said("Warning", "VolumeFailedDelete", why))
    path = posixpath.normpath(spec.hostPath.path or "/")
    if not path.startswith("/tmp/"):
        why = f"host_path deleter only supports /tmp/.+ but received provided {spec.hostPath.path}"
        return Fail(Said("Warning", "VolumeFailedDelete", why))
    return DeleteFolder(path)
