"""Generic ephemeral volumes: each gets a claim of its own, made from its template and owned by its pod.

The claim goes with the pod by garbage collection. One of that name that is somebody else's is never used.

Upstream counterpart: pkg/controller/volume/ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.engine import Context, Reconciler, Watch
from navarch.controllers.owners import controller_key, key_of, meta, reference
from navarch.machinery import claims, errors

_AGAIN_SECONDS = 15.0


def wanted(pod: core_v1.Pod) -> list[tuple[str, core_v1.PersistentVolumeClaim]]:
    """(volume, claim) for each ephemeral volume of a pod; nothing for one that is going."""
    m, found = meta(pod), []
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
            ownerReferences=[reference(pod)],
        )
        found.append((volume.name or "", core_v1.PersistentVolumeClaim(metadata=metadata, spec=template.spec)))
    return found


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
        yield Watch(core_v1.PersistentVolumeClaim, controller_key("Pod"))

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.by_key(key)
        if pod is None:
            return None
        for volume, claim in wanted(pod):
            problem = await self._made(pod, claim)
            if problem:
                self._events.event(pod, "Warning", "FailedBinding", f"ephemeral volume {volume}: {problem}")
                return _AGAIN_SECONDS
        return None

    async def _made(self, pod: core_v1.Pod, claim: core_v1.PersistentVolumeClaim) -> str:
        """Makes a claim that is missing; why that cannot be done."""
        m = meta(pod)
        held = self._claims.by_key(key_of(claim))
        if held is None:
            try:
                await self._client.create(claim)
                return ""
            except errors.AlreadyExists:
                held = await self._client.get(core_v1.PersistentVolumeClaim, meta(claim).name or "", m.namespace or "")
            except errors.ApiError as error:
                return f"create PVC {meta(claim).name}: {error}"
        return claims.not_made_for(held, m.namespace or "", m.name or "", m.uid or "")


def _with_ephemeral(pod: core_v1.Pod) -> Sequence[str]:
    volumes = (pod.spec.volumes if pod.spec else None) or ()
    return [key_of(pod)] if any(v.ephemeral is not None for v in volumes) else []
