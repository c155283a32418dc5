"""What the kubelet says of its pods and what the API server has of it: kept the same, whoever writes in between. With a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import informer, rest
from navarch.kubelet import statuses
from navarch.kubelet.core import published
from navarch.lib import tasks
from navarch.testing import server, waiting


class Node:
    """The kubelet's side: an informer of pods, the statuses it publishes, what it says of each pod."""

    def __init__(self, client: rest.Client, group: tasks.Group) -> None:
        self.client = client
        self.statuses = statuses.Statuses(client, group, lambda uid: None)
        self.pods: informer.Informer[v1.Pod] = informer.Informer(client, v1.Pod)
        self.says: dict[str, v1.PodStatus] = {}
        self.writes = 0
        self.pods.subscribe(self._changed)
        group.start("pods", self.pods.run())

    def _changed(self, change: informer.Change[v1.Pod]) -> None:
        if isinstance(change, informer.Modified):
            self.writes += 1
            pod = change.new
            self.statuses.seen(pod, self.says.get(name_of(pod)), pod)

    def say(self, pod: v1.Pod, status: v1.PodStatus) -> None:
        self.says[name_of(pod)] = status
        self.statuses.put(pod, status)

    async def make(self, namespace: str, name: str) -> v1.Pod:
        spec = v1.PodSpec(nodeName="n", containers=[v1.Container(name="c", image="i", resources=v1.ResourceRequirements(requests={"cpu": "0.5"}))])
        return await self.client.create(v1.Pod(apiVersion="v1", kind="Pod", metadata=meta_v1.ObjectMeta(name=name), spec=spec), namespace)

    async def conditions(self, pod: v1.Pod) -> dict[str, tuple[Any, ...]]:
        assert pod.metadata is not None
        held = await self.client.get(v1.Pod, pod.metadata.name or "", pod.metadata.namespace or "")
        found = (held.status.conditions if held.status else None) or ()
        return {c.type or "": (c.status, c.reason, c.message) for c in found}

    async def write(self, pod: v1.Pod, **status: Any) -> None:
        """Somebody else changes the status."""
        assert pod.metadata is not None
        await self.client.patch(
            v1.Pod, pod.metadata.name or "", {"status": status}, pod.metadata.namespace or "", how="strategic", subresource="status"
        )


def name_of(pod: v1.Pod) -> str:
    assert pod.metadata is not None
    return pod.metadata.name or ""


def running(ready: bool, **more: Any) -> v1.PodStatus:
    reason, message = (None, None) if ready else ("ContainersNotReady", "containers with unready status: [c]")
    own = [v1.PodCondition(type=kind, status=str(ready), reason=reason, message=message) for kind in ("Ready", "ContainersReady")]
    container = v1.ContainerStatus(
        name="c", image="i", imageID="", ready=ready, restartCount=0, state=v1.ContainerState(), lastState=v1.ContainerState()
    )
    return v1.PodStatus(phase="Running", qosClass="Burstable", conditions=own, containerStatuses=[container], **more)


@contextlib.asynccontextmanager
async def node() -> AsyncIterator[tuple[Node, str]]:
    async with server.running() as api:
        namespace = await api.namespace()
        async with tasks.Group() as group:
            yield Node(api.client, group), namespace
            group.cancel()


async def holds(what: Callable[[], Awaitable[bool]]) -> None:
    await waiting.until(what, seconds=5)


async def test_fields_of_conditions_that_are_gone_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async with node() as (kubelet, namespace):
        pod = await kubelet.make(namespace, "p")
        kubelet.say(pod, running(False))

        async def unready() -> bool:
            return bool((await kubelet.conditions(pod)).get("Ready", ("",))[0] == "False")

        await holds(unready)
        kubelet.say(pod, running(True))

        async def clean() -> bool:
            return (await kubelet.conditions(pod)).get("Ready") == ("True", None, None)

        await holds(clean)


