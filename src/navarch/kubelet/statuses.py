"""Sends pod statuses to the API server: the newest of each pod, one request per pod at a time, important ones at once.

A status that only reports progress of a pod that is still Pending waits a moment, since most often the next one follows within
milliseconds. What fails is tried again until it works or the pod is gone. Upstream's counterpart is pkg/kubelet/status's manager.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from navarch.api.core import v1
from navarch.client.rest import Client, Unreachable
from navarch.kubelet import static_pods
from navarch.kubelet.core.status import OWN_CONDITIONS, RESIZING
from navarch.lib import backoff, tasks
from navarch.machinery import codec, errors

log = logging.getLogger(__name__)

PROGRESS_WAIT = 0.25


@dataclass
class _Outbox:
    """What is to be told of one pod."""

    pod: v1.Pod
    status: v1.PodStatus | None = None
    sent: v1.PodStatus | None = None
    delete: bool = False
    urgent: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False


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
        before = box.status or box.sent
        box.status = status
        if not _progress(before, status):
            box.urgent.set()
        self._wake(box)

    def finish(self, pod: v1.Pod) -> None:
        """Queues the end of the API object, after its last status."""
        box = self._box(pod)
        box.delete = True
        box.urgent.set()
        self._wake(box)

    def forget(self, uid: str) -> None:
        """Drops a pod that is gone."""
        box = self._boxes.pop(uid, None)
        if box is not None:
            box.status, box.delete = None, False

    def _box(self, pod: v1.Pod) -> _Outbox:
        uid = _uid(pod)
        box = self._boxes.get(uid)
        if box is None:
            box = self._boxes[uid] = _Outbox(pod)
        box.pod = pod
        return box

    def _wake(self, box: _Outbox) -> None:
        if not box.running:
            box.running = True
            meta = box.pod.metadata
            self._group.start(f"status {meta.namespace}/{meta.name}" if meta else "status", self._run(box))

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
                    log.warning("status of pod %s: %s", box.pod.metadata.name if box.pod.metadata else "", error)
                    await asyncio.sleep(waits.next())
                    box.urgent.set()
        finally:
            box.running = False

    async def _send(self, box: _Outbox) -> None:
        meta = box.pod.metadata
        assert meta is not None
        if (status := box.status) is not None:
            body: dict[str, Any] = {"status": patch(box.sent or box.pod.status, status)}
            if not static_pods.is_static(box.pod):
                body["metadata"] = {"uid": meta.uid}
            await self._client.patch(v1.Pod, meta.name or "", body, meta.namespace or "", how="strategic", subresource="status")
            box.sent = status
            if box.status is status:
                box.status = None
            else:
                return
        if box.delete:
            await self._client.delete(v1.Pod, meta.name or "", meta.namespace or "", uid=meta.uid, grace=0)
            box.delete = False
            self._removed(meta.uid or "")


def _uid(pod: v1.Pod) -> str:
    return (pod.metadata and pod.metadata.uid) or ""


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


def patch(before: v1.PodStatus | None, status: v1.PodStatus) -> dict[str, Any]:
    """A strategic merge patch that sets the kubelet's part of a status: foreign conditions stay, what is gone becomes null."""
    tree = codec.to_tree(status)
    held = codec.to_tree(before) if before is not None else {}
    for key in held:
        if key not in tree and key != "conditions":
            tree[key] = None
    tree["conditions"] = [c for c in tree.get("conditions", ()) if c["type"] in (*OWN_CONDITIONS, "DisruptionTarget")]
    kept = {c["type"] for c in tree["conditions"]}
    for condition in held.get("conditions", ()):
        if condition["type"] == RESIZING and RESIZING not in kept:
            tree["conditions"].append({"type": RESIZING, "$patch": "delete"})
    for key in ("podIPs", "hostIPs"):
        if tree.get(key) == held.get(key):
            tree.pop(key, None)
        elif tree.get(key) is not None and held.get(key):
            tree[key] = [*tree[key], {"$patch": "replace"}]
    for key in ("resourceClaimStatuses", "extendedResourceClaimStatus", "nominatedNodeName"):
        tree.pop(key, None)
    return tree
