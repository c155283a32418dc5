"""Protection of storage in use: a claim that a pod uses, and a volume that is bound, do not go until they are not.

Admission puts a finalizer on every claim and volume; when one is deleted it stays, terminating, until this takes the finalizer
off.

Upstream counterparts: pkg/controller/volume/pvcprotection, pkg/controller/volume/pvprotection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.controllers.binding import Claim, Volume
from navarch.controllers.engine import Context, Reconciler, Watch
from navarch.controllers.owners import key_of, meta
from navarch.controllers.podgc import finished
from navarch.controllers.volumes import claims_of_pod
from navarch.machinery import claims

T = TypeVar("T", Claim, Volume)
CLAIM, VOLUME = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


def guarded(obj: T, finalizer: str, *, used: bool) -> T | None:
    """The object as it should be: without the finalizer when it is deleted and unused, with it when it is not deleted. None: it is so."""
    m = meta(obj)
    held: list[str] = m.finalizers or []
    if m.deletionTimestamp is not None:
        wanted = [f for f in held if f != finalizer or used]
    else:
        wanted = held if finalizer in held else [*held, finalizer]
    return None if wanted == held else msgspec.structs.replace(obj, metadata=msgspec.structs.replace(m, finalizers=wanted or None))


def uses(pod: core_v1.Pod, claim: Claim) -> bool:
    """Whether a pod keeps a claim: it has a node (a kubelet would not start it with a claim that is going) and names it."""
    spec = pod.spec or core_v1.PodSpec()
    name = meta(claim).name
    if not spec.nodeName or meta(pod).namespace != meta(claim).namespace:
        return False
    for volume in spec.volumes or ():
        if volume.persistentVolumeClaim is not None and volume.persistentVolumeClaim.claimName == name:
            return True
        if volume.ephemeral is not None and claims.ephemeral_name(meta(pod).name or "", volume.name or "") == name:
            m = meta(pod)
            if not _shut_down(pod) and not claims.not_made_for(claim, m.namespace or "", m.name or "", m.uid or ""):
                return True
    return False


def _shut_down(pod: core_v1.Pod) -> bool:
    """Whether the kubelet is done with a pod that is being deleted."""
    return meta(pod).deletionTimestamp is not None and (finished(pod) or meta(pod).deletionGracePeriodSeconds == 0)


class ClaimProtection(Reconciler):
    """Claims that pods use stay."""

    name = "persistentvolumeclaim-protection"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._claims = context.informer(core_v1.PersistentVolumeClaim)
        self._pods = context.informer(core_v1.Pod)
        context.index(core_v1.Pod, "claim", claims_of_pod)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.PersistentVolumeClaim, lambda c: [key_of(c)])
        yield Watch(core_v1.Pod, self._of_pod)

    def _of_pod(self, pod: core_v1.Pod) -> list[str]:
        """The claims of a pod that are on their way out."""
        found = (self._claims.by_key(key) for key in claims_of_pod(pod))
        return [key_of(c) for c in found if c is not None and meta(c).deletionTimestamp is not None]

    async def reconcile(self, key: str) -> float | None:
        claim = self._claims.by_key(key)
        if claim is not None:
            used = meta(claim).deletionTimestamp is not None and await self._used(claim)
            wanted = guarded(claim, CLAIM, used=used)
            if wanted is not None:
                await self._client.update(wanted)
        return None

    async def _used(self, claim: Claim) -> bool:
        """Whether a pod uses it: the API server is asked before it is said that none does."""
        key = key_of(claim)
        known: Sequence[core_v1.Pod] = self._pods.by_index("claim", key)
        if any(uses(pod, claim) for pod in known):
            return True
        pods, _ = await self._client.list(core_v1.Pod, meta(claim).namespace or "")
        return any(uses(pod, claim) for pod in pods)


class VolumeProtection(Reconciler):
    """Volumes that are bound stay."""

    name = "persistentvolume-protection"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._volumes = context.informer(core_v1.PersistentVolume)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.PersistentVolume, lambda v: [key_of(v)])

    async def reconcile(self, key: str) -> float | None:
        volume = self._volumes.by_key(key)
        if volume is not None:
            wanted = guarded(volume, VOLUME, used=claims.phase(volume) == "Bound")
            if wanted is not None:
                await self._client.update(wanted)
        return None
