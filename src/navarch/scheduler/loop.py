"""The scheduler's life: informers keep the columns, the queue hands out pods, decisions are bound.

A decision is assumed at once: the pod counts on its node before the API server has heard of it, so the next decision does
not wait. Binding runs beside; when it fails the assumption is taken back and the pod tried again. A pod that fits nowhere may
evict others (`core.preempt`); it is nominated for that node, so that nobody less important takes the room.

Upstream counterpart: pkg/scheduler (Scheduler, scheduleOne, eventhandlers).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.client import identity, kubeconfig, leading
from navarch.client.events import Recorder
from navarch.client.informer import Added, Deleted, Informer, Modified
from navarch.client.lease import Election
from navarch.client.rest import Client, Unreachable
from navarch.lib import backoff, tasks
from navarch.machinery import claims, errors, timestamps
from navarch.scheduler import configuration
from navarch.scheduler.attempts import Case
from navarch.scheduler.core import check, explain, owners, plugins, terms
from navarch.scheduler.core.decision import Journal, Record
from navarch.scheduler.core.filters import View
from navarch.scheduler.core.preempt import Budget, Helpless, Preempted, Preemptor, budget_of
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.schedule import Chosen, Core, Unschedulable
from navarch.scheduler.core.terms import Demand, Reader
from navarch.scheduler.core.volume_binding import Reservation
from navarch.scheduler.extenders import Extender, ExtenderFailed
from navarch.scheduler.extending import Lane
from navarch.scheduler.groups import Groups
from navarch.scheduler.owners import Owners
from navarch.scheduler.queue import Event, Queue, Waiting, table
from navarch.scheduler.statuses import WRITERS, Pending, Statuses, kept
from navarch.scheduler.together import ASKED, Gangs
from navarch.scheduler.volumes import NotBound, Volumes

_log = logging.getLogger(__name__)
_BINDINGS_AT_ONCE = 64
_TURN_SECONDS = 0.01
"""How long decisions are made in a row before the event loop gets its turn."""


@dataclass(frozen=True, slots=True)
class Options:
    """The scheduler's flags, upstream's names."""

    kubeconfig: str
    leader_elect: bool = True
    leader_elect_identity_file: str = ""
    """Where the name is kept under which this process leads, so that the next one goes on at once; without it each has a new name."""
    scheduler_name: str = "default-scheduler"
    config: str = ""
    """A KubeSchedulerConfiguration file."""


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

    async with Client(config, user_agent="kube-scheduler", connections=_BINDINGS_AT_ONCE + 32) as client:
        await _reachable(client)
        with identity.held(options.leader_elect_identity_file) as name:
            await leading.lead(client, _election(settings.leadership, name) if elect else None, work)


def _election(given: configuration.Leadership, name: str) -> Election:
    return Election(given.name, name, given.namespace, max(1, int(given.duration)), given.deadline, given.retry)


async def _reachable(client: Client) -> None:
    wait = backoff.Backoff(backoff.Policy(first=0.02, most=0.5))
    while True:
        try:
            await client.request("GET", "/readyz")
            return
        except (Unreachable, errors.ApiError):
            await asyncio.sleep(wait.next())


class Scheduler:
    """Holds the columns and the queue; everything happens on one event loop."""

    def __init__(self, client: Client, settings: configuration.Configuration) -> None:
        self._client = client
        self._profiles = settings.profiles
        self._core = Core()
        self._columns = self._core.columns
        self._preemptor = Preemptor(self._columns)
        self._reader = Reader()
        self._queue = Queue(
            settings.first_backoff, settings.most_backoff, table(p for profile in settings.profiles.values() for p in profile.filters)
        )
        self._wakeup = asyncio.Event()
        self._assumed: dict[str, str] = {}
        self._slots = asyncio.Semaphore(_BINDINGS_AT_ONCE)
        self._recorder = Recorder(client, next(iter(settings.profiles)))
        self._statuses = Statuses(client, self._recorder)
        self._pods = Informer(client, core_v1.Pod, keep=None if settings.extenders else known)
        self._nodes = Informer(client, core_v1.Node)
        self._namespaces = Informer(client, core_v1.Namespace)
        self._budgets = Informer(client, policy_v1.PodDisruptionBudget)
        self._owners = Owners(client)
        self._volumes = Volumes(client, self._columns, self._happened)
        plain: tuple[Informer[Any], ...] = (self._namespaces, self._nodes, self._budgets, *self._owners.informers, self._pods)
        self._informers: tuple[Informer[Any], ...] = (*self._volumes.informers, *plain)
        self._seen = {resources.of(i.kind).plural: i for i in plain}
        self._seen_of_claims = {resources.of(i.kind).plural: i for i in self._informers}
        self._journal = Journal(secrets.token_hex(4))
        self._allowed: tuple[Budget, ...] = ()
        self._random = random.Random()
        self._near: tuple[Unschedulable | None, str] = (None, "")
        asked = [Extender(extender) for extender in settings.extenders]
        self._lane = Lane(asked, self, self._core, self._preemptor, self._nodes.get, self._pods.by_key, lambda: self._allowed)
        self._groups = Groups(client, self._regroup)
        self._gangs = Gangs(self._groups, self, self._queue, self._core, self._preemptor, lambda uid: uid in self._assumed, lambda: self._allowed)

    async def start(self, group: tasks.Group) -> None:
        """Fills the columns, then schedules."""
        self._group = group
        for informer in self._informers[:-1]:
            group.start(f"informer {informer.kind.__name__}", informer.run())
        for informer in self._informers[:-1]:
            await informer.synced.wait()
        self._namespaces.subscribe(self._namespace_changed)
        self._nodes.subscribe(self._node_changed)
        self._volumes.start()
        self._budgets.subscribe(self._budget_changed)
        await self._groups.start(group)
        self._pods.subscribe(self._pod_changed)
        group.start("informer Pod", self._pods.run())
        await self._pods.synced.wait()
        group.start("events", self._recorder.run())
        for number in range(WRITERS):
            group.start(f"statuses {number}", self._statuses.run())
        group.start("schedule", self._loop())
        group.start("extenders", self._lane.run())

    def check(self) -> None:
        """Compares the columns with columns made anew, and logs what differs (SIGUSR2)."""
        found = check.differences(self._columns, self._nodes.list())
        for text in found:
            _log.error("columns: %s", text)
        _log.info("columns checked: %d nodes, %d pods, %d differences", self._columns.alive_count, len(self._columns.placed), len(found))

    # ---- observing ----

    def _regroup(self, key: str) -> None:
        """A group is complete, or waits for something else: its pods are looked at again."""
        for pod in self._groups.members(key):
            if pod.spec is not None and not pod.spec.nodeName:
                self._see(pod, None)

    def _happened(self, event: Event, claim: str = "") -> None:
        """Something changed that may let a waiting pod be placed."""
        self._queue.happened(event, time.time(), claim)
        self._wakeup.set()

    def _namespace_changed(self, change: Any) -> None:
        match change:
            case Added(namespace) | Modified(_, namespace):
                held = self._columns.namespaces.get(namespace.metadata.name)
                labels = namespace.metadata.labels or {}
                if held == labels:
                    return
                self._columns.namespaces[namespace.metadata.name] = labels
            case Deleted(namespace):
                self._columns.namespaces.pop(namespace.metadata.name, None)
        self._columns.counters.forget()
        self._happened(Event.NAMESPACE)

    def _node_changed(self, change: Any) -> None:
        match change:
            case Added(node):
                self._columns.put_node(node)
                self._happened(Event.NODE_ADDED)
            case Modified(old, node):
                if self._columns.put_node(node):
                    for event in _node_events(old, node):
                        self._happened(event)
            case Deleted(node):
                self._columns.remove_node(node.metadata.name)
                self._happened(Event.NODE_LABELS)

    def _budget_changed(self, change: Any) -> None:
        self._allowed = tuple(budget_of(b) for b in self._budgets.list())

    def _pod_changed(self, change: Any) -> None:
        match change:
            case Deleted(pod):
                self._forget(pod)
            case Added(pod):
                self._see(pod, None)
            case Modified(old, pod):
                self._see(pod, old)

    def _forget(self, pod: core_v1.Pod) -> None:
        uid = _meta(pod).uid or ""
        self._groups.forget(pod)
        self._queue.remove(uid)
        self._assumed.pop(uid, None)
        self._journal.confirmed(uid)
        self._statuses.forget(uid)
        placed = self._columns.remove_pod(uid)
        if self._columns.withdraw(uid) or placed is not None:
            self._happened(Event.POD_GONE)

    def _see(self, pod: core_v1.Pod, old: core_v1.Pod | None) -> None:
        m, spec = _meta(pod), pod.spec or core_v1.PodSpec()
        uid = m.uid or ""
        if terms.finished(pod):
            self._forget(pod)
            return
        self._groups.see(pod)
        profile = self._profiles.get(_scheduler(pod))
        if spec.nodeName:
            self._queue.remove(uid)
            self._statuses.forget(uid)
            self._columns.withdraw(uid)
            self._place(pod, uid, spec.nodeName)
        elif m.deletionTimestamp is not None or profile is None or (spec.schedulingGates and profile.honours_gates):
            self._queue.remove(uid)
        elif uid not in self._assumed:
            self._see_waiting(pod, uid, old, profile)

    def _see_waiting(self, pod: core_v1.Pod, uid: str, old: core_v1.Pod | None, profile: Profile) -> None:
        if self._columns.nomination(uid) == ((pod.status.nominatedNodeName if pod.status is not None else None) or ""):
            self._journal.confirmed(uid)
        if self._gated(pod, profile):
            self._queue.remove(uid)
        elif uid not in self._queue:
            self._wait(pod)
        elif old is not None and (old.spec != pod.spec or _meta(old).labels != _meta(pod).labels):
            self._queue.changed(uid, (pod.spec.priority if pod.spec is not None else None) or 0)
            self._wakeup.set()

    def _gated(self, pod: core_v1.Pod, profile: Profile) -> bool:
        """Whether a pod must wait for its group; the pod is told so."""
        why = self._groups.gate(pod) if profile.waits_for_groups else ""
        if why:
            self._statuses.gated(pod, Pending(why, "", "SchedulingGated"))
        return bool(why)

    def _wait(self, pod: core_v1.Pod) -> None:
        """A pod to be scheduled."""
        m = _meta(pod)
        since = timestamps.parse(m.creationTimestamp) if m.creationTimestamp else 0.0
        priority = (pod.spec.priority if pod.spec is not None else None) or 0
        used = frozenset(f"{m.namespace}/{name}" for name in claims.names_of(pod))
        self._queue.add(Waiting(m.uid or "", f"{m.namespace}/{m.name}", priority, since, claims=used))
        if pod.status is not None and pod.status.nominatedNodeName:
            self._columns.nominate(self._reader.read(pod), pod.status.nominatedNodeName)
        self._wakeup.set()

    def _place(self, pod: core_v1.Pod, uid: str, node: str) -> None:
        """Counts a bound pod. One we assumed there is counted already, unless what it asks for changed."""
        self._assumed.pop(uid, None)
        self._journal.confirmed(uid)
        held = self._columns.placed.get(uid)
        demand = self._reader.read(pod)
        if held is None or self._columns.names[held.slot] != node:
            self._columns.put_pod(demand, node)
            self._happened(Event.POD_PLACED)
        elif _differs(held.demand, demand):
            less = demand.ask.requests != held.demand.ask.requests
            self._columns.put_pod(demand, node)
            self._happened(Event.POD_GONE if less else Event.POD_PLACED)
        else:
            held.demand.started = demand.started

    # ---- deciding ----

    async def _loop(self) -> None:
        wait: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wakeup.wait(), wait)
            self._wakeup.clear()
            self._queue.due(time.time())
            turn = time.perf_counter()
            while (waiting := self._queue.pop()) is not None:
                self._try(waiting)
                if time.perf_counter() - turn > _TURN_SECONDS:
                    await asyncio.sleep(0)
                    turn = time.perf_counter()
            wait = self._queue.due(time.time())
            if wait is not None:
                wait = max(wait, 0.001)

    def case(self, waiting: Waiting) -> Case | None:
        """The pod as it is now; None when it is gone or placed."""
        pod = self._pods.by_key(waiting.key)
        if pod is None or _meta(pod).uid != waiting.uid:
            self._queue.remove(waiting.uid)
            return None
        if waiting.uid not in self._queue or waiting.uid in self._assumed:
            return None
        profile = self._profiles[_scheduler(pod)]
        return Case(waiting, pod, self._demand(pod, profile), profile, self._random.getrandbits(30), self._lane.asked(pod))

    def _try(self, waiting: Waiting) -> None:
        case = self.case(waiting)
        if case is None:
            return
        if self._gated(case.pod, case.profile):
            self._queue.remove(waiting.uid)
        elif (lacking := self._gangs.lacking(case)) is not None:
            if case.asked:
                self.failed(case, ASKED)
            else:
                self._gangs.attempt(case, *lacking, self._group)
        elif case.asked:
            self._lane.put(waiting)
        else:
            self._attempt(case)

    def _attempt(self, case: Case) -> None:
        nominated = self._columns.withdraw(case.waiting.uid)
        try:
            outcome = self._core.schedule(case.demand, case.seed, case.profile)
            if isinstance(outcome, Chosen):
                self.placed(case, outcome)
                return
            plan: Preempted | Helpless | None = None
            if outcome.nodes and case.profile.preempts:
                plan = self._preemptor.preempt(case.demand, outcome, case.profile, self._allowed, nominated, case.seed)
            self.refused(case, outcome, plan, nominated)
        except plugins.PluginFailed as error:
            self.failed(case, str(error))

    def placed(self, case: Case, chosen: Chosen) -> None:
        """The pod counts on its node from now on, and is bound."""
        record = self._record(case, chosen, None)
        self._assumed[case.waiting.uid] = chosen.node
        reserved = self._volumes.reserve(View(self._columns, case.demand.ask, case.profile), chosen.node) if case.demand.ask.volumes else None
        if case.waiting.uid not in self._columns.placed:
            self._columns.put_pod(case.demand, chosen.node)
        self._queue.happened(Event.POD_PLACED, time.time())
        self._group.start(f"bind {case.waiting.key}", self._bind(case.pod, case.waiting, record, reserved))

    def waits(self, case: Case, message: str, nominated: str, plugins: frozenset[str], record: Record | None = None) -> None:
        """The pod waits for a change, and for room on a node if one is named."""
        if nominated:
            self._columns.nominate(case.demand, nominated)
        self._queue.failed(case.waiting, time.time(), plugins)
        self._statuses.pending(case.pod, Pending(message, nominated), record)
        self._wakeup.set()

    def failed(self, case: Case, message: str) -> None:
        """The attempt went wrong through no fault of the cluster: again after a backoff."""
        self._columns.withdraw(case.waiting.uid)
        self._queue.retry(case.waiting, time.time())
        self._statuses.pending(case.pod, Pending(message, "", "SchedulerError"))
        self._wakeup.set()

    def again(self, case: Case) -> None:
        """Others were faster: again at once."""
        self._queue.again(case.waiting)
        self._wakeup.set()

    def _record(self, case: Case, outcome: Chosen | Unschedulable, plan: Preempted | None) -> Record:
        """What is kept of a decision just made: see `core.decision`."""
        informers = self._seen_of_claims if case.waiting.claims else self._seen
        seen = {plural: int(informer.version or 0) for plural, informer in informers.items()}
        uid, profile, asked = case.waiting.uid, case.profile.name, case.asked
        return self._journal.record(outcome, plan, uid=uid, profile=profile, seed=case.seed, at=time.time(), seen=seen, asked=asked)

    def _demand(self, pod: core_v1.Pod, profile: Profile) -> Demand:
        """The pod's demand, with the default spread when it belongs to something and names none."""
        return self._reader.read(pod, owners.spreads(pod, self._owners.selector(pod), profile))

    def refused(self, case: Case, refused: Unschedulable, plan: Preempted | Helpless | None, nominated: str | None) -> None:
        """The pod fits nowhere: others may have to go for it, and it waits."""
        message = refused.message
        if isinstance(plan, Preempted):
            nominated = plan.node
        elif plan is not None:
            message = f"{message} preemption: {plan.message}"
            nominated = nominated if plan.waits else None
        if nominated is None and refused.nodes and (near := self._nearest(View(self._columns, case.demand.ask, case.profile), refused)):
            message = f"{message} Nearest miss: {near}."
        record = self._record(case, refused, plan if isinstance(plan, Preempted) else None)
        if isinstance(plan, Preempted):
            self.evict(case, plan)
        self.waits(case, message, nominated or "", refused.plugins, record)

    def _nearest(self, view: View, refused: Unschedulable) -> str:
        """The nearest miss; found once for the pods that share an answer."""
        if self._near[0] is not refused:
            self._near = (refused, explain.nearest(view, refused))
        return self._near[1]

    def evict(self, case: Case, plan: Preempted) -> None:
        """Sends a plan's victims away; who waits there and matters less waits there no more."""
        pod, demand = case.pod, case.demand
        slot = self._columns.slots[plan.node]
        for other in list(self._columns.nominated.get(slot, {}).values()):
            holder = self._pods.by_key(other.key)
            if other.ask.priority < demand.ask.priority and holder is not None:
                self._columns.withdraw(other.uid)
                self._group.start(f"withdraw {other.key}", self._withdraw(holder))
        for victim in plan.victims:
            found = self._pods.by_key(victim.key)
            if found is not None and not victim.preempted:
                victim.preempted = True
                self._group.start(f"evict {victim.key}", self._evict(found, victim, pod, plan.node))

    # ---- doing ----

    async def _withdraw(self, pod: core_v1.Pod) -> None:
        try:
            await self._statuses.clear_nomination(pod)
        except (errors.ApiError, Unreachable) as error:
            _log.info("nomination of %s: %s", _meta(pod).name, error)

    async def _evict(self, found: core_v1.Pod, victim: Demand, pod: core_v1.Pod, node: str) -> None:
        try:
            await self._statuses.evict(found, pod, node)
        except (errors.ApiError, Unreachable) as error:
            _log.warning("preempting %s: %s", victim.key, error)
            victim.preempted = False

    async def _bind(self, pod: core_v1.Pod, waiting: Waiting, record: Record, reserved: Reservation | None = None) -> None:
        m = _meta(pod)
        if reserved is not None and not await self._bind_volumes(pod, waiting, reserved):
            return
        target = core_v1.ObjectReference(kind="Node", name=record.node)
        metadata = meta_v1.ObjectMeta(name=m.name, namespace=m.namespace, uid=m.uid)
        binding = core_v1.Binding(apiVersion="v1", kind="Binding", metadata=metadata, target=target)
        try:
            if not await self._lane.bind(pod, record.node):
                async with self._slots:
                    await self._client.create_action(core_v1.Pod, m.name or "", "binding", binding, m.namespace or "")
        except (errors.ApiError, Unreachable, ExtenderFailed) as error:
            self._unbind(waiting, error)
            if isinstance(error, ExtenderFailed):
                self._statuses.pending(pod, Pending(str(error), "", "SchedulerError"))
            return
        message = f"Successfully assigned {m.namespace}/{m.name} to {record.node}"
        self._recorder.event(pod, "Normal", "Scheduled", message, component=_scheduler(pod), annotations=kept(record))

    async def _bind_volumes(self, pod: core_v1.Pod, waiting: Waiting, reserved: Reservation) -> bool:
        """Binds a pod's volumes before the pod. Whether that came true; when not, all is taken back."""
        timeout = self._profiles[_scheduler(pod)].bind_timeout
        try:
            await self._volumes.bind(reserved, timeout, lambda: waiting.uid in self._assumed)
        except NotBound as error:
            self._volumes.release(reserved)
            if waiting.uid in self._assumed:
                message = f'running PreBind plugin "VolumeBinding": {error}'
                self._statuses.pending(pod, Pending(message, "", "SchedulerError"))
            self._unbind(waiting, error)
            return False
        return True

    def _unbind(self, waiting: Waiting, error: Exception) -> None:
        """Takes an assumption back; the pod is tried again unless it is gone."""
        if self._assumed.pop(waiting.uid, None) is None:
            return
        self._journal.undone(waiting.uid)
        _log.info("binding %s: %s", waiting.key, error)
        self._columns.remove_pod(waiting.uid)
        if isinstance(error, errors.NotFound):
            self._queue.remove(waiting.uid)
        else:
            self._queue.retry(waiting, time.time())
        self._happened(Event.POD_GONE)


