"""Claims that pods use, and volumes that are bound, stay until they are not.

Upstream counterparts: pkg/controller/volume/pvcprotection and pvprotection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from navarch.api.core import v1 as core_v1
from navarch.controllers.core import volumes
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import claims
from navarch.objects import meta


class ClaimProtection(Reconciler):
    """Claims that pods use stay."""

    name = "persistentvolumeclaim-protection"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._claims = context.informer(core_v1.PersistentVolumeClaim)
        self._using = context.index(core_v1.Pod, "claim", volumes.claims_of_pod)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.PersistentVolumeClaim, lambda c: [meta.key(c)])
        yield Watch(core_v1.Pod, self._of_pod)

    def _of_pod(self, pod: core_v1.Pod) -> list[str]:
        """The claims of a pod that are on their way out."""
        found = (self._claims.by_key(key) for key in volumes.claims_of_pod(pod))
        return [meta.key(c) for c in found if c is not None and meta.of(c).deletionTimestamp is not None]

    async def reconcile(self, key: str) -> float | None:
        claim = self._claims.by_key(key)
        if claim is not None:
            used = meta.of(claim).deletionTimestamp is not None and await self._used(claim)
            wanted = volumes.guarded(claim, volumes.CLAIM, used=used)
            if wanted is not None:
                await self._client.update(wanted)
        return None

    async def _used(self, claim: core_v1.PersistentVolumeClaim) -> bool:
        """Whether a pod uses it: the API server is asked before it is said that none does."""
        key = meta.key(claim)
        known: Sequence[core_v1.Pod] = self._using.of(key)
        if any(volumes.uses(pod, claim) for pod in known):
            return True
        pods, _ = await self._client.list(core_v1.Pod, meta.of(claim).namespace or "")
        return any(volumes.uses(pod, claim) for pod in pods)


class VolumeProtection(Reconciler):
    """Volumes that are bound stay."""

    name = "persistentvolume-protection"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._volumes = context.informer(core_v1.PersistentVolume)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.PersistentVolume, lambda v: [meta.key(v)])

    async def reconcile(self, key: str) -> float | None:
        volume = self._volumes.by_key(key)
        if volume is not None:
            wanted = volumes.guarded(volume, volumes.VOLUME, used=claims.phase(volume) == "Bound")
            if wanted is not None:
                await self._client.update(wanted)
        return None
