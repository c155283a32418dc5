"""IP addresses: which of them lead to another machine.

An IPv4 address written as IPv6 (`::ffff:127.0.0.1`) is the IPv4 address: whoever connects to it reaches that.

Counterpart: Go's net.IP, whose methods look at the IPv4 form first.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def parse(text: str) -> Address | None:
    """The address a text writes, in its IPv4 form when it has one; None when it is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def version(text: str) -> int:
    """4 or 6, by the form `parse` gives; 0 for what is no address."""
    found = parse(text)
    return found.version if found is not None else 0


def is_link_local_multicast(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.packed[:3] == b"\xe0\x00\x00"
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def is_global_unicast(address: Address) -> bool:
    """Whether an address is one host's, and not this one's nor one of this link alone. Private networks are global in this sense."""
    return not (address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast or address == _BROADCAST)
