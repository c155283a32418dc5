"""The API server's cases: reads, writes and watches over TLS with 16 connections, and its memory.

Each case names what upstream v1.36.2 did on two cores and the aim set for Navarch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from bench import load

PODS = 5000
POD_COLLECTION = "/api/v1/namespaces/bench/pods"
MAP_COLLECTION = "/api/v1/namespaces/bench/configmaps"


def pod(name: str, app: str = "web") -> bytes:
    """A pod as a Deployment would make it."""
    container = {
        "name": "main",
        "image": "registry.example/app:1.2.3",
        "ports": [{"containerPort": 8080, "name": "http"}],
        "env": [{"name": f"VARIABLE_{i}", "value": f"value {i}"} for i in range(5)],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5},
    }
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app, "pod-template-hash": "5d8f9c7b6"}, "annotations": {"note": "x" * 60}},
        "spec": {"containers": [container], "nodeSelector": {"disk": "ssd"}, "automountServiceAccountToken": False},
    }
    return json.dumps(document).encode()


def config_map(name: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "v" * 1000}}).encode()


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    case: str
    figure: str
    upstream: str
    aim: str


class Bench:
    """Runs the cases against one server."""

    def __init__(self, server: load.Server, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        self._run = f"{int(time.time())}"
        self.rows: list[Row] = []

    def _report(self, case: str, figure: str, upstream: str, aim: str) -> None:
        self.rows.append(Row(case, figure, upstream, aim))
        print(f"  {case:32} {figure:44} {upstream:34} {aim}", flush=True)

    async def prepare(self) -> None:
        """A namespace with 5,000 pods."""
        connection = await self._server.connect()
        body = b'{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"bench"}}'
        await connection.ask(self._server.request("POST", "/api/v1/namespaces", body))
        account = b'{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}'
        await connection.ask(self._server.request("POST", "/api/v1/namespaces/bench/serviceaccounts", account))
        connection.close()
        names = iter([f"pod-{i:05}" for i in range(PODS)])

        def requests(_: int) -> Iterator[bytes]:
            for name in names:
                yield self._server.request("POST", POD_COLLECTION, pod(name))

        made = await load.run(self._server, requests, 300.0)
        if made.statuses.get(201, 0) + made.statuses.get(409, 0) < PODS:
            raise SystemExit(f"the pods could not be made: {made.statuses}")

    async def all(self) -> None:
        await self.prepare()
        await self.reads()
        await self.writes()
        await self.watchers()

    async def reads(self) -> None:
        get = itertools.cycle([self._server.request("GET", f"{POD_COLLECTION}/pod-{i:05}") for i in range(0, PODS, 7)])
        found = await load.run(self._server, lambda _: get, self._seconds)
        self._report("GET a pod", f"{found.rate:,.0f}/s", "2,630-3,140/s", ">= 5x")
        for case, path, upstream in (
            ("LIST 500 of 5,000 pods", f"{POD_COLLECTION}?limit=500", "51-60/s (80-93 MB/s)"),
            ("LIST 5,000 pods", POD_COLLECTION, "5.2-5.4/s"),
            ("LIST by label, none match", f"{POD_COLLECTION}?labelSelector=app%3Dnobody", "380-660/s"),
        ):
            request = self._server.request("GET", path)
            found = await load.run(self._server, lambda _, r=request: itertools.repeat(r), self._seconds)  # type: ignore[misc]
            size = f" ({found.received / found.seconds / 1e6:,.0f} MB/s)" if found.received > 1e6 else ""
            self._report(case, f"{found.rate:,.1f}/s{size}", upstream, ">= 10x")

    async def writes(self) -> None:
        server = self._server

        def create(collection: str, make: object) -> object:
            def requests(worker: int) -> Iterator[bytes]:
                for i in itertools.count():
                    yield server.request("POST", collection, make(f"w{self._run}-{worker}-{i}"))  # type: ignore[operator]

            return requests

        await self._write("create ConfigMap", create(MAP_COLLECTION, config_map), "1,640-2,060/s, p99 21-400 ms", ">= 3x, p99 <= 20 ms")
        await self._write("create Pod", create(POD_COLLECTION, pod), "970-1,070/s, p99 60-620 ms", ">= 3x, p99 <= 30 ms")

        def merge(worker: int) -> Iterator[bytes]:
            for i in itertools.count():
                body = json.dumps({"metadata": {"annotations": {"note": f"{self._run} {i}"}}}).encode()
                name = f"pod-{(worker * 311 + i) % PODS:05}"
                yield server.request("PATCH", f"{POD_COLLECTION}/{name}", body, "application/merge-patch+json")

        await self._write("merge-patch a pod", merge, "510-530/s", ">= 4x")

        def apply(worker: int) -> Iterator[bytes]:
            for i in itertools.count():
                name = f"applied-{worker}-{i % 20}"
                body = config_map(name).replace(b'"key"', b'"key": "%d", "more"' % i)
                path = f"{MAP_COLLECTION}/{name}?fieldManager=bench&force=true"
                yield server.request("PATCH", path, body, "application/apply-patch+yaml")

        await self._write("server-side apply a ConfigMap", apply, "930/s", ">= 3x")

    async def _write(self, case: str, requests: object, upstream: str, aim: str) -> None:
        found = await load.run(self._server, requests, self._seconds)  # type: ignore[arg-type]
        wrong = {s: n for s, n in found.statuses.items() if s >= 300}
        note = f"  {wrong}" if wrong else ""
        figure = f"{found.rate:,.0f}/s, p50 {found.percentile(0.5):.1f} ms, p99 {found.percentile(0.99):.1f} ms{note}"
        self._report(case, figure, upstream, aim)

    async def watchers(self, count: int = 100) -> None:
        """One writer, many watchers: events per second received by all, and how late they come."""
        server = self._server
        late: list[float] = []
        received = 0

        async def watch() -> None:
            nonlocal received
            reader, sender = await server.stream()
            sender.write(server.request("GET", f"{MAP_COLLECTION}?watch=true&resourceVersion=&labelSelector=bench%3Dwatch"))
            await reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    data = await reader.readuntil(b"}\n")
                    now = time.time()
                    for piece in data.split(b'"sent":"')[1:]:
                        late.append(now - float(piece[: piece.index(b'"')]))
                        received += 1

        tasks = [asyncio.ensure_future(watch()) for _ in range(count)]
        await asyncio.sleep(1.0)
        writer = await server.connect()
        start = time.perf_counter()
        written = 0
        while time.perf_counter() - start < self._seconds:
            document = {
                "metadata": {"name": f"seen-{self._run}-{written}", "labels": {"bench": "watch"}},
                "data": {"sent": f"{time.time():.6f}"},
            }
            await writer.ask(server.request("POST", MAP_COLLECTION, json.dumps(document, separators=(",", ":")).encode()))
            written += 1
        await asyncio.sleep(0.5)
        seconds = time.perf_counter() - start - 0.5
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        late.sort()
        middle = late[len(late) // 2] * 1000 if late else 0.0
        figure = f"{received / seconds:,.0f} events/s, p50 {middle:.1f} ms ({received} of {written * count})"
        self._report("100 watchers, one writer", figure, "5,200-5,600 events/s, p50 19-21 ms", ">= 6x, p50 <= 4 ms")


@contextlib.asynccontextmanager
async def own_server(port: int, more_tokens: str = "") -> AsyncIterator[tuple[load.Server, int]]:
    """A Navarch API server of our own on a fresh SQLite store, and its pid."""
    with tempfile.TemporaryDirectory(prefix="navarch-bench-") as folder:
        tokens = pathlib.Path(folder) / "tokens.csv"
        tokens.write_text('bench,bench,1,"system:masters"\n' + more_tokens)
        flags = ["--data-dir", folder, "--bind-address", "127.0.0.1", "--secure-port", str(port), "--token-auth-file", str(tokens)]
        process = await asyncio.create_subprocess_exec(
            str(pathlib.Path(sys.executable).with_name("navarch")), "apiserver", *flags, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        server = load.Server("127.0.0.1", port, "bench")
        for _ in range(200):
            await asyncio.sleep(0.05)
            with contextlib.suppress(OSError):
                connection = await server.connect()
                status, _ = await connection.ask(server.request("GET", "/readyz"))
                connection.close()
                if status == 200:
                    break
        try:
            yield server, process.pid
        finally:
            process.terminate()
            await process.wait()


def memory(pid: int) -> float:
    """A process's proportional set size in MB."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    return 0.0
