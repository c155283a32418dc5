"""scheduling.k8s.io: PriorityClasses.

Upstream counterparts: pkg/apis/scheduling/{v1/defaults.go,validation}.
"""

from __future__ import annotations

from typing import Any

from navarch.api.scheduling import v1 as scheduling_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, age_of, name_of, sheet
from navarch.apiserver.kinds.strategy import Key, Strategy
from navarch.machinery import field


def default_priority_class(obj: scheduling_v1.PriorityClass) -> None:
    obj.preemptionPolicy = obj.preemptionPolicy or "PreemptLowerPriority"


_SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
_HIGHEST = 1_000_000_000


def validate_priority_class(obj: scheduling_v1.PriorityClass) -> Found:
    found: Found = []
    assert obj.metadata is not None
    name = obj.metadata.name or ""
    if name.startswith("system-"):
        if name not in _SYSTEM_CLASSES:
            reserved = "priority class names with 'system-' prefix are reserved for system use only"
            why = f"{reserved}. error: {name} is not a known system priority class"
            found.append(field.forbidden("metadata.name", why))
    elif (obj.value or 0) > _HIGHEST:
        found.append(field.forbidden("value", f"maximum allowed value of a user defined priority is {_HIGHEST}"))
    checks.one_of(found, "preemptionPolicy", obj.preemptionPolicy, ("PreemptLowerPriority", "Never"), required=False)
    return found


def validate_priority_class_update(new: scheduling_v1.PriorityClass, old: scheduling_v1.PriorityClass) -> Found:
    found: Found = []
    if (new.value or 0) != (old.value or 0):
        found.append(field.forbidden("value", "may not be changed in an update."))
    checks.same(found, "preemptionPolicy", new.preemptionPolicy, old.preemptionPolicy)
    return found


def priority_class_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), t.get("value", 0), bool(t.get("globalDefault")), age_of(t, now), t.get("preemptionPolicy", "")]


KINDS: dict[Key, Strategy] = {
    ("scheduling.k8s.io", "priorityclasses"): Strategy(
        default=default_priority_class,
        validate=validate_priority_class,
        validate_update=validate_priority_class_update,
        generation=True,
        columns=sheet("Name|Value#|Global-Default?|Age|PreemptionPolicy*", priority_class_row),
    )
}
