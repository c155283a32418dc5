"""A real API server with a real scheduler in one process, and what tests make in it."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import yaml

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import rest
from navarch.lib import tasks
from navarch.scheduler import loop
from navarch.scheduler.config import configuration
from navarch.testing import server

POD = Callable[[v1.Pod], Any]


@contextlib.asynccontextmanager
async def running(folder: pathlib.Path, user: str = "admin", runtime_config: str = "", **settings: Any) -> AsyncIterator[rest.Client]:
    """A cluster whose scheduler has this configuration; a client."""
    async with server.running(runtime_config=runtime_config) as api:
        path = api.write_kubeconfig(folder / "kubeconfig", user)
        config = folder / "scheduler.yaml"
        config.write_text(yaml.safe_dump({"apiVersion": configuration.VERSION, "kind": configuration.KIND, **settings}))
        ready = asyncio.Event()
        options = loop.Options(str(path), leader_elect=False, config=str(config))
        await api.namespace("test")
        async with tasks.Group() as group:
            group.start("scheduler", loop.run(options, ready.set))
            await asyncio.wait_for(ready.wait(), 20)
            yield api.client
            group.cancel()


async def node(client: rest.Client, name: str, cpu: str = "2", **more: str) -> None:
    amounts: dict[str, str | int | float] = {"cpu": cpu, "memory": "4Gi", "pods": "110", **{k.replace("__", "/"): v for k, v in more.items()}}
    metadata = meta_v1.ObjectMeta(name=name, labels={"kubernetes.io/hostname": name})
    await client.create(v1.Node(metadata=metadata, status=v1.NodeStatus(allocatable=amounts)))
    await client.patch(v1.Node, name, {"spec": {"taints": None}})


async def pod(client: rest.Client, name: str, cpu: str = "1", extra: dict[str, str] | None = None, **spec: Any) -> None:
    requests: dict[str, str | int | float] = {"cpu": cpu, **(extra or {})}
    limits: dict[str, str | int | float] | None = dict(extra) if extra else None
    container = v1.Container(name="c", image="x", resources=v1.ResourceRequirements(requests=requests, limits=limits))
    made = v1.PodSpec(containers=[container], automountServiceAccountToken=False, **spec)
    await client.create(v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace="test"), spec=made))


async def until(client: rest.Client, name: str, holds: POD, seconds: float = 15.0) -> v1.Pod:
    deadline = time.monotonic() + seconds
    while True:
        found = await client.get(v1.Pod, name, "test")
        if holds(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


def bound(found: v1.Pod) -> str:
    return (found.spec.nodeName if found.spec is not None else None) or ""


def reason(found: v1.Pod) -> tuple[str, str]:
    """Why a pod waits: (reason, message) of its condition."""
    conditions = (found.status.conditions if found.status else None) or ()
    return next(((c.reason or "", c.message or "") for c in conditions if c.type == "PodScheduled" and c.status == "False"), ("", ""))


def waits(text: str) -> POD:
    return lambda found: text in reason(found)[1]
