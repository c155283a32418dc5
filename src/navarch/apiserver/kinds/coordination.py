"""coordination.k8s.io: Leases.

Upstream counterparts: pkg/apis/coordination/validation, pkg/registry/coordination.
"""

from __future__ import annotations

from typing import Any

from navarch.api.coordination import v1 as coordination_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, age_of, name_of, sheet, spec_of
from navarch.apiserver.kinds.strategy import Key, Strategy, again
from navarch.machinery import field


def validate_lease(obj: coordination_v1.Lease) -> Found:
    found: Found = []
    spec = obj.spec or coordination_v1.LeaseSpec()
    if spec.leaseDurationSeconds is not None and spec.leaseDurationSeconds <= 0:
        found.append(field.invalid("spec.leaseDurationSeconds", spec.leaseDurationSeconds, "must be greater than 0"))
    if spec.leaseTransitions is not None and spec.leaseTransitions < 0:
        found.append(field.invalid("spec.leaseTransitions", spec.leaseTransitions, checks.NOT_NEGATIVE))
    return found


def lease_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), spec_of(t).get("holderIdentity", ""), age_of(t, now)]


KINDS: dict[Key, Strategy] = {
    ("coordination.k8s.io", "leases"): Strategy(
        validate=validate_lease,
        validate_update=again(validate_lease),
        create_on_update=True,
        conditional_update=True,
        columns=sheet("Name|Holder|Age", lease_row),
    ),
    ("coordination.k8s.io", "leasecandidates"): Strategy(create_on_update=True),
}
