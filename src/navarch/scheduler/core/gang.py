"""A group of pods that is placed together or not at all.

In: the members that have no node yet, the more important first, each with its seed, and how many of them must be placed for the group to make sense.
Each is placed in turn as if it were alone, on columns where those before it count already. When enough fit, they stay there
(`Placed`). When not, eviction is tried for those that do not fit (`MakingRoom`: enough would fit if these victims went). In
the end the columns are as they were, but for `Placed`.

Upstream counterpart: podGroupSchedulingDefaultAlgorithm in pkg/scheduler/schedule_one_podgroup.go, which evicts for every member that
needs it even when enough of the others fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.preempt import Budget, Candidate, Preemptor
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.terms import PodInfo

WAITING = "waiting for minCount pods from a gang to be scheduled"
MAKING_ROOM = "pod group is waiting for preemption to complete"


@dataclass(frozen=True, slots=True)
class Placed:
    """Enough fit. They count on their nodes now; the others wait."""

    placed: tuple[tuple[PodInfo, Chosen], ...]
    refused: tuple[tuple[PodInfo, Unschedulable], ...]


@dataclass(frozen=True, slots=True)
class MakingRoom:
    """Enough would fit once these victims are gone; `nodes`: where each member waits, by uid."""

    plans: tuple[tuple[PodInfo, Candidate], ...]
    nodes: dict[str, str]


@dataclass(frozen=True, slots=True)
class TooFew:
    """Not enough fit: these would, the others not."""

    fits: tuple[PodInfo, ...]
    refused: tuple[tuple[PodInfo, Unschedulable], ...]


@dataclass(slots=True)
class _Attempt:
    """What was tried so far, so that it can be taken back."""

    core: Core
    placed: list[tuple[PodInfo, Chosen]] = field(default_factory=list)
    refused: list[tuple[PodInfo, Unschedulable]] = field(default_factory=list)
    plans: list[tuple[PodInfo, Candidate]] = field(default_factory=list)

    def place(self, info: PodInfo, chosen: Chosen) -> None:
        self.core.columns.put_pod(info, chosen.node)
        self.placed.append((info, chosen))

    def evict(self, info: PodInfo, plan: Candidate) -> None:
        for victim in plan.victims:
            self.core.columns.remove_pod(victim.uid)
        self.core.columns.put_pod(info, plan.node)
        self.plans.append((info, plan))

    def take_back(self) -> None:
        for info, _ in (*self.placed, *self.plans):
            self.core.columns.remove_pod(info.uid)
        for _, plan in self.plans:
            for victim in plan.victims:
                self.core.columns.put_pod(victim, plan.node)


def place(
    core: Core, members: Sequence[tuple[PodInfo, int]], needed: int, profile: Profile, preemptor: Preemptor | None, budgets: Sequence[Budget]
) -> Placed | MakingRoom | TooFew:
    """Places a group. `needed`: how many of these members must fit; no `preemptor`: nobody is evicted."""
    attempt = _Attempt(core)
    try:
        for info, seed in members:
            outcome = core.schedule(info, seed, profile)
            if isinstance(outcome, Chosen):
                attempt.place(info, outcome)
            else:
                attempt.refused.append((info, outcome))
    except BaseException:
        attempt.take_back()
        raise
    if len(attempt.placed) >= needed:
        return Placed(tuple(attempt.placed), tuple(attempt.refused))
    attempt.take_back()
    room = None
    if preemptor is not None and profile.preempts and len(members) >= needed:
        room = _making_room(core, members, needed, profile, preemptor, budgets)
    return room or TooFew(tuple(d for d, _ in attempt.placed), tuple(attempt.refused))


def _making_room(
    core: Core, members: Sequence[tuple[PodInfo, int]], needed: int, profile: Profile, preemptor: Preemptor, budgets: Sequence[Budget]
) -> MakingRoom | None:
    attempt = _Attempt(core)
    try:
        for info, seed in members:
            if len(attempt.placed) + len(attempt.plans) >= needed:
                break
            outcome = core.schedule(info, seed, profile)
            if isinstance(outcome, Chosen):
                attempt.place(info, outcome)
                continue
            plan = preemptor.preempt(info, outcome, profile, budgets, None, seed) if outcome.nodes else None
            if isinstance(plan, Candidate):
                attempt.evict(info, plan)
    finally:
        attempt.take_back()
    if len(attempt.placed) + len(attempt.plans) < needed:
        return None
    nodes = {d.uid: chosen.node for d, chosen in attempt.placed} | {d.uid: plan.node for d, plan in attempt.plans}
    return MakingRoom(tuple(attempt.plans), nodes)
