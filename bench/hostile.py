"""Clients that mean harm, one kind after the other, against a real API server, while a well-behaved client measures.

`python -m bench.hostile [--seconds S] [--pods N] [KIND ...]` prints for each kind the memory of the server (RSS) and the p99 of the
well-behaved client, before and meanwhile, and what the attackers were answered. The aim: memory at most twice, p99 at most 50 ms, and
no answer of 500.

The attackers run in a process of their own, so that what the client measures is the server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import sys
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import uvloop

from bench import api, load

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
MAPS = "/api/v1/namespaces/bench/configmaps"
PODS = "/api/v1/namespaces/bench/pods"
QUOTAS = "/api/v1/namespaces/bench/resourcequotas"
YAML, PATCH, APPLY = "application/yaml", "application/json-patch+json", "application/apply-patch+yaml"
MEGABYTE = 1024 * 1024


# ---- bodies -------------------------------------------------------------------------------------------------------


def alias_bomb() -> bytes:
    """Nine levels of nine: 350 bytes that stand for 400 million values."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "\n".join([*lines, "apiVersion: authorization.k8s.io/v1", "kind: SelfSubjectAccessReview"]).encode()


def long_alias() -> bytes:
    """One long text many times: little for a parser that shares it, terabytes as JSON."""
    return b"a: &a " + b"x" * MEGABYTE + b"\nb: [" + b"*a," * 600_000 + b"]\n"


def wide_yaml() -> bytes:
    return b"a: [" + b"{a: 1}," * 350_000 + b"]\n"


def directives() -> bytes:
    return b"".join(b"%%TAG !a%x! b\n" % n for n in range(150_000)) + b"--- a\n"


