"""The observer: informers of everything that decides, written into the cache.

In: changes of nodes, pods, namespaces, budgets, storage, Services and controllers. Out: the columns and the queue as they should be, and
`Attempt`s: a queued pod as it is now. It decides nothing.

Upstream counterpart: pkg/scheduler/eventhandlers.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.client.informer import Added, Change, Deleted, Informer, Modified
from navarch.client.rest import Client
from navarch.lib import tasks
from navarch.machinery import claims, timestamps
from navarch.objects import meta, pods
from navarch.scheduler.cache import Cache
from navarch.scheduler.core import check, owners
from navarch.scheduler.core.attempt import Attempt
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.preempt import Budget, budget_of
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.queue import QueuedPod
from navarch.scheduler.core.terms import PodInfo, Reader
from navarch.scheduler.groups.pod_groups import PodGroups
from navarch.scheduler.owners import Owners
from navarch.scheduler.statuses import Pending, Statuses
from navarch.scheduler.storage import StorageObserver


class Observer:
    """Keeps the cache as the API server shows the cluster."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        profiles: Mapping[str, Profile],
        statuses: Statuses,
        storage: StorageObserver,
        extenders_of: Callable[[core_v1.Pod], tuple[str, ...]],
        *,
        whole_pods: bool,
    ) -> None:
        """`extenders_of`: those that have a say about a pod; `whole_pods`: keep all of a pod that has its node, for them."""
        self._cache = cache
        self._profiles = profiles
        self._statuses = statuses
        self._extenders_of = extenders_of
        self._reader = Reader()
        self._random = random.Random()
        self._pods = Informer(client, core_v1.Pod, keep=None if whole_pods else known)
        self._nodes = Informer(client, core_v1.Node)
        self._namespaces = Informer(client, core_v1.Namespace)
        self._budgets = Informer(client, policy_v1.PodDisruptionBudget)
        self._owners = Owners(client)
        self._storage = storage
        self._informers: tuple[Informer[Any], ...] = (self._namespaces, self._nodes, self._budgets, *self._owners.informers, self._pods)
        self._by_plural = {resources.of(i.kind).plural: i for i in self._informers}
        self._all_by_plural = {resources.of(i.kind).plural: i for i in (*storage.informers, *self._informers)}
        self.groups = PodGroups(client, self._group_changed)
        self.budgets: tuple[Budget, ...] = ()

    async def start(self, group: tasks.Group) -> None:
        """Fills the cache; returns when it is filled. Pods come last, since everything else says what they mean."""
        first = (*self._storage.informers, *self._informers[:-1])
        for informer in first:
            group.start(f"informer {informer.kind.__name__}", informer.run())
        for informer in first:
            await informer.synced.wait()
        self._namespaces.subscribe(self._namespace_changed)
        self._nodes.subscribe(self._node_changed)
        self._storage.start()
        self._budgets.subscribe(self._budget_changed)
        await self.groups.start(group)
        self._pods.subscribe(self._pod_changed)
        group.start("informer Pod", self._pods.run())
        await self._pods.synced.wait()

    # ---- what was seen ----

    def pod(self, key: str) -> core_v1.Pod | None:
        return self._pods.by_key(key)

    def node(self, name: str) -> core_v1.Node | None:
        return self._nodes.get(name)

    def revisions(self, *, of_storage: bool) -> dict[str, int]:
        """Plural → the revision up to which the cluster has been seen."""
        informers = self._all_by_plural if of_storage else self._by_plural
        return {plural: int(informer.version or 0) for plural, informer in informers.items()}

    def attempt(self, queued: QueuedPod) -> Attempt | None:
        """A queued pod as it is now; None when it is gone or placed."""
        pod = self._pods.by_key(queued.key)
        if pod is None or meta.of(pod).uid != queued.uid:
            self._cache.queue.remove(queued.uid)
            return None
        if queued.uid not in self._cache.queue or self._cache.assumed(queued.uid):
            return None
        profile = self._profiles[scheduler_of(pod)]
        return Attempt(queued, pod, self._info(pod, profile), profile, self._random.getrandbits(30), self._extenders_of(pod))

    def gated(self, pod: core_v1.Pod, profile: Profile) -> bool:
        """Whether a pod must wait for its group; the pod is told so."""
        why = self.groups.gate(pod) if profile.waits_for_groups else ""
        if why:
            self._statuses.gated(pod, Pending(why, "", "SchedulingGated"))
        return bool(why)

    def differences(self) -> list[str]:
        """What the columns have otherwise than columns made anew."""
        return check.differences(self._cache.columns, self._nodes.list())

    def _info(self, pod: core_v1.Pod, profile: Profile) -> PodInfo:
        """What a pod asks for, with the default spread when it belongs to something and names none."""
        return self._reader.read(pod, owners.spreads(pod, self._owners.selector(pod), profile))

    # ---- nodes and what is around them ----

    def _namespace_changed(self, change: Change[core_v1.Namespace]) -> None:
        columns = self._cache.columns
        match change:
            case Added(namespace) | Modified(_, namespace):
                name, labels = meta.of(namespace).name or "", meta.of(namespace).labels or {}
                if columns.namespaces.get(name) == labels:
                    return
                columns.namespaces[name] = labels
            case Deleted(namespace):
                columns.namespaces.pop(meta.of(namespace).name or "", None)
        columns.counters.forget()
        self._cache.happened(Event.NAMESPACE)

    def _node_changed(self, change: Change[core_v1.Node]) -> None:
        columns = self._cache.columns
        match change:
            case Added(node):
                columns.put_node(node)
                self._cache.happened(Event.NODE_ADDED)
            case Modified(old, node):
                if columns.put_node(node):
                    for event in _node_events(old, node):
                        self._cache.happened(event)
            case Deleted(node):
                columns.remove_node(meta.of(node).name or "")
                self._cache.happened(Event.NODE_LABELS)

    def _budget_changed(self, _: Change[policy_v1.PodDisruptionBudget]) -> None:
        self.budgets = tuple(budget_of(b) for b in self._budgets.list())

    # ---- pods ----

    def _group_changed(self, key: str) -> None:
        """A group is complete, or waits for something else: its pods are looked at again."""
        for pod in self.groups.members(key):
            if pod.spec is not None and not pod.spec.nodeName:
                self._see(pod, None)

    def _pod_changed(self, change: Change[core_v1.Pod]) -> None:
        match change:
            case Deleted(pod):
                self._forget(pod)
            case Added(pod):
                self._see(pod, None)
            case Modified(old, pod):
                self._see(pod, old)

    def _forget(self, pod: core_v1.Pod) -> None:
        uid = meta.of(pod).uid or ""
        self.groups.forget(pod)
        self._statuses.forget(uid)
        self._cache.forget(uid)

    def _see(self, pod: core_v1.Pod, old: core_v1.Pod | None) -> None:
        spec, uid = pod.spec or core_v1.PodSpec(), meta.of(pod).uid or ""
        if pods.finished(pod):
            self._forget(pod)
            return
        self.groups.see(pod)
        profile = self._profiles.get(scheduler_of(pod))
        if spec.nodeName:
            self._statuses.forget(uid)
            self._cache.show(self._reader.read(pod), spec.nodeName)
        elif meta.deleted(pod) or profile is None or (spec.schedulingGates and profile.honours_gates):
            self._cache.queue.remove(uid)
        elif not self._cache.assumed(uid):
            self._see_waiting(pod, uid, old, profile)

    def _see_waiting(self, pod: core_v1.Pod, uid: str, old: core_v1.Pod | None, profile: Profile) -> None:
        cache = self._cache
        if cache.columns.nomination(uid) == ((pod.status.nominatedNodeName if pod.status is not None else None) or ""):
            cache.journal.confirmed(uid)
        if self.gated(pod, profile):
            cache.queue.remove(uid)
        elif uid not in cache.queue:
            self._enqueue(pod, uid)
        elif old is not None and (old.spec != pod.spec or meta.of(old).labels != meta.of(pod).labels):
            cache.queue.changed(uid, _priority(pod))
            cache.wakeup.set()

    def _enqueue(self, pod: core_v1.Pod, uid: str) -> None:
        m = meta.of(pod)
        since = timestamps.parse(m.creationTimestamp) if m.creationTimestamp else 0.0
        used = frozenset(f"{m.namespace}/{name}" for name in claims.names_of(pod))
        self._cache.queue.add(QueuedPod(uid, f"{m.namespace}/{m.name}", _priority(pod), since, claims=used))
        if pod.status is not None and pod.status.nominatedNodeName:
            self._cache.columns.nominate(self._reader.read(pod), pod.status.nominatedNodeName)
        self._cache.wakeup.set()


