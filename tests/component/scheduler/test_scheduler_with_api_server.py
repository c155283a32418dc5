"""The scheduler's process against the API server's: binding, waiting, preemption, and the commands that explain and try out.

Nodes are only objects; no kubelet runs, so what is preempted stays Terminating until it is deleted by force.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import kubeconfig, rest
from navarch.testing import ports

NAVARCH = pathlib.Path(sys.executable).with_name("navarch")


@contextlib.contextmanager
def component(*words: str) -> Iterator[None]:
    process = subprocess.Popen([str(NAVARCH), *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if " is ready " in line:
                break
        else:
            raise RuntimeError("".join(said))
        yield
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API server and a scheduler; the kubeconfig."""
    folder, port = tmp_path_factory.mktemp("cluster"), ports.free()
    (folder / "tokens.csv").write_text("secret,admin,admin,system:masters\n")
    path = folder / "kubeconfig"
    path.write_text(
        f"""apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: secret}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
    )
    flags = ["--data-dir", str(folder / "data"), "--bind-address", "127.0.0.1", "--secure-port", str(port)]
    api = ("apiserver", *flags, "--token-auth-file", str(folder / "tokens.csv"))
    with component(*api), component("scheduler", "--kubeconfig", str(path), "--leader-elect=false"):
        yield str(path)


@pytest_asyncio.fixture
async def client(config: str) -> AsyncIterator[rest.Client]:
    async with rest.Client(kubeconfig.load(config), user_agent="test") as found:
        yield found


async def namespace(client: rest.Client, name: str) -> None:
    await client.create(v1.Namespace(metadata=meta_v1.ObjectMeta(name=name)))
    await client.create(v1.ServiceAccount(metadata=meta_v1.ObjectMeta(name="default", namespace=name)))


async def node(client: rest.Client, name: str, cpu: str = "2", **labels: str) -> None:
    status = v1.NodeStatus(allocatable={"cpu": cpu, "memory": "4Gi", "pods": "110"})
    await client.create(v1.Node(metadata=meta_v1.ObjectMeta(name=name, labels=labels), status=status))
    await client.patch(v1.Node, name, {"spec": {"taints": None}})


async def pod(client: rest.Client, where: str, name: str, cpu: str = "1", **spec: object) -> None:
    container = v1.Container(name="c", image="x", resources=v1.ResourceRequirements(requests={"cpu": cpu}))
    made = v1.PodSpec(containers=[container], automountServiceAccountToken=False, **spec)  # type: ignore[arg-type]
    await client.create(v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace=where), spec=made))


async def until(client: rest.Client, where: str, name: str, holds: object, seconds: float = 10.0) -> v1.Pod:
    deadline = time.monotonic() + seconds
    while True:
        found = await client.get(v1.Pod, name, where)
        if holds(found):  # type: ignore[operator]
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


def bound(found: v1.Pod) -> bool:
    return found.spec is not None and bool(found.spec.nodeName)


def waits_because(found: v1.Pod) -> str:
    conditions = (found.status.conditions if found.status else None) or ()
    return next((c.message or "" for c in conditions if c.type == "PodScheduled" and c.status == "False"), "")


async def test_a_pod_waits_with_its_reason_until_a_node_fits(client: rest.Client, config: str) -> None:
    await namespace(client, "waiting")
    await node(client, "small", "500m", pool="waiting")
    await pod(client, "waiting", "a", nodeSelector={"pool": "waiting"})
    found = await until(client, "waiting", "a", waits_because)
    assert waits_because(found).startswith("0/1 nodes are available: 1 Insufficient cpu. preemption: ")
    assert "Nearest miss: node small needs 500m more cpu." in waits_because(found)
    command = [str(NAVARCH), "explain", "pod", "a", "-n", "waiting", "--kubeconfig", config]
    said = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert "small" in said.stdout and "needs 500m more cpu" in said.stdout, said
    await node(client, "large", pool="waiting")
    found = await until(client, "waiting", "a", bound)
    assert found.spec is not None and found.spec.nodeName == "large"
    said = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert "large *" in said.stdout, said


async def test_a_gated_pod_is_left_alone_until_its_gate_goes(client: rest.Client) -> None:
    await namespace(client, "gated")
    await node(client, "gate-node", pool="gated")
    await pod(client, "gated", "a", nodeSelector={"pool": "gated"}, schedulingGates=[v1.PodSchedulingGate(name="example.com/wait")])
    await asyncio.sleep(0.5)
    found = await client.get(v1.Pod, "a", "gated")
    assert not bound(found)
    assert [c.reason for c in (found.status.conditions if found.status else None) or ()] == ["SchedulingGated"]
    await client.patch(v1.Pod, "a", {"spec": {"schedulingGates": None}}, "gated")
    await until(client, "gated", "a", bound)


async def test_a_more_important_pod_takes_the_place_of_others(client: rest.Client) -> None:
    await namespace(client, "preempt")
    await node(client, "full", pool="preempt")
    for name in ("low-1", "low-2"):
        await pod(client, "preempt", name, nodeSelector={"pool": "preempt"})
        await until(client, "preempt", name, bound)
    await client.request(
        "POST",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        body=b'{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"high"},"value":1000}',
    )
    await pod(client, "preempt", "high", nodeSelector={"pool": "preempt"}, priorityClassName="high")
    await until(client, "preempt", "high", lambda p: p.status is not None and p.status.nominatedNodeName == "full")
    pods, _ = await client.list(v1.Pod, "preempt")
    victims = [p for p in pods if p.metadata is not None and p.metadata.deletionTimestamp is not None]
    assert len(victims) == 1
    conditions = (victims[0].status.conditions if victims[0].status else None) or ()
    told = next(c for c in conditions if c.type == "DisruptionTarget")
    assert (told.status, told.reason) == ("True", "PreemptionByScheduler")
    assert victims[0].metadata is not None
    await client.delete(v1.Pod, victims[0].metadata.name or "", "preempt", grace=0)
    await until(client, "preempt", "high", bound, 15)


async def test_simulate_and_capacity_leave_the_cluster_alone(client: rest.Client, config: str, tmp_path: pathlib.Path) -> None:
    await namespace(client, "simulation")
    await node(client, "simulation-node", pool="simulation")
    manifest = tmp_path / "app.yaml"
    manifest.write_text(
        """apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: simulation}
spec:
  replicas: 5
  template:
    metadata: {labels: {app: app}}
    spec:
      nodeSelector: {pool: simulation}
      containers: [{name: c, image: x, resources: {requests: {cpu: 500m}}}]
"""
    )

    async def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(NAVARCH), *words, "-f", str(manifest), "--kubeconfig", config]
        return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)

    said = await run("capacity")
    assert said.stdout.startswith("4 more fit."), said
    said = await run("simulate")
    assert said.returncode == 1 and said.stdout.count("simulation/app-") == 5 and said.stdout.count("pending: simulation/app-") == 1, said
    said = await run("simulate", "--add-nodes", "1:cpu=1,memory=1Gi,label.pool=simulation")
    assert said.returncode == 0 and "added-0" in said.stdout, said
    pods, _ = await client.list(v1.Pod, "simulation")
    assert pods == []
