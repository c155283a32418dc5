"""What the scheduler writes about pods: why one is pending, where one waits for room, and that a victim must go.

A pod's condition is written once per change of what it says, the newest wins, and a few are under way at a time: a flood of
pending pods never stands in the way of bindings.

Upstream counterparts: updatePod in schedule_one.go, framework/preemption/executor.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.events import Recorder
from navarch.client.rest import Client, Unreachable
from navarch.machinery import errors, timestamps
from navarch.objects import meta, pods
from navarch.scheduler.core import journal
from navarch.scheduler.core.journal import Record

_log = logging.getLogger(__name__)
WRITERS, _KNOWN = 8, 20_000
_DAY = "86400"


@dataclass(frozen=True, slots=True)
class Pending:
    """What a pod's status should say: why it is pending, and the node it waits for ("" for none)."""

    message: str
    nominated: str
    reason: str = "Unschedulable"


class Statuses:
    """Writes to pods' statuses."""

    def __init__(self, client: Client, recorder: Recorder) -> None:
        self._client = client
        self._recorder = recorder
        self._wanted: OrderedDict[str, tuple[core_v1.Pod, Pending]] = OrderedDict()
        self._written: OrderedDict[str, Pending] = OrderedDict()
        self._wakeup = asyncio.Event()

    def pending(self, pod: core_v1.Pod, what: Pending, record: Record | None = None) -> None:
        """Tells why a pod is pending: an event now, the condition soon."""
        noted = annotations_of(record) if record is not None else None
        component = (pod.spec.schedulerName if pod.spec is not None else None) or ""
        self._recorder.event(pod, "Warning", "FailedScheduling", what.message, component=component, annotations=noted)
        self.gated(pod, what)

    def gated(self, pod: core_v1.Pod, what: Pending) -> None:
        """Tells why a pod is not even tried: the condition, soon."""
        uid = meta.of(pod).uid or ""
        if self._written.get(uid) == what and uid not in self._wanted:
            return
        self._wanted[uid] = (pod, what)
        self._wakeup.set()

    def forget(self, uid: str) -> None:
        """The pod is bound or gone."""
        self._wanted.pop(uid, None)
        self._written.pop(uid, None)

    async def run(self) -> None:
        """One of the writers (start `WRITERS` of them); until cancelled."""
        while True:
            while not self._wanted:
                self._wakeup.clear()
                await self._wakeup.wait()
            uid, (pod, what) = self._wanted.popitem(last=False)
            try:
                await self._write(pod, what)
            except errors.ApiError as error:
                _log.debug("status of %s: %s", meta.of(pod).name, error)
                continue
            except Unreachable:
                self._wanted.setdefault(uid, (pod, what))
                await self._client.clock.sleep(1.0)
                continue
            self._written[uid] = what
            while len(self._written) > _KNOWN:
                self._written.popitem(last=False)

    async def _write(self, pod: core_v1.Pod, what: Pending) -> None:
        m, status = meta.of(pod), pod.status or core_v1.PodStatus()
        held = pods.condition(pod, "PodScheduled")
        told = (held.status, held.reason, held.message) if held is not None else ("", "", "")
        if told == ("False", what.reason, what.message) and (status.nominatedNodeName or "") == what.nominated:
            return
        since = held.lastTransitionTime if held is not None and held.status == "False" else timestamps.seconds(self._client.clock.now())
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": what.reason,
            "message": what.message,
            "lastTransitionTime": since,
            "observedGeneration": m.generation,
        }
        patch: dict[str, Any] = {"conditions": [condition]}
        if (status.nominatedNodeName or "") != what.nominated:
            patch["nominatedNodeName"] = what.nominated or None
        await self._patch(m, patch)

    async def clear_nomination(self, pod: core_v1.Pod) -> None:
        """A pod of higher priority took its place."""
        await self._patch(meta.of(pod), {"nominatedNodeName": None})

    async def evict(self, victim: core_v1.Pod, preemptor: core_v1.Pod, node: str) -> None:
        """Marks a victim and deletes it, gracefully. Raises as the client does; a victim that is gone already is fine."""
        m = meta.of(victim)
        name = (preemptor.spec.schedulerName if preemptor.spec is not None else None) or "default-scheduler"
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{name}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": timestamps.seconds(self._client.clock.now()),
            "observedGeneration": m.generation,
        }
        try:
            await self._patch(m, {"conditions": [condition]})
            await self._client.delete(core_v1.Pod, m.name or "", m.namespace or "", uid=m.uid)
        except (errors.NotFound, errors.Conflict):
            return
        self._recorder.event(victim, "Normal", "Preempted", f"Preempted by pod {meta.of(preemptor).uid} on node {node}")

    async def _patch(self, m: meta_v1.ObjectMeta, status: dict[str, Any]) -> None:
        patch = {"metadata": {"uid": m.uid}, "status": status}
        await self._client.patch(core_v1.Pod, m.name or "", patch, m.namespace or "", how="strategic", subresource="status")


def annotations_of(record: Record) -> dict[str, str]:
    """The annotations by which an event keeps a decision, for as long as the API server keeps what it was made from."""
    return {journal.ANNOTATION: journal.encode(record), "navarch.io/keep-seconds": _DAY}
