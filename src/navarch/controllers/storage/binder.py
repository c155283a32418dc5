"""The binder's loop: brings claims and volumes together and keeps their phases, as `core.binding` decides.

Keys are claims (`namespace/name`) and volumes (`name`). Whatever may let a pending claim go on, a new volume or class, a pod
that came, looks at it again at once; a quarter of a minute later it is looked at anyway.

Upstream counterpart: pkg/controller/volume/persistentvolume.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Object
from navarch.api.storage import v1 as storage_v1
from navarch.controllers.core import binding
from navarch.controllers.core import volumes as core
from navarch.controllers.core.binding import Claim, Said, Volume
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import claims, errors
from navarch.objects import meta, pods

_AGAIN_SECONDS = 15.0


def _class_if_pending(claim: Claim) -> list[str]:
    """An index by the class of a claim that has no volume yet."""
    return [] if claims.volume_of(claim) else [claims.class_of(claim)]


def _class_of(volume: Volume) -> list[str]:
    """An index by storage class."""
    return [claims.class_of(volume)]


def _claim_of(volume: Volume) -> list[str]:
    """An index by the claim a volume is kept for."""
    held = claims.reference_of(volume)
    return [f"{held.namespace}/{held.name}"] if held is not None else []


class VolumeBinder(Reconciler):
    """Binds claims to volumes, and takes volumes back when their claims are gone."""

    name = "persistentvolume-binder"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._events = context.recorder.named("persistentvolume-controller")
        self._claims = context.informer(core_v1.PersistentVolumeClaim)
        self._volumes = context.informer(core_v1.PersistentVolume)
        self._classes = context.informer(storage_v1.StorageClass)
        self._using = context.index(core_v1.Pod, "claim", core.claims_of_pod)
        self._pending_of_class = context.index(core_v1.PersistentVolumeClaim, "pending by class", _class_if_pending)
        self._of_class = context.index(core_v1.PersistentVolume, "class", _class_of)
        self._kept_for = context.index(core_v1.PersistentVolume, "claim", _claim_of)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.PersistentVolumeClaim, lambda c: [k for k in (claims.key(c), claims.volume_of(c)) if k])
        yield Watch(core_v1.PersistentVolume, self._volume_keys)
        yield Watch(storage_v1.StorageClass, self._class_keys)

    def _volume_keys(self, volume: Volume) -> list[str]:
        found = [meta.of(volume).name or "", *_claim_of(volume)]
        if claims.reference_of(volume) is None:
            found += self._pending(claims.class_of(volume))
        return found

    def _class_keys(self, found: storage_v1.StorageClass) -> list[str]:
        return [*self._pending(meta.of(found).name or ""), *self._pending("")]

    def _pending(self, name: str) -> list[str]:
        return [claims.key(c) for c in self._pending_of_class.of(name)]

    async def reconcile(self, key: str) -> float | None:
        if "/" in key:
            claim = self._claims.by_key(key)
            return await self._claim(claim) if claim is not None else None
        volume = self._volumes.by_key(key)
        return await self._volume(volume) if volume is not None else None

    # ---- claims ----

    async def _claim(self, claim: Claim) -> float | None:
        classes = {meta.of(c).name or "": c for c in self._classes.list()}
        step = binding.claim_step(claim, self._candidates(claim), classes, self._unscheduled(claim))
        match step:
            case binding.Bind(volume):
                await self._bind(volume, claim)
                return None
            case binding.AssignClass(name):
                spec = claim.spec or core_v1.PersistentVolumeClaimSpec()
                await self._client.update(msgspec.structs.replace(claim, spec=msgspec.structs.replace(spec, storageClassName=name)))
                return None
            case binding.Provision():
                await self._provision(claim, step)
                return _AGAIN_SECONDS
            case binding.StayPending(said):
                self._say(claim, said)
                await self._claim_status(claim, "Pending", None)
                return _AGAIN_SECONDS
            case binding.Lose(said):
                if claim.status is None or claim.status.phase != "Lost":
                    await self._claim_status(claim, "Lost", None)
                    self._say(claim, said)
                return None
        assert_never(step)

    def _candidates(self, claim: Claim) -> Sequence[Volume]:
        """The volumes that could matter for a claim: of its class, kept for it, named by it."""
        named = self._volumes.get(claims.volume_of(claim)) if claims.volume_of(claim) else None
        kept = self._kept_for.of(claims.key(claim))
        found = {meta.of(v).name or "": v for v in (*self._of_class.of(claims.class_of(claim)), *kept)}
        if named is not None:
            found[meta.of(named).name or ""] = named
        return list(found.values())

    def _unscheduled(self, claim: Claim) -> list[str]:
        users = self._using.of(claims.key(claim))
        return sorted(meta.of(p).name or "" for p in users if not pods.finished(p) and not (p.spec and p.spec.nodeName))

    async def _bind(self, volume: Volume, claim: Claim) -> None:
        """Volume first, then claim; what fails is finished when either is looked at again."""
        changed = claims.bound_to(volume, claim)
        if changed is not None:
            volume = await self._client.update(changed)
        volume = await self._phase(volume, "Bound")
        name, spec, notes = meta.of(volume).name, claim.spec or core_v1.PersistentVolumeClaimSpec(), claims.notes(claim)
        more = {} if claims.BIND_COMPLETED in notes else {claims.BIND_COMPLETED: "yes"}
        if claims.volume_of(claim) != name:
            claim = msgspec.structs.replace(claim, spec=msgspec.structs.replace(spec, volumeName=name))
            more |= {} if claims.BOUND_BY_CONTROLLER in notes else {claims.BOUND_BY_CONTROLLER: "yes"}
            claim = await self._client.update(claims.annotated(claim, more))
        elif more:
            claim = await self._client.update(claims.annotated(claim, more))
        await self._claim_status(claim, "Bound", volume)

    async def _provision(self, claim: Claim, step: binding.Provision) -> None:
        notes = {claims.STORAGE_PROVISIONER: step.provisioner, claims.STORAGE_PROVISIONER_BETA: step.provisioner}
        if step.migrated:
            notes[claims.MIGRATED_TO] = step.provisioner
        if any(claims.notes(claim).get(k) != v for k, v in notes.items()):
            claim = await self._client.update(claims.annotated(claim, notes))
        self._say(claim, step.said)

    async def _claim_status(self, claim: Claim, phase: str, volume: Volume | None) -> None:
        held = claim.status or core_v1.PersistentVolumeClaimStatus()
        wanted = core.claim_status(held, phase, volume)
        if wanted != held:
            await self._client.update_status(msgspec.structs.replace(claim, status=wanted))

    # ---- volumes ----

    async def _volume(self, volume: Volume) -> float | None:
        claim = await self._holder(volume)
        step = binding.volume_step(volume, claim)
        match step:
            case binding.SetPhase(phase):
                await self._phase(volume, phase)
            case binding.Unbind():
                await self._unbind(volume)
            case binding.LookAtClaim():
                return None if claim is None else await self._claim(claim)
            case binding.Mismatch(about_volume, about_claim):
                self._say(volume, about_volume)
                if claim is not None:
                    self._say(claim, about_claim)
            case binding.Release():
                return await self._release(volume)
            case _:
                assert_never(step)
        return None

    async def _holder(self, volume: Volume) -> Claim | None:
        """The claim a volume is kept for. One that seems gone may only not have been heard of yet: the API server is asked."""
        held = claims.reference_of(volume)
        if held is None or not held.uid:
            return None
        claim = self._claims.get(held.name or "", held.namespace or "")
        if claim is not None and meta.of(claim).uid == held.uid:
            return claim
        if claim is None and claims.phase(volume) in ("Released", "Failed"):
            return None
        try:
            return await self._client.get(core_v1.PersistentVolumeClaim, held.name or "", held.namespace or "")
        except errors.NotFound:
            return None

    async def _phase(self, volume: Volume, phase: str, message: str = "") -> Volume:
        if claims.phase(volume) == phase:
            return volume
        status = volume.status or core_v1.PersistentVolumeStatus()
        told = msgspec.structs.replace(status, phase=phase, message=message or None, lastPhaseTransitionTime=None)
        return await self._client.update_status(msgspec.structs.replace(volume, status=told))

    async def _unbind(self, volume: Volume) -> None:
        m, spec = meta.of(volume), volume.spec or core_v1.PersistentVolumeSpec()
        notes = {k: v for k, v in (m.annotations or {}).items() if k != claims.BOUND_BY_CONTROLLER}
        if claims.BOUND_BY_CONTROLLER in (m.annotations or {}):
            m = msgspec.structs.replace(m, annotations=notes or None)
            spec = msgspec.structs.replace(spec, claimRef=None)
        elif spec.claimRef is not None:
            spec = msgspec.structs.replace(spec, claimRef=msgspec.structs.replace(spec.claimRef, uid=None))
        await self._phase(await self._client.update(msgspec.structs.replace(volume, metadata=m, spec=spec)), "Available")

    async def _release(self, volume: Volume) -> float | None:
        if claims.phase(volume) not in ("Released", "Failed"):
            volume = await self._phase(volume, "Released")
        step = binding.reclaim(volume)
        match step:
            case binding.Keep():
                return None
            case binding.Fail(said):
                await self._fail(volume, said)
                return None
            case binding.DeleteFolder(path):
                return await self._delete(volume, path)
        assert_never(step)

    async def _fail(self, volume: Volume, said: Said) -> None:
        if claims.phase(volume) != "Failed":
            volume = await self._phase(volume, "Failed", said.message)
            self._say(volume, said)

    async def _delete(self, volume: Volume, path: str) -> float | None:
        if meta.of(volume).deletionTimestamp is None:
            try:
                await asyncio.to_thread(shutil.rmtree, path)
            except FileNotFoundError:
                pass
            except OSError as error:
                await self._fail(volume, Said("Warning", "VolumeFailedDelete", str(error)))
                return _AGAIN_SECONDS
            await self._client.delete(core_v1.PersistentVolume, meta.of(volume).name or "", uid=meta.of(volume).uid)
        return None

    def _say(self, obj: Object, said: Said | None) -> None:
        if said is not None:
            self._events.event(obj, said.type, said.reason, said.message)
