"""Preemption: which pods of lower priority must go, and where, for a pod that fits nowhere.

On every node that eviction could help, all pods of lower priority are thought away; when the pod fits then, as many as
possible are taken back, first those whose disruption budget would be broken, the more important first. The node that hurts
least wins: fewest broken budgets, lowest highest priority, lowest sum of priorities, fewest victims, youngest victims.

Where only the node's own resources decide, what was found for a node is kept until its pods change, and all nodes are
looked at. Where ports or the pods of whole domains matter, each candidate is tried on the columns themselves, which are put back;
then the profile bounds how many nodes are tried.

Upstream counterparts: framework/preemption, plugins/defaultpreemption.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from navarch.api.policy import v1 as policy_v1
from navarch.machinery import selectors
from navarch.objects import meta
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.counters import FORBIDDEN
from navarch.scheduler.core.decide import Unschedulable, all_nodes_filters, histogram
from navarch.scheduler.core.plugin import Scope
from navarch.scheduler.core.plugins import own, resources, table
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.requests import PODS
from navarch.scheduler.core.terms import PodInfo
from navarch.scheduler.core.view import View

NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
_KEPT = 32
_POD_FILTERS = table.filters(Scope.PODS)


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget."""

    namespace: str
    selector: selectors.Selector
    allowed: int
    disrupted: frozenset[str] = frozenset()
    """Pods that are on their way out and counted already."""


