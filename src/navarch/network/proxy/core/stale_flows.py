"""Which UDP flows the kernel remembers wrongly: those to a service that were given to an endpoint no longer serving.

UDP has no end, so a client that keeps its port would be sent to the old endpoint for ever. A service without any endpoint is
left alone, like upstream (pkg/proxy/conntrack/cleanup.go) leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from navarch.network.proxy.core.compiling import UdpService


class Flow(NamedTuple):
    """Where a client sent its packets, and who answers. Flows of many clients share one value."""

    destination: str
    port: int
    answers: str
    answers_port: int


def stale(flows: Iterable[Flow], services: Iterable[UdpService]) -> list[Flow]:
    """The flows to forget, each once."""
    frontends: dict[tuple[str, int], frozenset[tuple[str, int]]] = {}
    node_ports: dict[int, frozenset[tuple[str, int]]] = {}
    for service in services:
        if not service.endpoints:
            continue
        for address in service.addresses:
            frontends[address, service.port] = service.endpoints
        if service.node_port:
            node_ports[service.node_port] = service.endpoints
    found: dict[Flow, None] = {}
    for flow in flows:
        endpoints = frontends.get((flow.destination, flow.port)) or node_ports.get(flow.port)
        if endpoints is not None and (flow.answers, flow.answers_port) not in endpoints:
            found[flow] = None
    return list(found)


def parse(listing: str) -> list[Flow]:
    """Reads what `conntrack -L -p udp` prints: the second tuple of a line is the reply, whose source answers."""
    flows = []
    for line in listing.splitlines():
        words = [word.partition("=") for word in line.split()]
        destinations = [value for name, _, value in words if name == "dst"]
        ports = [value for name, _, value in words if name == "dport"]
        sources = [value for name, _, value in words if name == "src"]
        source_ports = [value for name, _, value in words if name == "sport"]
        if len(sources) >= 2 and len(source_ports) >= 2 and destinations and ports:
            flows.append(Flow(destinations[0], int(ports[0]), sources[1], int(source_ports[1])))
    return flows
