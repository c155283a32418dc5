"""Decisions in words for people: per node the first filter that refused it and what it lacks, and the nearest miss of all.

What it is not: upstream has nothing like it; upstream's own sentence is `decide.Unschedulable.message`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from navarch.scheduler.core import decide
from navarch.scheduler.core.arrays import Mask
from navarch.scheduler.core.decide import Unschedulable
from navarch.scheduler.core.plugins import table
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.requests import PODS
from navarch.scheduler.core.view import View


@dataclass(frozen=True, slots=True)
class Row:
    """One node: who refused it and what is missing, or how many points it got."""

    node: str
    plugin: str
    text: str
    lacks: str


def rows(view: View, refused: Unschedulable) -> list[Row]:
    """Every refused node with what it lacks."""
    found: list[Row] = []
    for node, verdict in sorted(refused.verdicts.items()):
        slot = view.columns.slots[node]
        found.append(Row(node, verdict.plugin, ", ".join(verdict.texts), lacks(view, slot, verdict.plugin)))
    return found


def lacks(view: View, slot: int, plugin: str) -> str:
    """What would have to be different on a node; empty when the plugin's text says it all."""
    hint = table.HINTS.get(plugin)
    return hint(view, slot) if hint is not None else ""


def nearest(view: View, profile: Profile) -> str:
    """The node that misses least, in words: one that lacks only resources, else one that only a taint or cordon keeps."""
    columns = view.columns
    only = _refused_once(view, profile)
    lacking = only.get("NodeResourcesFit")
    if lacking is not None:
        share = np.zeros(columns.capacity, np.float64)
        for name, wanted in {**view.pod.requests, PODS: 1}.items():
            if wanted > 0:
                row = columns.row(name)
                missing = wanted - (columns.allocatable[row] - columns.requested[row])
                share += np.maximum(missing, 0) / wanted
        slots = np.flatnonzero(lacking)
        slot = int(slots[np.argmin(share[slots])])
        return f"node {columns.names[slot]} {lacks(view, slot, 'NodeResourcesFit')}"
    for plugin in ("TaintToleration", "NodeUnschedulable"):
        mask = only.get(plugin)
        if mask is not None:
            slot = int(np.flatnonzero(mask)[0])
            return f"node {columns.names[slot]} {lacks(view, slot, plugin)}"
    return ""


def _refused_once(view: View, profile: Profile) -> dict[str, Mask]:
    """Plugin → nodes that it alone refuses (topology is asked about all nodes)."""
    every = view.columns.alive
    refused: dict[str, Mask] = {}
    for name, check in decide.asked(profile, view.pod):
        masks = [r.nodes for r in check(view, every)]
        if masks:
            refused[name] = np.logical_or.reduce(masks) & every
    number = np.sum(list(refused.values()), axis=0)
    return {name: once for name, mask in refused.items() if (once := mask & (number == 1)).any()}
