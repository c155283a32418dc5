"""StatefulSets against the real API server and kubectl, with pods that a script brings to life."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import errors
from navarch.testing import control_plane, waiting
from navarch.testing.control_plane import ControlPlane

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async for made in control_plane.running(tmp_path_factory.mktemp("controllers")):
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ns(cluster: ControlPlane) -> str:
    return await cluster.namespace()


def stateful_set(ns: str, replicas: int = 3, *, claims: bool = False, **spec: Any) -> apps_v1.StatefulSet:
    template = core_v1.PodTemplateSpec(
        metadata=meta_v1.ObjectMeta(labels={"app": "web"}), spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="one")])
    )
    if claims:
        wanted = core_v1.PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"], resources=core_v1.VolumeResourceRequirements(requests={"storage": "1Mi"})
        )
        spec["volumeClaimTemplates"] = [core_v1.PersistentVolumeClaim(metadata=meta_v1.ObjectMeta(name="data"), spec=wanted)]
    made = apps_v1.StatefulSetSpec(
        replicas=replicas, serviceName="web", selector=meta_v1.LabelSelector(matchLabels={"app": "web"}), template=template, **spec
    )
    return apps_v1.StatefulSet(metadata=meta_v1.ObjectMeta(name="web", namespace=ns), spec=made)


async def rolled_out(cluster: ControlPlane, ns: str) -> apps_v1.StatefulSet:
    async def done() -> apps_v1.StatefulSet:
        found = await cluster.client.get(apps_v1.StatefulSet, "web", ns)
        assert found.spec is not None and found.metadata is not None and found.status is not None
        s, n = found.status, found.spec.replicas or 0
        counts = (s.observedGeneration, s.replicas or 0, s.updatedReplicas or 0, s.availableReplicas or 0, s.currentRevision)
        assert counts == (found.metadata.generation, n, n, n, s.updateRevision), counts
        return found

    result: apps_v1.StatefulSet = await waiting.until(done, what="the rollout")
    return result


async def images(cluster: ControlPlane, ns: str) -> dict[str, str | None]:
    found = await cluster.pods(ns)
    return {p.metadata.name or "": p.spec.containers[0].image for p in found if p.metadata and p.spec and p.spec.containers}


async def test_kubectl_rolls_a_set_out_back_and_anew(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(stateful_set(ns))
    assert "partitioned roll out complete" in await cluster.kubectl(ns, "rollout", "status", "sts/web", "--timeout=90s")
    await cluster.kubectl(ns, "set", "image", "sts/web", "c=two")
    await cluster.kubectl(ns, "rollout", "status", "sts/web", "--timeout=90s")
    assert set((await images(cluster, ns)).values()) == {"two"}
    history = await cluster.kubectl(ns, "rollout", "history", "sts/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"], history
    assert "Image:\tone" in await cluster.kubectl(ns, "rollout", "history", "sts/web", "--revision=1")
    await cluster.kubectl(ns, "rollout", "undo", "sts/web")
    await rolled_out(cluster, ns)
    assert set((await images(cluster, ns)).values()) == {"one"}
    before = {p.metadata.uid for p in await cluster.pods(ns) if p.metadata}
    await cluster.kubectl(ns, "rollout", "restart", "sts/web")
    await cluster.kubectl(ns, "rollout", "status", "sts/web", "--timeout=90s")
    await rolled_out(cluster, ns)
    assert not before & {p.metadata.uid for p in await cluster.pods(ns) if p.metadata}
    await cluster.kubectl(ns, "scale", "sts/web", "--replicas=1")
    await rolled_out(cluster, ns)
    assert sorted(await images(cluster, ns)) == ["web-0"]


async def test_pods_come_in_order_and_wait_for_those_before(cluster: ControlPlane, ns: str) -> None:
    cluster.lives[ns] = lambda pod: "Running" if pod.metadata and pod.metadata.name == "web-1" else "Ready"
    await cluster.client.create(stateful_set(ns))
    await waiting.until(lambda: names(cluster, ns, ["web-0", "web-1"]))
    await asyncio.sleep(0.3)
    assert sorted(await images(cluster, ns)) == ["web-0", "web-1"]
    del cluster.lives[ns]
    cluster.kubelet.look_again()
    await rolled_out(cluster, ns)


async def names(cluster: ControlPlane, ns: str, expected: list[str]) -> bool:
    return sorted(await images(cluster, ns)) == expected


async def test_each_replica_has_its_claim_and_keeps_or_loses_it_as_told(cluster: ControlPlane, ns: str) -> None:
    policy = apps_v1.StatefulSetPersistentVolumeClaimRetentionPolicy(whenScaled="Delete", whenDeleted="Retain")
    await cluster.client.create(stateful_set(ns, 2, claims=True, persistentVolumeClaimRetentionPolicy=policy))
    await rolled_out(cluster, ns)

    async def claims() -> list[str]:
        found, _ = await cluster.client.list(core_v1.PersistentVolumeClaim, ns)
        return sorted(c.metadata.name or "" for c in found if c.metadata)

    assert await claims() == ["data-web-0", "data-web-1"]
    await cluster.client.scale(apps_v1.StatefulSet, "web", ns, 1)

    async def one_left() -> bool:
        return await claims() == ["data-web-0"]

    await waiting.until(one_left, what="the claim of the replica that was scaled away")
    await cluster.client.delete(apps_v1.StatefulSet, "web", ns)

    async def no_pods() -> bool:
        return not await cluster.pods(ns)

    await waiting.until(no_pods)
    assert await claims() == ["data-web-0"]


async def test_failed_pods_come_back_under_their_names(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(stateful_set(ns, 1))
    await rolled_out(cluster, ns)
    (before,) = await cluster.pods(ns)
    assert before.metadata is not None
    await cluster.client.patch(core_v1.Pod, "web-0", {"status": {"phase": "Failed"}}, ns, subresource="status")

    async def another() -> bool:
        found = await cluster.pods(ns)
        return bool(found) and found[0].metadata is not None and before.metadata is not None and found[0].metadata.uid != before.metadata.uid

    await waiting.until(another)
    await rolled_out(cluster, ns)
    events, _ = await cluster.client.list(core_v1.Event, ns)
    told = {(e.reason, e.message) for e in events}
    assert ("SuccessfulCreate", "Create Pod web-0 in StatefulSet web successful") in told


async def test_history_is_cut_at_its_limit(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(stateful_set(ns, 1, revisionHistoryLimit=1))
    await rolled_out(cluster, ns)
    for image in ("two", "three", "four"):
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
        await cluster.client.patch(apps_v1.StatefulSet, "web", patch, ns, how="strategic")
        await rolled_out(cluster, ns)

    async def two() -> bool:
        found, _ = await cluster.client.list(apps_v1.ControllerRevision, ns)
        return sorted(r.revision or 0 for r in found) == [3, 4]

    await waiting.until(two)
    with pytest.raises(errors.NotFound):
        await cluster.client.get(core_v1.Pod, "web-1", ns)


async def test_orphans_are_adopted_with_their_history(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(stateful_set(ns, 2))
    before = await rolled_out(cluster, ns)
    pods = {p.metadata.uid for p in await cluster.pods(ns) if p.metadata}
    await cluster.client.delete(apps_v1.StatefulSet, "web", ns, propagation="Orphan")

    async def gone() -> bool:
        return not (await cluster.client.list(apps_v1.StatefulSet, ns))[0]

    await waiting.until(gone)
    await cluster.client.create(stateful_set(ns, 2))
    after = await rolled_out(cluster, ns)
    assert {p.metadata.uid for p in await cluster.pods(ns) if p.metadata} == pods
    assert before.status is not None and after.status is not None and after.status.currentRevision == before.status.currentRevision
    assert len((await cluster.client.list(apps_v1.ControllerRevision, ns))[0]) == 1


async def test_a_set_of_a_parallel_policy_is_made_at_once_and_starts_where_it_is_told_to(cluster: ControlPlane, ns: str) -> None:
    cluster.lives[ns] = lambda pod: "Running"
    await cluster.client.create(stateful_set(ns, 3, podManagementPolicy="Parallel", ordinals=apps_v1.StatefulSetOrdinals(start=4)))
    await waiting.until(lambda: names(cluster, ns, ["web-4", "web-5", "web-6"]))
    await cluster.client.patch(apps_v1.StatefulSet, "web", {"spec": {"ordinals": {"start": 5}}}, ns)
    await waiting.until(lambda: names(cluster, ns, ["web-5", "web-6", "web-7"]))
