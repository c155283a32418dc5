"""One decision: the best node for a pod, or why there is none.

Upstream counterpart: pkg/scheduler/schedule_one.go (findNodesThatFitPod, prioritizeNodes, selectHost).
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.evaluation import Evaluation, Evaluations
from navarch.scheduler.core.plugin import Filter, Scope, scaled
from navarch.scheduler.core.plugins import node_affinity, own, table
from navarch.scheduler.core.profile import DEFAULT, Profile
from navarch.scheduler.core.terms import PodInfo, PodTerms
from navarch.scheduler.core.view import ALL, Refusal, View

NOT_NAMED = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
_KEPT = 256
_LOCAL_FILTERS = table.filters(Scope.NODE, Scope.PODS)
_DOMAIN_FILTERS = table.filters(Scope.DOMAINS)
_ALL_NODES_FILTERS = table.filters(Scope.VOLUMES, Scope.DOMAINS)
_LOCAL_SCORES = table.scores(Scope.NODE, Scope.PODS)
_DOMAIN_SCORES = table.scores(Scope.DOMAINS)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A node for the pod; `equals`: among how many equally good ones it was drawn."""

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
    """No node can take the pod, and why. One object may answer many pods with the same terms."""

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


class Core:
    """The cluster and what is kept about it between decisions."""

    def __init__(self, columns: Columns | None = None) -> None:
        self.columns = columns if columns is not None else Columns()
        self.evaluations = Evaluations(self.columns)
        self._refused: OrderedDict[tuple[PodTerms, str], tuple[int, int, int, Unschedulable]] = OrderedDict()

    def schedule(self, info: PodInfo, seed: int, profile: Profile = DEFAULT) -> Chosen | Unschedulable:
        """The best node; among equals the seed picks one."""
        evaluation = self.evaluations.get(info.terms, profile)
        mask = feasible(evaluation, info.terms)
        total = points(evaluation, info.terms, mask)
        top = int(total.max())
        if top < 0:
            return self._refuse(info.terms, profile)
        best = np.flatnonzero(total == top)
        return Chosen(self.columns.names[self.columns.draw(best, seed)], top, len(best))

    def _refuse(self, pod: PodTerms, profile: Profile) -> Unschedulable:
        """Why; found once for pods that ask for the same while nothing changes."""
        now = (self.columns.pod_generation, self.columns.node_generation, self.columns.storage.generation)
        held = self._refused.get((pod, profile.name))
        if held is not None and held[:3] == now:
            return held[3]
        found = explain(View(self.columns, pod, profile.arguments), profile)
        if profile.filters:  # what they look at may change when nothing here does
            return found
        self._refused[pod, profile.name] = (*now, found)
        if len(self._refused) > _KEPT:
            self._refused.popitem(last=False)
        return found


def _own_view(evaluation: Evaluation, pod: PodTerms) -> View:
    view = evaluation.view
    return view if view.pod is pod else View(view.columns, pod, view.arguments)


def feasible(evaluation: Evaluation, pod: PodTerms) -> Mask:
    """The nodes that pass every filter."""
    mask, profile = evaluation.passes, evaluation.profile
    view = _own_view(evaluation, pod)
    for name, check in all_nodes_filters(pod):
        if name not in profile.disabled_filters:
            for refusal in check(view, mask):
                mask = mask & ~refusal.nodes
    return own.passing(profile, view, mask) if profile.filters else mask


def all_nodes_filters(pod: PodTerms) -> tuple[tuple[str, Filter], ...]:
    """The filters that look at all nodes together; those about volumes only for a pod that has some."""
    return _DOMAIN_FILTERS if pod.volumes is None else _ALL_NODES_FILTERS


def points(evaluation: Evaluation, pod: PodTerms, mask: Mask) -> Ints:
    """The weighted sum of all scores where `mask` holds, -1 elsewhere; what all nodes have alike may be left out."""
    if mask is evaluation.passes and not evaluation.relative:
        profile, view, total = evaluation.profile, _own_view(evaluation, pod), evaluation.merged
        extra = [(score(view, mask), profile.weights.get(name, 0)) for name, score in _DOMAIN_SCORES]
        for part, weight in extra:
            if part is not None and weight:
                total = np.where(mask, total + part * weight, -1)
        return np.where(mask, total + own.points(profile, view, mask), -1) if profile.scorers else total
    return np.where(mask, totals(evaluation, pod, mask), -1)


