"""Attempts of whole groups: one popped pod brings the others of its group along, and all are placed or none.

In: the attempt of one member. Out: decisions about each member, handed on, and the group's condition. Once enough of a group are on
nodes, the rest are placed one by one.

Upstream counterpart: scheduleOnePodGroup and submitPodGroupAlgorithmResult in pkg/scheduler/schedule_one_podgroup.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from navarch.api.core import v1 as core_v1
from navarch.lib import tasks
from navarch.objects import meta
from navarch.scheduler.cache import Cache
from navarch.scheduler.core.attempt import Attempt, Decision, Fail
from navarch.scheduler.core.decider import Decider
from navarch.scheduler.core.preempt import Budget
from navarch.scheduler.core.queue import QueuedPod
from navarch.scheduler.groups.pod_groups import Gang, PodGroups

EXTENDERS = "extenders are not asked about pods that are placed as a group"


class Cluster(Protocol):
    """What is asked of the observer."""

    groups: PodGroups
    budgets: tuple[Budget, ...]

    def attempt(self, queued: QueuedPod) -> Attempt | None: ...


class GroupAttempts:
    """Tries groups."""

    def __init__(self, cluster: Cluster, cache: Cache, decider: Decider, execute: Callable[[Decision], None], group: tasks.Group) -> None:
        self._cluster = cluster
        self._cache = cache
        self._decider = decider
        self._execute = execute
        self._group = group

    def attempt(self, attempt: Attempt) -> bool:
        """Tries the whole group of a pod; False for a pod that is placed alone."""
        gang = self._cluster.groups.gang(attempt.pod) if attempt.profile.places_groups else None
        if gang is None:
            return False
        placed = sum(self._placed(pod) for pod in self._cluster.groups.members(gang.key))
        if placed >= gang.minimum:
            return False
        if attempt.extenders:
            self._execute(Fail(attempt, EXTENDERS))
        else:
            self._attempt(attempt, gang, gang.minimum - placed)
        return True

    def _placed(self, pod: core_v1.Pod) -> bool:
        return bool(pod.spec and pod.spec.nodeName) or self._cache.assumed(meta.of(pod).uid or "")

    def _attempt(self, attempt: Attempt, gang: Gang, needed: int) -> None:
        attempts = [attempt, *self._others(gang)]
        schedulers = sorted({str(a.pod.spec.schedulerName) for a in attempts if a.pod.spec is not None})
        if len(schedulers) > 1:
            text = "all pods in a single pod group should have the same .spec.schedulerName set, got:"
            self._fail(attempts, f'{text} "{schedulers[0]}" and "{schedulers[1]}"')
            return
        found = self._decider.decide_group(attempts, needed, self._cluster.budgets)
        if isinstance(found, Fail):
            self._fail(attempts, found.message)
            return
        for decision in found.decisions:
            self._execute(decision)
        telling = self._cluster.groups.tell(gang.key, scheduled=found.scheduled, message=found.message)
        self._group.start(f"pod group {gang.key}", telling)

    def _others(self, gang: Gang) -> list[Attempt]:
        """The other members that can be tried, wherever they wait."""
        queued = (self._cache.queue.take(meta.of(pod).uid or "") for pod in self._cluster.groups.members(gang.key))
        return [found for each in queued if each is not None and (found := self._cluster.attempt(each)) is not None]

    def _fail(self, attempts: list[Attempt], message: str) -> None:
        for attempt in attempts:
            self._execute(Fail(attempt, message))
