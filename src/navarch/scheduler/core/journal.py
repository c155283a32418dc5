"""What is kept of a decision: enough to make it again later, from the API's own history.

A decision follows from what the scheduler had seen of the cluster, and from what it had decided before and not yet seen
confirmed. So a `Record` names the revisions it had seen, its number among the decisions of one run, the oldest of these still
unconfirmed, and the seed. It is written as an annotation of the event that tells of the decision (Scheduled, FailedScheduling);
`replay` reads it back.

Upstream has no counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from navarch.scheduler.core.decide import Chosen, Unschedulable
from navarch.scheduler.core.preempt import Candidate

ANNOTATION = "scheduler.navarch.io/decision"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One decision."""

    run: str
    """The scheduler process: numbers of different runs do not compare."""
    number: int
    seed: int
    at: float
    """Seconds since 1970."""
    seen: dict[str, int]
    """Plural → the revision up to which it had been seen."""
    profile: str = "default-scheduler"
    node: str = ""
    """Where the pod goes; empty when nowhere."""
    equals: int = 1
    """Among how many equally good nodes it was drawn."""
    nominated: str = ""
    """Where room is being made for it."""
    victims: tuple[str, ...] = ()
    """Who must go for it (uids)."""
    unconfirmed: int = 0
    """The oldest decision that the API had not confirmed yet: it and those after it counted. 0: none did."""
    undone: tuple[int, ...] = ()
    """Those of them that had been taken back."""
    asked: tuple[str, ...] = ()
    """Extenders that had a say in it. What they said is not kept."""


def encode(record: Record) -> str:
    return msgspec.json.encode(record).decode()


def decode(text: str) -> Record:
    """Raises ValueError when it is no record."""
    try:
        return msgspec.json.decode(text, type=Record)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a scheduling decision: {error}") from None


class Journal:
    """Numbers the decisions of one run and knows which of them are not confirmed."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._number = 0
        self._open: dict[str, int] = {}
        """uid → number, in the order of numbers."""
        self._undone: list[int] = []

    def record(
        self,
        outcome: Chosen | Unschedulable,
        plan: Candidate | None,
        *,
        uid: str,
        profile: str,
        seed: int,
        at: float,
        seen: Mapping[str, int],
        asked: tuple[str, ...] = (),
    ) -> Record:
        """The record of a decision just made. A node, chosen or nominated, is open until `confirmed` or `undone`."""
        self._number += 1
        oldest = next(iter(self._open.values()), 0)
        self._undone = [n for n in self._undone if oldest and n >= oldest]
        chosen = outcome if isinstance(outcome, Chosen) else None
        made = Record(
            run=self._run,
            number=self._number,
            seed=seed,
            at=at,
            seen=dict(seen),
            profile=profile,
            node=chosen.node if chosen is not None else "",
            equals=chosen.equals if chosen is not None else 1,
            nominated=plan.node if plan is not None else "",
            victims=tuple(v.uid for v in plan.victims) if plan is not None else (),
            unconfirmed=oldest,
            undone=tuple(self._undone),
            asked=asked,
        )
        self._open.pop(uid, None)
        if made.node or made.nominated:
            self._open[uid] = made.number
        return made

    def confirmed(self, uid: str) -> None:
        """The API shows what was decided about a pod, or the pod is gone."""
        self._open.pop(uid, None)

    def undone(self, uid: str) -> None:
        """What was decided about a pod was taken back."""
        number = self._open.pop(uid, None)
        if number is not None:
            self._undone.append(number)
