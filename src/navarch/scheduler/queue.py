"""Pods that wait to be scheduled: ready now, backing off, or unschedulable until something changes.

Order is by priority, then by age. A pod that could not be placed waits until an event that may help moves it, backs off 1 s
doubling to 10 s, and is tried again after five minutes at the latest.

Upstream counterpart: pkg/scheduler/backend/queue.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

_FIRST_BACKOFF, _MOST_BACKOFF = 1.0, 10.0
_FLUSH_SECONDS = 300.0


@dataclass(slots=True)
class Waiting:
    """A pod in the queue."""

    uid: str
    key: str
    priority: int
    since: float
    attempts: int = 0
    failed_at: float = 0.0

    def backoff(self) -> float:
        """Seconds to wait after a failed attempt."""
        return min(_MOST_BACKOFF, _FIRST_BACKOFF * float(2 ** max(0, self.attempts - 1)))


@dataclass(slots=True)
class Queue:
    """The three states. Times are arguments."""

    _ready: list[tuple[int, float, int, str]] = field(default_factory=list)
    _state: dict[str, str] = field(default_factory=dict)
    _pods: dict[str, Waiting] = field(default_factory=dict)
    _unschedulable: dict[str, Waiting] = field(default_factory=dict)
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

    def _push(self, pod: Waiting) -> None:
        self._count += 1
        self._state[pod.uid] = "ready"
        heapq.heappush(self._ready, (-pod.priority, pod.since, self._count, pod.uid))

    def remove(self, uid: str) -> None:
        """A pod that is bound, gone, or no longer ours."""
        self._pods.pop(uid, None)
        self._state.pop(uid, None)
        self._unschedulable.pop(uid, None)

    def pop(self) -> Waiting | None:
        """The next pod to try."""
        while self._ready:
            *_, uid = heapq.heappop(self._ready)
            if self._state.get(uid) == "ready":
                self._state[uid] = "trying"
                return self._pods[uid]
        return None

    def failed(self, pod: Waiting, now: float) -> None:
        """The attempt failed: the pod waits for a change."""
        if pod.uid in self._pods:
            pod.attempts += 1
            pod.failed_at = now
            self._state[pod.uid] = "unschedulable"
            self._unschedulable[pod.uid] = pod

    def retry(self, pod: Waiting) -> None:
        """The attempt could not be finished for another reason: try again."""
        if pod.uid in self._pods:
            self._push(pod)

    def wake(self, now: float) -> float | None:
        """Something changed that may help: pods whose backoff is over are ready. Seconds until the next backoff is over."""
        soonest: float | None = None
        for pod in list(self._unschedulable.values()):
            left = pod.failed_at + pod.backoff() - now
            if left <= 0:
                del self._unschedulable[pod.uid]
                self._push(pod)
            else:
                soonest = left if soonest is None else min(soonest, left)
        return soonest

    def flush(self, now: float) -> None:
        """Pods that have waited for long are tried again whatever happened."""
        for pod in list(self._unschedulable.values()):
            if now - pod.failed_at >= _FLUSH_SECONDS:
                del self._unschedulable[pod.uid]
                self._push(pod)