def totals(evaluation: Evaluation, pod: PodTerms, mask: Mask) -> Ints:
    """The weighted sum of all scores, meaningful where `mask` holds."""
    profile, view = evaluation.profile, _own_view(evaluation, pod)
    total = evaluation.totals(mask)
    for name, score in _DOMAIN_SCORES:
        weight = profile.weights.get(name, 0)
        part = score(view, mask) if weight else None
        if part is not None:
            total = total + part * weight
    return total + own.points(profile, view, mask) if profile.scorers else total


def parts(view: View, profile: Profile, mask: Mask) -> dict[str, Ints]:
    """Each plugin's weighted score of every node, for explaining: computed anew."""
    found: dict[str, Ints] = {}
    weights = profile.weights
    for name, score in _LOCAL_SCORES:
        raw = score(view, ALL)
        if raw is not None:
            found[name] = raw * weights.get(name, 0)
    for name, score, reverse in table.SCALED:
        raw = score(view, ALL)
        if raw is not None:
            found[name] = scaled(raw, mask, reverse=reverse) * weights.get(name, 0)
    for name, score in _DOMAIN_SCORES:
        raw = score(view, mask)
        if raw is not None:
            found[name] = raw * weights.get(name, 0)
    for plugin in profile.scorers:
        raw = own.score(plugin, view, mask)
        if raw is not None:
            found[plugin.name] = raw * own.weight(profile, plugin)
    return found


def refusals(view: View, profile: Profile) -> list[tuple[str, list[Refusal]]]:
    """What every filter says, in the profile's order (or upstream's), each about the nodes that passed those before it."""
    left = view.columns.alive.copy()
    found: list[tuple[str, list[Refusal]]] = []
    for name, check in _ordered(profile, view.pod):
        refused = [Refusal(text, nodes & left, final) for text, nodes, final in check(view, left)]
        found.append((name, refused))
        for refusal in refused:
            left = left & ~refusal.nodes
    return found


def asked(profile: Profile, pod: PodTerms) -> list[tuple[str, Filter]]:
    """All filters of a profile, each as asked about the mask of the nodes that are left: the built-in ones first."""
    local: list[tuple[str, Filter]] = [(name, functools.partial(_everywhere, check)) for name, check in _LOCAL_FILTERS]
    found = [pair for pair in (*local, *all_nodes_filters(pod)) if pair[0] not in profile.disabled_filters]
    return [*found, *((p.name, functools.partial(_everywhere, functools.partial(own.refusals, p))) for p in profile.filters)]


def _everywhere(check: Filter, view: View, left: Mask) -> list[Refusal]:
    return check(view, ALL)


def _ordered(profile: Profile, pod: PodTerms) -> list[tuple[str, Filter]]:
    found = asked(profile, pod)
    if profile.order:
        place = {name: i for i, name in enumerate(profile.order)}
        found.sort(key=lambda pair: place.get(pair[0], len(place)))
    return found


def explain(view: View, profile: Profile) -> Unschedulable:
    """What the filters say about every node."""
    columns = view.columns
    names, every = columns.names_now(), np.flatnonzero(columns.alive)
    for plugin, check in table.PRE_FILTERS:
        if plugin not in profile.disabled_filters and (text := check(view)):
            return Unschedulable((Reason(plugin, text, True, every),), names, columns.alive_count, text)
    found = [Reason(plugin, r.text, r.final, np.flatnonzero(r.nodes & columns.alive)) for plugin, refused in refusals(view, profile) for r in refused]
    named = node_affinity.named_nodes(view.pod) if "NodeAffinity" not in profile.disabled_filters else None
    if named is not None:
        inside = np.zeros(columns.capacity, np.bool_)
        inside[[columns.slots[n] for n in named if n in columns.slots]] = True
        found = [r._replace(slots=r.slots[inside[r.slots]]) for r in found]
        found.append(Reason("NodeAffinity", NOT_NAMED, True, every[~inside[every]]))
    return Unschedulable(tuple(r for r in found if len(r.slots)), names, columns.alive_count)
