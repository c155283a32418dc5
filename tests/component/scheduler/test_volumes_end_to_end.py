"""Claims, volumes and pods through the real API server: the scheduler and the binder do their halves of a binding.

Nodes are only objects; no kubelet runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.storage import v1 as storage_v1
from navarch.client.rest import Client
from navarch.controllers import loop as controllers
from navarch.lib import tasks
from navarch.machinery import claims, errors
from navarch.scheduler import loop as scheduler
from navarch.testing import server, waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOST = "kubernetes.io/hostname"
_CONTROLLERS = tuple(["persistentvolume-binder", "persistentvolumeclaim-protection", "persistentvolume-protection", "ephemeral-volume"])
_numbers = itertools.count()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[server.ApiServer]:
    """An API server, the scheduler under its own name, and the controllers of volumes."""
    folder: pathlib.Path = tmp_path_factory.mktemp("volumes")
    ready, stop = [asyncio.Event(), asyncio.Event()], asyncio.Event()
    found: list[server.ApiServer] = []

    async def play() -> None:
        async with server.running() as made:
            found.append(made)
            own = made.write_kubeconfig(folder / "scheduler", "system:kube-scheduler", "system:authenticated")
            options = controllers.Options(str(made.write_kubeconfig(folder / "admin")), leader_elect=False, controllers=_CONTROLLERS)
            async with tasks.Group() as group:
                group.start("controllers", controllers.run(options, ready[0].set))
                group.start("scheduler", scheduler.run(scheduler.Options(str(own), leader_elect=False), ready[1].set))
                await stop.wait()
                group.cancel()

    playing = asyncio.gather(play())
    await waiting.until(lambda: all(r.is_set() for r in ready) or playing.done(), 30, "scheduler and controllers")
    if playing.done():
        await playing
    yield found[0]
    stop.set()
    await playing


class Scene:
    """A namespace with a node and a class of its own."""

    def __init__(self, client: Client, ns: str) -> None:
        self.client, self.ns, self.pool = client, ns, f"pool-{next(_numbers)}"

    async def node(self, name: str) -> str:
        metadata = meta_v1.ObjectMeta(name=f"{self.pool}-{name}", labels={HOST: f"{self.pool}-{name}", "pool": self.pool})
        status = v1.NodeStatus(allocatable={"cpu": "4", "memory": "4Gi", "pods": "110"})
        await self.client.create(v1.Node(metadata=metadata, status=status))
        await self.client.patch(v1.Node, metadata.name or "", {"spec": {"taints": None}})
        return metadata.name or ""

    async def storage_class(self, mode: str = "WaitForFirstConsumer", provisioner: str = claims.NO_PROVISIONER) -> None:
        made = storage_v1.StorageClass(metadata=meta_v1.ObjectMeta(name=self.pool), provisioner=provisioner, volumeBindingMode=mode)
        await self.client.create(made)

    async def volume(self, name: str, node: str = "", storage: str = "1Gi", policy: str = "Retain", mode: str = "ReadWriteOnce") -> str:
        required = v1.NodeSelector(
            nodeSelectorTerms=[v1.NodeSelectorTerm(matchExpressions=[v1.NodeSelectorRequirement(key=HOST, operator="In", values=[node])])]
        )
        spec = v1.PersistentVolumeSpec(
            accessModes=[mode],
            capacity={"storage": storage},
            storageClassName=self.pool,
            hostPath=v1.HostPathVolumeSource(path=f"/srv/{self.pool}/{name}"),
            nodeAffinity=v1.VolumeNodeAffinity(required=required) if node else None,
            persistentVolumeReclaimPolicy=policy,
        )
        await self.client.create(v1.PersistentVolume(metadata=meta_v1.ObjectMeta(name=f"{self.pool}-{name}"), spec=spec))
        return f"{self.pool}-{name}"

    async def claim(self, name: str, storage: str = "1Gi", mode: str = "ReadWriteOnce") -> None:
        spec = v1.PersistentVolumeClaimSpec(
            accessModes=[mode], storageClassName=self.pool, resources=v1.VolumeResourceRequirements(requests={"storage": storage})
        )
        await self.client.create(v1.PersistentVolumeClaim(metadata=meta_v1.ObjectMeta(name=name, namespace=self.ns), spec=spec))

    async def pod(self, name: str, *named: str, volumes: list[v1.Volume] | None = None) -> None:
        found = [v1.Volume(name=n, persistentVolumeClaim=v1.PersistentVolumeClaimVolumeSource(claimName=n)) for n in named]
        spec = v1.PodSpec(
            containers=[v1.Container(name="c", image="x")],
            volumes=[*found, *(volumes or [])],
            nodeSelector={"pool": self.pool},
            automountServiceAccountToken=False,
        )
        await self.client.create(v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace=self.ns), spec=spec))

    async def until_node(self, name: str) -> str:
        async def look() -> str:
            found = await self.client.get(v1.Pod, name, self.ns)
            assert found.spec is not None and found.spec.nodeName, pending(found)
            return found.spec.nodeName

        placed: str = await waiting.until(look, what=f"a node for {name}")
        return placed

    async def until_waits(self, name: str, text: str) -> None:
        async def look() -> bool:
            return text in pending(await self.client.get(v1.Pod, name, self.ns))

        await waiting.until(look, what=f"{name} to wait for: {text}")

    async def until_claim(self, name: str, holds: Callable[[v1.PersistentVolumeClaim], Any]) -> v1.PersistentVolumeClaim:
        async def look() -> v1.PersistentVolumeClaim:
            found = await self.client.get(v1.PersistentVolumeClaim, name, self.ns)
            assert holds(found), found
            return found

        made: v1.PersistentVolumeClaim = await waiting.until(look, what=f"claim {name}")
        return made

    async def until_phase(self, volume: str, phase: str) -> v1.PersistentVolume:
        async def look() -> v1.PersistentVolume:
            found = await self.client.get(v1.PersistentVolume, volume)
            assert claims.phase(found) == phase, found.status
            return found

        made: v1.PersistentVolume = await waiting.until(look, what=f"{volume} to be {phase}")
        return made

    async def until_event(self, reason: str, text: str) -> None:
        async def look() -> bool:
            found = (await self.client.list(v1.Event, self.ns))[0]
            return any(e.reason == reason and text in (e.message or "") for e in found)

        await waiting.until(look, what=f"an event {reason}")


def pending(found: v1.Pod) -> str:
    conditions = (found.status.conditions if found.status else None) or ()
    return next((c.message or "" for c in conditions if c.type == "PodScheduled" and c.status == "False"), "")


def is_bound(claim: v1.PersistentVolumeClaim) -> bool:
    return claim.status is not None and claim.status.phase == "Bound"


@pytest_asyncio.fixture(loop_scope="module")
async def scene(api: server.ApiServer) -> Scene:
    return Scene(api.client, await api.namespace())


async def test_a_claim_that_waits_is_bound_with_its_pod(scene: Scene) -> None:
    await scene.storage_class()
    await scene.node("a")
    b = await scene.node("b")
    await scene.claim("data")
    await scene.until_event("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    await scene.pod("p", "data")
    await scene.until_waits("p", "0/")
    await scene.until_waits("p", "node(s) didn't find available persistent volumes to bind")
    name = await scene.volume("v", b, "2Gi")
    assert await scene.until_node("p") == b
    claim = await scene.until_claim("data", is_bound)
    assert claims.volume_of(claim) == name and claims.BIND_COMPLETED in claims.notes(claim)
    assert claim.status is not None and claim.status.capacity == {"storage": "2Gi"}
    volume = await scene.until_phase(name, "Bound")
    held = claims.reference_of(volume)
    assert held is not None and (held.name, held.uid) == ("data", claims.meta(claim).uid)
    assert claims.notes(volume)[claims.BOUND_BY_CONTROLLER] == "yes"


async def test_an_immediate_claim_takes_the_smallest_that_fits_and_its_pod_follows(scene: Scene) -> None:
    await scene.storage_class("Immediate")
    a = await scene.node("a")
    await scene.pod("p", "data")
    await scene.until_waits("p", 'persistentvolumeclaim "data" not found')
    await scene.claim("data", "2Gi")
    await scene.until_waits("p", "pod has unbound immediate PersistentVolumeClaims")
    await scene.volume("small", a)
    await scene.volume("large", a, "9Gi")
    claim = await scene.until_claim("data", is_bound)
    assert claims.volume_of(claim) == f"{scene.pool}-large"
    await scene.until_phase(f"{scene.pool}-small", "Available")
    assert await scene.until_node("p") == a


async def test_two_pods_and_one_volume(scene: Scene) -> None:
    await scene.storage_class()
    a = await scene.node("a")
    await scene.volume("v", a)
    for name in ("one", "two"):
        await scene.claim(name)
    await asyncio.gather(*(scene.pod(name, name) for name in ("one", "two")))

    async def settled() -> bool:
        pods, _ = await scene.client.list(v1.Pod, scene.ns)
        placed = [p for p in pods if p.spec is not None and p.spec.nodeName]
        return len(placed) == 1 and any("didn't find available persistent volumes" in pending(p) for p in pods)

    await waiting.until(settled, what="one pod placed, one waiting")
    await scene.volume("w", a)
    for name in ("one", "two"):
        assert await scene.until_node(name) == a
    one, two = [await scene.until_claim(name, is_bound) for name in ("one", "two")]
    assert {claims.volume_of(one), claims.volume_of(two)} == {f"{scene.pool}-v", f"{scene.pool}-w"}


async def test_a_claim_for_one_pod_only(scene: Scene) -> None:
    await scene.storage_class("Immediate")
    await scene.node("a")
    await scene.volume("v", mode="ReadWriteOncePod")
    await scene.claim("data", mode="ReadWriteOncePod")
    await scene.pod("first", "data")
    await scene.until_node("first")
    await scene.pod("second", "data")
    await scene.until_waits("second", "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod")
    await scene.client.delete(v1.Pod, "first", scene.ns, grace=0)
    await scene.until_node("second")


async def test_what_is_in_use_stays_until_it_is_not(scene: Scene) -> None:
    await scene.storage_class("Immediate")
    await scene.node("a")
    name = await scene.volume("v")
    await scene.claim("data")
    await scene.pod("p", "data")
    await scene.until_node("p")
    volume = await scene.until_phase(name, "Bound")
    assert claims.meta(volume).finalizers == ["kubernetes.io/pv-protection"]
    await scene.client.delete(v1.PersistentVolumeClaim, "data", scene.ns)
    await scene.client.delete(v1.PersistentVolume, name)
    await asyncio.sleep(0.3)
    claim = await scene.client.get(v1.PersistentVolumeClaim, "data", scene.ns)
    assert claims.meta(claim).deletionTimestamp is not None and claims.meta(claim).finalizers == ["kubernetes.io/pvc-protection"]
    await scene.client.delete(v1.Pod, "p", scene.ns, grace=0)

    async def gone() -> bool:
        for kind, where in ((v1.PersistentVolumeClaim, scene.ns), (v1.PersistentVolume, "")):
            with contextlib.suppress(errors.NotFound):
                await scene.client.get(kind, "data" if where else name, where)
                return False
        return True

    await waiting.until(gone, what="claim and volume to go")


async def test_a_volume_whose_claim_is_gone_is_released_and_not_given_again(scene: Scene) -> None:
    await scene.storage_class("Immediate")
    name = await scene.volume("v")
    await scene.claim("data")
    await scene.until_phase(name, "Bound")
    await scene.client.delete(v1.PersistentVolumeClaim, "data", scene.ns)
    await scene.until_phase(name, "Released")
    await scene.claim("data")
    await scene.until_event("ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner")
    await scene.client.patch(v1.PersistentVolume, name, {"spec": {"claimRef": None}})
    claim = await scene.until_claim("data", is_bound)
    assert claims.volume_of(claim) == name


async def test_provisioning_for_the_chosen_node_and_failing_there(scene: Scene) -> None:
    """What an external provisioner sees and does, played by the test."""
    await scene.storage_class(provisioner="csi.example.com")
    a = await scene.node("a")
    await scene.claim("data")
    await scene.pod("p", "data")

    def selected(claim: v1.PersistentVolumeClaim) -> bool:
        notes = claims.notes(claim)
        return notes.get(claims.SELECTED_NODE) == a and notes.get(claims.STORAGE_PROVISIONER) == "csi.example.com"

    await scene.until_claim("data", selected)
    await scene.until_event("ExternalProvisioning", "external provisioner 'csi.example.com'")
    await scene.client.patch(v1.PersistentVolumeClaim, "data", {"metadata": {"annotations": {claims.SELECTED_NODE: None}}}, scene.ns)
    await scene.until_event("FailedScheduling", 'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "data"')
    claim = await scene.until_claim("data", selected)
    spec = v1.PersistentVolumeSpec(
        accessModes=["ReadWriteOnce"],
        capacity={"storage": "1Gi"},
        storageClassName=scene.pool,
        csi=v1.CSIPersistentVolumeSource(driver="csi.example.com", volumeHandle="h"),
        claimRef=claims.reference(claim),
        persistentVolumeReclaimPolicy="Delete",
    )
    notes = {claims.PROVISIONED_BY: "csi.example.com"}
    await scene.client.create(v1.PersistentVolume(metadata=meta_v1.ObjectMeta(name=f"{scene.pool}-made", annotations=notes), spec=spec))
    assert await scene.until_node("p") == a
    await scene.until_claim("data", is_bound)


async def test_an_ephemeral_volume_gets_its_claim(scene: Scene) -> None:
    await scene.storage_class()
    a = await scene.node("a")
    await scene.volume("v", a)
    spec = v1.PersistentVolumeClaimSpec(
        accessModes=["ReadWriteOnce"], storageClassName=scene.pool, resources=v1.VolumeResourceRequirements(requests={"storage": "1Gi"})
    )
    template = v1.PersistentVolumeClaimTemplate(metadata=meta_v1.ObjectMeta(labels={"own": "yes"}), spec=spec)
    await scene.pod("p", volumes=[v1.Volume(name="scratch", ephemeral=v1.EphemeralVolumeSource(volumeClaimTemplate=template))])
    assert await scene.until_node("p") == a
    claim = await scene.until_claim("p-scratch", is_bound)
    pod = await scene.client.get(v1.Pod, "p", scene.ns)
    assert claims.meta(claim).labels == {"own": "yes"}
    assert [(o.kind, o.uid, o.controller) for o in claims.meta(claim).ownerReferences or ()] == [("Pod", claims.meta(pod).uid, True)]


async def test_a_claim_without_a_class_gets_the_default_that_comes_later(scene: Scene) -> None:
    wanted = v1.VolumeResourceRequirements(requests={"storage": "1Gi"})
    made = v1.PersistentVolumeClaimSpec(accessModes=["ReadWriteOnce"], resources=wanted)
    await scene.client.create(v1.PersistentVolumeClaim(metadata=meta_v1.ObjectMeta(name="classless", namespace=scene.ns), spec=made))
    await scene.until_event("FailedBinding", "no persistent volumes available for this claim and no storage class is set")
    notes = {"storageclass.kubernetes.io/is-default-class": "true"}
    metadata = meta_v1.ObjectMeta(name=scene.pool, annotations=notes)
    await scene.client.create(storage_v1.StorageClass(metadata=metadata, provisioner="csi.example.com", volumeBindingMode="Immediate"))
    await scene.until_claim("classless", lambda c: claims.class_of(c) == scene.pool)
    await scene.client.delete(storage_v1.StorageClass, scene.pool)
