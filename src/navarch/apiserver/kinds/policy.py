"""policy: PodDisruptionBudgets.

Upstream counterparts: pkg/apis/policy/validation, pkg/registry/policy/poddisruptionbudget.
"""

from __future__ import annotations

from typing import Any

from navarch.api.policy import v1 as policy_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy, again
from navarch.machinery import codec, field


def prepare_budget(obj: policy_v1.PodDisruptionBudget, now: float) -> None:
    obj.status = policy_v1.PodDisruptionBudgetStatus(currentHealthy=0, desiredHealthy=0, disruptionsAllowed=0, expectedPods=0)


def validate_budget(obj: policy_v1.PodDisruptionBudget) -> Found:
    found: Found = []
    spec = obj.spec or policy_v1.PodDisruptionBudgetSpec()
    if spec.minAvailable is not None and spec.maxUnavailable is not None:
        found.append(field.invalid("spec", codec.to_tree(spec), "minAvailable and maxUnavailable cannot be both set"))
    for part in ("minAvailable", "maxUnavailable"):
        checks.percent_or_count(found, f"spec.{part}", getattr(spec, part))
        checks.at_most_hundred(found, f"spec.{part}", getattr(spec, part))
    checks.selector(found, "spec.selector", spec.selector)
    if spec.unhealthyPodEvictionPolicy is not None:
        checks.one_of(found, "spec.unhealthyPodEvictionPolicy", spec.unhealthyPodEvictionPolicy, ("AlwaysAllow", "IfHealthyBudget"))
    return found


def budget_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    bounds = [str(spec[n]) if spec.get(n) is not None else "N/A" for n in ("minAvailable", "maxUnavailable")]
    return [name_of(t, now), *bounds, status_of(t).get("disruptionsAllowed", 0), age_of(t, now)]


KINDS: dict[Key, Strategy] = {
    ("policy", "poddisruptionbudgets"): Strategy(
        prepare_create=prepare_budget,
        validate=validate_budget,
        validate_update=again(validate_budget),
        generation=True,
        conditional_update=True,
        columns=sheet("Name|Min Available|Max Unavailable|Allowed Disruptions#|Age", budget_row),
    )
}
