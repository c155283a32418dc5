"""Which of a range of numbers to give out next: addresses of Services, node ports.

A range is cut in two bands: the lower one is left to those who ask for a particular number, and what is given out without
asking comes from the upper one while it lasts. Pure: the caller says what is taken and brings the seed.

Upstream counterparts: pkg/registry/core/service/{ipallocator,portallocator,allocator}.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Band:
    """Numbers `first` up to and without `end`; those below `static` are given out last."""

    first: int
    end: int
    static: int

    def choose(self, taken: Collection[int], seed: int) -> int | None:
        """A free number, None when there is none. One more than are taken are tried at most: one of them is free."""
        for low, high in ((self.static, self.end), (self.first, self.static)):
            size = high - low
            if size <= 0:
                continue
            start = seed % size
            for step in range(min(size, len(taken) + 1)):
                number = low + (start + step) % size
                if number not in taken:
                    return number
        return None

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.end


def address_band(network: Network) -> Band:
    """The addresses of a service range: without the network's own and, in IPv4, the broadcast address."""
    base = int(network.network_address)
    size = network.num_addresses
    last = 1 if network.version == 4 else 0
    usable = max(size - 1 - last, 0)
    return Band(base + 1, base + 1 + usable, base + 1 + _static(usable, 16, 16, 256))


def port_band(text: str) -> Band:
    """The node ports of a flag like "30000-32767"."""
    low, _, high = text.partition("-")
    first, end = int(low), int(high or low) + 1
    return Band(first, end, first + _static(end - first, 32, 16, 128))


def _static(size: int, step: int, least: int, most: int) -> int:
    """How many of the first are kept for those who ask: min(max(least, size / step), most); none of a range too small for it."""
    if size <= least:
        return 0
    return min(max(least, size // step), most)
