"""IP addresses and networks.

Upstream counterparts: apiserver's pkg/cel/library (ip.go, cidr.go), Go's net/netip, whose words these are.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import TypeVar

from navarch.machinery import goform
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import EvaluationError, no_such_overload

T = TypeVar("T")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class IP:
    __slots__ = ("address",)
    type_name = "net.IP"

    def __init__(self, address: Address) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IP) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    def size(self) -> int:
        return self.address.max_prefixlen // 8


class CIDR:
    __slots__ = ("address", "bits")
    type_name = "net.CIDR"

    def __init__(self, address: Address, bits: int) -> None:
        self.address = address
        self.bits = bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CIDR) and (other.address, other.bits) == (self.address, self.bits)

    def __hash__(self) -> int:
        return hash((self.address, self.bits))

    @property
    def network(self) -> Network:
        return ipaddress.ip_network(f"{self.address}/{self.bits}", strict=False)

    def size(self) -> int:
        return math.ceil(self.bits / 8)


def _bad_address(text: str) -> str:
    """Why a text is no address, in Go's words."""
    if ":" in text:
        bad = re.search(r"[^0-9a-fA-F:.]", text)
        return f"unexpected character (at {goform.quoted(text[bad.start() :])})" if bad else "address string too short"
    if "." not in text:
        return "unable to parse IP"
    field, dots = "", 0
    for i, char in enumerate(text):
        rest = f" (at {goform.quoted(text[i:])})"
        if "0" <= char <= "9":
            if field == "0":
                return "IPv4 field has octet with leading zero"
            field += char
            if int(field) > 255:
                return "IPv4 field has value >255"
        elif char == ".":
            if not field or i == len(text) - 1:
                return f"IPv4 field must have at least one digit{rest}"
            if dots == 3:
                return "IPv4 address too long"
            field, dots = "", dots + 1
        else:
            return f"unexpected character{rest}"
    return "IPv4 address too short"


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError(f"ParseAddr({goform.quoted(text)}): {_bad_address(text)}") from None


def _ip(text: str) -> IP:
    try:
        found = _address(text)
    except EvaluationError as error:
        raise EvaluationError(f"IP Address {goform.quoted(text)} parse error during conversion from string: {error}") from None
    if "%" in text:
        raise EvaluationError(f"IP address {goform.quoted(text)} with zone value is not allowed")
    _refuse_mapped(found, text)
    return IP(found)


def _refuse_mapped(found: Address, text: str) -> None:
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {goform.quoted(text)} is not allowed")


def _cidr(text: str) -> CIDR:
    try:
        return _prefix(text)
    except EvaluationError as error:
        raise EvaluationError(f"network address parse error during conversion from string: {error}") from None


def _prefix(text: str) -> CIDR:
    address, slash, bits = text.rpartition("/")
    told = ""
    found: Address | None = None
    if not slash:
        told = "no '/'"
    else:
        try:
            found = _address(address)
        except EvaluationError as error:
            told = str(error)
    if found is not None:
        if "%" in address:
            told = "IPv6 zones cannot be present in a prefix"
        elif re.match(r"(0|[1-9][0-9]{0,2})\Z", bits) is None:
            told = f"bad bits after slash: {goform.quoted(bits)}"
        elif int(bits) > found.max_prefixlen:
            told = "prefix length out of range"
        else:
            _refuse_mapped(found, text)
            return CIDR(found, int(bits))
    raise EvaluationError(f"network address parse error during conversion from string: netip.ParsePrefix({goform.quoted(text)}): {told}")


def _is_ip(text: str) -> bool:
    try:
        _ip(text)
    except EvaluationError:
        return False
    return True


def _is_cidr(text: str) -> bool:
    try:
        _prefix(text)
    except EvaluationError:
        return False
    return True


def _other(reads: Callable[[str], T], text: str) -> T:
    """What a network is compared with; upstream does not say what is wrong with it."""
    try:
        return reads(text)
    except EvaluationError:
        raise no_such_overload() from None


def _contains_ip(held: CIDR, other: IP) -> bool:
    return held.address.version == other.address.version and other.address in held.network


def _contains_cidr(held: CIDR, other: CIDR) -> bool:
    return held.address.version == other.address.version and held.bits <= other.bits and held.network.overlaps(other.network)


def _global_unicast(held: IP) -> bool:
    """Go's sense: anything but broadcast, unspecified, loopback, multicast and link-local."""
    address = held.address
    broadcast = address.version == 4 and int(address) == 2**32 - 1
    return not (broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local)


def _link_local_multicast(held: IP) -> bool:
    address = held.address
    if address.version == 4:
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


LIBRARY: Library = {
    "ip": (
        Overload("string_to_ip", "(string) -> net.IP", _ip),
        Overload("cidr_ip", "net.CIDR.() -> net.IP", lambda held: IP(held.address)),
    ),
    "family": (Overload("ip_family", "net.IP.() -> int", lambda held: held.address.version),),
    "ip.isCanonical": (Overload("ip_is_canonical", "(string) -> bool", lambda text: str(_ip(text).address) == text),),
    "isUnspecified": (Overload("ip_is_unspecified", "net.IP.() -> bool", lambda held: held.address.is_unspecified),),
    "isLoopback": (Overload("ip_is_loopback", "net.IP.() -> bool", lambda held: held.address.is_loopback),),
    "isLinkLocalMulticast": (Overload("ip_is_link_local_multicast", "net.IP.() -> bool", _link_local_multicast),),
    "isLinkLocalUnicast": (Overload("ip_is_link_local_unicast", "net.IP.() -> bool", lambda held: held.address.is_link_local),),
    "isGlobalUnicast": (Overload("ip_is_global_unicast", "net.IP.() -> bool", _global_unicast),),
    "isIP": (Overload("is_ip", "(string) -> bool", _is_ip),),
    "string": (
        Overload("ip_to_string", "(net.IP) -> string", lambda held: str(held.address)),
        Overload("cidr_to_string", "(net.CIDR) -> string", lambda held: f"{held.address}/{held.bits}"),
    ),
    "cidr": (Overload("string_to_cidr", "(string) -> net.CIDR", _cidr),),
    "containsIP": (
        Overload("cidr_contains_ip_string", "net.CIDR.(string) -> bool", lambda held, text: _contains_ip(held, _other(_ip, text))),
        Overload("cidr_contains_ip_ip", "net.CIDR.(net.IP) -> bool", _contains_ip),
    ),
    "containsCIDR": (
        Overload("cidr_contains_cidr_string", "net.CIDR.(string) -> bool", lambda held, text: _contains_cidr(held, _other(_cidr, text))),
        Overload("cidr_contains_cidr", "net.CIDR.(net.CIDR) -> bool", _contains_cidr),
    ),
    "prefixLength": (Overload("cidr_prefix_length", "net.CIDR.() -> int", lambda held: held.bits),),
    "masked": (Overload("cidr_masked", "net.CIDR.() -> net.CIDR", lambda held: CIDR(held.network.network_address, held.bits)),),
    "isCIDR": (Overload("is_cidr", "(string) -> bool", _is_cidr),),
}
