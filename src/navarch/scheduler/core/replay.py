"""A decision made again: the same core on the cluster as the scheduler had seen it then.

In: the objects at the revisions that a `Record` names, the pod as it was, and the decisions that were under way. Out: the same
decision, and the columns it was made on, for explaining.

Upstream has no counterpart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1
from navarch.objects import meta
from navarch.scheduler.core import terms
from navarch.scheduler.core.decide import Chosen, Unschedulable
from navarch.scheduler.core.journal import Record
from navarch.scheduler.core.preempt import Candidate, NoCandidate
from navarch.scheduler.core.profile import DEFAULT, Profile
from navarch.scheduler.core.terms import PodInfo
from navarch.scheduler.core.what_if import Simulation, Snapshot


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a decision comes to when it is made again; `simulation` holds the columns as they were."""

    simulation: Simulation
    info: PodInfo
    outcome: Chosen | Unschedulable
    plan: Candidate | NoCandidate
    missing: int
    """How many of the decisions that counted are not known any more."""

    def agrees(self, record: Record) -> bool:
        """Whether it is the decision that was recorded, as far as can be told: what extenders said is not known any more."""
        if record.asked:
            return not record.node or isinstance(self.outcome, Chosen)
        chosen = self.outcome if isinstance(self.outcome, Chosen) else None
        nominated = self.plan.node if isinstance(self.plan, Candidate) else ""
        return (chosen.node if chosen is not None else "", nominated) == (record.node, record.nominated)


def counted(record: Record, others: Iterable[tuple[str, Record]]) -> tuple[dict[str, Record], int]:
    """The decisions (by pod uid, the newest of each) that counted for this one, and how many of them are missing."""
    if not record.unconfirmed:
        return {}, 0
    window = {other.number: (uid, other) for uid, other in others if other.run == record.run and record.unconfirmed <= other.number < record.number}
    missing = record.number - record.unconfirmed - len(window)
    return {uid: other for number, (uid, other) in sorted(window.items()) if number not in record.undone}, missing


def remake(snapshot: Snapshot, pod: core_v1.Pod, record: Record, others: Iterable[tuple[str, Record]], profile: Profile = DEFAULT) -> Replayed:
    """Makes a recorded decision again. `snapshot`: the cluster at the revisions of the record; `others`: decisions near it."""
    simulation = Simulation(snapshot, profile)
    before, missing = counted(record, others)
    pods = {meta.of(p).uid or "": p for p in snapshot.pods}
    for uid, other in before.items():
        held = pods.get(uid)
        if held is not None and terms.waits(held):
            _assume(simulation, held, other)
    info = simulation.read(pod)
    outcome, plan = simulation.attempt(info, record.seed)
    return Replayed(simulation, info, outcome, plan, missing)


def _assume(simulation: Simulation, pod: core_v1.Pod, decided: Record) -> None:
    columns, info = simulation.core.columns, simulation.read(pod)
    columns.withdraw(info.uid)
    if decided.node:
        simulation.give(info, decided.node)
    elif decided.nominated:
        columns.nominate(info, decided.nominated)
    for victim in decided.victims:
        if victim in columns.placed:
            columns.placed[victim].info.preempted = True