def budget_of(pdb: policy_v1.PodDisruptionBudget) -> Budget:
    spec, status = pdb.spec or policy_v1.PodDisruptionBudgetSpec(), pdb.status or policy_v1.PodDisruptionBudgetStatus()
    return Budget(
        meta.of(pdb).namespace or "", selectors.from_object(spec.selector), status.disruptionsAllowed or 0, frozenset(status.disruptedPods or ())
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """Room can be made on a node by evicting these pods."""

    node: str
    victims: tuple[PodInfo, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class NoCandidate:
    """Eviction does not help; `message` is what upstream appends after "preemption: ". `waits`: room was made already."""

    message: str
    waits: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    rank: tuple[int, int, int, int, float]
    victims: tuple[PodInfo, ...]


_Texts = tuple[str, ...]


@dataclass(slots=True)
class _Known:
    """What was found per slot for one signature: a plan, or the texts that say why there is none."""

    generation: int
    pod_generation: int
    budgets: Sequence[Budget]
    candidates: list[int]
    found: dict[int, _Plan | _Texts] = field(default_factory=dict)


class Preemptor:
    """Finds victims."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._known: OrderedDict[tuple[str, bytes], _Known] = OrderedDict()

    def preempt(
        self, info: PodInfo, refused: Unschedulable, profile: Profile, budgets: Sequence[Budget], nominated: str | None, seed: int
    ) -> Candidate | NoCandidate:
        """The node and victims that hurt least. `refused`: what the filters said just now; `nominated`: the node where room was
        made for the pod before (lifted from the columns while it is decided about)."""
        found = self._look(info, refused, profile, budgets, nominated, seed)
        if isinstance(found, NoCandidate):
            return found
        tie_breakers = self._columns.tie_breakers
        rank, _, slot = min((plan.rank, int(tie_breakers[slot]), slot) for slot, plan in found.items())
        return Candidate(self._columns.names[slot], found[slot].victims, rank[0])

    def candidates(
        self, info: PodInfo, refused: Unschedulable, profile: Profile, budgets: Sequence[Budget], nominated: str | None, seed: int
    ) -> tuple[Candidate, ...] | NoCandidate:
        """All nodes where eviction makes room, at least one; arguments as for `preempt`. For who has a say in it (`best`)."""
        found = self._look(info, refused, profile, budgets, nominated, seed)
        if isinstance(found, NoCandidate):
            return found
        return tuple(Candidate(self._columns.names[slot], plan.victims, plan.rank[0]) for slot, plan in sorted(found.items()))

    def _look(
        self, info: PodInfo, refused: Unschedulable, profile: Profile, budgets: Sequence[Budget], nominated: str | None, seed: int
    ) -> dict[int, _Plan] | NoCandidate:
        if problem := self.ineligible(info, nominated, refused):
            return NoCandidate(problem, True)
        view = View(self._columns, info.terms, profile.arguments)
        if _alone(view, profile):
            found = self._everywhere(view, profile, refused, budgets)
        else:
            found = self._some(view, profile, refused, budgets, seed)
        plans = {slot: plan for slot, plan in found.items() if isinstance(plan, _Plan)}
        return plans or NoCandidate(_message(refused.nodes, [texts for texts in found.values() if not isinstance(texts, _Plan)]))

    def ineligible(self, info: PodInfo, nominated: str | None, refused: Unschedulable) -> str:
        """Why this pod may not preempt now; empty when it may."""
        if info.terms.preemption_policy == "Never":
            return "not eligible due to preemptionPolicy=Never."
        slot = self._columns.slots.get(nominated) if nominated else None
        if slot is None or any(r.final and slot in r.slots for r in refused.reasons):
            return ""
        for placed in self._columns.by_slot[slot].values():
            if placed.info.terms.priority < info.terms.priority and placed.info.preempted:
                return "not eligible due to a terminating pod on the nominated node."
        return ""

    def _everywhere(self, view: View, profile: Profile, refused: Unschedulable, budgets: Sequence[Budget]) -> dict[int, _Plan | _Texts]:
        columns, key = self._columns, (profile.name, view.pod.signature)
        known = self._known.get(key)
        changed = columns.changed_since(known.pod_generation) if known is not None else None
        fresh = known is None or changed is None or known.generation != columns.node_generation or known.budgets is not budgets
        if known is None or fresh:
            candidates = _worth_trying(columns, refused)
            known = self._known[key] = _Known(columns.node_generation, columns.pod_generation, budgets, candidates)
            changed = set(candidates)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        assert changed is not None
        known.pod_generation = columns.pod_generation
        candidates_set = set(known.candidates) if len(changed) > 64 else known.candidates
        for slot in changed:
            if slot in candidates_set:
                known.found[slot] = _by_arithmetic(view, slot, budgets)
        return known.found

    def _some(self, view: View, profile: Profile, refused: Unschedulable, budgets: Sequence[Budget], seed: int) -> dict[int, _Plan | _Texts]:
        candidates = _worth_trying(self._columns, refused)
        if not candidates:
            return {}
        bounds = view.arguments.preemption
        wanted = min(len(candidates), max(len(candidates) * bounds.percentage // 100, bounds.absolute))
        candidates.sort(key=self._columns.tie_breakers.__getitem__)
        start = seed % len(candidates)
        found: dict[int, _Plan | _Texts] = {}
        plans = sound = 0
        for slot in candidates[start:] + candidates[:start]:
            plan = found[slot] = _by_trial(view, profile, slot, budgets)
            if isinstance(plan, _Plan):
                plans += 1
                sound += plan.rank[0] == 0
                if sound and plans >= wanted:
                    break
        return found


def _alone(view: View, profile: Profile) -> bool:
    """Whether a node's resources are all that eviction could change."""
    pod = view.pod
    if profile.filters or pod.volumes is not None or pod.ports or pod.affinity or pod.anti_affinity or any(t.hard for t in pod.spreads):
        return False
    return not any(what == FORBIDDEN and tally.total for what, _, tally in view.columns.counters.carriers(pod))


def _worth_trying(columns: Columns, refused: Unschedulable) -> list[int]:
    """Slots of nodes that were refused for something eviction may change."""
    left = columns.alive.copy()
    for reason in refused.reasons:
        if reason.final:
            left[reason.slots] = False
    return [int(s) for s in np.flatnonzero(left)]


def _message(nodes: int, refused: list[_Texts]) -> str:
    counted: dict[str, int] = {}
    for texts in refused:
        for text in texts:
            counted[text] = counted.get(text, 0) + 1
    if nodes > len(refused):
        counted[NOT_HELPFUL] = counted.get(NOT_HELPFUL, 0) + nodes - len(refused)
    return histogram(counted, nodes)


def _important(info: PodInfo) -> tuple[int, float, str]:
    """Orders the more important first: higher priority, then longer running (then by uid, so that the order is one)."""
    return -info.terms.priority, info.started, info.uid


def _lower(view: View, slot: int) -> list[PodInfo]:
    priority = view.pod.priority
    return sorted((p.info for p in view.columns.by_slot[slot].values() if p.info.terms.priority < priority), key=_important)


def _broken(pods: list[PodInfo], budgets: Sequence[Budget]) -> set[str]:
    """The pods (uids) whose eviction would break a budget, evicting in this order."""
    left = [b.allowed for b in budgets]
    found: set[str] = set()
    for pod in pods:
        if not pod.terms.labels:
            continue
        for i, budget in enumerate(budgets):
            if budget.namespace != pod.terms.namespace or budget.selector.empty or pod.name in budget.disrupted:
                continue
            if budget.selector.matches(pod.terms.labels):
                left[i] -= 1
                if left[i] < 0:
                    found.add(pod.uid)
    return found


def _select(lower: list[PodInfo], budgets: Sequence[Budget], keep: Callable[[PodInfo], bool]) -> _Plan:
    """Takes back what `keep` lets be taken back; the rest are victims."""
    broken = _broken(lower, budgets) if budgets else set()
    victims: list[PodInfo] = []
    violations = 0
    for pod in sorted(lower, key=lambda p: p.uid not in broken) if broken else lower:
        if not keep(pod):
            victims.append(pod)
            violations += pod.uid in broken
    victims.sort(key=_important)
    return _Plan(_rank(victims, violations), tuple(victims))


def _rank(victims: Sequence[PodInfo], violations: int) -> tuple[int, int, int, int, float]:
    """How much it hurts that these go, the most important first; less is better."""
    if not victims:
        return 0, 0, 0, 0, 0.0
    highest = victims[0].terms.priority
    total = sum(v.terms.priority + 2**31 for v in victims)
    earliest = min(v.started for v in victims if v.terms.priority == highest)
    return violations, highest, total, len(victims), -earliest


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The one that hurts least; the first of equals."""
    return min(candidates, key=lambda o: _rank(sorted(o.victims, key=_important), o.violations))


def _by_arithmetic(view: View, slot: int, budgets: Sequence[Budget]) -> _Plan | _Texts:
    lower = _lower(view, slot)
    if not lower:
        return (NO_VICTIMS,)
    columns, fit = view.columns, view.arguments.fit
    wanted = {n: v for n, v in view.pod.requests.items() if v > 0 and not resources.ignored(fit, n)}
    wanted[PODS] = 1
    extra = resources.reserved(view, np.array([slot])) if slot in columns.nominated else None
    spare: dict[str, int] = {}
    for name, need in wanted.items():
        row = columns.row(name)
        held = sum(d.terms.requests.get(name, 0) for d in lower) if name != PODS else len(lower)
        waiting = int(extra[name][0]) if extra is not None and name in extra else 0
        spare[name] = int(columns.allocatable[row, slot] - columns.requested[row, slot]) + held - waiting - need
    if any(v < 0 for v in spare.values()):
        return tuple("Too many pods" if n == PODS else f"Insufficient {n}" for n, v in spare.items() if v < 0)

    def keep(pod: PodInfo) -> bool:
        requests = pod.terms.requests
        if any(left < (1 if name == PODS else requests.get(name, 0)) for name, left in spare.items()):
            return False
        for name in spare:
            spare[name] -= 1 if name == PODS else requests.get(name, 0)
        return True

    return _select(lower, budgets, keep) if _needed(spare, lower) else (NO_VICTIMS,)


def _needed(spare: dict[str, int], lower: list[PodInfo]) -> bool:
    """Whether the pod does not fit beside all of them: else there would be nothing to evict."""
    return any(left < (len(lower) if name == PODS else sum(d.terms.requests.get(name, 0) for d in lower)) for name, left in spare.items())


def _by_trial(view: View, profile: Profile, slot: int, budgets: Sequence[Budget]) -> _Plan | _Texts:
    lower = _lower(view, slot)
    if not lower:
        return (NO_VICTIMS,)
    columns, node = view.columns, view.columns.names[slot]
    for pod in lower:
        columns.remove_pod(pod.uid)
    try:
        if texts := _refusing(view, profile, slot):
            return texts

        def keep(pod: PodInfo) -> bool:
            columns.put_pod(pod, node)
            if _refusing(view, profile, slot):
                columns.remove_pod(pod.uid)
                return False
            return True

        return _select(lower, budgets, keep)
    finally:
        for pod in lower:
            if pod.uid not in columns.placed:
                columns.put_pod(pod, node)


def _refusing(view: View, profile: Profile, slot: int) -> _Texts:
    """What the filters have against one node now; those that look at its own properties have passed it before."""
    at = np.array([slot])
    for name, check in _POD_FILTERS:
        if name not in profile.disabled_filters:
            texts = tuple(r.text for r in check(view, at) if r.nodes[0])
            if texts:
                return texts
    left = np.zeros(view.columns.capacity, np.bool_)
    left[slot] = True
    for name, check in all_nodes_filters(view.pod):
        if name not in profile.disabled_filters:
            texts = tuple(r.text for r in check(view, left) if r.nodes[slot])
            if texts:
                return texts
    for plugin in profile.filters:
        texts = tuple(r.text for r in own.refusals(plugin, view, at) if r.nodes[0])
        if texts:
            return texts
    return ()
