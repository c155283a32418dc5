"""Pods that do not tolerate their node's NoExecute taints are deleted when their time there is over.

Upstream counterpart: pkg/controller/tainteviction.
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.core import v1 as core_v1
from navarch.controllers.core import nodes
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import errors, timestamps
from navarch.objects import meta, pods


class TaintEvictionController(Reconciler):
    """Deletes pods that do not tolerate their node's NoExecute taints, when their time there is over."""

    name = "taint-eviction"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("taint-eviction-controller")
        self._nodes = context.informer(core_v1.Node)
        self._pods = context.informer(core_v1.Pod)
        self._on_node = context.index(core_v1.Pod, "node", pods.node_of)
        self._since: dict[str, float] = {}

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Node, lambda n: [meta.key(p) for p in self._on_node.of(meta.of(n).name or "")])
        yield Watch(core_v1.Pod, lambda p: [meta.key(p)] if pods.node_of(p) else [])

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.by_key(key)
        if pod is None or meta.of(pod).deletionTimestamp is not None:
            self._since.pop(key, None)
            return None
        node = self._nodes.get(pods.node_of(pod)[0]) if pods.node_of(pod) else None
        taints = [t for t in ((node.spec.taints if node is not None and node.spec else None) or ()) if t.effect == "NoExecute"]
        if not taints:
            if self._since.pop(key, None) is not None:
                self._recorder.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        delay = nodes.eviction_delay(pod, taints)
        if delay is None:
            self._since.pop(key, None)
            return None
        now = self._context.monotonic()
        due = self._since.setdefault(key, now) + delay
        if due > now:
            return due - now
        self._since.pop(key, None)
        await self._evict(pod)
        return None

    async def _evict(self, pod: core_v1.Pod) -> None:
        m = meta.of(pod)
        recorder = self._recorder
        recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {m.namespace}/{m.name}")
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": timestamps.seconds(self._context.now()),
        }
        try:
            await self._context.client.patch(
                core_v1.Pod,
                m.name or "",
                {"status": {"conditions": [condition]}},
                m.namespace or "",
                how="strategic",
                subresource="status",
            )
            await self._context.client.delete(core_v1.Pod, m.name or "", m.namespace or "", uid=m.uid)
        except (errors.NotFound, errors.Conflict):
            return
