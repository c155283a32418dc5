"""Whether a ServiceCIDR is ready, and whether one that is being deleted may go: no address may be left without a range. Pure.

Upstream counterpart: pkg/controller/servicecidrs.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.api.networking import v1 as networking_v1
from navarch.machinery import timestamps
from navarch.objects import meta

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED_BY, MANAGER = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
GRACE_SECONDS = 10.0
"""How long API servers may need to hear that a range is going, and give out no more of its addresses."""

_READY = "Kubernetes Service CIDR is ready"
_BLOCKED = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(cidr: networking_v1.ServiceCIDR) -> list[Network]:
    texts = (cidr.spec.cidrs or ()) if cidr.spec else ()
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def overlapping(cidr: networking_v1.ServiceCIDR, others: Iterable[networking_v1.ServiceCIDR]) -> list[str]:
    """The names of the ServiceCIDRs that contain a part of one, itself included."""
    mine = networks(cidr)
    return [meta.key(other) for other in others if any(a.version == b.version and a.overlaps(b) for a in mine for b in networks(other))]


def containing(address: networking_v1.IPAddress, cidrs: Iterable[networking_v1.ServiceCIDR]) -> list[str]:
    """The names of the ServiceCIDRs an API server's address is in; none for one that is somebody else's."""
    if (meta.of(address).labels or {}).get(MANAGED_BY) != MANAGER:
        return []
    found = ipaddress.ip_address(meta.of(address).name or "")
    return [meta.key(cidr) for cidr in cidrs if any(found in network for network in networks(cidr))]


def removable(cidr: networking_v1.ServiceCIDR, cidrs: Sequence[networking_v1.ServiceCIDR], addresses: Iterable[networking_v1.IPAddress]) -> bool:
    """Whether a range may go: all of it is in others, or no address is in it alone."""
    name = meta.key(cidr)
    others = [network for other in cidrs if meta.key(other) != name for network in networks(other)]
    if all(any(_inside(network, other) for other in others) for network in networks(cidr)):
        return True
    return not any(containing(address, cidrs) == [name] for address in addresses)


def _inside(network: Network, other: Network) -> bool:
    if isinstance(network, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return network.subnet_of(other)
    return isinstance(network, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network) and network.subnet_of(other)


def guarded(cidr: networking_v1.ServiceCIDR, *, kept: bool) -> networking_v1.ServiceCIDR | None:
    """The range with its finalizer, or without it. None: it is so."""
    m = meta.of(cidr)
    held = m.finalizers or []
    wanted = [f for f in held if f != FINALIZER]
    wanted = (held if FINALIZER in held else [*held, FINALIZER]) if kept else wanted
    return None if wanted == held else msgspec.structs.replace(cidr, metadata=msgspec.structs.replace(m, finalizers=wanted or None))


def with_condition(cidr: networking_v1.ServiceCIDR, *, ready: bool, now: float) -> networking_v1.ServiceCIDR | None:
    """The range with its condition. None: it says so already."""
    wanted = meta_v1.Condition(
        type="Ready",
        status="True" if ready else "False",
        reason="" if ready else "Terminating",
        message=_READY if ready else _BLOCKED,
        lastTransitionTime=timestamps.seconds(now),
    )
    held = (cidr.status.conditions or []) if cidr.status else []
    current = next((c for c in held if c.type == "Ready"), None)
    if current is not None and (current.status, current.reason or "", current.message) == (wanted.status, wanted.reason, wanted.message):
        return None
    status = networking_v1.ServiceCIDRStatus(conditions=[*(c for c in held if c.type != "Ready"), wanted])
    return msgspec.structs.replace(cidr, status=status)
