"""Custom resources against ConfigMaps, and what a thousand definitions cost. Run: python bench/custom_bench.py [definitions]

In a process of its own runs an API server on the memory store; what is told of a verb is that process's time for one request, of both kinds
in turns, the best of some rounds. Then definitions are made: how long until each is usable, what memory they take, and what discovery and
OpenAPI documents cost while there are so many.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing import synchronize
from typing import Any

from navarch.client import kubeconfig
from navarch.client.rest import Client, Request
from navarch.machinery import errors
from navarch.testing import server

ROUNDS, REQUESTS, SIDE_BY_SIDE = 5, 1500, 8
TICKS = os.sysconf("SC_CLK_TCK")
TEXT = {"type": "string", "maxLength": 2000}
FIELDS: dict[str, Any] = {
    **{f"field{i}": TEXT for i in range(12)},
    "replicas": {"type": "integer", "minimum": 0, "default": 1},
    "mode": {"type": "string", "enum": ["one", "two"], "default": "one"},
    "ports": {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": TEXT, "port": {"type": "integer"}}},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A resource as one of a platform's is. " * 20,
    "properties": {
        "spec": {"type": "object", "properties": FIELDS, "x-kubernetes-validations": [{"rule": "self.replicas <= 100"}]},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
VALUES = {f"field{i}": "x" * 80 for i in range(12)}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def definition(group: str) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": SCHEMA}}
    spec = {"group": group, "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [version]}
    metadata = {"name": f"things.{group}"}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}


KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ConfigMap": ("/api/v1/namespaces/default/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "data": VALUES}, {"data": {"n": "{n}"}}),
    "custom": (
        "/apis/bench.example.com/v1/namespaces/default/things",
        {"apiVersion": "bench.example.com/v1", "kind": "Thing", "spec": {**VALUES, "ports": [{"name": "a", "port": 1}]}},
        {"spec": {"field0": "{n}"}},
    ),
}


def serve(folder: str, ready: synchronize.Event) -> None:
    async def run() -> None:
        async with server.running() as api:
            api.write_kubeconfig(pathlib.Path(folder) / "config")
            ready.set()
            await asyncio.Event().wait()

    asyncio.run(run())


class Bench:
    def __init__(self, client: Client, pid: int) -> None:
        self.client = client
        self.pid = pid

    def seconds(self) -> float:
        """Processor time of the server so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def megabytes(self) -> float:
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    async def many(self, do: Callable[[int], Awaitable[Any]], times: int) -> float:
        """Microseconds of the server's time for one."""
        before = self.seconds()
        numbers = iter(range(times))

        async def work() -> None:
            for n in numbers:
                await do(n)

        await asyncio.gather(*(work() for _ in range(SIDE_BY_SIDE)))
        return (self.seconds() - before) / times * 1e6

    async def send(self, method: str, path: str, body: Any = None, media: str = "application/json", **query: str) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        return await self.client.send(Request(method, path, tuple(query.items()), data, media))


def verbs(bench: Bench, kind: str) -> dict[str, Callable[[int], Awaitable[Any]]]:
    path, obj, change = KINDS[kind]
    stamp = time.monotonic_ns()

    def named(n: int) -> dict[str, Any]:
        return {**obj, "metadata": {"name": f"made-{stamp}-{n}"}}

    def changed(n: int) -> Any:
        return json.loads(json.dumps(change).replace("{n}", f"{stamp}-{n}"))

    return {
        "create": lambda n: bench.send("POST", path, named(n)),
        "get": lambda n: bench.send("GET", f"{path}/one-0"),
        "list 200": lambda n: bench.send("GET", path, labelSelector="kept=true"),
        "merge patch": lambda n: bench.send("PATCH", f"{path}/one-{n % 200}", changed(n), "application/merge-patch+json"),
        "apply": lambda n: bench.send(
            "PATCH", f"{path}/one-{n % 200}", {**obj, **changed(n)}, "application/apply-patch+yaml", fieldManager="bench", force="true"
        ),
    }


async def compare(bench: Bench) -> None:
    await define(bench, "bench.example.com")
    for path, obj, _ in KINDS.values():
        for n in range(200):
            await bench.send("POST", path, {**obj, "metadata": {"name": f"one-{n}", "labels": {"kept": "true"}}})
    print(f"{'server µs a request':20}{'ConfigMap':>11}{'custom':>9}{'ratio':>7}")
    for verb in verbs(bench, "custom"):
        best = {kind: float("inf") for kind in KINDS}
        for _ in range(ROUNDS):
            for kind in KINDS:
                best[kind] = min(best[kind], await bench.many(verbs(bench, kind)[verb], REQUESTS))
        print(f"{verb:20}{best['ConfigMap']:11.0f}{best['custom']:9.0f}{best['custom'] / best['ConfigMap']:6.2f}x")


async def define(bench: Bench, group: str) -> float:
    """Seconds from a definition's creation to the first object that is taken."""
    began = time.perf_counter()
    await bench.send("POST", DEFINITIONS, definition(group))
    while True:
        try:
            await bench.send("GET", f"/apis/{group}/v1/namespaces/default/things")
            return time.perf_counter() - began
        except errors.NotFound:
            await asyncio.sleep(0.001)


async def timed(what: str, do: Callable[[], Awaitable[bytes]]) -> None:
    began = time.perf_counter()
    data = await do()
    first = time.perf_counter() - began
    began = time.perf_counter()
    await do()
    print(f"{what:40}{len(data) / 1024:9.0f} KB{first * 1e3:9.1f} ms, again{(time.perf_counter() - began) * 1e3:7.1f} ms")


async def crowd(bench: Bench, count: int) -> None:
    before = bench.megabytes()
    took = sorted([await define(bench, f"g{n}.example.com") for n in range(count)])
    after = bench.megabytes()
    print(f"created → usable: median {took[count // 2] * 1e3:.1f} ms, p99 {took[int(count * 0.99)] * 1e3:.1f} ms, most {took[-1] * 1e3:.1f} ms")
    size = len(json.dumps(definition("g0.example.com")))
    print(f"memory of {count} definitions of {size / 1024:.1f} KB: {before:.0f} → {after:.0f} MB, {(after - before) * 1024 / count:.1f} KB each")

    async def aggregated() -> bytes:
        return await bench.client.send(Request("GET", "/apis", accept=AGGREGATED))

    await timed("aggregated discovery", aggregated)
    await define(bench, "late.example.com")
    await timed("aggregated discovery, one more", aggregated)
    await timed("openapi/v3 index", lambda: bench.send("GET", "/openapi/v3"))
    await define(bench, "later.example.com")
    await timed("openapi/v3 index, one more", lambda: bench.send("GET", "/openapi/v3"))
    await timed("openapi/v3 of one group", lambda: bench.send("GET", "/openapi/v3/apis/g5.example.com/v1"))
    await timed("openapi/v2", lambda: bench.send("GET", "/openapi/v2"))
    await define(bench, "last.example.com")
    await timed("openapi/v2, one more", lambda: bench.send("GET", "/openapi/v2"))
    print(f"memory after the documents: {bench.megabytes():.0f} MB")


async def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        spawning = multiprocessing.get_context("spawn")
        ready = spawning.Event()
        process = spawning.Process(target=serve, args=(folder, ready), daemon=True)
        process.start()
        assert process.pid is not None
        await asyncio.to_thread(ready.wait, 30)
        async with Client(kubeconfig.load(pathlib.Path(f"{folder}/config"))) as client:
            bench = Bench(client, process.pid)
            await compare(bench)
            await crowd(bench, count)
        process.terminate()


if __name__ == "__main__":
    asyncio.run(main())
