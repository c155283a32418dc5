"""The executor: decisions, carried out on the queue, the columns and the API.

In: `attempt.Decision`s, whoever made them. Each is recorded in the journal where it can be made again, and told to its pod.

Upstream counterparts: handleSchedulingFailure in pkg/scheduler/schedule_one.go, framework/preemption/executor.go.
"""

from __future__ import annotations

import logging
from typing import assert_never

from navarch.api.core import v1 as core_v1
from navarch.client.rest import Unreachable
from navarch.lib import tasks
from navarch.machinery import errors
from navarch.objects import meta
from navarch.scheduler.bind import Binder
from navarch.scheduler.cache import Cache
from navarch.scheduler.core.attempt import Attempt, Decision, Evict, Fail, Place, Refuse, TryAgain, Wait
from navarch.scheduler.core.decide import Chosen, Unschedulable
from navarch.scheduler.core.journal import Record
from navarch.scheduler.core.preempt import Candidate
from navarch.scheduler.core.terms import PodInfo
from navarch.scheduler.observe import Observer
from navarch.scheduler.statuses import Pending, Statuses

_log = logging.getLogger(__name__)


class Executor:
    """Carries decisions out; what takes time runs in tasks of the group."""

    def __init__(self, cache: Cache, observer: Observer, binder: Binder, statuses: Statuses, group: tasks.Group) -> None:
        self._cache = cache
        self._observer = observer
        self._binder = binder
        self._statuses = statuses
        self._group = group

    def execute(self, decision: Decision) -> None:
        """Does what was decided."""
        match decision:
            case Place(attempt, chosen):
                self._binder.start(attempt, self._record(attempt, chosen, None), self._group)
            case Refuse(attempt, refused, candidate, nominated, message):
                record = self._record(attempt, refused, candidate)
                if candidate is not None:
                    self._evict(attempt, candidate)
                self._wait(Wait(attempt, message, nominated, refused.plugins), record)
            case Wait():
                self._wait(decision, None)
            case Fail(attempt, message):
                self._cache.columns.withdraw(attempt.queued.uid)
                self._cache.queue.retry(attempt.queued, self._cache.clock.now())
                self._statuses.pending(attempt.pod, Pending(message, "", "SchedulerError"))
                self._cache.wakeup.set()
            case TryAgain(attempt):
                self._cache.queue.again(attempt.queued)
                self._cache.wakeup.set()
            case Evict(attempt, candidate):
                self._evict(attempt, candidate)
            case _:
                assert_never(decision)

    def _record(self, attempt: Attempt, outcome: Chosen | Unschedulable, candidate: Candidate | None) -> Record:
        """What is kept of a decision just made: see `core.journal`."""
        return self._cache.journal.record(
            outcome,
            candidate,
            uid=attempt.queued.uid,
            profile=attempt.profile.name,
            seed=attempt.seed,
            at=self._cache.clock.now(),
            seen=self._observer.revisions(of_storage=bool(attempt.queued.claims)),
            asked=attempt.extenders,
        )

    def _wait(self, wait: Wait, record: Record | None) -> None:
        attempt, cache = wait.attempt, self._cache
        if wait.nominated:
            cache.columns.nominate(attempt.info, wait.nominated)
        cache.queue.failed(attempt.queued, cache.clock.now(), wait.plugins)
        self._statuses.pending(attempt.pod, Pending(wait.message, wait.nominated), record)
        cache.wakeup.set()

    # ---- eviction ----

    def _evict(self, attempt: Attempt, candidate: Candidate) -> None:
        """Sends the victims away; who waits there and matters less waits there no more."""
        columns = self._cache.columns
        slot = columns.slots[candidate.node]
        for other in list(columns.nominated.get(slot, {}).values()):
            holder = self._observer.pod(other.key)
            if other.terms.priority < attempt.info.terms.priority and holder is not None:
                columns.withdraw(other.uid)
                self._group.start(f"withdraw {other.key}", self._withdraw(holder))
        for victim in candidate.victims:
            found = self._observer.pod(victim.key)
            if found is not None and not victim.preempted:
                victim.preempted = True
                self._group.start(f"evict {victim.key}", self._delete(found, victim, attempt.pod, candidate.node))

    async def _withdraw(self, pod: core_v1.Pod) -> None:
        try:
            await self._statuses.clear_nomination(pod)
        except (errors.ApiError, Unreachable) as error:
            _log.info("nomination of %s: %s", meta.of(pod).name, error)

    async def _delete(self, found: core_v1.Pod, victim: PodInfo, preemptor: core_v1.Pod, node: str) -> None:
        try:
            await self._statuses.evict(found, preemptor, node)
        except (errors.ApiError, Unreachable) as error:
            _log.warning("preempting %s: %s", victim.key, error)
            victim.preempted = False
