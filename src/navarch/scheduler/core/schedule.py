"""One decision: the best node for a pod, or why there is none.

Upstream counterpart: pkg/scheduler/schedule_one.go (findNodesThatFitPod, prioritizeNodes, selectHost).
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from navarch.scheduler.core import filters, plugins, scores, topology, volume_filters
from navarch.scheduler.core.boards import Board, Boards
from navarch.scheduler.core.columns import Columns, Ints, Mask
from navarch.scheduler.core.filters import ALL, Refusal, View
from navarch.scheduler.core.profile import DEFAULT, Profile
from navarch.scheduler.core.terms import Ask, Demand


@dataclass(frozen=True, slots=True)
class Chosen:
    """A node for the pod; `seed` among how many equally good ones it was drawn from."""

    node: str
    score: int
    equals: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a node was refused: the first filter that did, and all it said. `final`: no eviction would help."""

    plugin: str
    texts: tuple[str, ...]
    final: bool


class Reason(NamedTuple):
    """What one filter said about some nodes (by slot)."""

    plugin: str
    text: str
    final: bool
    slots: Ints


@dataclass(frozen=True, eq=False)
class Unschedulable:
    """No node can take the pod, and why. One object may answer many pods with the same ask."""

    reasons: tuple[Reason, ...]
    names: tuple[str, ...]
    """Nodes by slot, at that time."""
    nodes: int
    whole: str = ""
    """A reason that concerns the pod, not nodes."""

    @functools.cached_property
    def message(self) -> str:
        """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`"""
        counted: dict[str, int] = {}
        for reason in self.reasons:
            counted[reason.text] = counted.get(reason.text, 0) + len(reason.slots)
        return histogram(counted, self.nodes, self.whole)

    @functools.cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """Every node's verdict."""
        found: dict[str, Verdict] = {}
        for plugin, text, final, slots in self.reasons:
            for slot in slots:
                name = self.names[int(slot)]
                held = found.get(name)
                texts, before = (held.texts, held.final) if held is not None else ((), False)
                found[name] = Verdict(plugin, (*texts, text), final or before)
        return found

    @property
    def plugins(self) -> frozenset[str]:
        """Who refused any node."""
        return frozenset(r.plugin for r in self.reasons)


def histogram(counted: Mapping[str, int], nodes: int, whole: str = "") -> str:
    """Texts with their numbers, in upstream's words."""
    if not nodes:
        return "no nodes available to schedule pods"
    head = f"0/{nodes} nodes are available:"
    if whole:
        return f"{head} {whole}."
    parts = sorted(f"{number} {text}" for text, number in counted.items())
    return f"{head} {', '.join(parts)}." if parts else head


Over = Callable[[View, Mask], list[Refusal]]
"""A filter over the nodes that are left."""


class Core:
    """The cluster and what is kept about it between decisions."""

    def __init__(self, columns: Columns | None = None) -> None:
        self.columns = columns if columns is not None else Columns()
        self.boards = Boards(self.columns)
        self._refused: OrderedDict[tuple[Ask, str], tuple[int, int, int, Unschedulable]] = OrderedDict()

    def schedule(self, demand: Demand, seed: int, profile: Profile = DEFAULT) -> Chosen | Unschedulable:
        """The best node; among equals the seed picks one."""
        board = self.boards.get(demand.ask, profile)
        mask = feasible(board, demand.ask)
        total = points(board, demand.ask, mask)
        top = int(total.max())
        if top < 0:
            return self._refuse(demand.ask, profile)
        best = np.flatnonzero(total == top)
        return Chosen(self.columns.names[self.columns.draw(best, seed)], top, len(best))

    def _refuse(self, ask: Ask, profile: Profile) -> Unschedulable:
        """Why; found once for pods that ask for the same while nothing changes."""
        now = (self.columns.moment, self.columns.node_generation, self.columns.storage.generation)
        held = self._refused.get((ask, profile.name))
        if held is not None and held[:3] == now:
            return held[3]
        found = explain(View(self.columns, ask, profile))
        if profile.filters:  # what they look at may change when nothing here does
            return found
        self._refused[ask, profile.name] = (*now, found)
        if len(self._refused) > _KEPT:
            self._refused.popitem(last=False)
        return found


def _own_view(board: Board, ask: Ask) -> View:
    view = board.view
    return view if view.ask is ask else View(view.columns, ask, view.profile)


def feasible(board: Board, ask: Ask) -> Mask:
    """The nodes that pass every filter."""
    mask = board.passes
    view = _own_view(board, ask)
    for name, check in TOPOLOGY_FILTERS if ask.volumes is None else over_filters(ask):
        if name not in view.profile.disabled_filters:
            for refusal in check(view, mask):
                mask = mask & ~refusal.nodes
    return plugins.passing(view, mask) if view.profile.filters else mask


def over_filters(ask: Ask) -> tuple[tuple[str, Over], ...]:
    """The filters that look at all nodes together; those about volumes only for a pod that has some."""
    return TOPOLOGY_FILTERS if ask.volumes is None else (*volume_filters.FILTERS, *TOPOLOGY_FILTERS)


