"""Pod garbage collection: pods nobody else cleans up.

Finished pods beyond a number, pods on nodes that are gone, pods that were deleted before they were ever scheduled.

Upstream counterpart: pkg/controller/podgc.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from navarch.api.core import v1 as core_v1
from navarch.client.rest import Unreachable
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import errors, timestamps
from navarch.objects import meta, pods

_PERIOD_SECONDS = 20.0
_QUARANTINE_SECONDS = 40.0


def excess(every: Sequence[core_v1.Pod], threshold: int) -> list[core_v1.Pod]:
    """The oldest finished pods beyond the threshold."""
    done = sorted((p for p in every if pods.finished(p)), key=lambda p: (meta.of(p).creationTimestamp or "", meta.of(p).name or ""))
    return done[: max(0, len(done) - threshold)] if threshold > 0 else []


class PodGcController(Reconciler):
    """Looks over all pods every twenty seconds."""

    name = "pod-garbage-collector"
    workers = 0

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pods = context.informer(core_v1.Pod)
        self._nodes = context.informer(core_v1.Node)
        self._missing: dict[str, float] = {}

    def watches(self) -> Iterable[Watch]:
        return ()

    async def reconcile(self, key: str) -> float | None:
        raise AssertionError(f"no keys are watched: {key}")

    async def run(self) -> None:
        while True:
            await self._context.clock.sleep(_PERIOD_SECONDS)
            try:
                await self.collect()
            except (errors.ApiError, Unreachable):
                continue

    async def collect(self) -> None:
        """One pass."""
        every = self._pods.list()
        for pod in excess(every, self._context.settings.terminated_pod_gc_threshold):
            await self._remove(pod, "")
        for pod in self._orphans(every, self._context.monotonic()):
            if await self._node_is_gone((pod.spec.nodeName if pod.spec else "") or ""):
                await self._remove(pod, "PodGC: node no longer exists")
        for pod in every:
            if meta.of(pod).deletionTimestamp is not None and not (pod.spec and pod.spec.nodeName):
                await self._remove(pod, "")

    def _orphans(self, every: Sequence[core_v1.Pod], now: float) -> list[core_v1.Pod]:
        """Pods whose node has been missing for a while."""
        names = {p.spec.nodeName for p in every if p.spec and p.spec.nodeName}
        gone = {n for n in names if self._nodes.get(n) is None}
        self._missing = {n: self._missing.get(n, now) for n in gone}
        old = {n for n, since in self._missing.items() if now - since >= _QUARANTINE_SECONDS}
        return [p for p in every if p.spec and p.spec.nodeName in old]

    async def _node_is_gone(self, name: str) -> bool:
        try:
            await self._context.client.get(core_v1.Node, name)
        except errors.NotFound:
            return True
        return False

    async def _remove(self, pod: core_v1.Pod, why: str) -> None:
        """Deletes at once; a pod that has not finished is marked failed first."""
        m = meta.of(pod)
        try:
            if not pods.finished(pod) and why:
                condition = {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": why,
                    "lastTransitionTime": timestamps.seconds(self._context.now()),
                }
                status = {"phase": "Failed", "conditions": [condition]}
                await self._context.client.patch(
                    core_v1.Pod, m.name or "", {"status": status}, m.namespace or "", how="strategic", subresource="status"
                )
            await self._context.client.delete(core_v1.Pod, m.name or "", m.namespace or "", uid=m.uid, grace=0)
        except (errors.NotFound, errors.Conflict):
            return
