"""How many pods a PodDisruptionBudget lets go, and what its status says. Pure.

In: the budget, the pods it selects, how many pods their controllers want, the time. Out: the status, what to tell, and when to look again.

Upstream counterpart: pkg/controller/disruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.controllers.core import shares
from navarch.machinery import timestamps
from navarch.objects import meta, pods

CONDITION = "DisruptionAllowed"
DELETED_WITHIN = 120.0
"""Seconds in which a pod that was evicted is to be seen as being deleted; after that it counts as there again."""
STALE_AFTER = 120.0
"""Seconds after which a pod that is still not being deleted is said to be no target of a disruption."""


@dataclass(slots=True)
class Outcome:
    status: policy_v1.PodDisruptionBudgetStatus
    undeleted: list[core_v1.Pod] = field(default_factory=list)
    """Pods that were evicted long ago and are still there."""
    again: float | None = None


def spec_of(budget: policy_v1.PodDisruptionBudget) -> policy_v1.PodDisruptionBudgetSpec:
    return budget.spec or policy_v1.PodDisruptionBudgetSpec()


def counts_scales(budget: policy_v1.PodDisruptionBudget) -> bool:
    """Whether what the controllers of the pods want counts, not the pods there are: for all but an absolute `minAvailable`."""
    spec = spec_of(budget)
    return spec.maxUnavailable is not None or isinstance(spec.minAvailable, str)


def expected(budget: policy_v1.PodDisruptionBudget, total: int) -> tuple[int, int]:
    """(pods expected, pods that have to stay healthy) of a total. ValueError for shares that are none."""
    spec = spec_of(budget)
    if spec.maxUnavailable is not None:
        return total, max(0, total - shares.of(spec.maxUnavailable, total, up=True))
    if spec.minAvailable is not None:
        return total, shares.of(spec.minAvailable, total, up=True)
    return 0, 0


def decide(budget: policy_v1.PodDisruptionBudget, selected: Sequence[core_v1.Pod], total: int, now: float) -> Outcome:
    """The status. `total`: the pods there are, or that their controllers want, as `counts_scales` says."""
    wanted, desired = expected(budget, total)
    old = budget.status or policy_v1.PodDisruptionBudgetStatus()
    disrupted: dict[str, str] = {}
    undeleted, waits = [], []
    for pod in selected:
        since = (old.disruptedPods or {}).get(meta.of(pod).name or "")
        if since is None or meta.deleted(pod):
            continue
        left = timestamps.parse(since) + DELETED_WITHIN - now
        if left < 0:
            undeleted.append(pod)
        else:
            disrupted[meta.of(pod).name or ""] = since
            waits.append(left)
    healthy = sum(pods.is_ready(p) and not meta.deleted(p) and meta.of(p).name not in disrupted for p in selected)
    allowed = max(0, healthy - desired) if wanted > 0 else 0
    status = policy_v1.PodDisruptionBudgetStatus(
        currentHealthy=healthy,
        desiredHealthy=desired,
        expectedPods=wanted,
        disruptionsAllowed=allowed,
        disruptedPods=disrupted or None,
        observedGeneration=meta.of(budget).generation,
        conditions=old.conditions,
    )
    reason = "SufficientPods" if allowed else "InsufficientPods"
    _set_condition(status, "True" if allowed else "False", reason, "", now)
    return Outcome(status, undeleted, min(waits) + 1.0 if waits else None)


def failed(budget: policy_v1.PodDisruptionBudget, message: str, now: float) -> policy_v1.PodDisruptionBudgetStatus:
    """The status when nothing could be counted: nobody may go."""
    status = msgspec.structs.replace(budget.status or policy_v1.PodDisruptionBudgetStatus(), disruptionsAllowed=0)
    _set_condition(status, "False", "SyncFailed", message, now)
    return status


def _set_condition(status: policy_v1.PodDisruptionBudgetStatus, value: str, reason: str, message: str, now: float) -> None:
    """Sets the condition; its transition time moves only with its value."""
    held = next((c for c in status.conditions or () if c.type == CONDITION), None)
    since = held.lastTransitionTime if held is not None and held.status == value else timestamps.seconds(now)
    made = meta_v1.Condition(
        type=CONDITION, status=value, reason=reason, message=message, lastTransitionTime=since, observedGeneration=status.observedGeneration
    )
    status.conditions = [*(c for c in status.conditions or () if c.type != CONDITION), made]


def stale_after(pod: core_v1.Pod, now: float) -> float | None:
    """Seconds until a pod's condition DisruptionTarget is stale (0 when it is); None when it cannot be.

    The kubelet's own says why a pod will end, however long that takes.
    """
    found = pods.condition(pod, "DisruptionTarget")
    if meta.deleted(pod) or pods.finished(pod) or found is None or found.status != "True" or found.reason == "TerminationByKubelet":
        return None
    return max(0.0, timestamps.parse(found.lastTransitionTime or timestamps.seconds(0.0)) + STALE_AFTER - now)


def not_a_target(pod: core_v1.Pod, now: float) -> list[core_v1.PodCondition]:
    """The pod's conditions when its disruption did not come."""
    held = (pod.status.conditions if pod.status else None) or []
    made = core_v1.PodCondition(
        type="DisruptionTarget", status="False", lastTransitionTime=timestamps.seconds(now), observedGeneration=meta.of(pod).generation
    )
    return [*(c for c in held if c.type != "DisruptionTarget"), made]
