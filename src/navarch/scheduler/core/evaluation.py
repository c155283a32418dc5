"""What pods of equal signature find on every node, kept between decisions.

An `Evaluation` holds, for one signature, which nodes the local filters let pass and how the local scores add up. When the next pod
of that signature comes, only the slots whose pods changed since are looked at again; a change of the nodes themselves starts
the evaluation anew. So a row of identical pods costs a few look-ups and one argmax each.

Upstream counterpart: framework/runtime/batch.go reuses a sorted list for a few identical pods in a row; this always does.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.plugin import MOST, Scope, scaled
from navarch.scheduler.core.plugins import table
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.terms import PodTerms
from navarch.scheduler.core.view import ALL, At, View

_KEPT, _FEW, _STATES = 64, 8, 4096
_NODE_FILTERS = table.filters(Scope.NODE)
_POD_FILTERS = table.filters(Scope.PODS)
_PLAIN_SCORES = table.scores(Scope.NODE, Scope.PODS)


@dataclass(slots=True)
class Evaluation:
    """One signature's view of all nodes."""

    view: View
    profile: Profile
    generation: int
    pod_generation: int
    static: Mask
    """Nodes that pass as far as their own properties go."""
    passes: Mask
    plain: Ints
    """The weighted sum of the plain scores."""
    merged: Ints
    """The same where a node passes, -1 where it does not."""
    relative: list[tuple[int, Ints, bool]]
    """Raw scores with weight and direction, where they are not the same everywhere."""
    constant: int
    """What the scaled scores that are the same everywhere add."""
    recalls: bool
    """Whether a node's resources alone decide, so that equal nodes are found alike."""
    known: dict[bytes, tuple[bool, int]] = field(default_factory=dict)

    def update(self) -> None:
        """Looks again at the slots that changed."""
        columns = self.view.columns
        if self.pod_generation == columns.pod_generation:
            return
        changed = columns.changed_since(self.pod_generation)
        self.pod_generation = columns.pod_generation
        if changed is None or len(changed) > columns.capacity // 2:
            self._look(ALL)
            return
        few = self.recalls and len(changed) <= _FEW
        again = [s for s in changed if not self._recall(s)] if few else list(changed)
        if again:
            self._look(np.array(again))
            if few:
                self._remember(again)

    def _state(self, slot: int) -> bytes | None:
        """All that decides about a node whose own properties pass; None when more does."""
        columns = self.view.columns
        if slot in columns.nominated or not self.static[slot]:
            return None
        return columns.requested[:, slot].tobytes() + columns.allocatable[:, slot].tobytes() + columns.scored[:, slot].tobytes()

    def _recall(self, slot: int) -> bool:
        """Nodes of one size fill up through the same states: what was found for one holds for the others (measured: 5 µs, not 60)."""
        state = self._state(slot)
        found = self.known.get(state) if state is not None else None
        if found is None:
            return False
        self.passes[slot], self.plain[slot] = found
        self.merged[slot] = found[1] if found[0] else -1
        return True

    def _remember(self, slots: list[int]) -> None:
        if len(self.known) > _STATES:
            self.known.clear()
        for slot in slots:
            state = self._state(slot)
            if state is not None:
                self.known[state] = (bool(self.passes[slot]), int(self.plain[slot]))

    def _look(self, at: At) -> None:
        passes = self.static[at].copy()
        for name, check in _POD_FILTERS:
            if name in self.profile.disabled_filters:
                continue
            for refusal in check(self.view, at):
                passes &= ~refusal.nodes
        self.passes[at] = passes
        total: Ints | int = 0
        for name, score in _PLAIN_SCORES:
            weight = self.profile.weights.get(name, 0)
            part = score(self.view, at) if weight else None
            if part is not None:
                total = total + part * weight
        self.plain[at] = total
        self.merged[at] = np.where(passes, total, -1)

    def totals(self, feasible: Mask) -> Ints:
        """The weighted local scores among feasible nodes."""
        total = self.plain + self.constant if self.constant else self.plain
        for weight, raw, reverse in self.relative:
            total = total + scaled(raw, feasible, reverse=reverse) * weight
        return total


def make(view: View, profile: Profile) -> Evaluation:
    """Looks at all nodes."""
    columns = view.columns
    static = columns.alive.copy()
    for name, check in _NODE_FILTERS:
        if name not in profile.disabled_filters:
            for refusal in check(view, ALL):
                static &= ~refusal.nodes
    relative: list[tuple[int, Ints, bool]] = []
    constant = 0
    for name, score, reverse in table.SCALED:
        weight = profile.weights.get(name, 0)
        raw = score(view, ALL) if weight else None
        if raw is None:
            continue
        if raw.any():
            relative.append((weight, raw, reverse))
        elif reverse:
            constant += MOST * weight
    evaluation = Evaluation(
        view=view,
        profile=profile,
        generation=columns.node_generation,
        pod_generation=columns.pod_generation,
        static=static,
        passes=static.copy(),
        plain=np.zeros(columns.capacity, np.int64),
        merged=np.zeros(columns.capacity, np.int64),
        relative=relative,
        constant=constant,
        recalls=not view.pod.ports and not any(image in columns.images for image in view.pod.images),
    )
    evaluation._look(ALL)
    return evaluation


class Evaluations:
    """The evaluations of a cluster, the ones used last."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._kept: OrderedDict[tuple[str, bytes], Evaluation] = OrderedDict()

    def get(self, pod: PodTerms, profile: Profile) -> Evaluation:
        """The evaluation of a pod's signature, up to date."""
        key = (profile.name, pod.signature)
        evaluation = self._kept.get(key)
        if evaluation is None or evaluation.generation != self._columns.node_generation or evaluation.profile is not profile:
            evaluation = self._kept[key] = make(View(self._columns, pod, profile.arguments), profile)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
            evaluation.update()
        return evaluation
