"""Decisions in words for people: per node the first filter that refused it and what it lacks, and the nearest miss of all.

What it is not: upstream has nothing like it; upstream's own sentence is `schedule.Unschedulable.message`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from navarch.machinery import claims, quantity
from navarch.objects import tolerations
from navarch.scheduler.core import schedule, volume_binding
from navarch.scheduler.core.columns import Mask
from navarch.scheduler.core.filters import View
from navarch.scheduler.core.schedule import Unschedulable
from navarch.scheduler.core.terms import PODS


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
    match plugin:
        case "NodeResourcesFit":
            return f"needs {' and '.join(_deficits(view, slot))}"
        case "TaintToleration":
            return f"would fit if {' and '.join(_taints(view, slot))} were tolerated"
        case "NodeUnschedulable":
            return "would fit if it were uncordoned"
        case "NodeAffinity":
            return _labels(view, slot)
        case "NodeVolumeLimits":
            return _limits(view, slot)
        case "VolumeBinding":
            return _claims(view, slot)
    return ""


def _limits(view: View, slot: int) -> str:
    """The drivers that can attach no more there."""
    storage, node, volumes = view.columns.storage, view.columns.names[slot], view.ask.volumes
    drivers = sorted({driver for driver, _ in storage.handles_of(view.ask.namespace, volumes)}) if volumes is not None else []
    limits = {d: storage.limits[d][node] for d in drivers if node in storage.limits.get(d, {})}
    return ", ".join(f"{d} has {storage.numbers.get(d, {}).get(node, 0)} of {limit} volumes" for d, limit in limits.items())


def _claims(view: View, slot: int) -> str:
    """The claims for which no volume reaches the node."""
    found = []
    for match in volume_binding.plan(view).matches:
        if match.chosen[slot] < 0:
            size = amount("ephemeral-storage", claims.requested(match.claim) // quantity.NANO)
            found.append(f"claim {claims.meta(match.claim).name} ({size}, class {claims.class_of(match.claim)})")
    return f"no volume reaches it for {' and '.join(found)}" if found else ""


def _deficits(view: View, slot: int) -> list[str]:
    columns, found = view.columns, []
    for name, wanted in {**view.ask.requests, PODS: 1}.items():
        row = columns.row(name)
        missing = int(wanted - (columns.allocatable[row, slot] - columns.requested[row, slot]))
        if missing > 0 and wanted > 0:
            found.append(f"{amount(name, missing)} more {name}")
    return found or ["the room that another pod waits for"]


def amount(resource: str, value: int) -> str:
    """An amount as people write it."""
    if resource == "cpu":
        return quantity.canonical(f"{value}m")
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
            if value >= size:
                return f"{value // size}{unit}" if value % size == 0 else f"{value / size:.1f}{unit}"
    return str(value)


def _taints(view: View, slot: int) -> list[str]:
    found = []
    for (key, value, effect), mask in view.columns.taints.items():
        one = (key, value, effect)
        if mask[slot] and effect != "PreferNoSchedule" and not any(tolerations.tolerates(t, *one) for t in view.ask.tolerations):
            found.append(f"the taint {key}{'=' if value else ''}{value}:{effect}")
    return found


def _labels(view: View, slot: int) -> str:
    for key, value in view.ask.node_selector:
        column = view.columns.labels.get(key)
        code = int(column.codes[slot]) if column is not None else -1
        if column is None or code < 0:
            return f"has no label {key} (wanted {value})"
        held = next(v for v, c in column.values.items() if c == code)
        if held != value:
            return f"its label {key} is {held} (wanted {value})"
    return ""


def nearest(view: View, refused: Unschedulable) -> str:
    """The node that misses least, in words: one that lacks only resources, else one that only a taint or cordon keeps."""
    columns = view.columns
    only = _refused_once(view)
    lacking = only.get("NodeResourcesFit")
    if lacking is not None:
        share = np.zeros(columns.capacity, np.float64)
        for name, wanted in {**view.ask.requests, PODS: 1}.items():
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


def _refused_once(view: View) -> dict[str, Mask]:
    """Plugin → nodes that it alone refuses (topology is asked about all nodes)."""
    every = view.columns.alive
    said: dict[str, Mask] = {}
    for name, check in schedule.asked(view.profile, view.ask):
        masks = [r.nodes for r in check(view, every)]
        if masks:
            said[name] = np.logical_or.reduce(masks) & every
    number = np.sum(list(said.values()), axis=0)
    return {name: once for name, mask in said.items() if (once := mask & (number == 1)).any()}
