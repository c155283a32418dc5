"""How many pods a ReplicaSet or ReplicationController lacks or has too many, which go first, and what its status says. Pure.

Upstream counterparts: pkg/controller/replicaset (manageReplicas, calculateStatus), pkg/controller/controller_utils.go (ActivePodsWithRanks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.lib import integers
from navarch.machinery import timestamps
from navarch.objects import meta, pods

_BURST = 500
Set = Any
"""A ReplicaSet or a ReplicationController: their specs and statuses have the same fields."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: pods to create, pods to delete."""

    create: int = 0
    delete: tuple[core_v1.Pod, ...] = ()


_PHASE_RANK = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(pod: core_v1.Pod, now: float, crowd: int = 0) -> tuple[Any, ...]:
    """Sorts pods so that those that are least missed come first: unassigned, pending, not ready, cheap, crowded, young, restarting."""
    spec, status = pod.spec or core_v1.PodSpec(), pod.status or core_v1.PodStatus()
    ready = pods.condition(pod, "Ready")
    ready_since = timestamps.parse(ready.lastTransitionTime) if ready is not None and ready.lastTransitionTime else 0.0
    created = timestamps.parse(meta.of(pod).creationTimestamp or "1970-01-01T00:00:00Z")
    cost = (meta.of(pod).annotations or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    restarts = max((s.restartCount or 0 for s in status.containerStatuses or ()), default=0)
    return (
        bool(spec.nodeName),
        _PHASE_RANK.get(status.phase or "", 0),
        pods.is_ready(pod),
        integers.parse(cost, -(2**31), 2**31 - 1) or 0,
        -crowd,
        -_log_age(now - ready_since) if pods.is_ready(pod) else 0,
        -restarts,
        -_log_age(now - created),
        meta.of(pod).uid or "",
    )


def _log_age(seconds: float) -> int:
    """Ages compared on a logarithmic scale, so that small differences do not count (KEP-2185)."""
    return -int(max(seconds, 1)).bit_length()


def decide(wanted: int, active: Sequence[core_v1.Pod], now: float) -> Plan:
    """Creates what is missing or deletes what is too much, the least missed first."""
    difference = len(active) - wanted
    if difference < 0:
        return Plan(create=min(-difference, _BURST))
    if difference == 0:
        return Plan()
    crowd: dict[str, int] = {}
    for pod in active:
        node = (pod.spec.nodeName if pod.spec else None) or ""
        crowd[node] = crowd.get(node, 0) + 1
    order = sorted(active, key=lambda p: deletion_order(p, now, crowd.get((p.spec.nodeName if p.spec else None) or "", 0)))
    return Plan(delete=tuple(order[: min(difference, _BURST)]))


def status_of(owner: Set, active: Sequence[core_v1.Pod], terminating: int, now: float, failure: str = "") -> Any:
    """The status that the set's pods make."""
    spec = owner.spec
    template_labels = (spec.template.metadata.labels if spec.template and spec.template.metadata else None) or {}
    labelled = sum(1 for p in active if all((meta.of(p).labels or {}).get(k) == v for k, v in template_labels.items()))
    minimum = spec.minReadySeconds or 0
    old = owner.status
    made = type(old)() if old is not None else _status_type(owner)()
    made.replicas = len(active)
    made.fullyLabeledReplicas = labelled or None
    made.readyReplicas = sum(1 for p in active if pods.is_ready(p)) or None
    made.availableReplicas = sum(1 for p in active if pods.is_available(p, minimum, now)) or None
    made.observedGeneration = meta.of(owner).generation
    if isinstance(made, apps_v1.ReplicaSetStatus):
        made.terminatingReplicas = terminating
    made.conditions = _conditions(owner, (old.conditions if old else None) or [], failure, now)
    return made


def _status_type(owner: Set) -> Any:
    return apps_v1.ReplicaSetStatus if isinstance(owner, apps_v1.ReplicaSet) else core_v1.ReplicationControllerStatus


def _conditions(owner: Set, held: Sequence[Any], failure: str, now: float) -> list[Any] | None:
    """ReplicaFailure while pods cannot be made. It keeps the message of the first failure: each names a pod that nobody will see."""
    rest = [c for c in held if c.type != "ReplicaFailure"]
    if failure:
        before = next((c for c in held if c.type == "ReplicaFailure"), None)
        rest.append(before if before is not None else _failure(owner, failure, now))
    return rest or None


def _failure(owner: Set, message: str, now: float) -> Any:
    kind = apps_v1.ReplicaSetCondition if isinstance(owner, apps_v1.ReplicaSet) else core_v1.ReplicationControllerCondition
    return kind(type="ReplicaFailure", status="True", reason="FailedCreate", message=message, lastTransitionTime=timestamps.seconds(now))


def next_available(owner: Set, active: Sequence[core_v1.Pod], now: float) -> float | None:
    """Seconds until the next pod becomes available by the passing of time."""
    minimum = owner.spec.minReadySeconds or 0
    if not minimum:
        return None
    waits = [
        timestamps.parse(c.lastTransitionTime) + minimum - now
        for p in active
        if (c := pods.condition(p, "Ready")) is not None and c.status == "True" and c.lastTransitionTime
    ]
    due = [w for w in waits if w > 0]
    return min(due) + 0.05 if due else None
