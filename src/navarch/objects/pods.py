"""Pods: whether they are finished, active, ready, available, and where they are.

Upstream counterparts: pkg/api/v1/pod and pkg/controller/controller_utils.go.
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.machinery import timestamps
from navarch.objects import meta


def is_active(pod: core_v1.Pod) -> bool:
    """Neither finished nor being deleted."""
    return not finished(pod) and not meta.deleted(pod)


def condition(pod: core_v1.Pod, kind: str) -> core_v1.PodCondition | None:
    """The pod's condition of a type."""
    return next((c for c in (pod.status.conditions or ()) if c.type == kind), None) if pod.status else None


def is_ready(pod: core_v1.Pod) -> bool:
    """Whether its condition Ready is True."""
    found = condition(pod, "Ready")
    return found is not None and found.status == "True"


def is_available(pod: core_v1.Pod, minimum_seconds: int, now: float) -> bool:
    """Ready, and for as long as `minReadySeconds` asks."""
    found = condition(pod, "Ready")
    if found is None or found.status != "True":
        return False
    if not minimum_seconds:
        return True
    return bool(found.lastTransitionTime) and timestamps.parse(found.lastTransitionTime or "") + minimum_seconds <= now


def finished(pod: core_v1.Pod) -> bool:
    """Whether all its containers have ended for good."""
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


def node_of(pod: core_v1.Pod) -> list[str]:
    """An index by the node a pod is on."""
    return [pod.spec.nodeName] if pod.spec and pod.spec.nodeName else []
