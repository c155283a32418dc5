"""The Node object while the runtime comes and goes and others write into it. With a real API server and a scripted runtime."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from navarch.api.core import v1
from navarch.client import informer
from navarch.client.events import Recorder
from navarch.cri.client import Client as CriClient
from navarch.cri.client import Condition, CriError, Handler, Image, Status
from navarch.kubelet import node as reporting
from navarch.kubelet.core import node as core
from navarch.lib import tasks
from navarch.testing import server, waiting

MACHINE = core.Machine(2, 4 << 30, 100 << 30, "m", "s", "b", "6.1", "os", "amd64")
WELL = (Condition("RuntimeReady", True, "", ""), Condition("NetworkReady", True, "", ""))


class Runtime:
    """A container runtime that answers as told."""

    def __init__(self) -> None:
        self.answer: Status | CriError = Status(WELL, {}, {"": Handler(True, False)}, True)
        self.asked = 0

    async def status(self) -> Status:
        self.asked += 1
        if isinstance(self.answer, CriError):
            raise self.answer
        return self.answer

    async def list_images(self) -> list[Image]:
        return []


@dataclasses.dataclass
class Scene:
    api: server.ApiServer
    runtime: Runtime
    reporter: reporting.Reporter

    async def ready(self) -> tuple[Any, Any]:
        held = await self.api.client.get(v1.Node, "n")
        found = {c.type: c for c in (held.status.conditions if held.status else None) or ()}
        return found["Ready"].status, found["Ready"].message

    async def until_ready_is(self, status: str) -> None:
        async def reached() -> bool:
            return bool((await self.ready())[0] == status)

        await waiting.until(reached, seconds=5, what=f"Ready={status}")

    async def looks_again(self) -> None:
        before = self.runtime.asked
        self.reporter.poke()
        await waiting.until(lambda: self.runtime.asked > before, seconds=5)

    async def write(self, status: str) -> None:
        """What the node controller writes when a node is silent."""
        condition = {"type": "Ready", "status": status, "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        await self.api.client.patch(v1.Node, "n", {"status": {"conditions": [condition]}}, how="strategic", subresource="status")


@contextlib.asynccontextmanager
async def scene(folder: pathlib.Path) -> AsyncIterator[Scene]:
    async with server.running() as api, tasks.Group() as group:
        runtime = Runtime()
        identity = core.Identity("n", ("192.0.2.1",), 10250, "containerd://1.6", 110)
        client = api.client
        reporter = reporting.Reporter(client, cast(CriClient, runtime), Recorder(client, "kubelet", "n"), MACHINE, identity, folder, {})
        nodes: informer.Informer[v1.Node] = informer.Informer(client, v1.Node)
        nodes.subscribe(lambda _: reporter.seen(nodes.get("n")))
        await reporter.register({}, [])
        group.start("nodes", nodes.run())
        group.start("report", reporter.run())
        yield Scene(api, runtime, reporter)
        group.cancel()


async def test_one_call_that_fails_is_not_yet_a_node_that_is_not_ready(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path) as s:
        await s.until_ready_is("True")
        s.runtime.answer = CriError("Unavailable", "connection refused")
        for _ in range(3):
            await s.looks_again()
        assert (await s.ready())[0] == "True"
        monkeypatch.setattr(core, "RUNTIME_PATIENCE", 0.0)
        s.reporter.poke()
        await s.until_ready_is("False")
        assert "container runtime is down" in (await s.ready())[1]
        s.runtime.answer = Status(WELL, {}, {})
        await s.until_ready_is("True")
        assert (await s.ready())[1] == "kubelet is posting ready status"
        # What the runtime itself says counts at once.
        s.runtime.answer = Status((Condition("NetworkReady", False, "NetworkPluginNotReady", "no network"),), {}, {})
        s.reporter.poke()
        await s.until_ready_is("False")
        message = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:no network"
        assert (await s.ready())[1] == message


async def test_a_node_that_others_called_dead_says_that_it_lives(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path) as s:
        await s.until_ready_is("True")
        # As after a pause of the kubelet: its last word is long ago.
        monkeypatch.setattr(s.reporter, "_sent_at", s.reporter._sent_at - reporting.CHECK_EVERY)
        await s.write("Unknown")
        await s.until_ready_is("True")
        assert (await s.ready())[1] == "kubelet is posting ready status"


async def test_what_the_runtime_can_do_is_shown(tmp_path: pathlib.Path) -> None:
    async with scene(tmp_path) as s:
        await s.until_ready_is("True")
        held = await s.api.client.get(v1.Node, "n")
        assert held.status is not None
        features = v1.NodeRuntimeHandlerFeatures(recursiveReadOnlyMounts=False, userNamespaces=True)
        assert held.status.runtimeHandlers == [v1.NodeRuntimeHandler(name="", features=features)]
        assert held.status.features == v1.NodeFeatures(supplementalGroupsPolicy=True)


def test_a_runtime_never_heard_of_is_down() -> None:
    assert core.RuntimeHealth().problems(5.0) == ["container runtime is down"]
    silent = core.RuntimeHealth(100.0, ("x",), "refused")
    assert silent.problems(130.0) == ["x"]
    assert silent.problems(130.1) == ["container runtime is down: refused"]


def test_amounts_written_otherwise_are_the_same() -> None:
    one = v1.NodeStatus(capacity={"cpu": "2", "memory": "4Gi"}, allocatable={"cpu": "1500m"})
    other = v1.NodeStatus(capacity={"cpu": "2000m", "memory": "4194304Ki"}, allocatable={"cpu": "1.5"})
    assert not core.meaningful(one, other)
    other.capacity = {"cpu": "3", "memory": "4Gi"}
    assert core.meaningful(one, other)