def wide_json(item: bytes) -> bytes:
    return b'{"spec":{"nonResourceAttributes":[' + b",".join([item] * (2_900_000 // (len(item) + 1))) + b"]}}"


def deep(opening: bytes, count: int = 100_000) -> bytes:
    return b'{"spec":' + opening * count


def long_path() -> bytes:
    """A mapping's key of a megabyte, above half a million values that are no texts."""
    return b'{"spec":{"resourceAttributes":{"' + b"k" * MEGABYTE + b'":[' + b"1," * 500_000 + b"1]}}}"


def protobuf(message: bytes) -> bytes:
    """An envelope around the message of a SelfSubjectAccessReview."""
    kind = _sized(1, b"authorization.k8s.io/v1") + _sized(2, b"SelfSubjectAccessReview")
    return b"k8s\0" + _sized(1, kind) + _sized(2, message)


def _sized(number: int, data: bytes) -> bytes:
    size, head = len(data), bytes([number << 3 | 2])
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + data


def quota(amount: str) -> bytes:
    document = {"metadata": {"generateName": "q-"}, "spec": {"hard": {"requests.storage": amount}}}
    return json.dumps(document).encode()


def big_map(name: str, size: int) -> bytes:
    return json.dumps({"metadata": {"name": name}, "data": {f"k{n}": "v" * 10 for n in range(size // 20)}}).encode()


def patches() -> list[tuple[str, bytes]]:
    """Small patches that ask for much."""
    add = [{"op": "add", "path": "/metadata/finalizers", "value": ["a/b"]}]
    insert = [{"op": "add", "path": "/metadata/finalizers/0", "value": "a/b"}] * 9_998
    double = [{"op": "add", "path": "/data/a", "value": "x" * 1000}]
    double += [{"op": "copy", "from": "/data", "path": f"/data/a{n}"} for n in range(40)]
    nest = [{"op": "add", "path": "/data" + "/a" * n, "value": {}} for n in range(1, 1_500)]
    finalizers = json.dumps({"metadata": {"finalizers": [f"a/b{n}" for n in range(50_000)]}}).encode()
    last = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  finalizers:\n" + "".join(f"  - a/b{n}\n" for n in range(50_000))
    return [
        (PATCH, json.dumps(add + insert).encode()),
        (PATCH, json.dumps(double).encode()),
        (PATCH, json.dumps(nest).encode()),
        ("application/strategic-merge-patch+json", finalizers),
        ("application/merge-patch+json", finalizers),
        (APPLY, last.encode()),
    ]


# ---- attackers ----------------------------------------------------------------------------------------------------

Statuses = dict[int, int]


async def asking(server: load.Server, requests: Iterator[bytes], statuses: Statuses, workers: int = 4) -> None:
    """Sends the requests over and over; a connection that is closed is opened again."""

    async def worker() -> None:
        connection: load.Connection | None = None
        while True:
            try:
                connection = connection or await server.connect()
                async with asyncio.timeout(30):
                    status, _ = await connection.ask(next(requests))
            except (OSError, TimeoutError, ValueError):
                status = 0
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(0.05)
            statuses[status] = statuses.get(status, 0) + 1

    await asyncio.gather(*(worker() for _ in range(workers)))


def posting(path: str, media: str, *bodies: bytes, token: str = "nobody") -> Callable[[load.Server], Iterator[bytes]]:
    """The same bodies again and again, from somebody who may do nothing."""

    def requests(server: load.Server) -> Iterator[bytes]:
        as_nobody = load.Server(server.host, server.port, token)
        return itertools.cycle([as_nobody.request("POST", path, body, media) for body in bodies])

    return requests


def getting(*paths: str, accept: str = "") -> Callable[[load.Server], Iterator[bytes]]:
    def requests(server: load.Server) -> Iterator[bytes]:
        made = [server.request("GET", path) for path in paths]
        return itertools.cycle([m.replace(b"Accept: application/json", b"Accept: " + accept.encode()) for m in made] if accept else made)

    return requests


def long_paths(server: load.Server) -> Iterator[bytes]:
    """Paths that nobody asked for before, from nobody."""
    anonymous = load.Server(server.host, server.port, "")
    for n in itertools.count():
        path = f"/api/v1/namespaces/{n}{'x' * 60_000}/{'y' * 1000}{n}"
        yield anonymous.request(random.choice(("GET", "POST", "DELETE")), path).replace(b"Authorization: Bearer \r\n", b"")


def patching(server: load.Server) -> Iterator[bytes]:
    return itertools.cycle([server.request("PATCH", f"{MAPS}/big?fieldManager=x&force=true&dryRun=All", body, media) for media, body in patches()])


def compressed(server: load.Server) -> Iterator[bytes]:
    """A little that would become very much."""
    plain = load.Server(server.host, server.port, "nobody").request("POST", REVIEW, zlib.compress(b" " * 200 * MEGABYTE, 9, 31))
    return itertools.repeat(plain.replace(b"Accept:", b"Content-Encoding: gzip\r\nAccept:", 1))


async def slow_heads(server: load.Server, statuses: Statuses) -> None:
    """Heads that come byte by byte."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await server.stream()
                writer.write(b"GET /api/v1/namespaces HTTP/1.1\r\n")
                while not reader.at_eof():
                    writer.write(b"X-Slow: " + b"a" * 5000 + b"\r\n")
                    await asyncio.sleep(1)
                writer.close()
            statuses[0] = statuses.get(0, 0) + 1

    await asyncio.gather(*(one() for _ in range(300)))


async def slow_bodies(server: load.Server, statuses: Statuses) -> None:
    """Bodies of 3 MB that never end."""
    head = load.Server(server.host, server.port, "nobody").request("POST", REVIEW, b"x" * 3_000_000)[: -3_000_000 + 1000]

    async def one() -> None:
        with contextlib.suppress(OSError):
            _, writer = await server.stream()
            writer.write(head)
            while True:
                writer.write(b"x" * 1000)
                await asyncio.sleep(0.5)
        statuses[0] = statuses.get(0, 0) + 1

    await asyncio.gather(*(one() for _ in range(100)))


async def silent(server: load.Server, path: str, count: int) -> None:
    """Clients that ask for much and read nothing."""
    writers = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(server.host, server.port, ssl=server.tls(), limit=1 << 12)
            writer.write(server.request("GET", path))
            writers.append(writer)
    await asyncio.sleep(3600)


async def silent_watchers(server: load.Server, statuses: Statuses) -> None:
    """Watches that nobody reads, while much is written."""

    def writes() -> Iterator[bytes]:
        for n in itertools.count():
            patch = json.dumps({"data": {"a": f"{n}" + "x" * 20_000}}).encode()
            yield server.request("PATCH", f"{MAPS}/watched-{n % 50}", patch, "application/merge-patch+json")

    made = iter([server.request("POST", MAPS, big_map(f"watched-{n}", 20_000)) for n in range(50)])
    with contextlib.suppress(RuntimeError, StopIteration):
        connection = await server.connect()
        for request in made:
            await connection.ask(request)
    await asyncio.gather(silent(server, f"{MAPS}?watch=1", 40), asking(server, writes(), statuses, 2))


async def idle_connections(server: load.Server, statuses: Statuses) -> None:
    """Connections that say nothing, and such that say hello once."""
    held = []
    for n in range(1500):
        with contextlib.suppress(OSError):
            _, writer = await server.stream()
            if n % 2:
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
            held.append(writer)
            statuses[0] = statuses.get(0, 0) + 1
    await asyncio.sleep(3600)


async def resuming(server: load.Server, statuses: Statuses) -> None:
    """Watches from long ago, a hundred at a time."""

    async def one() -> None:
        reader, writer = await server.stream()
        writer.write(server.request("GET", f"{PODS}?watch=1&timeoutSeconds=5&resourceVersion=100"))
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(6):
                while await reader.read(1 << 16):
                    pass
        writer.close()
        statuses[200] = statuses.get(200, 0) + 1

    while True:
        await asyncio.gather(*(one() for _ in range(100)))


Attack = Callable[[load.Server, Statuses], Awaitable[None]]


def repeated(requests: Callable[[load.Server], Iterator[bytes]], workers: int = 4) -> Attack:
    return lambda server, statuses: asking(server, requests(server), statuses, workers)


SELECTOR = "%2C".join(f"%21k{n}" for n in range(900))

ATTACKS: dict[str, Attack] = {
    "YAML aliases": repeated(posting(REVIEW, YAML, alias_bomb(), long_alias())),
    "YAML wide": repeated(posting(REVIEW, YAML, wide_yaml())),
    "YAML directives": repeated(posting(REVIEW, YAML, directives())),
    "deep bodies": repeated(posting(REVIEW, "application/json", deep(b"["), deep(b'{"a":'), deep(b'{"a":', 900) + b"1" + b"}" * 901)),
    "deep YAML": repeated(posting(REVIEW, YAML, deep(b"[", MEGABYTE), b"a: " + b"- " * MEGABYTE)),
    "wide JSON": repeated(posting(REVIEW, "application/json", wide_json(b"[]"), wide_json(b"1"), wide_json(b'{"a":1}'))),
    "long keys": repeated(posting(REVIEW, "application/json", long_path())),
    "no Unicode": repeated(
        posting(REVIEW, "application/json", b'{"a":"' + b"\xff" * 2_000_000 + b'"}', b'{"a":"' + b"\\ud800" * 400_000 + b'"}')
    ),
    "protobuf": repeated(
        posting(REVIEW, "application/vnd.kubernetes.protobuf", protobuf(b"\x0a\xff\xff\xff\x7f"), protobuf(_sized(1, b"\xff" * 100)))
    ),
    "numbers": repeated(
        posting(
            QUOTAS + "?dryRun=All", "application/json", quota("1e-2147483648"), quota("1e2147483647"), quota("1" * MEGABYTE),
            b'{"spec":{"hard":{"pods":' + b"1" * MEGABYTE + b"}}}", token="bench",
        )
    ),
    "gzip": repeated(compressed),
    "patches": repeated(patching),
    "long paths": repeated(long_paths, 8),
    "selectors": repeated(getting(f"{PODS}?labelSelector={SELECTOR}", f"{PODS}?labelSelector=a" + "+" * 500_000)),
    "Tables": repeated(getting(PODS, accept="application/json;as=Table;v=v1;g=meta.k8s.io"), 8),
    "YAML lists": repeated(getting(PODS, accept="application/yaml"), 8),
    "lists": repeated(getting(PODS), 16),
    "the past": repeated(getting(*(f"{PODS}?{page}resourceVersionMatch=Exact&resourceVersion=400" for page in ("limit=500&", "")))),
    "unread lists": lambda server, _: silent(server, PODS, 50),
    "unread watches": silent_watchers,
    "resuming watches": resuming,
    "slow heads": slow_heads,
    "slow bodies": slow_bodies,
    "idle connections": idle_connections,
}  # fmt: skip


# ---- measuring ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Measured:
    """What the well-behaved client saw while one kind of attack went on."""

    kind: str
    memory_before: float
    memory: float
    p99_before: float
    p99: float
    p99_writes: float
    statuses: Statuses = field(default_factory=dict)

    def line(self) -> str:
        answered = " ".join(f"{status or 'cut'}:{count}" for status, count in sorted(self.statuses.items()))
        memory = f"{self.memory_before:5.0f} -> {self.memory:5.0f} MB ({self.memory / self.memory_before:.1f}x)"
        return f"  {self.kind:18} {memory}   p99 {self.p99_before:5.1f} -> {self.p99:6.1f} ms, writes {self.p99_writes:6.1f}   {answered}"


def resident(pid: int) -> float:
    """MB of a process in memory."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0


async def well_behaved(server: load.Server, pid: int, seconds: float) -> tuple[list[float], list[float], float]:
    """Small reads and writes, one after the other: latencies of either in ms, sorted, and the most memory the server had."""
    get, most = server.request("GET", f"{MAPS}/small"), 0.0
    put = server.request("PATCH", f"{MAPS}/small", b'{"data":{"a":"b"}}', "application/merge-patch+json")
    reads: list[float] = []
    writes: list[float] = []
    connection = await server.connect()
    end = time.perf_counter() + seconds
    for n in itertools.count():
        began = time.perf_counter()
        if began > end:
            break
        status, _ = await connection.ask(put if n % 5 == 0 else get)
        (writes if n % 5 == 0 else reads).append((time.perf_counter() - began) * 1000)
        if status != 200:
            raise SystemExit(f"the well-behaved client was answered {status}")
        most = max(most, resident(pid))
        await asyncio.sleep(0.005)
    connection.close()
    return sorted(reads), sorted(writes), most


def p99(late: list[float]) -> float:
    return late[min(len(late) - 1, int(len(late) * 0.99))]


async def measured(server: load.Server, pid: int, kind: str, seconds: float) -> Measured:
    """One kind of attack."""
    before, _, memory_before = await well_behaved(server, pid, max(0.5, seconds / 5))
    attacker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.hostile",
        "--attack",
        kind,
        "--port",
        str(server.port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
    )
    assert attacker.stdout is not None
    await attacker.stdout.readline()
    reads, writes, memory = await well_behaved(server, pid, seconds)
    attacker.send_signal(signal.SIGTERM)
    told, _ = await attacker.communicate()
    statuses = {int(status): count for status, count in json.loads(told or b"{}").items()}
    return Measured(kind, memory_before, memory, p99(before), p99(reads), p99(writes), statuses)


async def attack(server: load.Server, kind: str) -> None:
    """The attackers' process: until it is told to stop; then it tells what it was answered."""
    statuses: Statuses = {}
    task = asyncio.ensure_future(ATTACKS[kind](server, statuses))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    print("begun", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    print(json.dumps(statuses), flush=True)
    os._exit(0)  # what is still open is cut, as attackers do


async def prepare(server: load.Server, pods: int) -> None:
    """A namespace with pods, and what the clients work on."""
    connection = await server.connect()
    bodies = [
        ("/api/v1/namespaces", b'{"metadata":{"name":"bench"}}'),
        ("/api/v1/namespaces/bench/serviceaccounts", b'{"metadata":{"name":"default"}}'),
        (MAPS, b'{"metadata":{"name":"small"},"data":{"a":"b"}}'),
        (MAPS, big_map("big", 600_000)),
    ]
    for path, body in bodies:
        status, _ = await connection.ask(server.request("POST", path, body))
        if status not in (201, 409):
            raise SystemExit(f"{path} could not be made: {status}")
    connection.close()
    requests = iter([server.request("POST", PODS, api.pod(f"pod-{n:05}")) for n in range(pods)])
    await load.run(server, lambda _: requests, 300.0)


async def suite(port: int, pods: int, seconds: float, kinds: list[str]) -> list[Measured]:
    """Every kind of attack, one after the other, on one server: what one left behind counts for the next."""
    found = []
    async with api.own_server(port, "nobody,nobody,2\n") as (server, pid):
        await prepare(server, pods)
        for kind in kinds:
            found.append(await measured(server, pid, kind, seconds))
            print(found[-1].line(), flush=True)
            await asyncio.sleep(1.0)
    return found


_ROOT = pathlib.Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description="Hostile clients against an API server, and what a well-behaved one notices.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of: {', '.join(ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each kind")
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--port", type=int, default=16544)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        uvloop.run(attack(load.Server("127.0.0.1", options.port, "bench"), options.attack))
    else:
        uvloop.run(suite(options.port, options.pods, options.seconds, options.kinds or list(ATTACKS)))


if __name__ == "__main__":
    main()
