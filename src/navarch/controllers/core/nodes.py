"""What a node's conditions mean: the taints it gets, what a silent kubelet's conditions become, how long a pod may stay. Pure.

Upstream counterparts: pkg/controller/nodelifecycle, pkg/controller/tainteviction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.machinery import timestamps
from navarch.objects import tolerations

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
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


def eviction_delay(pod: core_v1.Pod, taints: Sequence[core_v1.Taint]) -> float | None:
    """Seconds a pod may stay beside NoExecute taints: None forever, 0 not at all."""
    shortest: float | None = None
    for taint in taints:
        held = (pod.spec.tolerations or ()) if pod.spec else ()
        matching = [t for t in held if tolerations.tolerates(t, taint.key or "", taint.value or "", taint.effect or "")]
        if not matching:
            return 0.0
        limits = [float(max(t.tolerationSeconds, 0)) for t in matching if t.tolerationSeconds is not None]
        if limits:
            shortest = min(*limits, shortest) if shortest is not None else min(limits)
    return shortest
