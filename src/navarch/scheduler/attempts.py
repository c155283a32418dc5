"""One attempt to place a pod, and what those who help with it may ask of the scheduler.

`Desk` is the scheduler as seen by the lane of extenders (`extending`) and by groups (`together`): they decide, it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from navarch.api.core import v1 as core_v1
from navarch.scheduler.core.preempt import Helpless, Preempted
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.schedule import Chosen, Unschedulable
from navarch.scheduler.core.terms import Demand
from navarch.scheduler.queue import Waiting


@dataclass(frozen=True, slots=True)
class Case:
    """A pod that is being tried."""

    waiting: Waiting
    pod: core_v1.Pod
    demand: Demand
    profile: Profile
    seed: int
    """Draws among equally good nodes."""
    asked: tuple[str, ...] = ()
    """The extenders that have a say about it."""


class Desk(Protocol):
    """What can become of a case."""

    def case(self, waiting: Waiting) -> Case | None:
        """The case as it is now; None when the pod is gone or has been placed."""

    def placed(self, case: Case, chosen: Chosen) -> None:
        """The pod counts on its node (in the columns already or not) and shall be bound."""

    def refused(self, case: Case, refused: Unschedulable, plan: Preempted | Helpless | None, nominated: str | None) -> None:
        """The pod fits nowhere; `plan` is what eviction would do (None: nobody asked), `nominated` the node it waited for before."""

    def waits(self, case: Case, message: str, nominated: str, plugins: frozenset[str]) -> None:
        """The pod waits, for a reason of its own, perhaps for room on a node, until an event that helps with these plugins."""

    def failed(self, case: Case, message: str) -> None:
        """The attempt went wrong: again after a backoff."""

    def again(self, case: Case) -> None:
        """The attempt was overtaken: again at once."""

    def evict(self, case: Case, plan: Preempted) -> None:
        """The victims of a plan shall go."""