async def test_a_status_that_others_wrote_over_is_published_again() -> None:
    async with node() as (kubelet, namespace):
        pod = await kubelet.make(namespace, "p")
        kubelet.say(pod, running(True))

        async def ready() -> bool:
            return (await kubelet.conditions(pod)).get("Ready") == ("True", None, None)

        await holds(ready)
        # What the node controller writes when the node is silent for a while, and another controller's own condition.
        await kubelet.write(pod, conditions=[{"type": "Ready", "status": "False"}])
        await holds(ready)
        await kubelet.write(pod, conditions=[{"type": "example.org/x", "status": "True"}])
        await asyncio.sleep(0.3)
        assert (await kubelet.conditions(pod))["example.org/x"][0] == "True"


async def test_a_kubelet_that_started_anew_and_has_said_nothing_yet_knows_what_it_would_say() -> None:
    async with node() as (kubelet, namespace):
        pod = await kubelet.make(namespace, "p")
        await kubelet.write(pod, phase="Running", conditions=[{"type": "Ready", "status": "True"}])
        kubelet.says["p"] = running(True)
        await kubelet.write(pod, conditions=[{"type": "Ready", "status": "False"}])

        async def ready() -> bool:
            return (await kubelet.conditions(pod)).get("Ready") == ("True", None, None)

        await holds(ready)


async def test_a_write_that_comes_while_our_own_is_on_its_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with node() as (kubelet, namespace):
        pod = await kubelet.make(namespace, "p")
        send = kubelet.client.send

        async def slowly(request: rest.Request) -> bytes:
            answer = await send(request)
            if request.method == "PATCH":
                monkeypatch.setattr(kubelet.client, "send", send)
                await kubelet.write(pod, conditions=[{"type": "Ready", "status": "False"}])
                await asyncio.sleep(0.3)
            return answer

        monkeypatch.setattr(kubelet.client, "send", slowly)
        kubelet.say(pod, running(True))
        await asyncio.sleep(0.6)

        async def ready() -> bool:
            return (await kubelet.conditions(pod)).get("Ready") == ("True", None, None)

        await holds(ready)


async def test_own_writes_are_not_answered_and_a_quarrel_is_bounded() -> None:
    async with node() as (kubelet, namespace):
        pod = await kubelet.make(namespace, "p")
        for number in range(5):
            kubelet.say(pod, running(number % 2 == 0, hostIP=f"192.0.2.{number}"))
            await asyncio.sleep(0.05)

        async def told() -> bool:
            assert pod.metadata is not None
            held = await kubelet.client.get(v1.Pod, "p", namespace)
            return held.status is not None and held.status.hostIP == "192.0.2.4"

        await holds(told)
        await asyncio.sleep(0.3)
        before = kubelet.writes
        for _ in range(10):
            await kubelet.write(pod, conditions=[{"type": "Ready", "status": "False"}])
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        # Ten writes of the other side; ours one, and then no more for ten seconds.
        assert kubelet.writes - before <= 3 + 1, "only a write that changes something is seen"
        assert (await kubelet.conditions(pod))["Ready"][0] == "False"


def test_what_counts_as_different() -> None:
    said = running(True)
    assert not published.differs(said, running(True))
    assert published.differs(None, said)
    assert published.differs(running(False), said)
    held = running(True, nominatedNodeName="n", resourceClaimStatuses=[v1.PodResourceClaimStatus(name="c")])
    assert held.conditions is not None
    held.conditions.append(v1.PodCondition(type="example.org/x", status="True"))
    held.conditions[0].lastTransitionTime = "2026-01-01T00:00:00Z"
    assert not published.differs(held, said)
    held.conditions[0].reason = "Other"
    assert published.differs(held, said)
    assert published.differs(running(True, podIP="10.0.0.1"), said)
    patched = published.patch(held, said)
    assert patched["conditions"][0] == {"type": "Ready", "status": "True", "reason": None}
    assert "nominatedNodeName" not in patched
    assert "resourceClaimStatuses" not in patched
