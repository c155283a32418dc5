"""The scheduler end to end, through the API server: pods bound per second, and how long one pod takes on an idle cluster.

    python -m bench.scheduler_e2e [NODES [PODS]]

Starts an API server of its own on loopback, with nodes that are only objects. The pods of a shape are made while no scheduler
runs; the clock runs from the scheduler's "is ready" until the last pod has a node. The latency of one pod is from before its
creation until the watch tells its node.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator

import msgspec

from bench import scheduler_core as shapes
from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import kubeconfig, rest, watch

PORT, TOKEN, NAMESPACE = 17_643, "bench-token", "bench"
CONFIG = f"""apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:{PORT}", insecure-skip-tls-verify: true}}}}]
users: [{{name: u, user: {{token: {TOKEN}}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
MEASURED = ("basic", "topology spread, preferred", "anti-affinity, preferred (host)")


@contextlib.contextmanager
def component(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A component of navarch, ready."""
    program = pathlib.Path(sys.executable).with_name("navarch")
    process = subprocess.Popen([str(program), *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if " is ready " in line:
                break
        else:
            raise RuntimeError(f"navarch {words[0]} ended with {process.wait()}")
        yield process
    finally:
        process.terminate()
        process.wait(10)


def memory(pid: int) -> float:
    """A process's proportional share of memory, in MiB."""
    rows = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(r.split()[1]) for r in rows if r.startswith("Pss:")) / 1024


async def each(number: int, work: list[object], do: object) -> None:
    """Does something with every item, so many at a time."""
    queue = list(reversed(work))

    async def worker() -> None:
        while queue:
            await do(queue.pop())  # type: ignore[operator]

    async with asyncio.TaskGroup() as group:
        for _ in range(number):
            group.create_task(worker())


async def make_nodes(client: rest.Client, nodes: int) -> None:
    async def make(i: object) -> None:
        assert isinstance(i, int)
        made = await client.create(shapes.node(i))
        assert made.metadata is not None
        await client.patch(v1.Node, made.metadata.name or "", {"spec": {"taints": None}})

    await each(16, list(range(nodes)), make)


async def make_pods(client: rest.Client, name: str, pods: int, shape: shapes.Shape) -> None:
    async def make(i: object) -> None:
        spec = msgspec.structs.replace(shape(), automountServiceAccountToken=False)
        pod = shapes.pod(f"{name}-{i}", spec)
        assert pod.metadata is not None
        pod.metadata.uid = None
        await client.create(pod)

    await each(16, list(range(pods)), make)


async def all_bound(client: rest.Client) -> None:
    """Returns when every pod has a node; a watch tells, so that asking costs the API server nothing."""
    pods, version = await client.list(v1.Pod, NAMESPACE)
    waiting = {p.metadata.name for p in pods if p.metadata is not None and not (p.spec and p.spec.nodeName)}
    if not waiting:
        return
    async for event in watch.stream(client, v1.Pod, namespace=NAMESPACE, version=version, timeout=300):
        pod = event.object
        if pod.spec is not None and pod.spec.nodeName and pod.metadata is not None:
            waiting.discard(pod.metadata.name)
        if not waiting:
            return


async def one_at_a_time(client: rest.Client, times: int) -> list[float]:
    """Milliseconds from a pod's creation to its node, seen by a watch."""
    _, version = await client.list(v1.Pod, NAMESPACE, labels="none=such")
    placed: dict[str, float] = {}
    seen = asyncio.Event()

    async def observe() -> None:
        async for event in watch.stream(client, v1.Pod, namespace=NAMESPACE, version=version, timeout=300):
            if event.object.spec is not None and event.object.spec.nodeName and event.object.metadata is not None:
                placed[event.object.metadata.name or ""] = time.perf_counter()
                seen.set()

    found: list[float] = []
    observer = asyncio.ensure_future(observe())
    try:
        for i in range(times):
            name = f"single-{i}"
            began = time.perf_counter()
            await make_pods(client, f"single-{i}", 1, shapes.spec)
            while f"{name}-0" not in placed:
                seen.clear()
                await asyncio.wait_for(seen.wait(), 10)
            found.append((placed[f"{name}-0"] - began) * 1000)
            await asyncio.sleep(0.05)
    finally:
        observer.cancel()
    return found


@contextlib.asynccontextmanager
async def cluster(nodes: int) -> AsyncIterator[tuple[rest.Client, str]]:
    """An API server with nodes, and the kubeconfig to it."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        (path / "kubeconfig").write_text(CONFIG)
        flags = ["--data-dir", str(path / "data"), "--bind-address", "127.0.0.1", "--secure-port", str(PORT)]
        with component("apiserver", *flags, "--token-auth-file", str(path / "tokens.csv")):
            async with rest.Client(kubeconfig.load(str(path / "kubeconfig")), user_agent="bench") as client:
                await client.create(v1.Namespace(metadata=meta_v1.ObjectMeta(name=NAMESPACE)))
                await client.create(v1.ServiceAccount(metadata=meta_v1.ObjectMeta(name="default", namespace=NAMESPACE)))
                await make_nodes(client, nodes)
                yield client, str(path / "kubeconfig")


async def throughput(nodes: int, pods: int) -> None:
    for name, _, _, shape in shapes.SHAPES:
        if name not in MEASURED:
            continue
        async with cluster(nodes) as (client, config):
            await make_pods(client, "pod", pods, shape)
            with component("scheduler", "--kubeconfig", config, "--leader-elect=false"):
                began = time.perf_counter()
                await all_bound(client)
                took = time.perf_counter() - began
            print(f"{name:34} {pods:,} pods on {nodes:,} nodes  {pods / took:>7,.0f} pods/s  (aim 2,000)", flush=True)


async def latency(nodes: int) -> None:
    async with cluster(nodes) as (client, config):
        with component("scheduler", "--kubeconfig", config, "--leader-elect=false") as process:
            found = sorted(await one_at_a_time(client, 30))
            p50, p99 = statistics.median(found), found[-1]
            print(
                f"one pod on {nodes:,} idle nodes: p50 {p50:.1f} ms, worst {p99:.1f} ms  (aim 10); scheduler {memory(process.pid):.0f} MiB",
                flush=True,
            )


async def full(nodes: int, pods: int) -> None:
    """What the scheduler holds of a cluster full of pods."""
    async with cluster(nodes) as (client, config):

        async def make(i: object) -> None:
            assert isinstance(i, int)
            pod = shapes.pod(f"placed-{i}", msgspec.structs.replace(shapes.spec(), automountServiceAccountToken=False, nodeName=f"node-{i % nodes}"))
            assert pod.metadata is not None
            pod.metadata.uid = None
            await client.create(pod)

        await each(16, list(range(pods)), make)
        with component("scheduler", "--kubeconfig", config, "--leader-elect=false") as process:
            print(f"scheduler with {nodes:,} nodes and {pods:,} pods: {memory(process.pid):.0f} MiB  (aim 250)", flush=True)


def main() -> int:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    pods = int(sys.argv[2]) if len(sys.argv) > 2 else 3_000
    asyncio.run(throughput(nodes, pods))
    asyncio.run(latency(5 * nodes))
    asyncio.run(full(5 * nodes, 50 * nodes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
