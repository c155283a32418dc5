"""Many writers of one object: `python -m bench.contended_bench [--writers 400] [--port 16545]`.

Prints how long patches of one object take that are all sent at once: the whole of it, the median, the 99th percentile and the slowest.
Each is a merge patch with an annotation of its own, so that none of them changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import uvloop

from bench import api, load

PATH = "/api/v1/namespaces/default/configmaps"


async def measure(server: load.Server, writers: int) -> None:
    connections = await asyncio.gather(*(server.connect() for _ in range(writers)))
    status, _ = await connections[0].ask(server.request("POST", PATH, api.config_map("contended")))
    assert status == 201, status
    taken: list[float] = []

    async def patch(number: int, connection: load.Connection) -> None:
        body = b'{"metadata":{"annotations":{"writer-%d":"%d"}}}' % (number, number)
        begin = time.perf_counter()
        status, _ = await connection.ask(server.request("PATCH", f"{PATH}/contended", body, "application/merge-patch+json"))
        taken.append(time.perf_counter() - begin)
        assert status == 200, status

    begin = time.perf_counter()
    await asyncio.gather(*(patch(n, c) for n, c in enumerate(connections)))
    whole = time.perf_counter() - begin
    for connection in connections:
        connection.close()
    taken.sort()
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    print(f"{writers:5} patches of one object: {whole * 1e3:7.0f} ms   p50 {p50 * 1e3:6.0f}  p99 {p99 * 1e3:6.0f}  max {taken[-1] * 1e3:6.0f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, nargs="*", default=[100, 200, 400])
    parser.add_argument("--port", type=int, default=16545)
    options = parser.parse_args()
    for writers in options.writers:
        async with api.own_server(options.port) as (server, _):
            await measure(server, writers)


if __name__ == "__main__":
    uvloop.run(main())
