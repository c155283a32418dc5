"""Pods that wait to be scheduled: ready now, backing off, or unschedulable until something changes that can help.

Ready pods come by priority, then by age. A pod that could not be placed remembers which plugins refused it; an event of the
cluster wakes only the pods that one of their plugins may now let pass (`HELPS`). A woken pod waits until its backoff is over: 1 s
doubling to 10 s. Whatever happens, a pod is tried again after five minutes.

A flood of unschedulable pods does not starve the others: each waits in its own backoff, who has failed comes after pods of the
same priority that have not been tried yet, and when pods that failed before come first by their priority, every 64th turn is one
for a pod that was never tried. An event costs one look at each set of refusing plugins, and a pod that it woke is out of reach of
further events until it has been tried. Events that come while a pod is being tried count for it when it fails.

Upstream counterpart: pkg/scheduler/backend/queue, and EventsToRegister of the plugins.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from navarch.scheduler.core.events import Event
from navarch.scheduler.core.plugin import Plugin
from navarch.scheduler.core.plugins.table import HELPS

_FIRST_BACKOFF, _MOST_BACKOFF = 1.0, 10.0
_FLUSH_SECONDS, _FLUSH_LOOK = 300.0, 30.0
_ROW = 64
"""How many pods in a row that failed before may go before one that was never tried."""


@dataclass(slots=True)
class QueuedPod:
    """A pod in the queue."""

    uid: str
    key: str
    priority: int
    since: float
    attempts: int = 0
    failed_at: float = 0.0
    plugins: frozenset[str] = frozenset()
    claims: frozenset[str] = frozenset()
    """Keys of the claims it uses."""
    tried_at: int = 0
    """How many events there had been when it was taken to be tried."""
    place: int = 0
    """Which of its entries counts, among the ready and those that back off."""
    aging: bool = False
    """Whether it is among those that are looked at when they have waited long."""


def helps(event: Event, plugins: frozenset[str], events: Mapping[str, frozenset[Event]] = HELPS) -> bool:
    """Whether a pod that these plugins refused may now pass. `events`: plugin → those that help; one that is not in it: any."""
    return event is Event.ANY or not plugins or any(event in events[p] if p in events else True for p in plugins)


def with_own(plugins: Iterable[Plugin]) -> Mapping[str, frozenset[Event]]:
    """`HELPS`, and what plugins that are not built in name."""
    return {**HELPS, **{p.name: frozenset(p.events) for p in plugins if p.events is not None}}


@dataclass(slots=True)
class Queue:
    """The three places a pod can be in. Times are arguments."""

    first_backoff: float = _FIRST_BACKOFF
    most_backoff: float = _MOST_BACKOFF
    helps: Mapping[str, frozenset[Event]] = field(default_factory=lambda: HELPS)
    _ready: list[tuple[int, int, float, int, str]] = field(default_factory=list)
    _fresh: list[tuple[int, int, float, int, str]] = field(default_factory=list)
    """Those of them that were never tried."""
    _row: int = 0
    _backoff: list[tuple[float, int, str]] = field(default_factory=list)
    _state: dict[str, str] = field(default_factory=dict)
    _pods: dict[str, QueuedPod] = field(default_factory=dict)
    _unschedulable: dict[frozenset[str], dict[str, QueuedPod]] = field(default_factory=dict)
    """By the plugins that refused them, so that an event asks each kind once."""
    _count: int = 0
    _aging: list[tuple[float, int, QueuedPod]] = field(default_factory=list)
    """Pods by when they failed, or earlier; each once."""
    _events: int = 0
    _last: dict[Event, int] = field(default_factory=dict)
    """Event → which one it was when it last happened."""

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def add(self, pod: QueuedPod) -> None:
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

    def _drop(self, pod: QueuedPod) -> None:
        group = self._unschedulable[pod.plugins]
        del group[pod.uid]
        if not group:
            del self._unschedulable[pod.plugins]

    def pop(self) -> QueuedPod | None:
        """The next pod to try."""
        self._row = self._row + 1 if self._row < _ROW else 0
        for heap in (self._ready, self._fresh) if self._row else (self._fresh, self._ready):
            if (pod := self._first(heap)) is not None:
                heapq.heappop(heap)
                self._row = self._row if pod.attempts else 0
                return self._try(pod)
        return None

    def _first(self, heap: list[tuple[int, int, float, int, str]]) -> QueuedPod | None:
        """The pod at the head of a heap, after what is no longer true there is gone."""
        while heap:
            *_, place, uid = heap[0]
            pod = self._pods.get(uid)
            if pod is not None and pod.place == place and self._state[uid] == "ready":
                return pod
            heapq.heappop(heap)
        return None

    def take(self, uid: str) -> QueuedPod | None:
        """One certain pod, to be tried now wherever it waits; None when it is not here, or being tried."""
        pod = self._pods.get(uid)
        if pod is None or self._state.get(uid) == "trying":
            return None
        if self._state[uid] == "unschedulable":
            self._drop(pod)
        return self._try(pod)

    def _try(self, pod: QueuedPod) -> QueuedPod:
        self._state[pod.uid] = "trying"
        pod.tried_at = self._events
        if not pod.attempts:
            self._first(self._fresh)
        return pod

    def again(self, pod: QueuedPod) -> None:
        """The attempt was overtaken by what happened meanwhile: again at once."""
        if self._pods.get(pod.uid) is pod:
            self._push(pod)

    def failed(self, pod: QueuedPod, now: float, plugins: frozenset[str] = frozenset()) -> None:
        """The attempt failed: the pod waits for a change that helps with these plugins."""
        if self._pods.get(pod.uid) is not pod:
            return
        pod.attempts += 1
        pod.failed_at = now
        pod.plugins = plugins
        self._state[pod.uid] = "unschedulable"
        self._unschedulable.setdefault(plugins, {})[pod.uid] = pod
        if not pod.aging:
            pod.aging = True
            self._age(pod)
        if self._events != pod.tried_at and any(n > pod.tried_at and helps(e, plugins, self.helps) for e, n in self._last.items()):
            self._wake(pod, now)

    def retry(self, pod: QueuedPod, now: float) -> None:
        """The attempt could not be finished for a reason outside the cluster's state: again after a backoff."""
        self.failed(pod, now)
        if self._state.get(pod.uid) == "unschedulable":
            self._wake(pod, now)

    def happened(self, event: Event, now: float, claim: str = "") -> None:
        """Wakes the pods that the event may help; when it is about a claim, only those that use it."""
        self._events += 1
        self._last[event] = self._events
        for plugins in [g for g in self._unschedulable if helps(event, g, self.helps)]:
            for pod in list(self._unschedulable[plugins].values()):
                if not claim or claim in pod.claims:
                    self._wake(pod, now)

    def due(self, now: float) -> float | None:
        """Makes ready what has backed off or waited long enough. Seconds until that is worth asking again; None: not by itself."""
        while self._backoff and (self._backoff[0][0] <= now or not self._backs_off(self._backoff[0])):
            entry = heapq.heappop(self._backoff)
            if self._backs_off(entry):
                self._push(self._pods[entry[2]])
        while self._aging and now - self._aging[0][0] >= _FLUSH_SECONDS:
            *_, pod = heapq.heappop(self._aging)
            pod.aging = self._pods.get(pod.uid) is pod
            if pod.aging and now - pod.failed_at >= _FLUSH_SECONDS:
                pod.aging = False
                if self._state[pod.uid] == "unschedulable":
                    self._wake(pod, now)
            elif pod.aging:
                self._age(pod)
        waits = [self._backoff[0][0] - now] if self._backoff else []
        waits += [_FLUSH_LOOK] if self._unschedulable else []
        return min(waits, default=None)

    def _backs_off(self, entry: tuple[float, int, str]) -> bool:
        pod = self._pods.get(entry[2])
        return pod is not None and pod.place == entry[1] and self._state[pod.uid] == "backoff"

    def _age(self, pod: QueuedPod) -> None:
        self._count += 1
        heapq.heappush(self._aging, (pod.failed_at, self._count, pod))

    def _push(self, pod: QueuedPod) -> None:
        self._count += 1
        pod.place = self._count
        self._state[pod.uid] = "ready"
        place = (-pod.priority, pod.attempts > 0, pod.since, self._count, pod.uid)
        heapq.heappush(self._ready, place)
        if not pod.attempts:
            heapq.heappush(self._fresh, place)

    def _wake(self, pod: QueuedPod, now: float) -> None:
        self._drop(pod)
        ready_at = pod.failed_at + self._backoff_of(pod)
        if ready_at <= now:
            self._push(pod)
            return
        self._count += 1
        pod.place = self._count
        self._state[pod.uid] = "backoff"
        heapq.heappush(self._backoff, (ready_at, self._count, pod.uid))

    def _backoff_of(self, pod: QueuedPod) -> float:
        return min(self.most_backoff, self.first_backoff * float(2 ** max(0, min(pod.attempts, 30) - 1)))
