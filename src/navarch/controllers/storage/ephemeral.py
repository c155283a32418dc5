"""Generic ephemeral volumes: each gets a claim of its own, made from its template and owned by its pod.

The claim goes with the pod by garbage collection. A claim of that name that belongs to somebody else is never used.

Upstream counterpart: pkg/controller/volume/ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from navarch.api.core import v1 as core_v1
from navarch.controllers.core import volumes
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import claims, errors
from navarch.objects import meta, ownership

_AGAIN_SECONDS = 15.0


class EphemeralVolumeController(Reconciler):
    """Makes the claims of ephemeral volumes."""

    name = "ephemeral-volume"

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.recorder.named("ephemeral_volume")
        self._pods = context.informer(core_v1.Pod)
        self._claims = context.informer(core_v1.PersistentVolumeClaim)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Pod, _with_ephemeral)
        yield Watch(core_v1.PersistentVolumeClaim, ownership.controller_key(core_v1.Pod))

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.by_key(key)
        if pod is None:
            return None
        for volume, claim in volumes.ephemeral(pod):
            problem = await self._made(pod, claim)
            if problem:
                self._events.event(pod, "Warning", "FailedBinding", f"ephemeral volume {volume}: {problem}")
                return _AGAIN_SECONDS
        return None

    async def _made(self, pod: core_v1.Pod, claim: core_v1.PersistentVolumeClaim) -> str:
        """Makes a claim that is missing; why that cannot be done."""
        m = meta.of(pod)
        held = self._claims.by_key(meta.key(claim))
        if held is None:
            try:
                await self._client.create(claim)
                return ""
            except errors.AlreadyExists:
                held = await self._client.get(core_v1.PersistentVolumeClaim, meta.of(claim).name or "", m.namespace or "")
            except errors.ApiError as error:
                return f"create PVC {meta.of(claim).name}: {error}"
        return claims.not_made_for(held, m.namespace or "", m.name or "", m.uid or "")


def _with_ephemeral(pod: core_v1.Pod) -> Sequence[str]:
    declared = (pod.spec.volumes if pod.spec else None) or ()
    return [meta.key(pod)] if any(v.ephemeral is not None for v in declared) else []
