"""The controllers against the real API server, with pods that a script brings to life."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from navarch.api.apps import v1 as apps_v1
from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import errors
from navarch.testing import control_plane, waiting
from navarch.testing.control_plane import ControlPlane as Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async for made in control_plane.running(tmp_path_factory.mktemp("controllers")):
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ns(cluster: Cluster) -> str:
    return await cluster.namespace()


def template(app: str, image: str = "one") -> core_v1.PodTemplateSpec:
    spec = core_v1.PodSpec(containers=[core_v1.Container(name="c", image=image)])
    return core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels={"app": app}), spec=spec)


def deployment(ns: str, name: str = "d", replicas: int = 3, image: str = "one") -> apps_v1.Deployment:
    selector = meta_v1.LabelSelector(matchLabels={"app": name})
    spec = apps_v1.DeploymentSpec(replicas=replicas, selector=selector, template=template(name, image))
    return apps_v1.Deployment(metadata=meta_v1.ObjectMeta(name=name, namespace=ns), spec=spec)


def image_patch(image: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}


async def rolled_out(cluster: Cluster, ns: str, name: str = "d") -> apps_v1.Deployment:
    async def done() -> apps_v1.Deployment | None:
        found = await cluster.client.get(apps_v1.Deployment, name, ns)
        assert found.spec is not None and found.metadata is not None
        s, n = found.status or apps_v1.DeploymentStatus(), found.spec.replicas or 0
        counts = (s.observedGeneration, s.replicas or 0, s.updatedReplicas or 0, s.availableReplicas or 0)
        assert counts == (found.metadata.generation, n, n, n), counts
        return found

    result: apps_v1.Deployment = await waiting.until(done, what="the rollout")
    return result


def images(pods: list[core_v1.Pod]) -> set[str | None]:
    return {c.image for p in pods if p.spec is not None for c in p.spec.containers or ()}


# ---- namespaces and accounts --------------------------------------------------------------------------------------


async def test_a_namespace_gets_its_account_and_the_root_certificate(cluster: Cluster, ns: str) -> None:
    async def certificate() -> core_v1.ConfigMap | None:
        with contextlib.suppress(errors.NotFound):
            return await cluster.client.get(core_v1.ConfigMap, "kube-root-ca.crt", ns)
        return None

    found = await waiting.until(certificate)
    assert "BEGIN CERTIFICATE" in found.data["ca.crt"]
    await cluster.client.delete(core_v1.ServiceAccount, "default", ns)

    async def again() -> bool:
        with contextlib.suppress(errors.NotFound):
            return bool(await cluster.client.get(core_v1.ServiceAccount, "default", ns))
        return False

    await waiting.until(again, what="the account made anew")


async def test_a_namespace_goes_with_all_that_is_in_it(cluster: Cluster, ns: str) -> None:
    await cluster.client.create(deployment(ns))
    await rolled_out(cluster, ns)
    held = core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="held", namespace=ns, finalizers=["example.com/wait"]))
    await cluster.client.create(held)
    await cluster.client.delete(core_v1.Namespace, ns)

    async def waits() -> bool:
        found = await cluster.client.get(core_v1.Namespace, ns)
        conditions = {c.type: c.status for c in (found.status.conditions or ())} if found.status is not None else {}
        assert conditions.get("NamespaceFinalizersRemaining") == "True", conditions
        return True

    await waiting.until(waits)
    with pytest.raises(errors.Forbidden, match="because it is being terminated"):
        await cluster.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="late", namespace=ns)))
    await cluster.client.patch(core_v1.ConfigMap, "held", {"metadata": {"finalizers": None}}, ns)

    async def gone() -> bool:
        try:
            await cluster.client.get(core_v1.Namespace, ns)
        except errors.NotFound:
            return True
        return False

    await waiting.until(gone, 30, "the end of the namespace")
    assert not await cluster.pods(ns)


# ---- deployments --------------------------------------------------------------------------------------------------


async def test_a_deployment_rolls_out_and_back(cluster: Cluster, ns: str) -> None:
    await cluster.client.create(deployment(ns))
    await rolled_out(cluster, ns)
    first = await cluster.pods(ns)
    assert len(first) == 3
    await cluster.client.patch(apps_v1.Deployment, "d", image_patch("two"), ns, how="strategic")
    await rolled_out(cluster, ns)
    assert images(await cluster.pods(ns)) == {"two"}
    await cluster.client.patch(apps_v1.Deployment, "d", image_patch("one"), ns, how="strategic")
    back = await rolled_out(cluster, ns)
    assert images(await cluster.pods(ns)) == {"one"}
    sets, _ = await cluster.client.list(apps_v1.ReplicaSet, ns)
    assert len(sets) == 2, "going back reuses the set"
    revision = "deployment.kubernetes.io/revision"
    assert sorted((s.metadata.annotations or {})[revision] for s in sets if s.metadata is not None) == ["2", "3"]
    assert back.metadata is not None and (back.metadata.annotations or {})[revision] == "3"


async def test_a_bad_rollout_stops_and_leaves_what_runs(cluster: Cluster, ns: str) -> None:
    cluster.lives[ns] = lambda pod: "Running" if images([pod]) == {"bad"} else "Ready"
    await cluster.client.create(deployment(ns, replicas=4))
    await rolled_out(cluster, ns)
    await cluster.client.patch(apps_v1.Deployment, "d", image_patch("bad"), ns, how="strategic")

    async def stuck() -> bool:
        found = [images([p]) for p in await cluster.pods(ns)]
        assert (found.count({"one"}), found.count({"bad"})) == (3, 2), found
        return True

    await waiting.until(stuck)
    await cluster.client.patch(apps_v1.Deployment, "d", image_patch("one"), ns, how="strategic")
    await rolled_out(cluster, ns)
    assert images(await cluster.pods(ns)) == {"one"}


async def test_deleted_pods_come_back_and_scaling_works(cluster: Cluster, ns: str) -> None:
    await cluster.client.create(deployment(ns))
    await rolled_out(cluster, ns)
    for pod in await cluster.pods(ns):
        assert pod.metadata is not None
        await cluster.client.delete(core_v1.Pod, pod.metadata.name or "", ns)

    async def back() -> bool:
        return len([p for p in await cluster.pods(ns) if p.status is not None and p.status.phase == "Running"]) == 3

    await waiting.until(back)
    await cluster.client.scale(apps_v1.Deployment, "d", ns, 5)
    await rolled_out(cluster, ns)
    await cluster.client.scale(apps_v1.Deployment, "d", ns, 0)
    await rolled_out(cluster, ns)
    assert await cluster.pods(ns) == []


# ---- owners -------------------------------------------------------------------------------------------------------


async def counts(cluster: Cluster, ns: str) -> tuple[int, int, int]:
    found = [len((await cluster.client.list(kind, ns))[0]) for kind in (apps_v1.Deployment, apps_v1.ReplicaSet, core_v1.Pod)]
    return found[0], found[1], found[2]


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_what_is_owned_goes_with_its_owner(cluster: Cluster, ns: str, policy: str) -> None:
    await cluster.client.create(deployment(ns))
    await rolled_out(cluster, ns)
    await cluster.client.delete(apps_v1.Deployment, "d", ns, propagation=policy)
    order: list[tuple[int, int, int]] = []

    async def gone() -> bool:
        order.append(await counts(cluster, ns))
        return order[-1] == (0, 0, 0)

    await waiting.until(gone)
    if policy == "Foreground":
        assert not any(owner == 0 and pods > 0 for owner, _, pods in order), "the owner outlived what it owned"


async def test_orphans_stay(cluster: Cluster, ns: str) -> None:
    await cluster.client.create(deployment(ns))
    await rolled_out(cluster, ns)
    await cluster.client.delete(apps_v1.Deployment, "d", ns, propagation="Orphan")

    async def orphaned() -> bool:
        assert await counts(cluster, ns) == (0, 1, 3)
        sets, _ = await cluster.client.list(apps_v1.ReplicaSet, ns)
        return not any(s.metadata.ownerReferences for s in sets if s.metadata is not None)

    await waiting.until(orphaned)
    await cluster.client.create(deployment(ns))
    await rolled_out(cluster, ns)
    assert await counts(cluster, ns) == (1, 1, 3), "a deployment of the same selector takes the set over"


# ---- services -----------------------------------------------------------------------------------------------------


async def test_a_service_has_the_endpoints_that_are_ready(cluster: Cluster, ns: str) -> None:
    sick: set[str] = set()
    cluster.lives[ns] = lambda pod: "Running" if pod.metadata is not None and pod.metadata.name in sick else "Ready"
    ports = [core_v1.ServicePort(name="http", port=80, targetPort=8080)]
    spec = core_v1.ServiceSpec(selector={"app": "d"}, ports=ports)
    await cluster.client.create(core_v1.Service(metadata=meta_v1.ObjectMeta(name="s", namespace=ns), spec=spec))
    await cluster.client.create(deployment(ns))
    await rolled_out(cluster, ns)

    async def shown(ready: int, waiting_: int) -> bool:
        slices, _ = await cluster.client.list(discovery_v1.EndpointSlice, ns, labels="kubernetes.io/service-name=s")
        every = [e for s in slices for e in s.endpoints or ()]
        counted = sum(1 for e in every if e.conditions is not None and e.conditions.ready)
        assert (counted, len(every) - counted) == (ready, waiting_)
        old = await cluster.client.get(core_v1.Endpoints, "s", ns)
        assert sum(len(x.addresses or ()) for x in old.subsets or ()) == ready
        assert sum(len(x.notReadyAddresses or ()) for x in old.subsets or ()) == waiting_
        assert all(p.port == 8080 and p.name == "http" for s in slices for p in s.ports or ())
        return True

    await waiting.until(lambda: shown(3, 0))
    first = (await cluster.pods(ns))[0]
    assert first.metadata is not None
    sick.add(first.metadata.name or "")
    cluster.kubelet.look_again()
    await waiting.until(lambda: shown(2, 1))
    await cluster.client.delete(core_v1.Service, "s", ns)

    async def gone() -> bool:
        return not (await cluster.client.list(discovery_v1.EndpointSlice, ns))[0]

    await waiting.until(gone)


# ---- jobs ---------------------------------------------------------------------------------------------------------


def job(ns: str, **spec: Any) -> batch_v1.Job:
    made = template("j")
    assert made.spec is not None
    made.spec.restartPolicy = "Never"
    return batch_v1.Job(metadata=meta_v1.ObjectMeta(name="j", namespace=ns), spec=batch_v1.JobSpec(template=made, **spec))


async def ended(cluster: Cluster, ns: str) -> tuple[batch_v1.Job, set[str]]:
    async def look() -> tuple[batch_v1.Job, set[str]] | None:
        found = await cluster.client.get(batch_v1.Job, "j", ns)
        held = {c.type or "" for c in (found.status.conditions or ()) if c.status == "True"} if found.status is not None else set()
        return (found, held) if held & {"Complete", "Failed"} else None

    result: tuple[batch_v1.Job, set[str]] = await waiting.until(look, 30, "the end of the job")
    return result


async def test_a_job_runs_to_completion(cluster: Cluster, ns: str) -> None:
    cluster.lives[ns] = lambda pod: "Succeeded"
    await cluster.client.create(job(ns, completions=6, parallelism=2))
    found, held = await ended(cluster, ns)
    assert "Complete" in held and "SuccessCriteriaMet" in held
    assert found.status is not None
    assert (found.status.succeeded, found.status.failed, found.status.active) == (6, None, None)
    assert found.status.completionTime and found.status.startTime
    pods = await cluster.pods(ns)
    assert len(pods) == 6
    assert not any(p.metadata.finalizers for p in pods if p.metadata is not None)


async def test_an_indexed_job_does_each_index_once(cluster: Cluster, ns: str) -> None:
    cluster.lives[ns] = lambda pod: "Succeeded"
    await cluster.client.create(job(ns, completions=4, parallelism=4, completionMode="Indexed"))
    found, _ = await ended(cluster, ns)
    assert found.status is not None and found.status.completedIndexes == "0-3"
    indexes = [(p.metadata.annotations or {})["batch.kubernetes.io/job-completion-index"] for p in await cluster.pods(ns) if p.metadata is not None]
    assert sorted(indexes) == ["0", "1", "2", "3"]


async def test_a_job_fails_when_it_has_failed_enough(cluster: Cluster, ns: str) -> None:
    cluster.lives[ns] = lambda pod: "Failed"
    await cluster.client.create(job(ns, completions=1, backoffLimit=0))
    found, held = await ended(cluster, ns)
    assert "Failed" in held and "Complete" not in held
    assert found.status is not None and found.status.failed == 1
    failed = next(c for c in found.status.conditions or () if c.type == "Failed")
    assert (failed.reason, failed.message) == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")


# ---- quotas -------------------------------------------------------------------------------------------------------


async def test_what_admission_took_from_a_quota_is_not_given_away_again(cluster: Cluster, ns: str) -> None:
    async def used() -> str | int | float | None:
        found = await cluster.client.get(core_v1.ResourceQuota, "q", ns)
        return ((found.status.used if found.status else None) or {}).get("cpu")

    def pod(name: str, cpu: str) -> core_v1.Pod:
        container = core_v1.Container(name="c", image="x", resources=core_v1.ResourceRequirements(requests={"cpu": cpu}))
        return core_v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace=ns), spec=core_v1.PodSpec(containers=[container]))

    spec = core_v1.ResourceQuotaSpec(hard={"cpu": "1"})
    await cluster.client.create(core_v1.ResourceQuota(metadata=meta_v1.ObjectMeta(name="q", namespace=ns), spec=spec))

    async def free() -> bool:
        return await used() == "0"

    for number in range(25):
        await waiting.until(free, what="the quota to be free")
        await cluster.client.create(pod(f"fits-{number}", "500m"))
        for _ in range(5):
            assert await used() == "500m"
            with pytest.raises(errors.Forbidden, match="exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1"):
                await cluster.client.create(pod("too-large", "600m"))
            await asyncio.sleep(0.003)
        await cluster.client.delete(core_v1.Pod, f"fits-{number}", ns, grace=0)
