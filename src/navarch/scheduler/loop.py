"""The scheduler's life: wait for the API server, become leader, observe, and decide about one pod after the other.

`Scheduler` only composes: the `Observer` keeps columns and queue as the API server shows the cluster, the `Decider` makes a decision of
each attempt, the `Executor` carries decisions out, the `Binder` binds pods beside further decisions.

Upstream counterpart: pkg/scheduler (Scheduler.Run, ScheduleOne).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import Callable

from navarch.api.core import v1 as core_v1
from navarch.client import identity, kubeconfig, leading, readiness
from navarch.client.events import Recorder
from navarch.client.lease import Election
from navarch.client.rest import Client
from navarch.lib import clock, tasks
from navarch.scheduler import bind
from navarch.scheduler.cache import Cache
from navarch.scheduler.config import configuration
from navarch.scheduler.core import queue
from navarch.scheduler.core.decider import Decider
from navarch.scheduler.core.queue import Queue, QueuedPod
from navarch.scheduler.execute import Executor
from navarch.scheduler.extenders import client as extender_client
from navarch.scheduler.extenders.attempts import ExtenderAttempts
from navarch.scheduler.groups.attempts import GroupAttempts
from navarch.scheduler.observe import Observer
from navarch.scheduler.options import Options
from navarch.scheduler.statuses import WRITERS, Statuses
from navarch.scheduler.storage import StorageObserver
from navarch.scheduler.volume_binder import VolumeBinder

__all__ = ["Options", "Scheduler", "run"]

_log = logging.getLogger(__name__)
_TURN_SECONDS = 0.01
"""How long decisions are made in a row before the event loop gets its turn."""
_LEAST_WAIT = 0.001


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs until cancelled. leading.LeadLost when the lease could not be kept."""
    settings = configuration.load(options.config) if options.config else configuration.default(options.scheduler_name)
    for note in settings.notes:
        _log.warning("%s: %s", options.config, note)
    config = kubeconfig.load(settings.kubeconfig or options.kubeconfig)
    elect = options.leader_elect and settings.leadership.elect

    async def work(group: tasks.Group) -> None:
        scheduler = Scheduler(client, settings)
        await scheduler.start(group)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, scheduler.check)
        ready()

    async with Client(config, user_agent="kube-scheduler", connections=bind.AT_ONCE + 32) as client:
        await readiness.wait(client)
        with identity.held(options.leader_elect_identity_file) as name:
            await leading.lead(client, _election(settings.leadership, name) if elect else None, work)


def _election(given: configuration.Leadership, name: str) -> Election:
    return Election(given.name, name, given.namespace, max(1, int(given.duration)), given.deadline, given.retry)


class Scheduler:
    """Puts the parts together, and gives each queued pod its turn. Everything happens on one event loop."""

    def __init__(self, client: Client, settings: configuration.Configuration) -> None:
        profiles = settings.profiles
        helps = queue.with_own(plugin for profile in profiles.values() for plugin in profile.filters)
        waiting = Queue(settings.first_backoff, settings.most_backoff, helps)
        self._client = client
        self._extenders = [extender_client.Extender(extender) for extender in settings.extenders]
        self._recorder = Recorder(client, next(iter(profiles)))
        self._statuses = Statuses(client, self._recorder)
        self._cache = Cache(client.clock, waiting, secrets.token_hex(4))
        self._decider = Decider(self._cache.core)
        self._volumes = VolumeBinder(client, self._cache)
        storage = StorageObserver(client, self._cache, self._volumes.changed)
        whole_pods = bool(self._extenders)
        self._observer = Observer(client, self._cache, profiles, self._statuses, storage, self._with_a_say, whole_pods=whole_pods)

    def _with_a_say(self, pod: core_v1.Pod) -> tuple[str, ...]:
        return extender_client.with_a_say(self._extenders, pod)

    async def start(self, group: tasks.Group) -> None:
        """Fills the columns, then schedules."""
        await self._observer.start(group)
        binder = bind.Binder(self._client, self._cache, self._volumes, self._extenders, self._statuses, self._recorder)
        executor = Executor(self._cache, self._observer, binder, self._statuses, group)
        self._execute = executor.execute
        self._group_attempts = GroupAttempts(self._observer, self._cache, self._decider, self._execute, group)
        self._extender_attempts = ExtenderAttempts(self._extenders, self._observer, self._decider, self._execute)
        group.start("events", self._recorder.run())
        for number in range(WRITERS):
            group.start(f"statuses {number}", self._statuses.run())
        group.start("schedule", self._run())
        group.start("extenders", self._extender_attempts.run())

    def check(self) -> None:
        """Compares the columns with columns made anew, and logs what differs (SIGUSR2)."""
        found, columns = self._observer.differences(), self._cache.columns
        for text in found:
            _log.error("columns: %s", text)
        _log.info("columns checked: %d nodes, %d pods, %d differences", columns.alive_count, len(columns.placed), len(found))

    async def _run(self) -> None:
        cache, time, wait = self._cache, self._client.clock, None
        while True:
            with contextlib.suppress(TimeoutError):
                async with clock.timeout(time, wait):
                    await cache.wakeup.wait()
            cache.wakeup.clear()
            cache.queue.due(time.now())
            began = time.monotonic()
            while (queued := cache.queue.pop()) is not None:
                self._try(queued)
                if time.monotonic() - began > _TURN_SECONDS:
                    await asyncio.sleep(0)
                    began = time.monotonic()
            wait = cache.queue.due(time.now())
            if wait is not None:
                wait = max(wait, _LEAST_WAIT)

    def _try(self, queued: QueuedPod) -> None:
        """One pod's turn: at the gate of its group, with its group, with extenders, or alone."""
        attempt = self._observer.attempt(queued)
        if attempt is None:
            return
        if self._observer.gated(attempt.pod, attempt.profile):
            self._cache.queue.remove(queued.uid)
        elif self._group_attempts.attempt(attempt):
            return
        elif attempt.extenders:
            self._extender_attempts.put(queued)
        else:
            self._execute(self._decider.decide(attempt, self._observer.budgets))
