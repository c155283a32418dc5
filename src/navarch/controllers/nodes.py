"""Nodes: a range of pod addresses for each, taints by condition, Unknown when the kubelet is silent, eviction by taint.

Upstream counterparts: pkg/controller/nodeipam, pkg/controller/nodelifecycle, pkg/controller/tainteviction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import msgspec

from navarch.api.coordination import v1 as coordination_v1
from navarch.api.core import v1 as core_v1
from navarch.controllers import owners
from navarch.controllers.engine import Context, Reconciler, Watch
from navarch.controllers.owners import meta
from navarch.machinery import codec, errors, timestamps

LEASES = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_SILENT_SECONDS = 40.0
_STARTUP_SECONDS = 60.0

_BY_CONDITION: dict[tuple[str, str], str] = {
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OURS = frozenset({*_BY_CONDITION.values(), _UNSCHEDULABLE})


def status_of(node: core_v1.Node) -> core_v1.NodeStatus:
    return node.status or core_v1.NodeStatus()


def ready_condition(node: core_v1.Node) -> core_v1.NodeCondition | None:
    return next((c for c in status_of(node).conditions or () if c.type == "Ready"), None)


def wanted_taints(node: core_v1.Node, now: float) -> list[core_v1.Taint]:
    """The node's taints as its conditions and `unschedulable` demand; others stay."""
    spec = node.spec or core_v1.NodeSpec()
    held = list(spec.taints or ())
    wanted: dict[tuple[str, str], core_v1.Taint] = {}
    for condition in status_of(node).conditions or ():
        key = _BY_CONDITION.get((condition.type or "", condition.status or ""))
        if key is not None:
            wanted[key, "NoSchedule"] = core_v1.Taint(key=key, effect="NoSchedule")
            if key in (NOT_READY, UNREACHABLE):
                wanted[key, "NoExecute"] = core_v1.Taint(key=key, effect="NoExecute", timeAdded=timestamps.seconds(now))
    if ready_condition(node) is None:
        wanted[NOT_READY, "NoSchedule"] = core_v1.Taint(key=NOT_READY, effect="NoSchedule")
    if spec.unschedulable:
        wanted[_UNSCHEDULABLE, "NoSchedule"] = core_v1.Taint(key=_UNSCHEDULABLE, effect="NoSchedule", timeAdded=timestamps.seconds(now))
    kept = [t for t in held if t.key not in _OURS or (t.key, t.effect) in wanted]
    present = {(t.key, t.effect) for t in kept}
    return kept + [t for key, t in wanted.items() if key not in present]


def silenced(conditions: Sequence[core_v1.NodeCondition], now: float) -> list[core_v1.NodeCondition]:
    """A silent kubelet's conditions: all Unknown."""
    stamp = timestamps.seconds(now)
    made = []
    known = {c.type: c for c in conditions}
    for kind in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"):
        held = known.pop(kind, None)
        if held is None:
            made.append(
                core_v1.NodeCondition(
                    type=kind,
                    status="Unknown",
                    reason="NodeStatusNeverUpdated",
                    message="Kubelet never posted node status.",
                    lastHeartbeatTime=stamp,
                    lastTransitionTime=stamp,
                )
            )
        elif held.status != "Unknown":
            message = "Kubelet stopped posting node status."
            made.append(msgspec.structs.replace(held, status="Unknown", reason="NodeStatusUnknown", message=message, lastTransitionTime=stamp))
        else:
            made.append(held)
    return [*made, *known.values()]


