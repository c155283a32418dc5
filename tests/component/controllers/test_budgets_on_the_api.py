"""PodDisruptionBudgets against the real API server, scheduler and kubectl: what they count, and that a drain keeps to them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.api.scalars import Object
from navarch.objects import ownership
from navarch.objects import pods as of_pods
from navarch.testing import control_plane, waiting
from navarch.testing.control_plane import ControlPlane

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async for made in control_plane.running(tmp_path_factory.mktemp("controllers"), scheduler=True):
        for name in ("node-a", "node-b"):
            await made.add_node(name)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ns(cluster: ControlPlane) -> str:
    return await cluster.namespace()


SELECTOR = meta_v1.LabelSelector(matchLabels={"app": "p"})
TEMPLATE = core_v1.PodTemplateSpec(
    metadata=meta_v1.ObjectMeta(labels={"app": "p"}), spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="one")])
)


async def budget(cluster: ControlPlane, ns: str, least: int | str | None = None, most: int | str | None = None) -> None:
    spec = policy_v1.PodDisruptionBudgetSpec(selector=SELECTOR, minAvailable=least, maxUnavailable=most)
    await cluster.client.create(policy_v1.PodDisruptionBudget(metadata=meta_v1.ObjectMeta(name="b", namespace=ns), spec=spec))


async def counted(cluster: ControlPlane, ns: str, expected: tuple[int, int, int, int], reason: str) -> policy_v1.PodDisruptionBudgetStatus:
    """Waits for (expectedPods, currentHealthy, desiredHealthy, disruptionsAllowed)."""

    async def look() -> policy_v1.PodDisruptionBudgetStatus:
        status = (await cluster.client.get(policy_v1.PodDisruptionBudget, "b", ns)).status
        assert status is not None
        found = (status.expectedPods, status.currentHealthy, status.desiredHealthy, status.disruptionsAllowed)
        assert found == expected, found
        assert [(c.type, c.reason) for c in status.conditions or ()] == [("DisruptionAllowed", reason)]
        return status

    result: policy_v1.PodDisruptionBudgetStatus = await waiting.until(look, what="the status of the budget")
    return result


def workload(kind: str, ns: str) -> Object:
    metadata = meta_v1.ObjectMeta(name="w", namespace=ns)
    match kind:
        case "Deployment":
            return apps_v1.Deployment(metadata=metadata, spec=apps_v1.DeploymentSpec(replicas=4, selector=SELECTOR, template=TEMPLATE))
        case "ReplicaSet":
            return apps_v1.ReplicaSet(metadata=metadata, spec=apps_v1.ReplicaSetSpec(replicas=4, selector=SELECTOR, template=TEMPLATE))
        case "StatefulSet":
            spec = apps_v1.StatefulSetSpec(replicas=4, selector=SELECTOR, template=TEMPLATE, podManagementPolicy="Parallel", serviceName="w")
            return apps_v1.StatefulSet(metadata=metadata, spec=spec)
    return core_v1.ReplicationController(metadata=metadata, spec=core_v1.ReplicationControllerSpec(replicas=4, template=TEMPLATE))


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"])
async def test_expected_pods_are_what_the_controllers_want(cluster: ControlPlane, ns: str, kind: str) -> None:
    await cluster.client.create(workload(kind, ns))
    await budget(cluster, ns, most="30%")
    await counted(cluster, ns, (4, 4, 2, 2), "SufficientPods")


async def test_a_controller_of_another_kind_is_asked_for_its_scale(cluster: ControlPlane, ns: str) -> None:
    """Pods of a Deployment itself, not of its ReplicaSets: as those of a custom resource, which has nothing but its scale."""
    spec = apps_v1.DeploymentSpec(
        replicas=5,
        paused=True,
        selector=meta_v1.LabelSelector(matchLabels={"app": "q"}),
        template=core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels={"app": "q"}), spec=TEMPLATE.spec),
    )
    made = await cluster.client.create(apps_v1.Deployment(metadata=meta_v1.ObjectMeta(name="f", namespace=ns), spec=spec))
    for name in ("p1", "p2"):
        metadata = meta_v1.ObjectMeta(name=name, namespace=ns, labels={"app": "p"}, ownerReferences=[ownership.reference(made)])
        await cluster.client.create(core_v1.Pod(metadata=metadata, spec=TEMPLATE.spec))
    await budget(cluster, ns, most=4)
    await counted(cluster, ns, (5, 2, 1, 1), "SufficientPods")
    for name in ("p1", "p2"):  # nobody would make them anew: a drain of their node would wait for ever
        await cluster.client.delete(core_v1.Pod, name, ns, grace=0)


async def test_pods_that_nobody_can_count_are_not_let_go(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(
        apps_v1.DaemonSet(metadata=meta_v1.ObjectMeta(name="d", namespace=ns), spec=apps_v1.DaemonSetSpec(selector=SELECTOR, template=TEMPLATE))
    )
    await budget(cluster, ns, least="50%")

    async def said() -> bool:
        status = (await cluster.client.get(policy_v1.PodDisruptionBudget, "b", ns)).status
        assert status is not None
        return [(c.reason, c.message) for c in status.conditions or ()] == [
            ("SyncFailed", "daemonsets.apps does not implement the scale subresource")
        ] and status.disruptionsAllowed == 0

    await waiting.until(said)


async def test_a_drain_keeps_to_the_budget(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(workload("Deployment", ns))
    await budget(cluster, ns, least=3)
    await counted(cluster, ns, (4, 4, 3, 1), "SufficientPods")
    fewest = 4
    draining = asyncio.ensure_future(
        cluster.kubectl(ns, "drain", "node-a", "--pod-selector=app=p", "--ignore-daemonsets", "--timeout=60s", "--grace-period=1")
    )
    try:
        while not draining.done():
            fewest = min(fewest, sum(of_pods.is_ready(p) and of_pods.is_active(p) for p in await cluster.pods(ns)))
            await asyncio.sleep(0.01)
        await draining
    finally:
        await cluster.kubectl(ns, "uncordon", "node-a")
    assert fewest >= 3
    assert {p.spec.nodeName for p in await cluster.pods(ns) if p.spec and of_pods.is_active(p)} == {"node-b"}
    await counted(cluster, ns, (4, 4, 3, 1), "SufficientPods")
