"""What Services hold of the cluster's addresses and node ports.

What is taken is learnt from the Services themselves, as they are committed; what a write under way has set aside is held until
that write is over, so that two of them cannot choose the same.

Upstream counterparts: pkg/registry/core/service/{ipallocator,portallocator}.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections import Counter

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds.core import service_numbers
from navarch.apiserver.numbers import ranges
from navarch.apiserver.watch_cache import Cache, Entry, Event
from navarch.machinery import codec

_TAKEN_IP = "provided IP is already allocated"
_TAKEN_PORT = "provided port is already allocated"


class Allocations:
    """What Services hold of the cluster's addresses and node ports."""

    def __init__(self, cidrs: str, node_ports: str) -> None:
        networks = [ipaddress.ip_network(c.strip()) for c in cidrs.split(",") if c.strip()]
        self._networks = {f"IPv{n.version}": n for n in networks}
        self.families = tuple(self._networks)
        self._bands = {family: ranges.address_band(n) for family, n in self._networks.items()}
        self._ports = ranges.port_band(node_ports)
        self._port_text = node_ports
        self.addresses: Counter[int] = Counter()
        self.ports: Counter[int] = Counter()
        self._prefix = ""

    def load(self, cache: Cache) -> None:
        self._prefix = cache.prefix
        for entry in cache.select_all():
            self._count(entry, 1)

    def changed(self, cache: Cache, event: Event) -> None:
        """Told of every committed event."""
        if cache.prefix == self._prefix:
            if event.new is not None:
                self._count(event.new, 1)
            if event.old is not None:
                self._count(event.old, -1)

    def _count(self, entry: Entry, by: int) -> None:
        service = codec.decode(core_v1.Service, entry.body)
        addresses, ports = service_numbers.holdings(service)
        for held, numbers in ((self.addresses, addresses), (self.ports, ports)):
            for number in numbers:
                held[number] += by
                if held[number] <= 0:
                    del held[number]

    def address(self, family: str) -> int | None:
        return self._bands[family].choose(self.addresses, secrets.randbits(32))

    def port(self) -> int | None:
        return self._ports.choose(self.ports, secrets.randbits(32))

    def refuse_address(self, text: str, family: str) -> str:
        """Why an address cannot be had, "" when it can."""
        number = int(ipaddress.ip_address(text))
        network = self._networks[family]
        if ipaddress.ip_address(text) not in network or number not in self._bands[family]:
            return f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {network}"
        return _TAKEN_IP if number in self.addresses else ""

    def refuse_port(self, number: int) -> str:
        if number not in self._ports:
            return f"provided port is not in the valid range. The range of valid ports is {self._port_text}"
        return _TAKEN_PORT if number in self.ports else ""
