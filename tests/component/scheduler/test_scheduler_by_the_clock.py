"""The scheduler's times, on a clock that the test moves: backoff, the five minutes, what its statuses say."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator

from navarch.api.core import v1
from navarch.client import kubeconfig, rest
from navarch.lib import tasks
from navarch.machinery import timestamps
from navarch.scheduler import loop
from navarch.scheduler.config import configuration
from navarch.testing import server
from navarch.testing.clock import ManualClock
from tests.component.scheduler import cluster
from tests.component.scheduler.cluster import bound, waits


@contextlib.asynccontextmanager
async def running(folder: pathlib.Path) -> AsyncIterator[tuple[rest.Client, ManualClock]]:
    """A cluster whose scheduler has a clock of its own."""
    clock = ManualClock()
    async with server.running() as api:
        await api.namespace("test")
        config = kubeconfig.load(api.write_kubeconfig(folder / "kubeconfig"))
        async with rest.Client(config, clock=clock) as client, tasks.Group() as group:
            await loop.Scheduler(client, configuration.default()).start(group)
            yield api.client, clock
            group.cancel()


async def test_a_woken_pod_waits_for_its_backoff_by_the_clock(tmp_path: pathlib.Path) -> None:
    async with running(tmp_path) as (client, clock):
        await cluster.node(client, "small", cpu="1")
        await cluster.pod(client, "large", cpu="2")
        found = await cluster.until(client, "large", waits("Insufficient cpu"))
        (condition,) = [c for c in (found.status.conditions if found.status else None) or () if c.type == "PodScheduled"]
        assert condition.lastTransitionTime == timestamps.seconds(clock.now())
        await cluster.node(client, "big", cpu="4")
        await cluster.pod(client, "witness", cpu="1")
        await cluster.until(client, "witness", bound)
        assert not bound(await client.get(v1.Pod, "large", "test")), "whoever was refused waits a second, and no time has passed"
        clock.advance(1.0)
        assert bound(await cluster.until(client, "large", bound)) == "big"
