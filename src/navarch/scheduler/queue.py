"""Pods that wait to be scheduled: ready now, backing off, or unschedulable until something changes that can help.

Ready pods come by priority, then by age. A pod that could not be placed remembers which plugins refused it; an event of the
cluster wakes only the pods that one of their plugins may now let pass (`HELPS`). A woken pod waits until its backoff is over: 1 s
doubling to 10 s. Whatever happens, a pod is tried again after five minutes.

A flood of unschedulable pods costs the others nothing: each waits in its own backoff, and who has failed comes after pods of
the same priority that have not been tried yet.

Upstream counterpart: pkg/scheduler/backend/queue, and EventsToRegister of the plugins.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

_FIRST_BACKOFF, _MOST_BACKOFF = 1.0, 10.0
_FLUSH_SECONDS, _FLUSH_LOOK = 300.0, 30.0


class Event(StrEnum):
    """What can happen in a cluster that may help a pod."""

    NODE_ADDED = "NodeAdded"
    NODE_LABELS = "NodeLabels"
    NODE_TAINTS = "NodeTaints"
    NODE_RESOURCES = "NodeResources"
    POD_PLACED = "PodPlaced"
    POD_GONE = "PodGone"
    NAMESPACE = "Namespace"
    VOLUMES = "Volumes"
    ANY = "Any"


HELPS: Mapping[str, frozenset[Event]] = {
    "NodeUnschedulable": frozenset({Event.NODE_ADDED, Event.NODE_TAINTS}),
    "TaintToleration": frozenset({Event.NODE_ADDED, Event.NODE_TAINTS}),
    "NodeAffinity": frozenset({Event.NODE_ADDED, Event.NODE_LABELS}),
    "NodePorts": frozenset({Event.NODE_ADDED, Event.POD_GONE}),
    "NodeResourcesFit": frozenset({Event.NODE_ADDED, Event.NODE_RESOURCES, Event.POD_GONE}),
    "PodTopologySpread": frozenset({Event.NODE_ADDED, Event.NODE_LABELS, Event.NODE_TAINTS, Event.POD_PLACED, Event.POD_GONE}),
    "InterPodAffinity": frozenset({Event.NODE_ADDED, Event.NODE_LABELS, Event.POD_PLACED, Event.POD_GONE, Event.NAMESPACE}),
}
"""Plugin → the events after which it may let a pod pass that it refused. Unknown plugins: any event."""


@dataclass(slots=True)
class Waiting:
    """A pod in the queue."""

    uid: str
    key: str
    priority: int
    since: float
    attempts: int = 0
    failed_at: float = 0.0
    plugins: frozenset[str] = frozenset()

    @property
    def ready_at(self) -> float:
        """When its backoff is over."""
        return self.failed_at + min(_MOST_BACKOFF, _FIRST_BACKOFF * float(2 ** max(0, min(self.attempts, 8) - 1)))


def helps(event: Event, plugins: frozenset[str]) -> bool:
    """Whether a pod that these plugins refused may now pass."""
    return event is Event.ANY or not plugins or any(event in HELPS[p] if p in HELPS else True for p in plugins)


@dataclass(slots=True)
class Queue:
    """The three places a pod can be in. Times are arguments."""

    _ready: list[tuple[int, int, float, int, str]] = field(default_factory=list)
    _backoff: list[tuple[float, int, str]] = field(default_factory=list)
    _state: dict[str, str] = field(default_factory=dict)
    _pods: dict[str, Waiting] = field(default_factory=dict)
    _unschedulable: dict[frozenset[str], dict[str, Waiting]] = field(default_factory=dict)
    """By the plugins that refused them, so that an event asks each kind once."""
    _count: int = 0

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def add(self, pod: Waiting) -> None:
        """A new pod, ready at once; one already known stays as it is."""
        if pod.uid not in self._pods:
            self._pods[pod.uid] = pod
            self._push(pod)

    def changed(self, uid: str, priority: int) -> None:
        """A waiting pod itself was changed in a way that may help it: it is tried again."""
        pod = self._pods.get(uid)
        if pod is None:
            return
        pod.priority = priority
        if self._state.get(uid) == "unschedulable":
            self._drop(pod)
            self._push(pod)

    def remove(self, uid: str) -> None:
        """A pod that is bound, gone, or no longer ours."""
        pod = self._pods.pop(uid, None)
        if pod is not None and self._state.pop(uid, None) == "unschedulable":
            self._drop(pod)

    def _drop(self, pod: Waiting) -> None:
        group = self._unschedulable[pod.plugins]
        del group[pod.uid]
        if not group:
            del self._unschedulable[pod.plugins]

    def pop(self) -> Waiting | None:
        """The next pod to try."""
        while self._ready:
            *_, uid = heapq.heappop(self._ready)
            if self._state.get(uid) == "ready":
                self._state[uid] = "trying"
                return self._pods[uid]
        return None

    def failed(self, pod: Waiting, now: float, plugins: frozenset[str] = frozenset()) -> None:
        """The attempt failed: the pod waits for a change that helps with these plugins."""
        if pod.uid in self._pods:
            pod.attempts += 1
            pod.failed_at = now
            pod.plugins = plugins
            self._state[pod.uid] = "unschedulable"
            self._unschedulable.setdefault(plugins, {})[pod.uid] = pod

    def retry(self, pod: Waiting, now: float) -> None:
        """The attempt could not be finished for a reason outside the cluster's state: again after a backoff."""
        self.failed(pod, now)
        if pod.uid in self._pods:
            self._wake(pod, now)

    def happened(self, event: Event, now: float) -> None:
        """Wakes the pods that the event may help."""
        for plugins in [g for g in self._unschedulable if helps(event, g)]:
            for pod in list(self._unschedulable[plugins].values()):
                self._wake(pod, now)

    def due(self, now: float) -> float | None:
        """Makes ready what has backed off or waited long enough. Seconds until that is worth asking again; None: not by itself."""
        while self._backoff and (self._backoff[0][0] <= now or self._state.get(self._backoff[0][2]) != "backoff"):
            *_, uid = heapq.heappop(self._backoff)
            if self._state.get(uid) == "backoff":
                self._push(self._pods[uid])
        old = [p for group in self._unschedulable.values() for p in group.values() if now - p.failed_at >= _FLUSH_SECONDS]
        for pod in old:
            self._wake(pod, now)
        waits = [self._backoff[0][0] - now] if self._backoff else []
        waits += [_FLUSH_LOOK] if self._unschedulable else []
        return min(waits, default=None)

    def _push(self, pod: Waiting) -> None:
        self._count += 1
        self._state[pod.uid] = "ready"
        heapq.heappush(self._ready, (-pod.priority, pod.attempts > 0, pod.since, self._count, pod.uid))

    def _wake(self, pod: Waiting, now: float) -> None:
        self._drop(pod)
        if pod.ready_at <= now:
            self._push(pod)
            return
        self._count += 1
        self._state[pod.uid] = "backoff"
        heapq.heappush(self._backoff, (pod.ready_at, self._count, pod.uid))
