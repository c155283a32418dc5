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
from navarch.scheduler.core import filters, plugins
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.counters import FORBIDDEN
from navarch.scheduler.core.filters import View
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.schedule import Unschedulable, histogram, over_filters
from navarch.scheduler.core.terms import PODS, Demand

NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
_KEPT = 32


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
    namespace = (pdb.metadata.namespace if pdb.metadata is not None else None) or ""
    return Budget(namespace, selectors.from_object(spec.selector), status.disruptionsAllowed or 0, frozenset(status.disruptedPods or ()))


@dataclass(frozen=True, slots=True)
class Preempted:
    """Room can be made on a node by evicting these pods."""

    node: str
    victims: tuple[Demand, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class Helpless:
    """Eviction does not help; `message` is what upstream appends after "preemption: ". `waits`: room was made already."""

    message: str
    waits: bool = False


@dataclass(frozen=True, slots=True)
class _Plan:
    rank: tuple[int, int, int, int, float]
    victims: tuple[Demand, ...]


_Texts = tuple[str, ...]


@dataclass(slots=True)
class _Known:
    """What was found per slot for one signature: a plan, or the texts that say why there is none."""

    generation: int
    moment: int
    budgets: Sequence[Budget]
    candidates: list[int]
    found: dict[int, _Plan | _Texts] = field(default_factory=dict)


class Preemptor:
    """Finds victims."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._known: OrderedDict[tuple[str, bytes], _Known] = OrderedDict()

    def preempt(
        self, demand: Demand, refused: Unschedulable, profile: Profile, budgets: Sequence[Budget], nominated: str | None, seed: int
    ) -> Preempted | Helpless:
        """The node and victims that hurt least. `refused`: what the filters said just now; `nominated`: the node where room was
        made for the pod before (lifted from the columns while it is decided about)."""
        found = self._look(demand, refused, profile, budgets, nominated, seed)
        if isinstance(found, Helpless):
            return found
        lots = self._columns.lots
        rank, _, slot = min((plan.rank, int(lots[slot]), slot) for slot, plan in found.items())
        return Preempted(self._columns.names[slot], found[slot].victims, rank[0])

    def options(
        self, demand: Demand, refused: Unschedulable, profile: Profile, budgets: Sequence[Budget], nominated: str | None, seed: int
    ) -> tuple[Preempted, ...] | Helpless:
        """All nodes where eviction makes room, at least one; arguments as for `preempt`. For who has a say in it (`best`)."""
        found = self._look(demand, refused, profile, budgets, nominated, seed)
        if isinstance(found, Helpless):
            return found
        return tuple(Preempted(self._columns.names[slot], plan.victims, plan.rank[0]) for slot, plan in sorted(found.items()))

    def _look(
        self, demand: Demand, refused: Unschedulable, profile: Profile, budgets: Sequence[Budget], nominated: str | None, seed: int
    ) -> dict[int, _Plan] | Helpless:
        if problem := self.ineligible(demand, nominated, refused):
            return Helpless(problem, True)
        view = View(self._columns, demand.ask, profile)
        if _alone(view):
            found = self._everywhere(view, refused, budgets)
        else:
            found = self._some(view, refused, budgets, seed)
        plans = {slot: plan for slot, plan in found.items() if isinstance(plan, _Plan)}
        return plans or Helpless(_helpless(refused.nodes, [texts for texts in found.values() if not isinstance(texts, _Plan)]))

    def ineligible(self, demand: Demand, nominated: str | None, refused: Unschedulable) -> str:
        """Why this pod may not preempt now; empty when it may."""
        if demand.ask.preemption_policy == "Never":
            return "not eligible due to preemptionPolicy=Never."
        slot = self._columns.slots.get(nominated) if nominated else None
        if slot is None or any(r.final and slot in r.slots for r in refused.reasons):
            return ""
        for placed in self._columns.by_slot[slot].values():
            if placed.demand.ask.priority < demand.ask.priority and placed.demand.preempted:
                return "not eligible due to a terminating pod on the nominated node."
        return ""

    def _everywhere(self, view: View, refused: Unschedulable, budgets: Sequence[Budget]) -> dict[int, _Plan | _Texts]:
        columns, key = self._columns, (view.profile.name, view.ask.signature)
        known = self._known.get(key)
        changed = columns.changed_since(known.moment) if known is not None else None
        fresh = known is None or changed is None or known.generation != columns.node_generation or known.budgets is not budgets
        if known is None or fresh:
            candidates = _helpable(columns, refused)
            known = self._known[key] = _Known(columns.node_generation, columns.moment, budgets, candidates)
            changed = set(candidates)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        assert changed is not None
        known.moment = columns.moment
        candidates_set = set(known.candidates) if len(changed) > 64 else known.candidates
        for slot in changed:
            if slot in candidates_set:
                known.found[slot] = _by_arithmetic(view, slot, budgets)
        return known.found

    def _some(self, view: View, refused: Unschedulable, budgets: Sequence[Budget], seed: int) -> dict[int, _Plan | _Texts]:
        candidates = _helpable(self._columns, refused)
        if not candidates:
            return {}
        wanted = min(len(candidates), max(len(candidates) * view.profile.preemption.percentage // 100, view.profile.preemption.absolute))
        candidates.sort(key=self._columns.lots.__getitem__)
        start = seed % len(candidates)
        found: dict[int, _Plan | _Texts] = {}
        plans = sound = 0
        for slot in candidates[start:] + candidates[:start]:
            plan = found[slot] = _by_trial(view, slot, budgets)
            if isinstance(plan, _Plan):
                plans += 1
                sound += plan.rank[0] == 0
                if sound and plans >= wanted:
                    break
        return found


def _alone(view: View) -> bool:
    """Whether a node's resources are all that eviction could change."""
    ask = view.ask
    if view.profile.filters or ask.volumes is not None or ask.ports or ask.affinity or ask.anti_affinity or any(t.hard for t in ask.spreads):
        return False
    return not any(what == FORBIDDEN and tally.total for what, _, tally in view.columns.counters.carriers(ask))


def _helpable(columns: Columns, refused: Unschedulable) -> list[int]:
    """Slots of nodes that were refused for something eviction may change."""
    left = columns.alive.copy()
    for reason in refused.reasons:
        if reason.final:
            left[reason.slots] = False
    return [int(s) for s in np.flatnonzero(left)]


def _helpless(nodes: int, said: list[_Texts]) -> str:
    counted: dict[str, int] = {}
    for texts in said:
        for text in texts:
            counted[text] = counted.get(text, 0) + 1
    if nodes > len(said):
        counted[NOT_HELPFUL] = counted.get(NOT_HELPFUL, 0) + nodes - len(said)
    return histogram(counted, nodes)


def _important(demand: Demand) -> tuple[int, float, str]:
    """Orders the more important first: higher priority, then longer running (then by uid, so that the order is one)."""
    return -demand.ask.priority, demand.started, demand.uid


def _lower(view: View, slot: int) -> list[Demand]:
    priority = view.ask.priority
    return sorted((p.demand for p in view.columns.by_slot[slot].values() if p.demand.ask.priority < priority), key=_important)


def _broken(pods: list[Demand], budgets: Sequence[Budget]) -> set[str]:
    """The pods (uids) whose eviction would break a budget, evicting in this order."""
    left = [b.allowed for b in budgets]
    found: set[str] = set()
    for pod in pods:
        if not pod.ask.labels:
            continue
        for i, budget in enumerate(budgets):
            if budget.namespace != pod.ask.namespace or budget.selector.empty or pod.name in budget.disrupted:
                continue
            if budget.selector.matches(pod.ask.labels):
                left[i] -= 1
                if left[i] < 0:
                    found.add(pod.uid)
    return found


def _select(lower: list[Demand], budgets: Sequence[Budget], keep: Callable[[Demand], bool]) -> _Plan:
    """Takes back what `keep` lets be taken back; the rest are victims."""
    broken = _broken(lower, budgets) if budgets else set()
    victims: list[Demand] = []
    violations = 0
    for pod in sorted(lower, key=lambda p: p.uid not in broken) if broken else lower:
        if not keep(pod):
            victims.append(pod)
            violations += pod.uid in broken
    victims.sort(key=_important)
    return _Plan(_rank(victims, violations), tuple(victims))


def _rank(victims: Sequence[Demand], violations: int) -> tuple[int, int, int, int, float]:
    """How much it hurts that these go, the most important first; less is better."""
    if not victims:
        return 0, 0, 0, 0, 0.0
    highest = victims[0].ask.priority
    total = sum(v.ask.priority + 2**31 for v in victims)
    earliest = min(v.started for v in victims if v.ask.priority == highest)
    return violations, highest, total, len(victims), -earliest


def best(options: Sequence[Preempted]) -> Preempted:
    """The one that hurts least; the first of equals."""
    return min(options, key=lambda o: _rank(sorted(o.victims, key=_important), o.violations))


def _by_arithmetic(view: View, slot: int, budgets: Sequence[Budget]) -> _Plan | _Texts:
    lower = _lower(view, slot)
    if not lower:
        return (NO_VICTIMS,)
    columns, fit = view.columns, view.profile.fit
    wanted = {
        n: v for n, v in view.ask.requests.items() if v > 0 and not ("/" in n and (n in fit.ignored or n.partition("/")[0] in fit.ignored_groups))
    }
    wanted[PODS] = 1
    extra = filters.reserved(view, np.array([slot])) if slot in columns.nominated else None
    spare: dict[str, int] = {}
    for name, need in wanted.items():
        row = columns.row(name)
        held = sum(d.ask.requests.get(name, 0) for d in lower) if name != PODS else len(lower)
        waiting = int(extra[name][0]) if extra is not None and name in extra else 0
        spare[name] = int(columns.allocatable[row, slot] - columns.requested[row, slot]) + held - waiting - need
    if any(v < 0 for v in spare.values()):
        return tuple("Too many pods" if n == PODS else f"Insufficient {n}" for n, v in spare.items() if v < 0)

    def keep(pod: Demand) -> bool:
        requests = pod.ask.requests
        if any(left < (1 if name == PODS else requests.get(name, 0)) for name, left in spare.items()):
            return False
        for name in spare:
            spare[name] -= 1 if name == PODS else requests.get(name, 0)
        return True

    return _select(lower, budgets, keep) if _needed(spare, lower) else (NO_VICTIMS,)


def _needed(spare: dict[str, int], lower: list[Demand]) -> bool:
    """Whether the pod does not fit beside all of them: else there would be nothing to evict."""
    return any(left < (len(lower) if name == PODS else sum(d.ask.requests.get(name, 0) for d in lower)) for name, left in spare.items())


def _by_trial(view: View, slot: int, budgets: Sequence[Budget]) -> _Plan | _Texts:
    lower = _lower(view, slot)
    if not lower:
        return (NO_VICTIMS,)
    columns, node = view.columns, view.columns.names[slot]
    for pod in lower:
        columns.remove_pod(pod.uid)
    try:
        if texts := _refusing(view, slot):
            return texts

        def keep(pod: Demand) -> bool:
            columns.put_pod(pod, node)
            if _refusing(view, slot):
                columns.remove_pod(pod.uid)
                return False
            return True

        return _select(lower, budgets, keep)
    finally:
        for pod in lower:
            if pod.uid not in columns.placed:
                columns.put_pod(pod, node)


def _refusing(view: View, slot: int) -> _Texts:
    """What the filters have against one node now; those that look at its own properties have passed it before."""
    at = np.array([slot])
    for name, check in filters.DYNAMIC:
        if name not in view.profile.disabled_filters:
            texts = tuple(r.text for r in check(view, at) if r.nodes[0])
            if texts:
                return texts
    left = np.zeros(view.columns.capacity, np.bool_)
    left[slot] = True
    for name, over in over_filters(view.ask):
        if name not in view.profile.disabled_filters:
            texts = tuple(r.text for r in over(view, left) if r.nodes[slot])
            if texts:
                return texts
    for plugin in view.profile.filters:
        texts = tuple(r.text for r in plugins.refusals(plugin, view, at) if r.nodes[0])
        if texts:
            return texts
    return ()
