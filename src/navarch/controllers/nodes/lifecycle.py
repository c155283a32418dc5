"""Nodes that fall silent become Unknown, and every node has the taints its conditions demand.

Upstream counterpart: pkg/controller/nodelifecycle.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from navarch.api.coordination import v1 as coordination_v1
from navarch.api.core import v1 as core_v1
from navarch.controllers.core import nodes
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import codec, errors, timestamps
from navarch.objects import meta, pods

LEASES = "kube-node-lease"
_SILENT_SECONDS = 40.0
_STARTUP_SECONDS = 60.0


class NodeLifecycleController(Reconciler):
    """Marks silent nodes and taints nodes by their conditions."""

    name = "node-lifecycle"
    workers = 8

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("node-controller")
        self._nodes = context.informer(core_v1.Node)
        self._leases = context.informer(coordination_v1.Lease)
        self._on_node = context.index(core_v1.Pod, "node", pods.node_of)
        self._heard: dict[str, tuple[str, float]] = {}

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Node, lambda n: [meta.key(n)])
        yield Watch(coordination_v1.Lease, lambda x: [meta.of(x).name or ""] if meta.of(x).namespace == LEASES else [])

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._heard.pop(key, None)
            return None
        now = self._context.now()
        silent = self._silence(node)
        ready = nodes.ready_condition(node)
        grace = _SILENT_SECONDS if ready is not None else _STARTUP_SECONDS
        if silent > grace and (ready is None or ready.status != "Unknown"):
            node = await self._mark(node, now)
        await self._taint(node, now)
        after = nodes.ready_condition(node)
        if after is not None and after.status != "True":
            await self._unready_pods(key)
        return max(1.0, grace - silent + 0.1) if silent <= grace else 10.0

    def _silence(self, node: core_v1.Node) -> float:
        """Seconds since this node's lease or status was last seen to change, by a clock that never jumps."""
        now = self._context.monotonic()
        name = meta.of(node).name or ""
        lease = self._leases.get(name, LEASES)
        ready = nodes.ready_condition(node)
        sign = f"{meta.of(lease).resourceVersion if lease is not None else ''}/{ready.lastHeartbeatTime if ready is not None else ''}"
        held = self._heard.get(name)
        if held is None or held[0] != sign:
            held = self._heard[name] = (sign, now)
        return now - held[1]

    async def _mark(self, node: core_v1.Node, now: float) -> core_v1.Node:
        conditions = nodes.silenced(nodes.status_of(node).conditions or (), now)
        patch = {"status": {"conditions": [msgspec.to_builtins(c) for c in conditions]}}
        name = meta.of(node).name or ""
        self._recorder.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        return await self._context.client.patch(core_v1.Node, name, patch, how="strategic", subresource="status")

    async def _taint(self, node: core_v1.Node, now: float) -> None:
        held = list((node.spec.taints if node.spec else None) or ())
        wanted = nodes.wanted_taints(node, now)
        if codec.encode(wanted) == codec.encode(held):
            return
        m = meta.of(node)
        patch = {
            "metadata": {"resourceVersion": m.resourceVersion},
            "spec": {"taints": [msgspec.to_builtins(t) for t in wanted] or None},
        }
        await self._context.client.patch(core_v1.Node, m.name or "", patch)

    async def _unready_pods(self, node: str) -> None:
        """Pods of a node that is not ready are not ready either."""
        for pod in self._on_node.of(node):
            ready = pods.condition(pod, "Ready")
            if ready is None or ready.status != "True":
                continue
            since = timestamps.seconds(self._context.now())
            condition = {"type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": since}
            try:
                await self._context.client.patch(
                    core_v1.Pod,
                    meta.of(pod).name or "",
                    {"status": {"conditions": [condition]}},
                    meta.of(pod).namespace or "",
                    how="strategic",
                    subresource="status",
                )
            except errors.NotFound:
                continue
