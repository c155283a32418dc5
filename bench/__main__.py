"""`python -m bench [--seconds S] [--against https://HOST:PORT --token T]`"""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit

import uvloop

from bench import api, load


async def main() -> None:
    parser = argparse.ArgumentParser(description="The figures of the API server, beside upstream's and the aims.")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each case")
    parser.add_argument("--port", type=int, default=16543, help="for the server this starts")
    parser.add_argument("--against", help="measure this server instead: https://HOST:PORT")
    parser.add_argument("--token", default="", help="a bearer token for it")
    options = parser.parse_args()
    print(f"  {'case':32} {'here':44} {'upstream on two cores':34} aim")
    if options.against:
        url = urlsplit(options.against)
        await api.Bench(load.Server(url.hostname or "127.0.0.1", url.port or 6443, options.token), options.seconds).all()
        return
    async with api.own_server(options.port) as (server, pid):
        idle = api.memory(pid)
        await api.Bench(server, options.seconds).all()
        figure = f"{idle:.0f} / {api.memory(pid):.0f} MB"
        print(f"  {'memory, idle / after':32} {figure:44} {'315 / 770-850 MB':34} <= 1/3")


uvloop.run(main())
