"""Which addresses and node ports are free, and what is written together with the Services that take them.

What is taken is learnt from the objects that stand for it, as they are committed (see `holders`); what a write under way has set aside is
held until that write is over, so that two of them cannot choose the same. Another API server can: then the store says so, and the
write is made again with other numbers.

Addresses come from the ranges of ServiceCIDRs that are ready; those of the flags are the first one's, `kubernetes`.

Upstream counterparts: pkg/registry/core/service/{ipallocator,portallocator}.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from navarch.api.networking import v1 as networking_v1
from navarch.apiserver.kinds.core import service_numbers
from navarch.apiserver.numbers import holders, ranges
from navarch.apiserver.watch_cache import Cache, Entry, Event
from navarch.lib.clock import SYSTEM, Clock
from navarch.machinery import codec
from navarch.store.interface import Delete, Put

DEFAULT = "kubernetes"
"""The ServiceCIDR of the flags."""

_TAKEN_IP = "provided IP is already allocated"
_TAKEN_PORT = "provided port is already allocated"
_MISMATCH = "the provided network does not match the current range"


@dataclass(frozen=True, slots=True)
class Taken:
    """The numbers that objects hold, and those that writes under way have set aside."""

    held: set[int]
    aside: Counter[int]

    def __contains__(self, number: object) -> bool:
        return number in self.held or number in self.aside

    def __len__(self) -> int:
        return len(self.held) + len(self.aside)

    def __iter__(self) -> Iterator[int]:
        return iter(self.held | self.aside.keys())


class Allocations:
    """What Services hold of the cluster's addresses and node ports."""

    def __init__(self, cidrs: str, node_ports: str, clock: Clock = SYSTEM) -> None:
        networks = [c.strip() for c in cidrs.split(",") if c.strip()]
        self._clock = clock
        self.families = tuple("IPv6" if ":" in network else "IPv4" for network in networks)
        self._ranges: dict[str, Sequence[str]] = {DEFAULT: networks}
        self._bands: dict[str, dict[str, ranges.Band]] = {}
        self._make_bands()
        self._ports = ranges.port_band(node_ports)
        self._port_text = node_ports
        self.addresses: Counter[int] = Counter()
        self.ports: Counter[int] = Counter()
        self._taken_addresses, self._taken_ports = Taken(set(), self.addresses), Taken(set(), self.ports)
        self.held_ports = Cache(holders.PORTS)

    # ---- what is taken ----

    def load(self, *caches: Cache) -> None:
        """Takes note of what was there before."""
        for cache in (*caches, self.held_ports):
            for entry in cache.select_all():
                self.changed(cache, Event(entry.version, entry.key, entry, None))

    def changed(self, cache: Cache, event: Event) -> None:
        """Told of every committed event."""
        match cache.prefix:
            case holders.ADDRESSES:
                _count(self._taken_addresses.held, int(ipaddress.ip_address(event.key)), event)
            case holders.PORTS:
                _count(self._taken_ports.held, int(event.key), event)
            case holders.RANGES:
                self._range_changed(event)

    def _range_changed(self, event: Event) -> None:
        found = codec.decode(networking_v1.ServiceCIDR, event.new.body) if event.new is not None else None
        if found is None or not is_ready(found):
            self._ranges.pop(event.key, None)
        else:
            self._ranges[event.key] = found.spec.cidrs or () if found.spec else ()
        self._make_bands()

    def _make_bands(self) -> None:
        """Family → its ranges, those of the flags first."""
        names = sorted(self._ranges, key=lambda name: (name != DEFAULT, name))
        texts = dict.fromkeys(text for name in names for text in self._ranges[name])
        self._bands = {"IPv4": {}, "IPv6": {}}
        for text in texts:
            self._bands["IPv6" if ":" in text else "IPv4"][text] = ranges.address_band(ipaddress.ip_network(text, strict=False))

    # ---- what is free ----

    def address(self, family: str) -> int | None:
        for band in self._bands[family].values():
            if (found := band.choose(self._taken_addresses, secrets.randbits(64))) is not None:
                return found
        return None

    def port(self) -> int | None:
        return self._ports.choose(self._taken_ports, secrets.randbits(32))

    def refuse_address(self, text: str, family: str) -> str:
        """Why an address cannot be had, "" when it can."""
        number = int(ipaddress.ip_address(text))
        around = self.ranges_of(text)
        if not around:
            return _MISMATCH
        if not any(number in self._bands[family][network] for network in around):
            return f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {around[0]}"
        return _TAKEN_IP if number in self._taken_addresses else ""

    def refuse_port(self, number: int) -> str:
        if number not in self._ports:
            return f"provided port is not in the valid range. The range of valid ports is {self._port_text}"
        return _TAKEN_PORT if number in self._taken_ports else ""

    def ranges_of(self, text: str) -> list[str]:
        """The ranges an address is in."""
        address = ipaddress.ip_address(text)
        return [network for network in self._bands[f"IPv{address.version}"] if address in ipaddress.ip_network(network, strict=False)]

    # ---- what is written ----

    def alongside(self, key: str, old: Entry | None, new: bytes | None) -> list[Put | Delete]:
        """What is written together with a Service (`namespace/name`): the numbers it takes, and those it gives back."""
        namespace, _, name = key.partition("/")
        before = service_numbers.holdings(service_numbers.decode(old.body)) if old is not None else service_numbers.NONE
        after = service_numbers.holdings(service_numbers.decode(new)) if new is not None else service_numbers.NONE
        if before == after:
            return []
        now = self._clock.now()
        made: list[Put | Delete] = [
            Put(holders.ADDRESSES + text, holders.address(text, namespace, name, now), 0) for text in sorted(after.addresses - before.addresses)
        ]
        made += [Put(f"{holders.PORTS}{port}", holders.port(port, namespace, name, now), 0) for port in sorted(after.ports - before.ports)]
        made += [Delete(holders.ADDRESSES + text) for text in sorted(before.addresses - after.addresses)]
        made += [Delete(f"{holders.PORTS}{port}") for port in sorted(before.ports - after.ports)]
        return made


def _count(held: set[int], number: int, event: Event) -> None:
    if event.new is not None:
        held.add(number)
    else:
        held.discard(number)


def is_ready(found: networking_v1.ServiceCIDR) -> bool:
    """Whether addresses may be taken from a ServiceCIDR: one that nobody said anything of is ready."""
    if found.metadata is not None and found.metadata.deletionTimestamp is not None:
        return False
    conditions = (found.status.conditions or ()) if found.status else ()
    return next((c.status == "True" for c in conditions if c.type == "Ready"), True)
