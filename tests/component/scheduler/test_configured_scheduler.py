"""A scheduler with a configuration of its own, against the real API server: plugins, leases, backoff."""

from __future__ import annotations

import asyncio
import pathlib
import time

import pytest

from navarch.api.coordination import v1 as coordination_v1
from navarch.api.core import v1
from navarch.client import kubeconfig, rest
from navarch.lib import tasks
from navarch.scheduler import loop
from navarch.scheduler.config import configuration
from navarch.testing import server
from tests.component.scheduler import cluster
from tests.component.scheduler.cluster import bound, reason, until, waits

PLUGINS = '''
from navarch.scheduler.core.view import Refusal


class Moody:
    """Raises for pods labelled so; keeps the others off n1."""

    name = "Moody"

    def filter(self, view, at):
        if view.pod.node_selector:
            raise RuntimeError("not today")
        column = view.columns.labels["kubernetes.io/hostname"]
        return [Refusal("node(s) were n1", column.codes[at] == column.values["n1"], True)]
'''


async def test_a_plugin_that_raises_fails_that_pod_and_nothing_else(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moody_plugin.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = {
        "schedulerName": "moody",
        "plugins": {"filter": {"enabled": [{"name": "Moody"}]}},
        "pluginConfig": [{"name": "Moody", "args": {"module": "moody_plugin:Moody"}}],
    }
    async with cluster.running(tmp_path, profiles=[{"schedulerName": "default-scheduler"}, own]) as client:
        await cluster.node(client, "n1")
        await cluster.pod(client, "kept-off", schedulerName="moody")
        found = await until(client, "kept-off", waits("1 node(s) were n1"))
        assert reason(found)[1].startswith("0/1 nodes are available: 1 node(s) were n1. preemption: 0/1 nodes are available: ")
        await cluster.pod(client, "raises", schedulerName="moody", nodeSelector={"mood": "bad"})
        found = await until(client, "raises", waits("not today"))
        assert reason(found) == ("SchedulerError", 'running "Moody" filter plugin: not today')
        await cluster.pod(client, "plain")
        await until(client, "plain", bound)
        await cluster.node(client, "n2")
        assert bound(await until(client, "kept-off", bound)) == "n2"
        await _event(client, "raises", 'running "Moody" filter plugin: not today')


async def _event(client: rest.Client, name: str, message: str) -> None:
    for _ in range(250):
        found, _ = await client.list(v1.Event, "test")
        if any(e.reason == "FailedScheduling" and e.message == message for e in found if e.involvedObject and e.involvedObject.name == name):
            return
        await asyncio.sleep(0.02)
    raise AssertionError([e.message for e in found])


async def test_a_configuration_that_cannot_be_used_stops_the_scheduler_at_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"apiVersion: {configuration.VERSION}\nkind: {configuration.KIND}\nparallelism: 0\n")
    with pytest.raises(configuration.Unacceptable, match="parallelism: Invalid value: 0"):
        await loop.run(loop.Options("/nowhere", config=str(path)))


async def test_the_lease_and_the_kubeconfig_are_those_of_the_configuration(tmp_path: pathlib.Path) -> None:
    async with server.running() as api:
        path = api.write_kubeconfig(tmp_path / "kubeconfig")
        config = tmp_path / "config.yaml"
        config.write_text(
            f"""apiVersion: {configuration.VERSION}
kind: {configuration.KIND}
clientConnection: {{kubeconfig: "{path}"}}
leaderElection: {{resourceName: mine, resourceNamespace: default, leaseDuration: 40s}}
"""
        )
        ready = asyncio.Event()
        async with tasks.Group() as group:
            group.start("scheduler", loop.run(loop.Options("/nowhere", config=str(config)), ready.set))
            await asyncio.wait_for(ready.wait(), 20)
            async with rest.Client(kubeconfig.load(path)) as client:
                lease = await client.get(coordination_v1.Lease, "mine", "default")
            assert lease.spec is not None and lease.spec.leaseDurationSeconds == 40
            group.cancel()


async def test_the_first_backoff_is_the_one_configured(tmp_path: pathlib.Path) -> None:
    async with cluster.running(tmp_path, podInitialBackoffSeconds=3, podMaxBackoffSeconds=3) as client:
        await cluster.node(client, "n1", cpu="1")
        await cluster.pod(client, "large", cpu="2")
        await until(client, "large", waits("Insufficient cpu"))
        began = time.monotonic()
        await cluster.node(client, "n2")
        await until(client, "large", bound)
        assert 1.5 < time.monotonic() - began < 10
