"""DaemonSets against the real API server, scheduler and kubectl, with pods that a script brings to life."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.testing import control_plane, waiting
from navarch.testing.control_plane import ControlPlane

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]
NODES = ("node-a", "node-b", "node-c")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async for made in control_plane.running(tmp_path_factory.mktemp("controllers"), scheduler=True):
        for name in NODES:
            await made.add_node(name)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ns(cluster: ControlPlane) -> str:
    return await cluster.namespace()


def daemon_set(ns: str, *, surge: int = 0) -> apps_v1.DaemonSet:
    template = core_v1.PodTemplateSpec(
        metadata=meta_v1.ObjectMeta(labels={"app": "d"}), spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="one")])
    )
    rolling = apps_v1.RollingUpdateDaemonSet(maxSurge=surge, maxUnavailable=0 if surge else 1)
    strategy = apps_v1.DaemonSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling)
    spec = apps_v1.DaemonSetSpec(selector=meta_v1.LabelSelector(matchLabels={"app": "d"}), template=template, updateStrategy=strategy)
    return apps_v1.DaemonSet(metadata=meta_v1.ObjectMeta(name="d", namespace=ns), spec=spec)


async def placed(cluster: ControlPlane, ns: str) -> dict[str, str | None]:
    """Nodes, and the image of the pod each has; a node with two pods fails the caller."""
    found = [p for p in await cluster.pods(ns) if p.metadata and p.metadata.deletionTimestamp is None]
    places = {p.spec.nodeName or "": p.spec.containers[0].image for p in found if p.spec and p.spec.containers}
    assert len(places) == len(found)
    return places


async def on(cluster: ControlPlane, ns: str, *nodes: str, image: str = "one") -> None:
    async def there() -> bool:
        assert await placed(cluster, ns) == dict.fromkeys(nodes, image)
        status = (await cluster.client.get(apps_v1.DaemonSet, "d", ns)).status
        assert status is not None
        return (status.desiredNumberScheduled, status.numberReady, status.updatedNumberScheduled or 0) == (len(nodes),) * 3

    await waiting.until(there, what=f"pods on {nodes}")


@pytest.mark.parametrize("surge", [0, 1])
async def test_kubectl_rolls_a_set_out_back_and_anew(cluster: ControlPlane, ns: str, surge: int) -> None:
    await cluster.client.create(daemon_set(ns, surge=surge))
    await cluster.kubectl(ns, "rollout", "status", "ds/d", "--timeout=90s")
    await on(cluster, ns, *NODES)
    await cluster.kubectl(ns, "set", "image", "ds/d", "c=two")
    assert "successfully rolled out" in await cluster.kubectl(ns, "rollout", "status", "ds/d", "--timeout=90s")
    await on(cluster, ns, *NODES, image="two")
    history = await cluster.kubectl(ns, "rollout", "history", "ds/d")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"], history
    await cluster.kubectl(ns, "rollout", "undo", "ds/d")
    await on(cluster, ns, *NODES)
    before = {p.metadata.uid for p in await cluster.pods(ns) if p.metadata}
    await cluster.kubectl(ns, "rollout", "restart", "ds/d")
    await cluster.kubectl(ns, "rollout", "status", "ds/d", "--timeout=90s")
    await on(cluster, ns, *NODES)
    assert not before & {p.metadata.uid for p in await cluster.pods(ns) if p.metadata}


async def test_nodes_that_come_and_change_get_and_lose_pods(cluster: ControlPlane, ns: str) -> None:
    made = daemon_set(ns)
    assert made.spec is not None and made.spec.template is not None and made.spec.template.spec is not None
    made.spec.template.spec.nodeSelector = {"color": "blue"}
    await cluster.client.create(made)
    await on(cluster, ns)
    await cluster.kubectl(ns, "label", "node", "node-a", "color=blue")
    await on(cluster, ns, "node-a")
    await cluster.add_node("node-late", {"color": "blue"})
    await on(cluster, ns, "node-a", "node-late")
    await cluster.kubectl(ns, "taint", "node", "node-a", "mine=x:NoExecute")
    await on(cluster, ns, "node-late")
    await cluster.kubectl(ns, "label", "node", "node-a", "color-")
    await cluster.kubectl(ns, "taint", "node", "node-a", "mine-")
    await cluster.client.delete(core_v1.Node, "node-late")

    async def none_wanted() -> bool:
        status = (await cluster.client.get(apps_v1.DaemonSet, "d", ns)).status
        return status is not None and status.desiredNumberScheduled == 0

    await waiting.until(none_wanted, what="a set that wants no node")


async def test_failed_pods_are_replaced_and_told_of(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(daemon_set(ns))
    await on(cluster, ns, *NODES)
    victim = (await cluster.pods(ns))[0]
    assert victim.metadata is not None and victim.metadata.name
    cluster.lives[ns] = lambda pod: "" if pod.metadata and victim.metadata and pod.metadata.name == victim.metadata.name else "Ready"
    await cluster.client.patch(core_v1.Pod, victim.metadata.name, {"status": {"phase": "Failed"}}, ns, subresource="status")

    async def told() -> bool:
        events, _ = await cluster.client.list(core_v1.Event, ns)
        return any(e.reason == "FailedDaemonPod" for e in events)

    await waiting.until(told)
    await on(cluster, ns, *NODES)


async def test_orphans_are_adopted_with_their_history(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(daemon_set(ns))
    await on(cluster, ns, *NODES)
    before = {p.metadata.uid for p in await cluster.pods(ns) if p.metadata}
    await cluster.client.delete(apps_v1.DaemonSet, "d", ns, propagation="Orphan")

    async def gone() -> bool:
        return not (await cluster.client.list(apps_v1.DaemonSet, ns))[0]

    await waiting.until(gone)
    await cluster.client.create(daemon_set(ns))
    await on(cluster, ns, *NODES)
    assert {p.metadata.uid for p in await cluster.pods(ns) if p.metadata} == before
