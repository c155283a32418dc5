"""Keeps this node's Node object and lease up to date.

In: the machine, the runtime's state. Out: a registered Node, its status (patched when something changed, otherwise every five minutes), and the
lease in kube-node-lease every ten seconds, by which others know that the node is alive. Upstream's counterparts:
kubelet_node_status.go, component-helpers' lease controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from navarch.api.coordination import v1 as coordination_v1
from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.events import Recorder
from navarch.client.rest import Client, Unreachable
from navarch.cri.client import Client as CriClient
from navarch.cri.client import CriError, Handler, Status
from navarch.kubelet import machine_facts
from navarch.kubelet.core import node
from navarch.lib import backoff
from navarch.machinery import codec, errors, timestamps
from navarch.objects import meta

log = logging.getLogger(__name__)

CHECK_EVERY = 10.0
CHECK_UNREADY = 0.25
REPORT_EVERY = 300.0
LEASE_EVERY = 10.0
LEASE_SECONDS = 40
LEASES = "kube-node-lease"
REGISTER = backoff.Policy(first=0.05, most=1.0)
"""A node is waited for: it must not sleep long when the API server is just starting."""


class Reporter:
    """The node's status and lease."""

    def __init__(
        self,
        client: Client,
        cri: CriClient,
        recorder: Recorder,
        machine: node.Machine,
        identity: node.Identity,
        root: pathlib.Path,
        reserved: Mapping[str, int],
    ) -> None:
        self._client = client
        self._cri = cri
        self._recorder = recorder
        self._machine = machine
        self._root = root
        self._reserved = reserved
        self._runtime = node.RuntimeHealth()
        self._sent_at = -REPORT_EVERY
        self._ready: bool | None = None
        self._images_at = 0.0
        self._images: list[v1.ContainerImage] = []
        self._poke = asyncio.Event()
        self.identity = identity
        self.handlers: Mapping[str, Handler] = {}
        self._groups_policy: bool | None = None
        self.current: v1.Node | None = None
        """The API's copy: what our last write was answered with, or what the watch has told since."""
        self.registered = asyncio.Event()
        self.extra_problems: Callable[[], Sequence[str]] = lambda: ()
        self.pressures: Callable[[], tuple[bool, bool, bool]] = lambda: (False, False, False)

    def poke(self) -> None:
        """Looks at the node's health soon."""
        self._poke.set()

    def seen(self, copy: v1.Node | None) -> None:
        """What the API server has of this node. Where somebody else wrote something else, the status is sent again soon."""
        if copy is None or (self.current is not None and _version(copy) < _version(self.current) and not self._due()):
            return
        self.current = copy
        if self.registered.is_set() and time.monotonic() - self._sent_at >= CHECK_EVERY:
            # Otherwise the next check is soon enough: whoever writes again and again is not answered each time.
            self.poke()

    def _due(self) -> bool:
        return time.monotonic() - self._sent_at >= REPORT_EVERY

    def allocatable(self) -> dict[str, str]:
        """What pods may use of this node."""
        return node.allocatable(self._machine, self.identity.max_pods, self._reserved)

    async def register(self, labels: Mapping[str, str], taints: Sequence[v1.Taint]) -> None:
        """Creates the Node, or takes over the one that is there; tries until the API server answers."""
        waits = backoff.Backoff(REGISTER)
        while True:
            try:
                wanted = node.initial(self._machine, self.identity, labels, taints)
                wanted.status = await self._status(v1.NodeStatus())
                try:
                    self.current = await self._client.create(wanted)
                except errors.AlreadyExists:
                    self.current = await self._reclaim(wanted)
                self._recorder.event(self._reference(), "Normal", "Starting", "Starting kubelet.")
                self.registered.set()
                return
            except (errors.ApiError, Unreachable) as error:
                log.warning("cannot register node %s: %s", self.identity.name, error)
                await asyncio.sleep(waits.next())

    async def _reclaim(self, wanted: v1.Node) -> v1.Node:
        """Brings labels of an existing Node up to date; its taints are its owner's."""
        meta = wanted.metadata
        assert meta is not None
        patch = {"metadata": {"labels": meta.labels, "annotations": meta.annotations}}
        return await self._client.patch(v1.Node, meta.name or "", patch, how="strategic")

    def _reference(self) -> v1.ObjectReference:
        name = self.identity.name
        return v1.ObjectReference(kind="Node", apiVersion="v1", name=name, uid=name)

    async def run(self) -> None:
        """Checks the node's health and reports it, for ever."""
        while True:
            try:
                await self._report()
            except (errors.ApiError, Unreachable) as error:
                log.warning("cannot report the node's status: %s", error)
                self._sent_at = -REPORT_EVERY
            wait = CHECK_EVERY if self._ready else CHECK_UNREADY
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._poke.wait(), wait)
            self._poke.clear()

    async def _report(self) -> None:
        held = (self.current.status if self.current else None) or v1.NodeStatus()
        fresh = await self._status(held)
        ready = any(c.type == "Ready" and c.status == "True" for c in fresh.conditions or ())
        if not self._due() and not node.meaningful(held, fresh):
            self._ready = ready
            return
        body = {"status": {k: v for k, v in codec.to_tree(fresh).items() if k not in ("volumesAttached", "config", "phase")}}
        # Addresses are merged by type: one that is gone must be said to be.
        body["status"]["addresses"] = [*body["status"]["addresses"], {"$patch": "replace"}]
        self.current = await self._client.patch(v1.Node, self.identity.name, body, how="strategic", subresource="status")
        self._sent_at = time.monotonic()
        if ready != self._ready:
            reason = "NodeReady" if ready else "NodeNotReady"
            if self._ready is not None or ready:
                self._recorder.event(self._reference(), "Normal", reason, f"Node {self.identity.name} status is now: {reason}")
            self._ready = ready

    async def _status(self, held: v1.NodeStatus) -> v1.NodeStatus:
        memory, disk, pids = self.pressures()
        problems = await self._problems()
        health = node.Health(problems, memory, disk, pids)
        fresh = node.status(self._machine, self.identity, self._reserved, health, await self._image_list(), held, time.time())
        fresh.runtimeHandlers = _runtime_handlers(self.handlers)
        fresh.features = v1.NodeFeatures(supplementalGroupsPolicy=self._groups_policy) if self._groups_policy is not None else None
        return fresh

    async def _problems(self) -> list[str]:
        now = time.monotonic()
        try:
            found = await self._cri.status()
        except CriError as error:
            self._runtime = dataclasses.replace(self._runtime, error=str(error))
        else:
            self.handlers, self._groups_policy = found.handlers, found.supplemental_groups_policy
            self._runtime = node.RuntimeHealth(now, tuple(_complaints(found)))
        return [*self._runtime.problems(now), *self.extra_problems()]

    async def _image_list(self) -> list[v1.ContainerImage]:
        if time.monotonic() - self._images_at > 30.0:
            try:
                found = sorted(await self._cri.list_images(), key=lambda image: image.size, reverse=True)
            except CriError:
                return self._images
            self._images_at = time.monotonic()
            self._images = [
                v1.ContainerImage(names=[*image.digests, *image.tags][: node.MAX_NAMES], sizeBytes=image.size) for image in found[: node.MAX_IMAGES]
            ]
        return self._images

    async def keep_lease(self) -> None:
        """Renews the lease for ever."""
        await self.registered.wait()
        held: coordination_v1.Lease | None = None
        while True:
            try:
                held = await self._renew(held)
                wait = LEASE_EVERY
            except (errors.ApiError, Unreachable) as error:
                log.warning("cannot renew the node's lease: %s", error)
                held, wait = None, 1.0
            await asyncio.sleep(wait)

    async def _renew(self, held: coordination_v1.Lease | None) -> coordination_v1.Lease:
        name = self.identity.name
        spec = coordination_v1.LeaseSpec(holderIdentity=name, leaseDurationSeconds=LEASE_SECONDS, renewTime=timestamps.micros(time.time()))
        if held is None:
            try:
                held = await self._client.get(coordination_v1.Lease, name, LEASES)
            except errors.NotFound:
                owners = None
                if self.current is not None and self.current.metadata is not None:
                    owner = meta_v1.OwnerReference(apiVersion="v1", kind="Node", name=name, uid=self.current.metadata.uid)
                    owners = [owner]
                meta = meta_v1.ObjectMeta(name=name, namespace=LEASES, ownerReferences=owners)
                fresh = coordination_v1.Lease(apiVersion="coordination.k8s.io/v1", kind="Lease", metadata=meta, spec=spec)
                return await self._client.create(fresh)
        held.spec = spec
        return await self._client.update(held)


