"""Decisions are kept with their events and can be made again from the API server's history, whatever happened since."""

from __future__ import annotations

import asyncio
import pathlib
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scheduling import v1 as scheduling_v1
from navarch.client import events, rest
from navarch.lib import tasks
from navarch.scheduler import history, loop
from navarch.scheduler.config import configuration
from navarch.scheduler.core.profile import DEFAULT
from navarch.testing import server

NAVARCH = pathlib.Path(sys.executable).with_name("navarch")
NAMESPACE = "made"


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def prepare(client: rest.Client, nodes: int) -> None:
    await client.create(v1.Namespace(metadata=meta_v1.ObjectMeta(name=NAMESPACE)))
    await client.create(v1.ServiceAccount(metadata=meta_v1.ObjectMeta(name="default", namespace=NAMESPACE)))
    await client.create(scheduling_v1.PriorityClass(metadata=meta_v1.ObjectMeta(name="high"), value=1000))
    for i in range(nodes):
        labels = {"kubernetes.io/hostname": f"n{i}", "topology.kubernetes.io/zone": f"z{i % 3}"}
        status = v1.NodeStatus(allocatable={"cpu": "2", "memory": "4Gi", "pods": "20"})
        await client.create(v1.Node(metadata=meta_v1.ObjectMeta(name=f"n{i}", labels=labels), status=status))
        await client.patch(v1.Node, f"n{i}", {"spec": {"taints": None}})


def pod(name: str, cpu: str, app: str, **spec: object) -> v1.Pod:
    container = v1.Container(name="c", image="x", resources=v1.ResourceRequirements(requests={"cpu": cpu}))
    made = v1.PodSpec(containers=[container], automountServiceAccountToken=False, **spec)  # type: ignore[arg-type]
    return v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace=NAMESPACE, labels={"app": app}), spec=made)


def apart(app: str) -> v1.Affinity:
    term = v1.PodAffinityTerm(labelSelector=meta_v1.LabelSelector(matchLabels={"app": app}), topologyKey="kubernetes.io/hostname")
    return v1.Affinity(podAntiAffinity=v1.PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term]))


async def settled(client: rest.Client) -> bool:
    """Every pod has a node or a reason."""
    pods, _ = await client.list(v1.Pod, NAMESPACE)
    told = ([c.type for c in (p.status.conditions if p.status else None) or ()] for p in pods)
    return all("PodScheduled" in types for types in told)


async def test_every_decision_is_the_same_when_it_is_made_again(tmp_path: pathlib.Path) -> None:
    drawn = random.Random(7)
    async with server.running() as api, tasks.Group() as group:
        client = api.client
        await prepare(client, 6)
        scheduler = loop.Scheduler(client, configuration.default())
        await scheduler.start(group)
        for i in range(8):
            await client.create(pod(f"alone-{i}", "100m", "alone", affinity=apart("alone")))
        many = [pod(f"p{i}", drawn.choice(("100m", "300m", "700m")), drawn.choice("ab")) for i in range(60)]
        await asyncio.gather(*(client.create(p) for p in many))
        await asyncio.gather(*(client.delete(v1.Pod, f"p{i}", NAMESPACE, grace=0) for i in range(0, 60, 9)))
        ports = v1.ServiceSpec(selector={"app": "a"}, ports=[v1.ServicePort(port=80)])
        await client.create(v1.Service(metadata=meta_v1.ObjectMeta(name="a", namespace=NAMESPACE), spec=ports))
        await asyncio.gather(*(client.create(pod(f"important-{i}", "1900m", "a", priorityClassName="high")) for i in range(4)))
        await until(lambda: settled(client))

        async def told() -> bool:
            kept = {k.name for k in await history.decisions(client, NAMESPACE)}
            return {f"alone-{i}" for i in range(8)} | {f"important-{i}" for i in range(4)} <= kept

        await until(told)
        group.cancel()
        for name in ("n0", "n1"):
            await client.delete(v1.Node, name)
        await client.delete(v1.Pod, "alone-0", NAMESPACE, grace=0)
        kept = await history.decisions(client)
        outcomes = {(bool(k.record.node), bool(k.record.nominated)) for k in kept}
        assert outcomes == {(True, False), (False, False), (False, True)}
        for each in kept:
            made = await history.remade(client, each, DEFAULT)
            assert made.missing or made.agrees(each.record), (each, made.outcome, made.plan)
        found = await asyncio.to_thread(
            said, "explain", "pod", "alone-0", "-n", NAMESPACE, "--kubeconfig", str(api.write_kubeconfig(tmp_path / "config"))
        )
        assert "made/alone-0 was put on n" in found.stdout and " *" in found.stdout, found


async def test_an_event_with_a_decision_outlives_the_others() -> None:
    async with server.running(event_ttl=0.5) as api, tasks.Group() as group:
        recorder = events.Recorder(api.client, "test")
        group.start("events", recorder.run())
        holder = await api.client.create(v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="m", namespace="default")))
        recorder.event(holder, "Normal", "Short", "short")
        recorder.event(holder, "Normal", "Long", "long", annotations={"navarch.io/keep-seconds": "86400"})

        async def reasons() -> set[str]:
            return {e.reason or "" for e in (await api.client.list(v1.Event, "default"))[0]}

        async def both() -> bool:
            return await reasons() == {"Short", "Long"}

        async def one() -> bool:
            return await reasons() == {"Long"}

        await until(both)
        await until(one)
        group.cancel()


def said(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(NAVARCH), *words], capture_output=True, text=True, timeout=60)
