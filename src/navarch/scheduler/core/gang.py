"""A group of pods that is placed together or not at all.

In: the members that have no node yet, the more important first, each with its seed, and how many of them must be placed for the group to make sense.
Each is placed in turn as if it were alone, on columns where those before it count already. When enough fit, they stay there
(`Together`). When not, eviction is tried for those that do not fit (`Room`: enough would fit if these victims went). In
the end the columns are as they were, but for `Together`.

Upstream counterpart: podGroupSchedulingDefaultAlgorithm in pkg/scheduler/schedule_one_podgroup.go, which evicts for every member that
needs it even when enough of the others fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from navarch.scheduler.core.preempt import Budget, Preempted, Preemptor
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.schedule import Chosen, Core, Unschedulable
from navarch.scheduler.core.terms import Demand

WAITING = "waiting for minCount pods from a gang to be scheduled"
MAKING_ROOM = "pod group is waiting for preemption to complete"


@dataclass(frozen=True, slots=True)
class Together:
    """Enough fit. They count on their nodes now; the others wait."""

    placed: tuple[tuple[Demand, Chosen], ...]
    refused: tuple[tuple[Demand, Unschedulable], ...]


@dataclass(frozen=True, slots=True)
class Room:
    """Enough would fit once these victims are gone; `nodes`: where each member waits, by uid."""

    plans: tuple[tuple[Demand, Preempted], ...]
    nodes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Short:
    """Not enough fit: these would, the others not."""

    fits: tuple[Demand, ...]
    refused: tuple[tuple[Demand, Unschedulable], ...]


@dataclass(slots=True)
class _Trial:
    """What was tried so far, so that it can be taken back."""

    core: Core
    placed: list[tuple[Demand, Chosen]] = field(default_factory=list)
    refused: list[tuple[Demand, Unschedulable]] = field(default_factory=list)
    plans: list[tuple[Demand, Preempted]] = field(default_factory=list)

    def place(self, demand: Demand, chosen: Chosen) -> None:
        self.core.columns.put_pod(demand, chosen.node)
        self.placed.append((demand, chosen))

    def evict(self, demand: Demand, plan: Preempted) -> None:
        for victim in plan.victims:
            self.core.columns.remove_pod(victim.uid)
        self.core.columns.put_pod(demand, plan.node)
        self.plans.append((demand, plan))

    def take_back(self) -> None:
        for demand, _ in (*self.placed, *self.plans):
            self.core.columns.remove_pod(demand.uid)
        for _, plan in self.plans:
            for victim in plan.victims:
                self.core.columns.put_pod(victim, plan.node)


def place(
    core: Core, members: Sequence[tuple[Demand, int]], needed: int, profile: Profile, preemptor: Preemptor | None, budgets: Sequence[Budget]
) -> Together | Room | Short:
    """Places a group. `needed`: how many of these members must fit; no `preemptor`: nobody is evicted."""
    trial = _Trial(core)
    try:
        for demand, seed in members:
            outcome = core.schedule(demand, seed, profile)
            if isinstance(outcome, Chosen):
                trial.place(demand, outcome)
            else:
                trial.refused.append((demand, outcome))
    except BaseException:
        trial.take_back()
        raise
    if len(trial.placed) >= needed:
        return Together(tuple(trial.placed), tuple(trial.refused))
    trial.take_back()
    room = None
    if preemptor is not None and profile.preempts and len(members) >= needed:
        room = _room(core, members, needed, profile, preemptor, budgets)
    return room or Short(tuple(d for d, _ in trial.placed), tuple(trial.refused))


def _room(
    core: Core, members: Sequence[tuple[Demand, int]], needed: int, profile: Profile, preemptor: Preemptor, budgets: Sequence[Budget]
) -> Room | None:
    trial = _Trial(core)
    try:
        for demand, seed in members:
            if len(trial.placed) + len(trial.plans) >= needed:
                break
            outcome = core.schedule(demand, seed, profile)
            if isinstance(outcome, Chosen):
                trial.place(demand, outcome)
                continue
            plan = preemptor.preempt(demand, outcome, profile, budgets, None, seed) if outcome.nodes else None
            if isinstance(plan, Preempted):
                trial.evict(demand, plan)
    finally:
        trial.take_back()
    if len(trial.placed) + len(trial.plans) < needed:
        return None
    nodes = {d.uid: chosen.node for d, chosen in trial.placed} | {d.uid: plan.node for d, plan in trial.plans}
    return Room(tuple(trial.plans), nodes)