def known(pod: core_v1.Pod) -> core_v1.Pod:
    """What is kept of a pod that has its node: who it is. What it asks for is in the columns. (2 KB instead of 7 each.)"""
    if pod.spec is None or not pod.spec.nodeName:
        return pod
    m = _meta(pod)
    metadata = meta_v1.ObjectMeta(name=m.name, namespace=m.namespace, uid=m.uid, resourceVersion=m.resourceVersion, generation=m.generation)
    spec = core_v1.PodSpec(nodeName=pod.spec.nodeName, schedulerName=pod.spec.schedulerName)
    return core_v1.Pod(apiVersion=pod.apiVersion, kind=pod.kind, metadata=metadata, spec=spec)


def _node_events(old: core_v1.Node, node: core_v1.Node) -> list[Event]:
    """What a changed node may help with."""
    found: list[Event] = []
    a, b = old.spec or core_v1.NodeSpec(), node.spec or core_v1.NodeSpec()
    if _meta(old).labels != _meta(node).labels:
        found.append(Event.NODE_LABELS)
    if (a.taints, a.unschedulable) != (b.taints, b.unschedulable):
        found.append(Event.NODE_TAINTS)
    if (old.status.allocatable if old.status else None) != (node.status.allocatable if node.status else None):
        found.append(Event.NODE_RESOURCES)
    return found


def _differs(held: Demand, seen: Demand) -> bool:
    """Whether a placed pod counts otherwise than it did."""
    a, b = held.ask, seen.ask
    if held.terminating != seen.terminating:
        return True
    return a is not b and (a.requests, a.labels, a.counted) != (b.requests, b.labels, b.counted)


def _scheduler(pod: core_v1.Pod) -> str:
    return (pod.spec.schedulerName if pod.spec is not None else None) or "default-scheduler"


def _meta(obj: core_v1.Pod | core_v1.Node) -> meta_v1.ObjectMeta:
    assert obj.metadata is not None
    return obj.metadata