def _complaints(found: Status) -> Iterator[str]:
    """What the runtime says it cannot do, in upstream's words."""
    for condition in found.conditions:
        details = f"{condition.type}=false reason:{condition.reason} message:{condition.message}"
        if condition.status:
            continue
        if condition.type == "NetworkReady":
            yield f"container runtime network not ready: {details}"
        elif condition.type == "RuntimeReady":
            yield f"container runtime not ready: {details}"


def _runtime_handlers(handlers: Mapping[str, Handler]) -> list[v1.NodeRuntimeHandler] | None:
    """What the runtime's handlers can do, as the Node shows it."""
    return [
        v1.NodeRuntimeHandler(
            name=name,
            features=v1.NodeRuntimeHandlerFeatures(recursiveReadOnlyMounts=can.recursive_read_only_mounts, userNamespaces=can.user_namespaces),
        )
        for name, can in sorted(handlers.items())
    ] or None


def _version(held: v1.Node) -> int:
    return meta.version(held) if held.metadata is not None else 0


class Pressure:
    """Whether memory, disk or process ids run short, by upstream's default eviction thresholds."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def now(self) -> tuple[bool, bool, bool]:
        """(memory, disk, pids)."""
        memory = machine_facts.meminfo().get("MemAvailable", 1 << 40) < node.EVICTION_MEMORY
        usage = shutil.disk_usage(self._root)
        inodes = os.statvfs(self._root)
        disk = usage.free < usage.total * 0.10 or (inodes.f_files > 0 and inodes.f_ffree < inodes.f_files * 0.05)
        return memory, disk, False