class NodeAddressController(Reconciler):
    """Gives each node its part of the cluster's pod addresses."""

    name = "node-ipam"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("cidrAllocator")
        self._nodes = context.informer(core_v1.Node)
        self._network = ipaddress.ip_network(context.options["cluster_cidr"])
        self._size = context.options.get("node_cidr_mask_size") or (24 if self._network.version == 4 else 64)
        self._given: dict[str, str] = {}

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Node, lambda n: [owners.key_of(n)])

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._given.pop(key, None)
            return None
        if node.spec is not None and node.spec.podCIDR:
            self._given[key] = node.spec.podCIDR
            return None
        if key not in self._given:
            taken = {c for n in self._nodes.list() for c in ((n.spec.podCIDRs or ()) if n.spec else ())} | set(self._given.values())
            free = next((str(n) for n in self._network.subnets(new_prefix=self._size) if str(n) not in taken), None)
            if free is None:
                self._recorder.event(node, "Normal", "CIDRNotAvailable", f"Node {key} status is now: CIDRNotAvailable")
                return 30.0
            self._given[key] = free
        cidr = self._given[key]
        await self._context.client.patch(core_v1.Node, key, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
        return None


class NodeLifecycleController(Reconciler):
    """Marks silent nodes and taints nodes by their conditions."""

    name = "node-lifecycle"
    workers = 8

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("node-controller")
        self._nodes = context.informer(core_v1.Node)
        self._leases = context.informer(coordination_v1.Lease)
        context.index(core_v1.Pod, "node", _node_of)
        self._pods = context.informer(core_v1.Pod)
        self._heard: dict[str, tuple[str, float]] = {}

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Node, lambda n: [owners.key_of(n)])
        yield Watch(coordination_v1.Lease, lambda x: [meta(x).name or ""] if meta(x).namespace == LEASES else [])

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._heard.pop(key, None)
            return None
        now = self._context.now()
        silent = self._silence(node)
        ready = ready_condition(node)
        grace = _SILENT_SECONDS if ready is not None else _STARTUP_SECONDS
        if silent > grace and (ready is None or ready.status != "Unknown"):
            node = await self._mark(node, now)
        await self._taint(node, now)
        after = ready_condition(node)
        if after is not None and after.status != "True":
            await self._unready_pods(key)
        return max(1.0, grace - silent + 0.1) if silent <= grace else 10.0

    def _silence(self, node: core_v1.Node) -> float:
        """Seconds since this node's lease or status was last seen to change, by a clock that never jumps."""
        now = self._context.monotonic()
        name = meta(node).name or ""
        lease = self._leases.get(name, LEASES)
        ready = ready_condition(node)
        sign = f"{meta(lease).resourceVersion if lease is not None else ''}/{ready.lastHeartbeatTime if ready is not None else ''}"
        held = self._heard.get(name)
        if held is None or held[0] != sign:
            held = self._heard[name] = (sign, now)
        return now - held[1]

    async def _mark(self, node: core_v1.Node, now: float) -> core_v1.Node:
        conditions = silenced(status_of(node).conditions or (), now)
        patch = {"status": {"conditions": [msgspec.to_builtins(c) for c in conditions]}}
        name = meta(node).name or ""
        self._recorder.event(node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        return await self._context.client.patch(core_v1.Node, name, patch, how="strategic", subresource="status")

    async def _taint(self, node: core_v1.Node, now: float) -> None:
        held = list((node.spec.taints if node.spec else None) or ())
        wanted = wanted_taints(node, now)
        if codec.encode(wanted) == codec.encode(held):
            return
        m = meta(node)
        patch = {
            "metadata": {"resourceVersion": m.resourceVersion},
            "spec": {"taints": [msgspec.to_builtins(t) for t in wanted] or None},
        }
        await self._context.client.patch(core_v1.Node, m.name or "", patch)

    async def _unready_pods(self, node: str) -> None:
        """Pods of a node that is not ready are not ready either."""
        for pod in self._pods.by_index("node", node):
            ready = owners.condition(pod, "Ready")
            if ready is None or ready.status != "True":
                continue
            since = timestamps.seconds(self._context.now())
            condition = {"type": "Ready", "status": "False", "reason": "NodeNotReady", "lastTransitionTime": since}
            try:
                await self._context.client.patch(
                    core_v1.Pod,
                    meta(pod).name or "",
                    {"status": {"conditions": [condition]}},
                    meta(pod).namespace or "",
                    how="strategic",
                    subresource="status",
                )
            except errors.NotFound:
                continue


def _node_of(pod: core_v1.Pod) -> list[str]:
    return [pod.spec.nodeName] if pod.spec and pod.spec.nodeName else []


def tolerates(toleration: core_v1.Toleration, taint: core_v1.Taint) -> bool:
    """Whether a toleration covers a taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if (toleration.operator or "Equal") == "Exists":
        return True
    return bool(toleration.key) and (toleration.value or "") == (taint.value or "")


def eviction_delay(pod: core_v1.Pod, taints: Sequence[core_v1.Taint]) -> float | None:
    """Seconds a pod may stay beside NoExecute taints: None forever, 0 not at all."""
    shortest: float | None = None
    for taint in taints:
        matching = [t for t in ((pod.spec.tolerations or ()) if pod.spec else ()) if tolerates(t, taint)]
        if not matching:
            return 0.0
        limits = [float(max(t.tolerationSeconds, 0)) for t in matching if t.tolerationSeconds is not None]
        if limits:
            shortest = min(*limits, shortest) if shortest is not None else min(limits)
    return shortest


class TaintEvictionController(Reconciler):
    """Deletes pods that do not tolerate their node's NoExecute taints, when their time there is over."""

    name = "taint-eviction"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("taint-eviction-controller")
        context.index(core_v1.Pod, "node", _node_of)
        self._nodes = context.informer(core_v1.Node)
        self._pods = context.informer(core_v1.Pod)
        self._since: dict[str, float] = {}

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Node, lambda n: [owners.key_of(p) for p in self._pods.by_index("node", meta(n).name or "")])
        yield Watch(core_v1.Pod, lambda p: [owners.key_of(p)] if _node_of(p) else [])

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.by_key(key)
        if pod is None or meta(pod).deletionTimestamp is not None:
            self._since.pop(key, None)
            return None
        node = self._nodes.get(_node_of(pod)[0]) if _node_of(pod) else None
        taints = [t for t in ((node.spec.taints if node is not None and node.spec else None) or ()) if t.effect == "NoExecute"]
        if not taints:
            if self._since.pop(key, None) is not None:
                self._recorder.event(pod, "Normal", "TaintManagerEviction", f"Cancelling deletion of Pod {key}")
            return None
        delay = eviction_delay(pod, taints)
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
        m = meta(pod)
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
