"""One decision: the best node for a pod, or why there is none.

Upstream counterpart: pkg/scheduler/schedule_one.go (findNodesThatFitPod, prioritizeNodes, selectHost).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from navarch.scheduler.core import filters, scores, topology
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


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node can take the pod: each node's verdict, and the plugins that gave one."""

    verdicts: dict[str, Verdict]
    nodes: int
    whole: str = ""
    """A reason that concerns the pod, not nodes."""
    plugins: frozenset[str] = field(default_factory=frozenset)

    @property
    def message(self) -> str:
        """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`"""
        return histogram([t for v in self.verdicts.values() for t in v.texts], self.nodes, self.whole)


def histogram(texts: list[str], nodes: int, whole: str = "") -> str:
    """Texts counted, in upstream's words."""
    if not nodes:
        return "no nodes available to schedule pods"
    head = f"0/{nodes} nodes are available:"
    if whole:
        return f"{head} {whole}."
    counted: dict[str, int] = {}
    for text in texts:
        counted[text] = counted.get(text, 0) + 1
    parts = sorted(f"{number} {text}" for text, number in counted.items())
    return f"{head} {', '.join(parts)}." if parts else head


class Core:
    """The cluster and what is kept about it between decisions."""

    def __init__(self, columns: Columns | None = None) -> None:
        self.columns = columns if columns is not None else Columns()
        self.boards = Boards(self.columns)

    def schedule(self, demand: Demand, seed: int, profile: Profile = DEFAULT) -> Chosen | Unschedulable:
        """The best node; among equals the seed picks one."""
        board = self.boards.get(demand.ask, profile)
        mask = feasible(board, demand.ask)
        if not mask.any():
            return explain(View(self.columns, demand.ask, profile))
        total = totals(board, demand.ask, mask)
        total = np.where(mask, total, -1)
        top = int(total.max())
        best = np.flatnonzero(total == top)
        return Chosen(self.columns.names[int(best[seed % len(best)])], top, len(best))


def _own_view(board: Board, ask: Ask) -> View:
    view = board.view
    return view if view.ask is ask else View(view.columns, ask, view.profile)


def feasible(board: Board, ask: Ask) -> Mask:
    """The nodes that pass every filter."""
    mask = board.passes
    view = _own_view(board, ask)
    for name, check in TOPOLOGY_FILTERS:
        if name not in view.profile.disabled_filters:
            for refusal in check(view, mask):
                mask = mask & ~refusal.nodes
    return mask


def totals(board: Board, ask: Ask, mask: Mask) -> Ints:
    """The weighted sum of all scores, meaningful where `mask` holds."""
    view = _own_view(board, ask)
    total = board.totals(mask)
    for name, score in TOPOLOGY_SCORES:
        weight = view.profile.weights.get(name, 0)
        part = score(view, mask) if weight else None
        if part is not None:
            total = total + part * weight
    return total


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
    return found


def refusals(view: View) -> list[tuple[str, list[Refusal]]]:
    """What every filter says, in the order in which upstream's run, each about the nodes that passed those before it."""
    left = view.columns.alive.copy()
    found: list[tuple[str, list[Refusal]]] = []
    for name, check in (*filters.STATIC, *filters.DYNAMIC):
        if name not in view.profile.disabled_filters:
            said = [Refusal(text, nodes & left, final) for text, nodes, final in check(view, ALL)]
            found.append((name, said))
            left = _less(left, said)
    for name, over in TOPOLOGY_FILTERS:
        if name not in view.profile.disabled_filters:
            said = over(view, left)
            found.append((name, said))
            left = _less(left, said)
    return found


def _less(left: Mask, said: list[Refusal]) -> Mask:
    for refusal in said:
        left = left & ~refusal.nodes
    return left


CONFLICT = "pod affinity terms conflict"


def explain(view: View) -> Unschedulable:
    """Every node's verdict."""
    columns = view.columns
    named = filters.named_nodes(view.ask) if "NodeAffinity" not in view.profile.disabled_filters else None
    if named is not None and not named:
        verdict = Verdict("NodeAffinity", (CONFLICT,), True)
        nodes = {columns.names[int(s)]: verdict for s in np.flatnonzero(columns.alive)}
        return Unschedulable(nodes, columns.alive_count, CONFLICT, frozenset({"NodeAffinity"}))
    texts: dict[str, list[str]] = {}
    plugins: dict[str, str] = {}
    final: set[str] = set()
    for name, said in refusals(view):
        for refusal in said:
            for slot in np.flatnonzero(refusal.nodes):
                node = columns.names[int(slot)]
                plugins[node] = name
                texts.setdefault(node, []).append(refusal.text)
                if refusal.final:
                    final.add(node)
    verdicts = {node: Verdict(plugins[node], tuple(said), node in final) for node, said in texts.items()}
    if named is not None:
        outside = Verdict("NodeAffinity", ("node(s) didn't satisfy plugin(s) [NodeAffinity]",), True)
        verdicts = {node: v if node in named else outside for node, v in verdicts.items()}
    return Unschedulable(verdicts, columns.alive_count, "", frozenset(v.plugin for v in verdicts.values()))


TOPOLOGY_FILTERS = (("PodTopologySpread", topology.spread), ("InterPodAffinity", topology.affinity))
TOPOLOGY_SCORES = (("PodTopologySpread", topology.spread_score), ("InterPodAffinity", topology.affinity_score))
