"""Makes the kernel forget stale UDP flows, by the `conntrack` program.

It runs only when a UDP service lost an endpoint, which is rare; one call lists, one deletes all flows of a stale pair.
"""

from __future__ import annotations

import asyncio
import logging

from navarch.network.proxy.core import stale_flows
from navarch.network.proxy.core.compiling import UdpService
from navarch.network.proxy.core.facts import Family

_log = logging.getLogger(__name__)


async def _conntrack(*arguments: str) -> str | None:
    """The program's output; None when it is missing. Finding nothing is no error."""
    try:
        process = await asyncio.create_subprocess_exec("conntrack", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    except FileNotFoundError:
        return None
    output, _ = await process.communicate()
    return output.decode(errors="replace")


async def forget_stale(services: list[UdpService], family: Family) -> int:
    """Forgets every stale flow; returns how many pairs of frontend and endpoint that were."""
    listing = await _conntrack("-L", "-p", "udp", "-f", family.value.lower())
    if listing is None:
        _log.warning("conntrack is not installed: UDP clients may stay with endpoints that are gone")
        return 0
    gone = stale_flows.stale(stale_flows.parse(listing), services)
    for flow in gone:
        origin = ("--orig-dst", flow.destination, "--orig-port-dst", str(flow.port))
        answer = ("--reply-src", flow.answers, "--reply-port-src", str(flow.answers_port))
        await _conntrack("-D", "-p", "udp", "-f", family.value.lower(), *origin, *answer)
    if gone:
        _log.info("forgot stale UDP flows: %s", ", ".join(f"{f.destination}:{f.port} -> {f.answers}:{f.answers_port}" for f in gone))
    return len(gone)
