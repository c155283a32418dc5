"""What the compiler knows of its node and cluster, apart from the objects.

Upstream counterpart: the arguments of NewProxier (local detector, node name, nodePort addresses, masquerade bit).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Family(StrEnum):
    IPV4 = "IPv4"
    IPV6 = "IPv6"

    @property
    def nft(self) -> str:
        """nft's word for the family, which is also the one for its header: `ip daddr`, `ip6 daddr`."""
        return "ip" if self is Family.IPV4 else "ip6"

    @property
    def loopback(self) -> str:
        return "127.0.0.0/8" if self is Family.IPV4 else "::1"


def family_of(address: str) -> Family:
    """The family of an address or a CIDR in text."""
    return Family.IPV6 if ":" in address else Family.IPV4


@dataclass(frozen=True, slots=True)
class Facts:
    """`nodeport_addresses` are the node's own addresses that take NodePort traffic; None means every local one but loopback.

    `cluster_cidrs` tells pods from the rest; empty means not known, and then nothing is treated as coming from a pod.
    """

    node_name: str
    family: Family = Family.IPV4
    zone: str = ""
    node_ip: str = ""
    cluster_cidrs: tuple[str, ...] = ()
    service_cidrs: tuple[str, ...] = ()
    nodeport_addresses: tuple[str, ...] | None = None
    masquerade_all: bool = False
    masquerade_mark: int = 0x4000
