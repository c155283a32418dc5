"""Sends pod statuses to the API server: the newest of each pod, one request per pod at a time, important ones at once.

A status that only reports progress of a pod that is still Pending waits a moment, since most often the next one follows within
milliseconds. What fails is tried again until it works or the pod is gone. What was said is also held against the API's copy: where somebody
else has written over it, it is said again, since nobody knows better than the kubelet. Upstream's counterpart is pkg/kubelet/status's
manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from navarch.api.core import v1
from navarch.client.rest import Client, Unreachable
from navarch.kubelet import static_pods
from navarch.kubelet.core import published
from navarch.lib import backoff, tasks
from navarch.machinery import errors
from navarch.objects import meta

log = logging.getLogger(__name__)

PROGRESS_WAIT = 0.25
RECONCILE_EVERY = 10.0
"""Somebody who writes the same field again and again is answered no more often than this; upstream's syncPeriod."""


@dataclass
class _Outbox:
    """What is to be told of one pod."""

    pod: v1.Pod
    said: v1.PodStatus | None = None
    """What the kubelet says now, sent or not."""
    status: v1.PodStatus | None = None
    """What is still to be sent of it."""
    held: v1.PodStatus | None = None
    """The API's copy, as far as is known."""
    version: int = 0
    """The resourceVersion of that copy."""
    answered_at: float = 0.0
    """When the API server last answered a write of ours; seconds of the monotonic clock."""
    delete: bool = False
    urgent: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False
    repeat: asyncio.TimerHandle | None = None
    repeated_at: float = -RECONCILE_EVERY


class Statuses:
    """The queue of statuses. `removed(uid)` is told when an API object was finished by us or found gone."""

    def __init__(self, client: Client, group: tasks.Group, removed: Callable[[str], None]) -> None:
        self._client = client
        self._group = group
        self._removed = removed
        self._boxes: dict[str, _Outbox] = {}

    def put(self, pod: v1.Pod, status: v1.PodStatus) -> None:
        """Queues a status; it replaces one that has not been sent yet."""
        box = self._box(pod)
        before = box.said
        box.said = box.status = status
        if not _progress(before, status):
            box.urgent.set()
        self._wake(box)

    def finish(self, pod: v1.Pod) -> None:
        """Queues the end of the API object, after its last status."""
        box = self._box(pod)
        box.delete = True
        box.urgent.set()
        self._wake(box)

    def seen(self, pod: v1.Pod, said: v1.PodStatus | None, copy: v1.Pod) -> None:
        """The API's copy of a pod (of a static one: its mirror). If it says something else than the kubelet, that is sent again."""
        box = self._box(pod)
        if not _newer(box, copy):
            return
        box.held, box.version = copy.status, _version(copy)
        box.said = box.said or said
        self._reconcile(box)

    def _reconcile(self, box: _Outbox) -> None:
        """Sends again what the API's copy does not say, if nothing is on its way that would say it."""
        if box.said is not None and box.status is None and box.repeat is None and published.differs(box.held, box.said):
            delay = max(0.0, box.repeated_at + RECONCILE_EVERY - time.monotonic())
            box.repeat = asyncio.get_running_loop().call_later(delay, self._repeat, box)

    def _repeat(self, box: _Outbox) -> None:
        box.repeat = None
        if self._boxes.get(_uid(box.pod)) is not box or box.status is not None or box.said is None:
            return
        if published.differs(box.held, box.said):
            log.info("the status of pod %s was changed by somebody else, publishing it again", _name(box.pod))
            box.repeated_at = time.monotonic()
            box.status = box.said
            box.urgent.set()
            self._wake(box)

    def forget(self, uid: str) -> None:
        """Drops a pod that is gone."""
        box = self._boxes.pop(uid, None)
        if box is not None:
            box.status, box.delete = None, False
            if box.repeat is not None:
                box.repeat.cancel()

    def _box(self, pod: v1.Pod) -> _Outbox:
        uid = _uid(pod)
        box = self._boxes.get(uid)
        if box is None:
            box = self._boxes[uid] = _Outbox(pod)
        box.pod = pod
        if not static_pods.is_static(pod) and _newer(box, pod):
            box.held, box.version = pod.status, _version(pod)
        return box

    def _wake(self, box: _Outbox) -> None:
        if not box.running:
            box.running = True
            self._group.start(f"status {_name(box.pod)}", self._run(box))

    async def _run(self, box: _Outbox) -> None:
        waits = backoff.Backoff(backoff.RECONNECT)
        try:
            while box.status is not None or box.delete:
                if not box.urgent.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(box.urgent.wait(), PROGRESS_WAIT)
                box.urgent.clear()
                try:
                    await self._send(box)
                    waits.reset()
                except errors.NotFound:
                    if static_pods.is_static(box.pod):
                        # Its mirror is not there yet.
                        await asyncio.sleep(1.0)
                        continue
                    box.status, box.delete = None, False
                    self._removed(_uid(box.pod))
                except (errors.ApiError, Unreachable) as error:
                    log.warning("status of pod %s: %s", _name(box.pod), error)
                    await asyncio.sleep(waits.next())
                    box.urgent.set()
        finally:
            box.running = False

    async def _send(self, box: _Outbox) -> None:
        meta = box.pod.metadata
        assert meta is not None
        if (status := box.status) is not None:
            body: dict[str, Any] = {"status": published.patch(box.held, status)}
            if not static_pods.is_static(box.pod):
                body["metadata"] = {"uid": meta.uid}
            answer = await self._client.patch(v1.Pod, meta.name or "", body, meta.namespace or "", how="strategic", subresource="status")
            box.answered_at = time.monotonic()
            overtaken = not _newer(box, answer)
            if not overtaken:
                box.held, box.version = answer.status, _version(answer)
            if box.status is not status:
                return
            box.status = None
            if overtaken:
                # Somebody wrote while our answer was on its way, and the watch has told so before.
                self._reconcile(box)
        if box.delete:
            await self._client.delete(v1.Pod, meta.name or "", meta.namespace or "", uid=meta.uid, grace=0)
            box.delete = False
            self._removed(meta.uid or "")


def _uid(pod: v1.Pod) -> str:
    return (pod.metadata and pod.metadata.uid) or ""


def _name(pod: v1.Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}" if pod.metadata else ""


def _version(pod: v1.Pod) -> int:
    return meta.version(pod) if pod.metadata is not None else 0


def _newer(box: _Outbox, pod: v1.Pod) -> bool:
    """Whether this copy is not older than the one known: the watch lags behind the answers to our own writes, but not for long.

    A lower version that stays is that of a store restored from a backup.
    """
    return _version(pod) >= box.version or time.monotonic() - box.answered_at > RECONCILE_EVERY


def _progress(before: v1.PodStatus | None, status: v1.PodStatus) -> bool:
    """Whether nothing but progress of a Pending pod is told: no container waits for a reason worth seeing at once."""
    if status.phase != "Pending" or (before is not None and before.phase not in (None, "Pending")):
        return False
    for group in (status.initContainerStatuses, status.containerStatuses):
        for container in group or ():
            waiting = container.state.waiting if container.state else None
            if waiting is None or waiting.reason not in ("ContainerCreating", "PodInitializing"):
                return False
    return True
