"""A kubelet as a script: pods become Running and Ready, or end, as a function says; no container runs.

In: a client, and `life(pod) -> "Running" | "Ready" | "Succeeded" | "Failed" | ""` ("" leaves a pod as it is). Pods need not be
scheduled. Deleted pods that a node held are let go at once, as a kubelet does when their containers have ended. For tests
of controllers; what it is not: a node (`kubelet/`) or a simulated one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from navarch.api.core import v1 as core_v1
from navarch.client import informer
from navarch.client.rest import Client, Unreachable
from navarch.lib import backoff, tasks
from navarch.lib.queue import WorkQueue
from navarch.machinery import errors, timestamps

Life = Callable[[core_v1.Pod], str]
_RETRY = backoff.Policy(first=0.01, most=0.2)


def always_ready(pod: core_v1.Pod) -> str:
    """Every pod is Ready as soon as it is seen."""
    del pod
    return "Ready"


class ScriptedKubelet:
    """Plays the kubelet of all pods; `run` until cancelled."""

    def __init__(self, client: Client, life: Life = always_ready, *, now: Callable[[], float] = time.time) -> None:
        self.life = life
        self._client = client
        self._now = now
        self._pods = informer.Informer(client, core_v1.Pod)
        self._queue: WorkQueue[str] = WorkQueue(_RETRY)
        self._addresses = 0

    async def run(self) -> None:
        self._pods.subscribe(lambda change: self._queue.add(_key(change)))
        async with tasks.Group() as group:
            group.start("pods", self._pods.run())
            await self._work()

    def look_again(self) -> None:
        """Asks `life` about every pod anew: after the script changed its mind."""
        for pod in self._pods.list():
            assert pod.metadata is not None
            self._queue.add(f"{pod.metadata.namespace}/{pod.metadata.name}")

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._step(key)
            except errors.NotFound:
                self._queue.forget(key)
            except (errors.ApiError, Unreachable):
                self._queue.add_rate_limited(key)
            else:
                self._queue.forget(key)
            finally:
                self._queue.done(key)

    async def _step(self, key: str) -> None:
        pod = self._pods.by_key(key)
        if pod is None or pod.metadata is None:
            return
        m = pod.metadata
        if m.deletionTimestamp is not None:
            await self._client.delete(core_v1.Pod, m.name or "", m.namespace or "", uid=m.uid, grace=0)
            return
        wanted = self.life(pod)
        if wanted and wanted != _state(pod):
            await self._client.patch(core_v1.Pod, m.name or "", {"status": self._status(pod, wanted)}, m.namespace or "", subresource="status")

    def _status(self, pod: core_v1.Pod, wanted: str) -> dict[str, object]:
        ready = wanted == "Ready"
        stamp = timestamps.seconds(self._now())
        made: dict[str, object] = {
            "phase": "Running" if ready else wanted,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp}],
        }
        if pod.status is None or not pod.status.podIP:
            self._addresses += 1
            address = f"10.244.{self._addresses // 250}.{self._addresses % 250 + 1}"
            made |= {"podIP": address, "podIPs": [{"ip": address}], "startTime": stamp}
        return made


def _key(change: informer.Change[core_v1.Pod]) -> str:
    pod = change.new if isinstance(change, informer.Modified) else change.obj
    assert pod.metadata is not None
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


def _state(pod: core_v1.Pod) -> str:
    """What `life` would have had to say for the pod to be as it is."""
    status = pod.status or core_v1.PodStatus()
    if any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()):
        return "Ready"
    return status.phase or ""
