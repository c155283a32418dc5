"""The decider: one attempt in, decisions out; about a pod alone, or about all pods of a group.

In: `attempt.Attempt`s and the disruption budgets. Out: `attempt.Decision`s. The columns are as they were afterwards, but for the pods of a
group that were placed, and for the nominations of the pods that were tried, which are withdrawn.

Upstream counterparts: schedulePod with its post-filter plugins (pkg/scheduler/schedule_one.go), scheduleOnePodGroup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from navarch.scheduler.core import explain, gang
from navarch.scheduler.core.attempt import Attempt, Decision, Evict, Fail, Place, Refuse, Wait
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.plugins.own import PluginFailed
from navarch.scheduler.core.preempt import Budget, Candidate, NoCandidate, Preemptor
from navarch.scheduler.core.view import View

GANG_PLUGIN = "GangScheduling"


@dataclass(frozen=True, slots=True)
class GroupDecision:
    """What becomes of a group and of each of its members."""

    decisions: tuple[Decision, ...]
    scheduled: bool
    message: str
    """For the group's condition."""


class Decider:
    """Decides on the columns; keeps the nearest miss of the last refusal, which many pods share."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.preemptor = Preemptor(core.columns)
        self._nearest_of: tuple[Unschedulable | None, str] = (None, "")

    def decide(self, attempt: Attempt, budgets: Sequence[Budget]) -> Place | Refuse | Fail:
        """The best node for a pod; or who must go for it; or why neither helps."""
        nominated = self.core.columns.withdraw(attempt.info.uid)
        try:
            outcome = self.core.schedule(attempt.info, attempt.seed, attempt.profile)
            if isinstance(outcome, Chosen):
                return Place(attempt, outcome)
            found: Candidate | NoCandidate | None = None
            if outcome.nodes and attempt.profile.preempts:
                found = self.preemptor.preempt(attempt.info, outcome, attempt.profile, budgets, nominated, attempt.seed)
        except PluginFailed as error:
            return Fail(attempt, str(error))
        return self.refuse(attempt, outcome, found, nominated)

    def refuse(self, attempt: Attempt, refused: Unschedulable, found: Candidate | NoCandidate | None, nominated: str | None) -> Refuse | Fail:
        """The words for a pod that fits nowhere. `found`: what eviction would do (None: nobody asked); `nominated`: where it waited before."""
        message = refused.message
        if isinstance(found, Candidate):
            nominated = found.node
        elif found is not None:
            message = f"{message} preemption: {found.message}"
            nominated = nominated if found.waits else None
        try:
            near = self._nearest(attempt, refused) if nominated is None and refused.nodes else ""
        except PluginFailed as error:
            return Fail(attempt, str(error))
        if near:
            message = f"{message} Nearest miss: {near}."
        return Refuse(attempt, refused, found if isinstance(found, Candidate) else None, nominated or "", message)

    def _nearest(self, attempt: Attempt, refused: Unschedulable) -> str:
        if self._nearest_of[0] is not refused:
            view = View(self.core.columns, attempt.info.terms, attempt.profile.arguments)
            self._nearest_of = (refused, explain.nearest(view, attempt.profile))
        return self._nearest_of[1]

    # ---- groups ----

    def decide_group(self, attempts: Sequence[Attempt], needed: int, budgets: Sequence[Budget]) -> GroupDecision | Fail:
        """All that are needed, or none. `needed`: how many of these must be placed. Fail, about the first of them, holds for all."""
        columns, by_uid = self.core.columns, {a.info.uid: a for a in attempts}
        held = {uid: node for uid in by_uid if (node := columns.withdraw(uid)) is not None}
        leaving = any(self._leaving(node) for node in held.values())
        ordered = sorted(attempts, key=lambda a: (-a.queued.priority, a.queued.since, a.queued.key))
        preemptor = None if leaving else self.preemptor
        try:
            outcome = gang.place(self.core, [(a.info, a.seed) for a in ordered], needed, attempts[0].profile, preemptor, budgets)
        except PluginFailed as error:
            return Fail(attempts[0], f"failed to schedule other pod from a pod group: {error}")
        if leaving and isinstance(outcome, gang.TooFew):
            outcome = gang.MakingRoom((), held)
        match outcome:
            case gang.Placed(placed, refused):
                chosen = (Place(by_uid[info.uid], chosen) for info, chosen in placed)
                return GroupDecision((*chosen, *(self.refuse(by_uid[info.uid], why, None, None) for info, why in refused)), True, "")
            case gang.MakingRoom(plans, nodes):
                evicted = (Evict(by_uid[info.uid], candidate) for info, candidate in plans)
                waiting = (Wait(a, gang.MAKING_ROOM, nodes.get(uid, ""), frozenset()) for uid, a in by_uid.items())
                return GroupDecision((*evicted, *waiting), False, gang.MAKING_ROOM)
            case gang.TooFew():
                return _too_few(outcome, by_uid, needed)
            case _:
                assert_never(outcome)

    def _leaving(self, node: str) -> bool:
        """Whether pods are on their way out there that were evicted for others."""
        columns = self.core.columns
        slot = columns.slots.get(node)
        return slot is not None and any(placed.info.preempted for placed in columns.by_slot[slot].values())


def _too_few(outcome: gang.TooFew, by_uid: dict[str, Attempt], needed: int) -> GroupDecision:
    """Everybody waits for whatever may help one that did not fit."""
    plugins = frozenset({GANG_PLUGIN}).union(*(why.plugins for _, why in outcome.refused))
    texts = {info.uid: why.message for info, why in outcome.refused}
    told = f"{len(outcome.fits)} of the {needed} pods that are needed could be placed"
    decisions = []
    for uid, attempt in by_uid.items():
        message = f"{texts[uid]} Pod group: {told}." if uid in texts else f"{gang.WAITING}: {told}"
        decisions.append(Wait(attempt, message, "", plugins))
    first = next(iter(texts.values()), "")
    return GroupDecision(tuple(decisions), False, f"{told}: {first}" if first else told)
