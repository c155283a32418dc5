"""One attempt to place a pod, and the decisions that can come of it.

Whoever decides (`decider` alone, extenders with it, about one pod or a whole group) answers in these words; the loop carries them out.

Upstream counterparts: framework.CycleState with QueuedPodInfo; framework.Status as the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from navarch.api.core import v1 as core_v1
from navarch.scheduler.core.decide import Chosen, Unschedulable
from navarch.scheduler.core.preempt import Candidate
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.queue import QueuedPod
from navarch.scheduler.core.terms import PodInfo


@dataclass(frozen=True, slots=True)
class Attempt:
    """A pod that is being tried."""

    queued: QueuedPod
    pod: core_v1.Pod
    info: PodInfo
    profile: Profile
    seed: int
    """Draws among equally good nodes."""
    extenders: tuple[str, ...] = ()
    """The extenders that have a say about it."""


@dataclass(frozen=True, slots=True)
class Place:
    """The pod counts on its node from now on (in the columns already or not), and is bound."""

    attempt: Attempt
    chosen: Chosen


@dataclass(frozen=True, slots=True)
class Refuse:
    """The pod fits nowhere. It waits for an event that helps, and for room on the nominated node ("" for none) if `candidate` makes some."""

    attempt: Attempt
    refused: Unschedulable
    candidate: Candidate | None
    nominated: str
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The pod waits for a reason of its own, perhaps for room on a node, until an event that helps with these plugins."""

    attempt: Attempt
    message: str
    nominated: str
    plugins: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fail:
    """The attempt went wrong through no fault of the cluster: again after a backoff."""

    attempt: Attempt
    message: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The attempt was overtaken by what happened meanwhile: again at once."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Evict:
    """The candidate's victims go for the pod; what becomes of the pod itself is another decision."""

    attempt: Attempt
    candidate: Candidate


Decision = Place | Refuse | Wait | Fail | TryAgain | Evict