def points(board: Board, ask: Ask, mask: Mask) -> Ints:
    """The weighted sum of all scores where `mask` holds, -1 elsewhere; what all nodes have alike may be left out."""
    if mask is board.passes and not board.scaled:
        view, total = _own_view(board, ask), board.merged
        extra = [(score(view, mask), view.profile.weights.get(name, 0)) for name, score in TOPOLOGY_SCORES]
        for part, weight in extra:
            if part is not None and weight:
                total = np.where(mask, total + part * weight, -1)
        return np.where(mask, total + plugins.points(view, mask), -1) if view.profile.scorers else total
    return np.where(mask, totals(board, ask, mask), -1)


def totals(board: Board, ask: Ask, mask: Mask) -> Ints:
    """The weighted sum of all scores, meaningful where `mask` holds."""
    view = _own_view(board, ask)
    total = board.totals(mask)
    for name, score in TOPOLOGY_SCORES:
        weight = view.profile.weights.get(name, 0)
        part = score(view, mask) if weight else None
        if part is not None:
            total = total + part * weight
    return total + plugins.points(view, mask) if view.profile.scorers else total


def parts(view: View, mask: Mask) -> dict[str, Ints]:
    """Each plugin's weighted score of every node, for explaining: computed anew."""
    found: dict[str, Ints] = {}
    weights = view.profile.weights
    for name, plain in scores.PLAIN:
        raw = plain(view, ALL)
        if raw is not None:
            found[name] = raw * weights.get(name, 0)
    for name, score, reverse in scores.SCALED:
        raw = score(view, ALL)
        if raw is not None:
            found[name] = scores.scaled(raw, mask, reverse=reverse) * weights.get(name, 0)
    for name, over in TOPOLOGY_SCORES:
        raw = over(view, mask)
        if raw is not None:
            found[name] = raw * weights.get(name, 0)
    for plugin in view.profile.scorers:
        raw = plugins.score(plugin, view, mask)
        if raw is not None:
            found[plugin.name] = raw * plugins.weight(view.profile, plugin)
    return found


def refusals(view: View) -> list[tuple[str, list[Refusal]]]:
    """What every filter says, in the profile's order (or upstream's), each about the nodes that passed those before it."""
    left = view.columns.alive.copy()
    found: list[tuple[str, list[Refusal]]] = []
    for name, check in _ordered(view.profile, view.ask):
        said = [Refusal(text, nodes & left, final) for text, nodes, final in check(view, left)]
        found.append((name, said))
        left = _less(left, said)
    return found


def asked(profile: Profile, ask: Ask) -> list[tuple[str, Over]]:
    """All filters of a profile, each as asked about the nodes that are left: the built-in ones first."""
    local: list[tuple[str, Over]] = [(name, functools.partial(_everywhere, check)) for name, check in (*filters.STATIC, *filters.DYNAMIC)]
    found = [pair for pair in (*local, *over_filters(ask)) if pair[0] not in profile.disabled_filters]
    own: list[tuple[str, Over]] = [
        (plugin.name, functools.partial(_everywhere, functools.partial(plugins.refusals, plugin))) for plugin in profile.filters
    ]
    return [*found, *own]


def _everywhere(check: filters.Filter, view: View, left: Mask) -> list[Refusal]:
    return check(view, ALL)


def _ordered(profile: Profile, ask: Ask) -> list[tuple[str, Over]]:
    found = asked(profile, ask)
    if profile.order:
        place = {name: i for i, name in enumerate(profile.order)}
        found.sort(key=lambda pair: place.get(pair[0], len(place)))
    return found


def _less(left: Mask, said: list[Refusal]) -> Mask:
    for refusal in said:
        left = left & ~refusal.nodes
    return left


CONFLICT = "pod affinity terms conflict"
NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
_KEPT = 256


def explain(view: View) -> Unschedulable:
    """What the filters say about every node."""
    columns = view.columns
    names, every = columns.names_now(), np.flatnonzero(columns.alive)
    named = filters.named_nodes(view.ask) if "NodeAffinity" not in view.profile.disabled_filters else None
    if named is not None and not named:
        return Unschedulable((Reason("NodeAffinity", CONFLICT, True, every),), names, columns.alive_count, CONFLICT)
    if view.ask.volumes is not None and (refused := volume_filters.whole(view)) is not None:
        return Unschedulable((Reason(refused[0], refused[1], True, every),), names, columns.alive_count, refused[1])
    said = [Reason(plugin, r.text, r.final, np.flatnonzero(r.nodes & columns.alive)) for plugin, found in refusals(view) for r in found]
    if named is not None:
        inside = np.zeros(columns.capacity, np.bool_)
        inside[[columns.slots[n] for n in named if n in columns.slots]] = True
        said = [r._replace(slots=r.slots[inside[r.slots]]) for r in said]
        said.append(Reason("NodeAffinity", NOT_NAMED, True, every[~inside[every]]))
    return Unschedulable(tuple(r for r in said if len(r.slots)), names, columns.alive_count)


TOPOLOGY_FILTERS: tuple[tuple[str, Over], ...] = (("PodTopologySpread", topology.spread), ("InterPodAffinity", topology.affinity))
TOPOLOGY_SCORES = (("PodTopologySpread", topology.spread_score), ("InterPodAffinity", topology.affinity_score))
