"""An API server, its controllers, and a scripted kubelet: what tests of workloads run against.

In: a folder for the kubeconfig, and for each namespace, where a test wants it, a script of its pods' lives. Out: a `ControlPlane` with an
administrator's client. Pods are not scheduled unless `scheduler` asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator, Callable

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.rest import Client
from navarch.controllers import loop
from navarch.lib import tasks
from navarch.machinery import errors
from navarch.scheduler import loop as scheduling
from navarch.testing import kubelet, server, waiting


class ControlPlane:
    """`lives` are scripts by namespace; pods of others are Ready at once."""

    def __init__(self, api: server.ApiServer, config: pathlib.Path) -> None:
        self.api = api
        self.config = config
        self.client: Client = api.client
        self.lives: dict[str, Callable[[core_v1.Pod], str]] = {}
        self.kubelet = kubelet.ScriptedKubelet(api.connect(user_agent="kubelet"), self._life)

    def _life(self, pod: core_v1.Pod) -> str:
        assert pod.metadata is not None
        return self.lives.get(pod.metadata.namespace or "", kubelet.always_ready)(pod)

    async def pods(self, ns: str, labels: str = "") -> list[core_v1.Pod]:
        return (await self.client.list(core_v1.Pod, ns, labels=labels))[0]

    async def add_node(self, name: str, labels: dict[str, str] | None = None) -> None:
        """A node on which pods have room."""
        room: dict[str, str | int | float] = {"cpu": "8", "memory": "16Gi", "pods": "110"}
        ready = core_v1.NodeCondition(type="Ready", status="True", reason="KubeletReady")
        made = core_v1.Node(
            metadata=meta_v1.ObjectMeta(name=name, labels={"kubernetes.io/hostname": name, **(labels or {})}),
            status=core_v1.NodeStatus(capacity=room, allocatable=room, conditions=[ready]),
        )
        await self.client.create(made)

    async def kubectl(self, ns: str, *words: str) -> str:
        """What a kubectl command prints. AssertionError when it fails."""
        command = ["kubectl", f"--kubeconfig={self.config}", f"--namespace={ns}", *words]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        printed, _ = await process.communicate()
        assert process.returncode == 0, f"kubectl {' '.join(words)}: {printed.decode()}"
        return printed.decode()

    async def namespace(self) -> str:
        """A new namespace, when its service account is there."""
        made = await self.client.create(core_v1.Namespace(metadata=meta_v1.ObjectMeta(generateName="ctl-")))
        assert made.metadata is not None and made.metadata.name
        name = made.metadata.name

        async def account() -> bool:
            with contextlib.suppress(errors.NotFound):
                await self.client.get(core_v1.ServiceAccount, "default", name)
                return True
            return False

        await waiting.until(account, what="the service account of a new namespace")
        return name


async def running(folder: pathlib.Path, *, scheduler: bool = False) -> AsyncIterator[ControlPlane]:
    """One, until the iteration ends; all its loops are in a task of their own, since a fixture's halves need not run in one."""
    ready, stop = asyncio.Event(), asyncio.Event()
    found: list[ControlPlane] = []

    async def play() -> None:
        async with server.running() as api:
            config = api.write_kubeconfig(folder / "config")
            controllers = api.write_kubeconfig(folder / "controllers", "system:kube-controller-manager")
            made = ControlPlane(api, config)
            found.append(made)
            async with tasks.Group() as group:
                group.start("controllers", loop.run(loop.Options(str(controllers), leader_elect=False), ready.set))
                group.start("kubelet", made.kubelet.run())
                if scheduler:
                    group.start("scheduler", scheduling.run(scheduling.Options(str(config), leader_elect=False)))
                await stop.wait()
                group.cancel()

    playing = asyncio.gather(play())
    await waiting.until(lambda: ready.is_set() or playing.done(), 30, "the controllers")
    if playing.done():
        await playing
    try:
        yield found[0]
    finally:
        stop.set()
        await playing
