"""What the scheduler holds in memory: the cluster as columns, the pods that are assumed, the queue, the journal of decisions.

A decision is assumed at once: the pod counts on its node before the API server has heard of it, so the next decision does not
wait. It is confirmed when the API server shows the pod there, and undone when it could not be bound. Everything happens on one event
loop; whatever may help a waiting pod wakes the loop that decides.

Upstream counterpart: pkg/scheduler/backend/cache (AssumePod, FinishBinding, ForgetPod), with backend/queue beside it.
"""

from __future__ import annotations

import asyncio

from navarch.lib.clock import Clock
from navarch.scheduler.core.decide import Core
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.journal import Journal
from navarch.scheduler.core.queue import Queue, QueuedPod
from navarch.scheduler.core.terms import PodInfo


class Cache:
    """The state that observing, deciding and binding share."""

    def __init__(self, clock: Clock, queue: Queue, run: str) -> None:
        """`run` names this process in the journal."""
        self.clock = clock
        self.queue = queue
        self.core = Core()
        self.columns = self.core.columns
        self.journal = Journal(run)
        self.wakeup = asyncio.Event()
        self._assumed: set[str] = set()

    def happened(self, event: Event, claim: str = "") -> None:
        """Something changed that may let a waiting pod be placed; with a claim's key, one that uses the claim."""
        self.queue.happened(event, self.clock.now(), claim)
        self.wakeup.set()

    def assumed(self, uid: str) -> bool:
        """Whether a pod counts on a node where the API server does not show it yet."""
        return uid in self._assumed

    def assume(self, info: PodInfo, node: str) -> None:
        """The pod counts on its node from now on."""
        self._assumed.add(info.uid)
        if info.uid not in self.columns.placed:
            self.columns.put_pod(info, node)
        self.queue.happened(Event.POD_PLACED, self.clock.now())

    def undo(self, pod: QueuedPod, *, gone: bool) -> None:
        """Takes an assumption back; the pod is tried again unless it is gone."""
        if pod.uid not in self._assumed:
            return
        self._assumed.discard(pod.uid)
        self.journal.undone(pod.uid)
        self.columns.remove_pod(pod.uid)
        if gone:
            self.queue.remove(pod.uid)
        else:
            self.queue.retry(pod, self.clock.now())
        self.happened(Event.POD_GONE)

    def show(self, info: PodInfo, node: str) -> None:
        """The API server shows a pod on a node. One we assumed there is counted already, unless what it asks for changed."""
        self.queue.remove(info.uid)
        self.columns.withdraw(info.uid)
        self._assumed.discard(info.uid)
        self.journal.confirmed(info.uid)
        held = self.columns.placed.get(info.uid)
        if held is None or self.columns.names[held.slot] != node:
            self.columns.put_pod(info, node)
            self.happened(Event.POD_PLACED)
        elif _differs(held.info, info):
            less = info.terms.requests != held.info.terms.requests
            self.columns.put_pod(info, node)
            self.happened(Event.POD_GONE if less else Event.POD_PLACED)
        else:
            held.info.started = info.started

    def forget(self, uid: str) -> None:
        """A pod is gone, or finished."""
        self.queue.remove(uid)
        self._assumed.discard(uid)
        self.journal.confirmed(uid)
        placed = self.columns.remove_pod(uid)
        if self.columns.withdraw(uid) or placed is not None:
            self.happened(Event.POD_GONE)


def _differs(held: PodInfo, seen: PodInfo) -> bool:
    """Whether a placed pod counts otherwise than it did."""
    a, b = held.terms, seen.terms
    if held.terminating != seen.terminating:
        return True
    return a is not b and (a.requests, a.labels, a.counted) != (b.requests, b.labels, b.counted)
