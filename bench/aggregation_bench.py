"""What an extension server behind ours costs. Run: PYTHONPATH=. python bench/aggregation_bench.py [APIServices]

An extension server runs in a process of its own, and so does an API server on the memory store. Told is the time of one GET, asked
directly and through the API server in turns, one after the other and side by side, the best of some rounds; then what discovery costs with
many APIServices: answered from bytes, and the first time after one of them changed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import pathlib
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp

from navarch.api.apiregistration import v1 as registration_v1
from navarch.client import kubeconfig
from navarch.client.rest import Client, Request
from navarch.testing import server
from tests.component.apiserver import extension_server
from tests.component.apiserver.extension_server import AGGREGATED, GROUP, VERSION, Extension

ROUNDS, REQUESTS, SIDE_BY_SIDE = 5, 1000, 16
WIDGETS = f"/apis/{GROUP}/{VERSION}/namespaces/default/widgets"
Ask = Callable[[], Awaitable[object]]


def serve_extension(authority: str, pipe: Connection) -> None:
    async def run() -> None:
        async with extension_server.running(pathlib.Path(authority)) as found:
            pipe.send((found.port, found.authorities))
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


def serve(folder: str, port: int, authorities: bytes, services: int, pipe: Connection) -> None:
    async def run() -> None:
        async with server.running(pathlib.Path(folder) / "api") as api:
            api.write_kubeconfig(pathlib.Path(folder) / "kubeconfig")
            extension = Extension(port, authorities)
            await extension.register(api)
            for number in range(2, services + 1):
                await api.client.create(extension.api_service(f"v{number}"))
            pipe.send(None)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


async def one_by_one(ask: Ask) -> float:
    """The median of single requests, in microseconds."""
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def side_by_side(ask: Ask) -> float:
    """Microseconds for a request of many."""

    async def some() -> None:
        for _ in range(REQUESTS // SIDE_BY_SIDE):
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(SIDE_BY_SIDE)))
    return (time.perf_counter() - began) / REQUESTS * 1e6


async def measure(folder: pathlib.Path, front: pathlib.Path, port: int, authorities: bytes, services: int) -> None:
    context = ssl.create_default_context(cadata=authorities.decode())
    context.load_cert_chain(front / "front-proxy-client.crt", front / "front-proxy-client.key")
    client = Client(kubeconfig.load(str(folder / "kubeconfig")))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session, client:

        async def direct() -> bytes:
            async with session.get(f"https://127.0.0.1:{port}{WIDGETS}") as answer:
                return await answer.read()

        async def proxied() -> bytes:
            return await client.request("GET", WIDGETS)

        async def until_available() -> None:
            while True:
                found, _ = await client.list(registration_v1.APIService)
                conditions = [c for s in found if s.spec and s.spec.service and s.status for c in s.status.conditions or ()]
                if len(conditions) == services and all(c.status == "True" for c in conditions):
                    return
                await asyncio.sleep(0.1)

        await until_available()
        for name, how in (("one by one", one_by_one), ("side by side", side_by_side)):
            found = {"direct": float("inf"), "proxied": float("inf")}
            for _ in range(ROUNDS):
                found["direct"] = min(found["direct"], await how(direct))
                found["proxied"] = min(found["proxied"], await how(proxied))
            print(f"GET {name}: direct {found['direct']:.0f} µs, proxied {found['proxied']:.0f} µs, more {found['proxied'] - found['direct']:.0f} µs")
        await discovery(client, services)


async def discovery(client: Client, services: int) -> None:
    async def ask() -> bytes:
        return await client.send(Request("GET", "/apis", accept=AGGREGATED))

    body = b"Stale"
    while b"Stale" in body:
        await asyncio.sleep(0.1)
        body = await ask()
    kept = min([await one_by_one(ask) for _ in range(2)])
    times = []
    for number in range(20):
        patch = {"spec": {"versionPriority": 300 + number}}
        await client.patch(registration_v1.APIService, f"{VERSION}.{GROUP}", patch)
        began = time.perf_counter()
        await ask()
        times.append(time.perf_counter() - began)
    anew = statistics.median(times) * 1e6
    print(f"discovery with {services} APIServices, {len(body)} bytes: {kept:.0f} µs from bytes, {anew:.0f} µs after a change")


def main() -> None:
    services = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "api" / "pki").mkdir(parents=True)
        # The front proxy's authority is made by the API server; the extension server has to know it first.
        server._options(folder / "api", 0, {})
        front = folder / "api" / "pki"
        pipes = [multiprocessing.Pipe() for _ in range(2)]
        extension = multiprocessing.Process(target=serve_extension, args=(str(front / "front-proxy-ca.crt"), pipes[0][1]))
        extension.start()
        port, authorities = pipes[0][0].recv()
        api = multiprocessing.Process(target=serve, args=(name, port, authorities, services, pipes[1][1]))
        api.start()
        pipes[1][0].recv()
        try:
            asyncio.run(measure(folder, front, port, authorities, services))
        finally:
            for pipe, process in zip(pipes, (extension, api), strict=True):
                pipe[0].send(None)
                process.join(10)
                process.kill()


if __name__ == "__main__":
    main()