def known(pod: core_v1.Pod) -> core_v1.Pod:
    """What is kept of a pod that has its node: who it is. What it asks for is in the columns. (2 KB instead of 7 each.)"""
    if pod.spec is None or not pod.spec.nodeName:
        return pod
    m = meta.of(pod)
    metadata = meta_v1.ObjectMeta(name=m.name, namespace=m.namespace, uid=m.uid, resourceVersion=m.resourceVersion, generation=m.generation)
    spec = core_v1.PodSpec(nodeName=pod.spec.nodeName, schedulerName=pod.spec.schedulerName)
    return core_v1.Pod(apiVersion=pod.apiVersion, kind=pod.kind, metadata=metadata, spec=spec)


def scheduler_of(pod: core_v1.Pod) -> str:
    """The scheduler that a pod names."""
    return (pod.spec.schedulerName if pod.spec is not None else None) or "default-scheduler"


def _priority(pod: core_v1.Pod) -> int:
    return (pod.spec.priority if pod.spec is not None else None) or 0


def _node_events(old: core_v1.Node, node: core_v1.Node) -> list[Event]:
    """What a changed node may help with."""
    found: list[Event] = []
    a, b = old.spec or core_v1.NodeSpec(), node.spec or core_v1.NodeSpec()
    if meta.of(old).labels != meta.of(node).labels:
        found.append(Event.NODE_LABELS)
    if (a.taints, a.unschedulable) != (b.taints, b.unschedulable):
        found.append(Event.NODE_TAINTS)
    if (old.status.allocatable if old.status else None) != (node.status.allocatable if node.status else None):
        found.append(Event.NODE_RESOURCES)
    return found
