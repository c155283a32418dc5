"""Filters that look at a node alone: which nodes can take a pod.

A filter gets a `View` (the columns, the ask, the profile) and `at`: the slots to look at, all of them or those that changed.
It answers with `Refusal`s: a text, the mask of nodes (one entry per slot looked at) that give it, and whether no eviction could
help there. A node passes when no filter refuses it. `STATIC` ones depend only on the node's own properties, `DYNAMIC` ones on
the pods that are on it.

Upstream counterparts: pkg/scheduler/framework/plugins/{nodeunschedulable,nodename,tainttoleration,nodeaffinity,nodeports,
noderesources}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from navarch.api.core import v1 as core_v1
from navarch.lib import integers
from navarch.objects import tolerations
from navarch.scheduler.core.columns import FIELD, Columns, Ints, Mask
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.terms import PODS, Ask

At = Any
"""Slots to look at: an index array, or `ALL`."""
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class View:
    """What a plugin sees."""

    columns: Columns
    ask: Ask
    profile: Profile

    def size(self, at: At) -> int:
        return self.columns.capacity if at is ALL else len(at)


class Refusal(NamedTuple):
    """Nodes that a filter refuses for one reason."""

    text: str
    nodes: Mask
    final: bool


Filter = Callable[[View, At], list[Refusal]]


# ---- taints -------------------------------------------------------------------------------------------------------


def _tolerated(ask: Ask, key: str, value: str, effect: str) -> bool:
    return any(tolerations.tolerates(t, key, value, effect) for t in ask.tolerations)


def unschedulable(view: View, at: At) -> list[Refusal]:
    if _tolerated(view.ask, "node.kubernetes.io/unschedulable", "", "NoSchedule"):
        return []
    return [Refusal("node(s) were unschedulable", view.columns.unschedulable[at], True)]


def taints(view: View, at: At) -> list[Refusal]:
    refused = untolerated(view.columns, view.ask)
    return [] if refused is None else [Refusal("node(s) had untolerated taint(s)", refused[at], True)]


def untolerated(columns: Columns, ask: Ask) -> Mask | None:
    """Nodes with a NoSchedule or NoExecute taint the pod does not tolerate; None when there are none."""
    refused: Mask | None = None
    for (key, value, effect), mask in columns.taints.items():
        if effect in ("NoSchedule", "NoExecute") and not _tolerated(ask, key, value, effect):
            refused = mask.copy() if refused is None else refused | mask
    return refused


# ---- labels -------------------------------------------------------------------------------------------------------


def node_affinity(view: View, at: At) -> list[Refusal]:
    found: list[Refusal] = []
    added = view.profile.added_affinity
    enforced = added.requiredDuringSchedulingIgnoredDuringExecution if added is not None else None
    if enforced is not None:
        refused = ~_any_term(view.columns, enforced)
        found.append(Refusal("node(s) didn't match scheduler-enforced node affinity", refused[at], True))
    own = selected(view.columns, view.ask)
    if own is not None:
        others = found[0].nodes if found else False
        found.append(Refusal("node(s) didn't match Pod's node affinity/selector", ~own[at] & ~np.bool_(others), True))
    return found


def selected(columns: Columns, ask: Ask) -> Mask | None:
    """Nodes that the pod's nodeSelector and required node affinity accept; None when it has neither."""
    affinity = ask.node_affinity
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if required is None and not ask.node_selector:
        return None
    passed = columns.alive.copy()
    for key, value in ask.node_selector:
        passed &= _has(columns, key, (value,))
    if required is not None:
        passed &= _any_term(columns, required)
    return passed


def named_nodes(ask: Ask) -> frozenset[str] | None:
    """The only nodes that required terms on `metadata.name` leave; None when they leave others too."""
    affinity = ask.node_affinity
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if required is None or not required.nodeSelectorTerms:
        return None
    names: frozenset[str] = frozenset()
    for term in required.nodeSelectorTerms:
        wanted = [frozenset(f.values or ()) for f in term.matchFields or () if f.key == "metadata.name" and f.operator == "In"]
        if not wanted:
            return None
        names |= frozenset.intersection(*wanted)
    return names


def _any_term(columns: Columns, selector: core_v1.NodeSelector) -> Mask:
    either = np.zeros(columns.capacity, np.bool_)
    for term in selector.nodeSelectorTerms or ():
        either |= node_term(columns, term)
    return either


def node_term(columns: Columns, term: core_v1.NodeSelectorTerm) -> Mask:
    """Nodes that one node selector term matches; an empty term matches none."""
    if not term.matchExpressions and not term.matchFields:
        return np.zeros(columns.capacity, np.bool_)
    passed = columns.alive.copy()
    for r in term.matchExpressions or ():
        passed &= requirement(columns, r.key or "", r.operator, r.values or [])
    for r in term.matchFields or ():
        passed &= requirement(columns, FIELD + (r.key or ""), r.operator, r.values or [])
    return passed


