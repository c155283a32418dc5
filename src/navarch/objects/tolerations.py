"""Tolerations: which taints a pod accepts.

Upstream counterpart: k8s.io/component-helpers/scheduling/corev1 (ToleratesTaint), with the operators Lt and Gt of KEP-5471.
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.lib import integers


def tolerates(toleration: core_v1.Toleration, key: str, value: str, effect: str) -> bool:
    """Whether a toleration covers a taint."""
    if toleration.effect and toleration.effect != effect:
        return False
    if toleration.key and toleration.key != key:
        return False
    match toleration.operator or "Equal":
        case "Exists":
            return True
        case "Equal":
            return (toleration.value or "") == value
        case "Lt" | "Gt" as operator:
            return integers.relates(value, operator, toleration.value or "")
    return False
