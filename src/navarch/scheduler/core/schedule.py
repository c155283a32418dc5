"""One decision: the best node for a pod, or why there is none.

Upstream counterpart: pkg/scheduler/schedule_one.go (findNodesThatFitPod, prioritizeNodes, selectHost).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from navarch.scheduler.core.columns import Columns, Ints, Mask
from navarch.scheduler.core.filters import FILTERS, Reasons
from navarch.scheduler.core.scores import SCORES
from navarch.scheduler.core.terms import Demand


@dataclass(frozen=True, slots=True)
class Chosen:
    """A node for the pod, and the points it got per plugin (weighted)."""

    node: str
    points: dict[str, int]


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node can take the pod. `reasons`: text → the nodes that give it."""

    reasons: dict[str, tuple[str, ...]]
    nodes: int

    @property
    def message(self) -> str:
        """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`"""
        parts = sorted(f"{len(nodes)} {text}" for text, nodes in self.reasons.items())
        head = f"0/{self.nodes} nodes are available"
        return f"{head}: {', '.join(parts)}." if parts else f"{head}."


def feasible(columns: Columns, demand: Demand, reasons: Reasons) -> Mask:
    """The nodes that pass every filter."""
    left = columns.alive.copy()
    for check in FILTERS:
        left = check(columns, demand, left, reasons)
        if not left.any():
            break
    return left


def total_scores(columns: Columns, demand: Demand, mask: Mask) -> tuple[Ints, dict[str, Ints]]:
    """The sum over plugins, and each plugin's weighted part."""
    total = np.zeros(columns.capacity, np.int64)
    parts: dict[str, Ints] = {}
    for name, score, weight in SCORES:
        found = score(columns, demand, mask)
        if found is not None:
            parts[name] = found * weight
            total = total + parts[name]
    return total, parts


def schedule(columns: Columns, demand: Demand, seed: int) -> Chosen | Unschedulable:
    """The best node; among equals the seed picks one."""
    reasons = Reasons(columns)
    mask = feasible(columns, demand, reasons)
    slots = np.flatnonzero(mask)
    if not len(slots):
        return Unschedulable(_named(columns, reasons), columns_alive(columns))
    if len(slots) == 1:
        return Chosen(columns.names[int(slots[0])], {})
    total, parts = total_scores(columns, demand, mask)
    own = total[slots]
    best = slots[own == own.max()]
    slot = int(best[seed % len(best)])
    return Chosen(columns.names[slot], {name: int(part[slot]) for name, part in parts.items()})


def columns_alive(columns: Columns) -> int:
    return int(columns.alive.sum())


def _named(columns: Columns, reasons: Reasons) -> dict[str, tuple[str, ...]]:
    return {text: tuple(columns.names[int(s)] for s in np.flatnonzero(mask & columns.alive)) for text, mask in reasons.masks.items()}