def requirement(columns: Columns, key: str, operator: str | None, values: Sequence[str]) -> Mask:
    """Nodes whose label is as a requirement wants it."""
    match operator:
        case "In":
            return _has(columns, key, values)
        case "NotIn":
            return ~_has(columns, key, values)
        case "Exists":
            codes = columns.label(key)
            return np.zeros(columns.capacity, np.bool_) if codes is None else codes >= 0
        case "DoesNotExist":
            codes = columns.label(key)
            return np.ones(columns.capacity, np.bool_) if codes is None else codes < 0
        case "Gt" | "Lt":
            return _ordered(columns, key, operator, values[0] if values else "")
    return np.zeros(columns.capacity, np.bool_)


def _has(columns: Columns, key: str, values: Sequence[str]) -> Mask:
    column = columns.labels.get(key)
    if column is None:
        return np.zeros(columns.capacity, np.bool_)
    codes = [column.values[v] for v in values if v in column.values]
    if len(codes) == 1:
        same: Mask = column.codes == codes[0]
        return same
    return np.isin(column.codes, codes)


def _ordered(columns: Columns, key: str, operator: str, bound: str) -> Mask:
    column = columns.labels.get(key)
    passed = np.zeros(columns.capacity, np.bool_)
    if column is not None:
        for value, code in column.values.items():
            if integers.relates(value, operator, bound):
                passed |= column.codes == code
    return passed


# ---- what is taken ------------------------------------------------------------------------------------------------


def ports(view: View, at: At) -> list[Refusal]:
    if not view.ask.ports:
        return []
    refused = np.zeros(view.columns.capacity, np.bool_)
    for wanted in view.ask.ports:
        for used, users in view.columns.ports.items():
            if _clash(wanted, used):
                refused[list(users)] = True
        for slot, waiting in view.columns.nominated.items():
            taken = (p for d in waiting.values() if d.ask.priority >= view.ask.priority for p in d.ask.ports)
            refused[slot] |= any(_clash(wanted, used) for used in taken)
    return [Refusal("node(s) didn't have free ports for the requested pod ports", refused[at], False)]


def _clash(wanted: tuple[str, str, int], used: tuple[str, str, int]) -> bool:
    if wanted[2] != used[2] or wanted[0] != used[0]:
        return False
    return wanted[1] == used[1] or "0.0.0.0" in (wanted[1], used[1])


def resources(view: View, at: At) -> list[Refusal]:
    """Enough of everything. All that lacks is told, not only the first."""
    columns, fit = view.columns, view.profile.fit
    row = columns.resources[PODS]
    extra = reserved(view, at)
    used = columns.requested[row][at] + 1
    if extra is not None:
        used = used + extra.get(PODS, 0)
    found = [Refusal("Too many pods", used > columns.allocatable[row][at], False)]
    for name, wanted in view.ask.requests.items():
        if wanted <= 0 or ("/" in name and (name in fit.ignored or name.partition("/")[0] in fit.ignored_groups)):
            continue
        row = columns.row(name)
        has = columns.allocatable[row][at]
        free = has - columns.requested[row][at]
        if extra is not None:
            free = free - extra.get(name, 0)
        lacking = free < wanted
        if not lacking.any():
            continue
        never = has < wanted
        found.append(Refusal(f"Insufficient {name}", lacking & ~never, False))
        found.append(Refusal(f"Insufficient {name}", lacking & never, True))
    return found


def reserved(view: View, at: At) -> dict[str, Ints] | None:
    """What pods of the same or higher priority wait for on these nodes, by resource; None when nothing waits there."""
    nominated = view.columns.nominated
    if not nominated:
        return None
    where = {int(s): i for i, s in enumerate(at)} if at is not ALL else {s: s for s in nominated}
    found: dict[str, Ints] = {}
    for slot, waiting in nominated.items():
        index = where.get(slot)
        if index is None:
            continue
        for demand in waiting.values():
            if demand.ask.priority < view.ask.priority:
                continue
            for name, value in (*demand.ask.requests.items(), (PODS, 1)):
                if name not in found:
                    found[name] = np.zeros(view.size(at), np.int64)
                found[name][index] += value
    return found or None


STATIC: tuple[tuple[str, Filter], ...] = (
    ("NodeUnschedulable", unschedulable),
    ("TaintToleration", taints),
    ("NodeAffinity", node_affinity),
)
DYNAMIC: tuple[tuple[str, Filter], ...] = (
    ("NodePorts", ports),
    ("NodeResourcesFit", resources),
)
