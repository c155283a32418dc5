"""NodeAffinity: the labels and names that a pod's node selector and affinity ask for.

Upstream counterpart: plugins/nodeaffinity.
"""

from __future__ import annotations

import numpy as np

from navarch.scheduler.core import node_selectors
from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.terms import PodTerms
from navarch.scheduler.core.view import At, Refusal, View

CONFLICT = "pod affinity terms conflict"


def required(view: View, at: At) -> list[Refusal]:
    found: list[Refusal] = []
    added = view.arguments.added_affinity
    enforced = added.requiredDuringSchedulingIgnoredDuringExecution if added is not None else None
    if enforced is not None:
        refused = ~node_selectors.any_term(view.columns, enforced)
        found.append(Refusal("node(s) didn't match scheduler-enforced node affinity", refused[at], True))
    own = selected(view.columns, view.pod)
    if own is not None:
        others = found[0].nodes if found else False
        found.append(Refusal("node(s) didn't match Pod's node affinity/selector", ~own[at] & ~np.bool_(others), True))
    return found


def pre_filter(view: View) -> str:
    """Says so when the required terms contradict each other about the node's name."""
    names = named_nodes(view.pod)
    return CONFLICT if names is not None and not names else ""


def selected(columns: Columns, pod: PodTerms) -> Mask | None:
    """Nodes that the pod's nodeSelector and required node affinity accept; None when it has neither."""
    affinity = pod.node_affinity
    wanted = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if wanted is None and not pod.node_selector:
        return None
    passed = columns.alive.copy()
    for key, value in pod.node_selector:
        passed &= node_selectors.has(columns, key, (value,))
    if wanted is not None:
        passed &= node_selectors.any_term(columns, wanted)
    return passed


def named_nodes(pod: PodTerms) -> frozenset[str] | None:
    """The only nodes that required terms on `metadata.name` leave; None when they leave others too."""
    affinity = pod.node_affinity
    selector = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if selector is None or not selector.nodeSelectorTerms:
        return None
    names: frozenset[str] = frozenset()
    for term in selector.nodeSelectorTerms:
        wanted = [frozenset(f.values or ()) for f in term.matchFields or () if f.key == "metadata.name" and f.operator == "In"]
        if not wanted:
            return None
        names |= frozenset.intersection(*wanted)
    return names


def preferred(view: View, at: At) -> Ints | None:
    """The weights of the preferred terms a node matches: the pod's and the profile's."""
    found: Ints | None = None
    for chosen in (view.pod.node_affinity, view.arguments.added_affinity):
        for term in (chosen.preferredDuringSchedulingIgnoredDuringExecution if chosen is not None else None) or ():
            if term.preference is None or not term.weight:
                continue
            part = node_selectors.node_term(view.columns, term.preference)[at] * term.weight
            found = part.astype(np.int64) if found is None else found + part
    return found
