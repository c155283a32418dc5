"""NodeUnschedulable and TaintToleration: nodes that keep pods away, and the pods that come all the same.

Upstream counterparts: plugins/nodeunschedulable, plugins/tainttoleration.
"""

from __future__ import annotations

import numpy as np

from navarch.objects import tolerations
from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.terms import PodTerms
from navarch.scheduler.core.view import At, Refusal, View


def _tolerated(pod: PodTerms, key: str, value: str, effect: str) -> bool:
    return any(tolerations.tolerates(t, key, value, effect) for t in pod.tolerations)


def unschedulable(view: View, at: At) -> list[Refusal]:
    if _tolerated(view.pod, "node.kubernetes.io/unschedulable", "", "NoSchedule"):
        return []
    return [Refusal("node(s) were unschedulable", view.columns.unschedulable[at], True)]


def untolerated_taints(view: View, at: At) -> list[Refusal]:
    refused = nodes_with_untolerated(view.columns, view.pod)
    return [] if refused is None else [Refusal("node(s) had untolerated taint(s)", refused[at], True)]


def nodes_with_untolerated(columns: Columns, pod: PodTerms) -> Mask | None:
    """Nodes with a NoSchedule or NoExecute taint the pod does not tolerate; None when there are none."""
    refused: Mask | None = None
    for (key, value, effect), mask in columns.taints.items():
        if effect in ("NoSchedule", "NoExecute") and not _tolerated(pod, key, value, effect):
            refused = mask.copy() if refused is None else refused | mask
    return refused


def preference(view: View, at: At) -> Ints | None:
    """How many PreferNoSchedule taints of a node are not tolerated."""
    counts = np.zeros(view.size(at), np.int64)
    for (key, value, effect), mask in view.columns.taints.items():
        if effect == "PreferNoSchedule" and not _tolerated(view.pod, key, value, effect):
            counts += mask[at]
    return counts
