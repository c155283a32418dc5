"""The scheduler's life: informers keep the columns, the queue hands out pods, decisions are bound.

A decision is assumed at once: the pod counts on its node before the API server has heard of it, so the next decision does
not wait. Binding runs beside; when it fails the assumption is taken back and the pod tried again.

Upstream counterpart: pkg/scheduler (Scheduler, scheduleOne, eventhandlers).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import kubeconfig
from navarch.client.events import Recorder
from navarch.client.informer import Added, Deleted, Informer, Modified
from navarch.client.lease import Election, Elector
from navarch.client.rest import Client, Unreachable
from navarch.lib import backoff, tasks
from navarch.machinery import errors, selectors, timestamps
from navarch.scheduler.core import topology
from navarch.scheduler.core.schedule import Chosen, Core, Unschedulable
from navarch.scheduler.core.terms import Demand, Reader, SpreadTerm
from navarch.scheduler.queue import Queue, Waiting

_log = logging.getLogger(__name__)
_BINDINGS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Options:
    """The scheduler's flags, upstream's names."""

    kubeconfig: str
    leader_elect: bool = True
    scheduler_name: str = "default-scheduler"


class LeadLost(RuntimeError):
    """Somebody else may lead now: this process must end."""


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs until cancelled. Raises LeadLost when the lease could not be kept."""
    async with Client(kubeconfig.load(options.kubeconfig), user_agent="kube-scheduler", connections=_BINDINGS_AT_ONCE + 32) as client:
        await _reachable(client)
        elector = Elector(client, Election("kube-scheduler", f"{socket.gethostname()}_{os.getpid()}"))
        if options.leader_elect:
            await elector.acquire()
        async with tasks.Group() as group:
            scheduler = Scheduler(client, options)
            await scheduler.start(group)
            ready()
            if not options.leader_elect:
                await asyncio.Event().wait()
            try:
                await elector.lead()
            except asyncio.CancelledError:
                await asyncio.shield(elector.release())
                raise
            raise LeadLost("the leader election lease was lost")


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

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._name = options.scheduler_name
        self._core = Core()
        self._columns = self._core.columns
        self._reader = Reader()
        self._queue = Queue()
        self._wakeup = asyncio.Event()
        self._helped = False
        self._assumed: dict[str, str] = {}
        self._binding: set[str] = set()
        self._slots = asyncio.Semaphore(_BINDINGS_AT_ONCE)
        self._recorder = Recorder(client, self._name)
        self._pods = Informer(client, core_v1.Pod)
        self._nodes = Informer(client, core_v1.Node)
        self._namespaces = Informer(client, core_v1.Namespace)
        by_namespace = {"namespace": lambda obj: [obj.metadata.namespace or ""]}
        self._services = Informer(client, core_v1.Service, indexes=by_namespace)
        self._sets = Informer(client, apps_v1.ReplicaSet)
        self._stateful = Informer(client, apps_v1.StatefulSet)
        self._random = random.Random()
        self.decisions: dict[str, Chosen | Unschedulable] = {}

    async def start(self, group: tasks.Group) -> None:
        """Fills the columns, then schedules."""
        self._group = group
        first: tuple[Informer[Any], ...] = (self._namespaces, self._nodes, self._services, self._sets, self._stateful)
        for informer in (*first, self._pods):
            group.start(f"informer {informer.kind.__name__}", informer.run())
        for informer in first:
            await informer.synced.wait()
        self._namespaces.subscribe(self._namespace_changed)
        self._nodes.subscribe(self._node_changed)
        await self._pods.synced.wait()
        self._pods.subscribe(self._pod_changed)
        group.start("events", self._recorder.run())
        group.start("schedule", self._loop())

    # ---- observing ----

    def _namespace_changed(self, change: Any) -> None:
        match change:
            case Added(namespace) | Modified(_, namespace):
                self._columns.namespaces[namespace.metadata.name] = namespace.metadata.labels or {}
            case Deleted(namespace):
                self._columns.namespaces.pop(namespace.metadata.name, None)
        self._columns.counters.forget()

    def _node_changed(self, change: Any) -> None:
        match change:
            case Added(node) | Modified(_, node):
                changed = self._columns.put_node(node)
            case Deleted(node):
                self._columns.remove_node(node.metadata.name)
                changed = True
        if changed:
            self._help()

    def _pod_changed(self, change: Any) -> None:
        match change:
            case Deleted(pod):
                self._forget(pod)
            case Added(pod) | Modified(_, pod):
                self._see(pod)

    def _forget(self, pod: core_v1.Pod) -> None:
        uid = _meta(pod).uid or ""
        self._queue.remove(uid)
        self._assumed.pop(uid, None)
        self.decisions.pop(uid, None)
        if self._columns.remove_pod(uid) is not None:
            self._help()

    def _see(self, pod: core_v1.Pod) -> None:
        m, spec = _meta(pod), pod.spec or core_v1.PodSpec()
        uid = m.uid or ""
        finished = pod.status is not None and pod.status.phase in ("Succeeded", "Failed")
        if finished:
            self._forget(pod)
        elif spec.nodeName:
            self._queue.remove(uid)
            self._place(pod, uid, spec.nodeName)
        elif m.deletionTimestamp is not None or spec.schedulingGates or (spec.schedulerName or "default-scheduler") != self._name:
            self._queue.remove(uid)
        elif uid not in self._queue and uid not in self._assumed:
            since = timestamps.parse(m.creationTimestamp) if m.creationTimestamp else 0.0
            self._queue.add(Waiting(uid, f"{m.namespace}/{m.name}", spec.priority or 0, since))
            self._wakeup.set()
        else:
            self._help()

    def _place(self, pod: core_v1.Pod, uid: str, node: str) -> None:
        """Counts a bound pod. One we assumed there is counted already, unless what it asks for changed."""
        self._assumed.pop(uid, None)
        held = self._columns.placed.get(uid)
        demand = self._reader.read(pod, started=_started(pod))
        if held is None or self._columns.names[held.slot] != node:
            self._columns.put_pod(demand, node)
        elif _differs(held.demand, demand):
            self._columns.put_pod(demand, node)
            self._help()

    def _help(self) -> None:
        """Something changed that may let a waiting pod be placed."""
        self._helped = True
        self._wakeup.set()

    # ---- deciding ----

    async def _loop(self) -> None:
        wait: float | None = None
        while True:
            try:
                await asyncio.wait_for(self._wakeup.wait(), min(wait or 30.0, 30.0))
            except TimeoutError:
                self._queue.flush(time.time())
                self._helped = True
            self._wakeup.clear()
            if self._helped:
                wait = self._queue.wake(time.time())
                self._helped = wait is not None
            turn = time.perf_counter()
            while (waiting := self._queue.pop()) is not None:
                self._try(waiting)
                if time.perf_counter() - turn > 0.01:
                    await asyncio.sleep(0)
                    turn = time.perf_counter()

    def _try(self, waiting: Waiting) -> None:
        pod = self._pods.by_key(waiting.key)
        if pod is None or _meta(pod).uid != waiting.uid:
            self._queue.remove(waiting.uid)
            return
        demand = self._demand(pod)
        outcome = self._core.schedule(demand, self._random.getrandbits(30))
        self.decisions[waiting.uid] = outcome
        match outcome:
            case Chosen():
                self._assumed[waiting.uid] = outcome.node
                self._columns.put_pod(demand, outcome.node)
                self._group.start(f"bind {waiting.key}", self._bind(pod, waiting, outcome))
            case Unschedulable():
                self._queue.failed(waiting, time.time())
                self._group.start(f"explain {waiting.key}", self._explain(pod, outcome.message))

    def _demand(self, pod: core_v1.Pod) -> Demand:
        """The pod's demand, with the default spread when it belongs to something and names none."""
        spreads: tuple[SpreadTerm, ...] = ()
        if pod.spec is not None and not pod.spec.topologySpreadConstraints:
            selector = self._default_selector(pod)
            if not selector.empty and not selector.nothing:
                spreads = topology.system_spreads(selector)
        return self._reader.read(pod, spreads)

    def _default_selector(self, pod: core_v1.Pod) -> selectors.Selector:
        """The selectors of the pod's Services and of its controller together."""
        m = _meta(pod)
        requirements: list[selectors.Requirement] = []
        for service in self._services.by_index("namespace", m.namespace or ""):
            wanted = (service.spec.selector if service.spec else None) or {}
            if wanted and all((m.labels or {}).get(k) == v for k, v in wanted.items()):
                requirements += selectors.from_set(wanted).requirements
        owner = next((o for o in m.ownerReferences or () if o.controller), None)
        if owner is not None and owner.kind in ("ReplicaSet", "StatefulSet"):
            holder: Any = (self._sets if owner.kind == "ReplicaSet" else self._stateful).get(owner.name or "", m.namespace or "")
            if holder is not None and holder.spec is not None:
                requirements += selectors.from_object(holder.spec.selector).requirements
        return selectors.Selector(tuple(dict.fromkeys(requirements)))

    # ---- doing ----

    async def _bind(self, pod: core_v1.Pod, waiting: Waiting, chosen: Chosen) -> None:
        m = _meta(pod)
        target = core_v1.ObjectReference(kind="Node", name=chosen.node)
        metadata = meta_v1.ObjectMeta(name=m.name, namespace=m.namespace, uid=m.uid)
        binding = core_v1.Binding(apiVersion="v1", kind="Binding", metadata=metadata, target=target)
        try:
            async with self._slots:
                await self._client.create_action(core_v1.Pod, m.name or "", "binding", binding, m.namespace or "")
        except (errors.ApiError, Unreachable) as error:
            self._unbind(waiting, error)
            return
        self._recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned {m.namespace}/{m.name} to {chosen.node}")

    def _unbind(self, waiting: Waiting, error: Exception) -> None:
        """Takes an assumption back; the pod is tried again unless it is gone."""
        if self._assumed.pop(waiting.uid, None) is None:
            return
        _log.info("binding %s: %s", waiting.key, error)
        self._columns.remove_pod(waiting.uid)
        if isinstance(error, errors.NotFound):
            self._queue.remove(waiting.uid)
        else:
            self._queue.failed(waiting, time.time())
            self._help()

    async def _explain(self, pod: core_v1.Pod, message: str) -> None:
        """Tells why a pod is pending: an event, and its condition PodScheduled."""
        m = _meta(pod)
        self._recorder.event(pod, "Warning", "FailedScheduling", message)
        held = next((c for c in (pod.status.conditions or ()) if c.type == "PodScheduled"), None) if pod.status else None
        if held is not None and (held.status, held.reason, held.message) == ("False", "Unschedulable", message):
            return
        since = held.lastTransitionTime if held is not None and held.status == "False" else timestamps.seconds(time.time())
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": since,
            "observedGeneration": m.generation,
        }
        patch = {"metadata": {"uid": m.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(core_v1.Pod, m.name or "", patch, m.namespace or "", how="strategic", subresource="status")
        except (errors.ApiError, Unreachable) as error:
            _log.debug("status of %s: %s", waiting_name(pod), error)


def _differs(held: Demand, seen: Demand) -> bool:
    """Whether a placed pod counts otherwise than it did."""
    a, b = held.ask, seen.ask
    if held.terminating != seen.terminating or held.started != seen.started:
        return True
    return a is not b and (a.requests, a.labels, a.counted) != (b.requests, b.labels, b.counted)


def _started(pod: core_v1.Pod) -> float:
    began = pod.status.startTime if pod.status is not None else None
    return timestamps.parse(began) if began else 0.0


def waiting_name(pod: core_v1.Pod) -> str:
    return f"{_meta(pod).namespace}/{_meta(pod).name}"


def _meta(pod: core_v1.Pod) -> meta_v1.ObjectMeta:
    assert pod.metadata is not None
    return pod.metadata
