"""Decisions in which extenders have a say: which nodes they are asked about, and what is chosen of those that they leave.

Extenders are asked about the nodes that can take a pod (`feasible_nodes`). They take their time, and other pods are placed meanwhile;
what they leave is therefore decided about anew (`choose`): a node counts only if it can still take the pod. What extenders rejected
joins what the filters refused (`refused`).

Upstream counterpart: findNodesThatPassExtenders and prioritizeNodes in pkg/scheduler/schedule_one.go, where nothing happens meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from navarch.scheduler.core import decide
from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.decide import Chosen, Core, Reason, Unschedulable
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.terms import PodInfo
from navarch.scheduler.core.view import View

EXTENDER = "Extender"
LEFT_OUT = "node(s) were left out by an extender"
"""The reason of nodes that an extender neither returned nor gave a reason for."""


@dataclass(frozen=True, slots=True)
class NodeRejection:
    """A node that an extender rejected. `final`: eviction would not help."""

    text: str
    final: bool


def feasible_nodes(core: Core, info: PodInfo, profile: Profile) -> tuple[str, ...] | Unschedulable:
    """The nodes that can take the pod, by name; or why there is none."""
    mask = decide.feasible(core.evaluations.get(info.terms, profile), info.terms)
    slots = np.flatnonzero(mask & core.columns.alive)
    if not len(slots):
        return decide.explain(View(core.columns, info.terms, profile.arguments), profile)
    return tuple(sorted(core.columns.names[int(slot)] for slot in slots))


def choose(core: Core, info: PodInfo, seed: int, profile: Profile, among: Mapping[str, int]) -> Chosen | None:
    """The best of these nodes, with the extenders' points added to ours; None when none of them can take the pod any more."""
    columns = core.columns
    extra: Ints = np.zeros(columns.capacity, np.int64)
    allowed: Mask = np.zeros(columns.capacity, np.bool_)
    for name, points in among.items():
        slot = columns.slots.get(name)
        if slot is not None:
            allowed[slot], extra[slot] = True, points
    evaluation = core.evaluations.get(info.terms, profile)
    mask = decide.feasible(evaluation, info.terms) & columns.alive & allowed
    if not mask.any():
        return None
    total = decide.totals(evaluation, info.terms, mask) + extra
    top = int(total.max(where=mask, initial=-(2**62)))
    best = np.flatnonzero(mask & (total == top))
    return Chosen(columns.names[columns.draw(best, seed)], top, len(best))


def refused(core: Core, info: PodInfo, profile: Profile, rejected: Mapping[str, NodeRejection], offered: tuple[str, ...]) -> Unschedulable:
    """What the filters and the extenders have against every node. A node that was offered and not rejected with a reason was left out."""
    columns = core.columns
    found = decide.explain(View(columns, info.terms, profile.arguments), profile)
    ours = np.zeros(columns.capacity, np.bool_)
    for reason in found.reasons:
        ours[reason.slots] = True
    groups: dict[NodeRejection, list[int]] = {}
    for name in offered:
        slot = columns.slots.get(name)
        if slot is not None and columns.alive[slot] and not ours[slot]:
            groups.setdefault(rejected.get(name, NodeRejection(LEFT_OUT, True)), []).append(slot)
    theirs = tuple(Reason(EXTENDER, no.text, no.final, np.array(slots, np.int64)) for no, slots in groups.items())
    return Unschedulable((*found.reasons, *theirs), found.names, found.nodes, found.whole)
