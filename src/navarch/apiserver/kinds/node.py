"""node.k8s.io: RuntimeClasses.

Upstream counterparts: pkg/apis/node/validation, pkg/registry/node.
"""

from __future__ import annotations

from typing import Any

from navarch.api.node import v1 as node_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, age_of, name_of, sheet
from navarch.apiserver.kinds.strategy import Key, Strategy


def validate_runtime_class(obj: node_v1.RuntimeClass) -> Found:
    found: Found = []
    checks.label(found, "handler", obj.handler or "")
    return found


def validate_runtime_class_update(new: node_v1.RuntimeClass, old: node_v1.RuntimeClass) -> Found:
    found: Found = []
    checks.same(found, "handler", new.handler, old.handler)
    return found


def runtime_class_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), t.get("handler", ""), age_of(t, now)]


KINDS: dict[Key, Strategy] = {
    ("node.k8s.io", "runtimeclasses"): Strategy(
        validate=validate_runtime_class,
        validate_update=validate_runtime_class_update,
        create_on_update=True,
        conditional_update=True,
        columns=sheet("Name|Handler|Age", runtime_class_row),
    )
}
