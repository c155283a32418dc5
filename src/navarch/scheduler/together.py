"""Attempts of whole groups: one popped pod brings the others of its group along, and all are placed or none.

In: the case of one member. Out: calls on the `Desk` for each member. Once enough of a group are on nodes, the rest are placed one by one.

Upstream counterpart: scheduleOnePodGroup and submitPodGroupAlgorithmResult in pkg/scheduler/schedule_one_podgroup.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from navarch.lib import tasks
from navarch.scheduler.attempts import Case, Desk
from navarch.scheduler.core import gang, plugins
from navarch.scheduler.core.preempt import Budget, Preemptor
from navarch.scheduler.core.schedule import Core
from navarch.scheduler.core.terms import Demand
from navarch.scheduler.groups import Gang, Groups
from navarch.scheduler.queue import Queue

PLUGIN = "GangScheduling"
ASKED = "extenders are not asked about pods that are placed as a group"


class Gangs:
    """Tries groups."""

    def __init__(
        self,
        groups: Groups,
        desk: Desk,
        queue: Queue,
        core: Core,
        preemptor: Preemptor,
        assumed: Callable[[str], bool],
        budgets: Callable[[], Sequence[Budget]],
    ) -> None:
        self._groups = groups
        self._desk = desk
        self._queue = queue
        self._core = core
        self._preemptor = preemptor
        self._assumed, self._budgets = assumed, budgets

    def lacking(self, case: Case) -> tuple[Gang, int] | None:
        """The pod's gang and how many of it must still be placed; None for a pod that is placed alone."""
        found = self._groups.gang(case.pod) if case.profile.places_groups else None
        if found is None:
            return None
        placed = sum(
            bool((p.spec and p.spec.nodeName) or self._assumed((p.metadata and p.metadata.uid) or "")) for p in self._groups.members(found.key)
        )
        return (found, found.minimum - placed) if placed < found.minimum else None

    def attempt(self, case: Case, found: Gang, needed: int, group: tasks.Group) -> None:
        """Tries the whole group."""
        cases = {c.demand.uid: c for c in self._with_the_others(case, found)}
        names = {c.pod.spec.schedulerName for c in cases.values() if c.pod.spec is not None}
        if len(names) > 1:
            first, second = sorted(str(name) for name in names)[:2]
            text = "all pods in a single pod group should have the same .spec.schedulerName set, got:"
            self._fail(cases.values(), f'{text} "{first}" and "{second}"')
            return
        held = {uid: node for uid in cases if (node := self._core.columns.withdraw(uid)) is not None}
        leaving = any(self._leaving(node) for node in held.values())
        ordered = sorted(cases.values(), key=lambda c: (-c.waiting.priority, c.waiting.since, c.waiting.key))
        members = [(c.demand, c.seed) for c in ordered]
        try:
            preemptor = None if leaving else self._preemptor
            outcome = gang.place(self._core, members, needed, case.profile, preemptor, self._budgets())
        except plugins.PluginFailed as error:
            self._fail(cases.values(), f"failed to schedule other pod from a pod group: {error}")
            return
        if leaving and isinstance(outcome, gang.Short):
            outcome = gang.Room((), held)
        scheduled, message = self._settle(outcome, cases, needed)
        group.start(f"pod group {found.key}", self._groups.tell(found.key, scheduled=scheduled, message=message))

    def _with_the_others(self, case: Case, found: Gang) -> list[Case]:
        cases = [case]
        for pod in self._groups.members(found.key):
            waiting = self._queue.take((pod.metadata.uid if pod.metadata is not None else None) or "")
            other = self._desk.case(waiting) if waiting is not None else None
            if other is not None:
                cases.append(other)
        return cases

    def _leaving(self, node: str) -> bool:
        """Whether pods are on their way out there that were evicted for others."""
        columns = self._core.columns
        slot = columns.slots.get(node)
        return slot is not None and any(placed.demand.preempted for placed in columns.by_slot[slot].values())

    def _fail(self, cases: Iterable[Case], message: str) -> None:
        for case in cases:
            self._desk.failed(case, message)

    def _settle(self, outcome: gang.Together | gang.Room | gang.Short, cases: dict[str, Case], needed: int) -> tuple[bool, str]:
        """Tells each member what becomes of it; whether the group is scheduled, and the words for its condition."""
        match outcome:
            case gang.Together(placed, refused):
                for demand, chosen in placed:
                    self._desk.placed(cases[demand.uid], chosen)
                for demand, why in refused:
                    self._desk.refused(cases[demand.uid], why, None, None)
                return True, ""
            case gang.Room(plans, nodes):
                for demand, plan in plans:
                    self._desk.evict(cases[demand.uid], plan)
                for uid, member in cases.items():
                    self._desk.waits(member, gang.MAKING_ROOM, nodes.get(uid, ""), frozenset())
                return False, gang.MAKING_ROOM
            case gang.Short(fits, refused):
                return False, self._short(fits, dict((d.uid, w.message) for d, w in refused), cases, needed, self._refusing(outcome))

    @staticmethod
    def _refusing(outcome: gang.Short) -> frozenset[str]:
        """What may help the group: whatever may help one that did not fit."""
        return frozenset({PLUGIN}).union(*(why.plugins for _, why in outcome.refused))

    def _short(self, fits: Sequence[Demand], texts: dict[str, str], cases: dict[str, Case], needed: int, refusing: frozenset[str]) -> str:
        told = f"{len(fits)} of the {needed} pods that are needed could be placed"
        for uid, member in cases.items():
            message = f"{texts[uid]} Pod group: {told}." if uid in texts else f"{gang.WAITING}: {told}"
            self._desk.waits(member, message, "", refusing)
        first = next(iter(texts.values()), "")
        return f"{told}: {first}" if first else told
