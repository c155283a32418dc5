"""One Service and its EndpointSlices become a fragment of the table.

Upstream counterpart: the body of syncProxyRules' loop over service ports. A fragment is data: elements of the shared maps,
and the chains and sets it needs. Chains whose name says all they do (`pick-tcp-3`, `external-local-tcp-5-2`) are shared between
services; only services with session affinity get chains of their own, with upstream's names.

Each address and port a service answers on is a frontend. Its verdict in `service-ips` (or `service-nodeports`) leads to a pick
chain, which looks the endpoint up in `endpoints-tcp` under (frontend, random index).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.network.proxy.core import base, services
from navarch.network.proxy.core.facts import Facts
from navarch.network.proxy.core.services import Backend, Choice, ServicePort

NAME_LENGTH = 240

Item = tuple[str, str]
"""A container and the key in it, as nft writes it."""


@dataclass(frozen=True, slots=True)
class UdpService:
    """What the clean-up of stale UDP flows needs: where clients send, and which endpoints may answer."""

    addresses: tuple[str, ...]
    port: int
    node_port: int
    endpoints: frozenset[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    port: int
    local_endpoints: int


@dataclass(slots=True)
class Fragment:
    """`elements`: item → the rest of the element (`comment … : value`); `chains`: name → rules; `sets`: name → declaration."""

    elements: dict[Item, str] = field(default_factory=dict)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    udp: tuple[UdpService, ...] = ()
    health: HealthCheck | None = None
    without_local: tuple[int, int] = (0, 0)
    """Ports with endpoints but none local, under policy Local: internal and external (a metric)."""


def compile_service(service: core_v1.Service, slices: Iterable[discovery_v1.EndpointSlice], facts: Facts) -> Fragment:
    """The fragment of one Service in the facts' address family."""
    fragment = Fragment()
    all_slices, udp, here = tuple(slices), [], set[str]()
    internal = external = 0
    for port in services.service_ports(service, facts.family):
        found = services.backends(all_slices, port, facts)
        choice = services.choose(port, found, facts)
        _Compiler(port, choice, facts, fragment).run()
        missing = choice.anywhere and not choice.local
        internal += missing and port.internal_local
        external += missing and port.external_local and port.external
        here.update(b.address for b in choice.local if b.ready)
        if port.protocol == "udp":
            udp.append(_udp(port, found))
    fragment.udp, fragment.without_local = tuple(udp), (internal, external)
    check = services.health_check_port(service.spec) if service.spec and services.proxied(service) else 0
    fragment.health = HealthCheck(check, len(here)) if check else None
    return fragment


def _udp(port: ServicePort, found: Sequence[Backend]) -> UdpService:
    addresses = (port.cluster_ip, *port.load_balancer_ips, *port.external_ips)
    return UdpService(addresses, port.port, port.node_port, frozenset((b.address, b.port) for b in found if b.serving))


def chain_name(prefix: str, port: ServicePort, backend: Backend | None = None) -> str:
    """Upstream's readable names, made unique by a hash and never too long for the kernel."""
    name = f"{port.namespace}/{port.service}/{port.protocol}/{port.name}"
    if backend is not None:
        name += f"__{backend.address.replace(':', '.')}/{backend.port}"
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest())[:8].decode()
    return f"{prefix}-{digest}-{name}"[:NAME_LENGTH]


class _Compiler:
    """Writes one service port into a fragment."""

    def __init__(self, port: ServicePort, choice: Choice, facts: Facts, into: Fragment) -> None:
        self.port, self.choice, self.facts, self.out = port, choice, facts, into
        self.header = facts.family.nft
        self.comment = f' comment "{str(port)[:120]}"'

    def run(self) -> None:
        port, choice = self.port, self.choice
        self.element(base.CLUSTER_IPS, port.cluster_ip)
        for backend in choice.reachable:
            if backend.local:
                self.element(base.HAIRPINS, f"{backend.address} . {backend.address} . {port.protocol} . {backend.port}")
        if port.affinity_seconds and choice.anywhere:
            self.affinity_chains()
        self.cluster_ip()
        for address in dict.fromkeys((*port.external_ips, *port.load_balancer_ips)):
            self.external(address, "")
        if port.node_port:
            self.external("", "nodeport-")
        if port.source_ranges:
            for address in port.load_balancer_ips:
                self.firewall(address)

    def element(self, container: str, key: str, rest: str = "") -> None:
        self.out.elements.setdefault((container, key), rest)

    def key(self, address: str, node: str) -> str:
        if node:
            return f"{self.port.protocol} . {self.port.node_port}"
        return f"{address} . {self.port.protocol} . {self.port.port}"

    def verdict(self, node: str, address: str, chain: str) -> None:
        container = base.SERVICE_NODEPORTS if node else base.SERVICE_IPS
        self.element(container, self.key(address, node), f"{self.comment} : goto {chain}")

    def refuse(self, node: str, address: str) -> None:
        """Nobody anywhere: reject. Endpoints elsewhere, but the policy wants local ones: drop."""
        container = base.NO_ENDPOINT_NODEPORTS if node else base.NO_ENDPOINT_SERVICES
        verdict = "drop" if self.choice.anywhere else f"goto {base.REJECT}"
        self.element(container, self.key(address, node), f"{self.comment} : {verdict}")

    def cluster_ip(self) -> None:
        port, choice = self.port, self.choice
        usable = choice.local if port.internal_local else choice.cluster
        if not usable:
            self.refuse("", port.cluster_ip)
        elif port.affinity_seconds:
            self.verdict("", port.cluster_ip, chain_name("local" if port.internal_local else "service", port))
        else:
            self.verdict("", port.cluster_ip, self.pick("", port.cluster_ip, usable, local=port.internal_local))

    def external(self, address: str, node: str) -> None:
        """A frontend that the outside may use: an external IP, a load balancer's, or the node port."""
        port, choice = self.port, self.choice
        if choice.anywhere:
            self.verdict(node, address, chain_name("external", port) if port.affinity_seconds else self.external_chain(address, node))
        if not (choice.local if port.external_local else choice.cluster):
            self.refuse(node, address)

    def external_chain(self, address: str, node: str) -> str:
        choice = self.choice
        cluster = self.pick(node, address, choice.cluster, local=False)
        if not self.port.external_local:
            name = f"{node}masquerade-{self.port.protocol}-{len(choice.cluster)}"
            self.out.chains[name] = (base.mark(self.facts), f"goto {cluster}")
            return name
        name = f"{node}external-local-{self.port.protocol}-{len(choice.cluster)}-{len(choice.local)}"
        local = self.pick(node, address, choice.local, local=True) if choice.local else ""
        self.out.chains[name] = self.local_policy(cluster, local)
        return name

    def local_policy(self, cluster: str, local: str) -> tuple[str, ...]:
        """Traffic from pods and from the node itself may go anywhere, as if it had left and come back; the rest stays here."""
        pods = base.from_pods(self.facts)
        return (
            *([f"{pods} goto {cluster}"] if pods else []),
            f"fib saddr type local {base.mark(self.facts)}",
            f"fib saddr type local goto {cluster}",
            *([f"goto {local}"] if local else []),
        )

    def pick(self, node: str, address: str, backends: Sequence[Backend], *, local: bool) -> str:
        """Enters the backends of a frontend and returns the chain that picks one of that many at random."""
        port, count = self.port, len(backends)
        container = f"{node}{base.LOCAL_ENDPOINTS if local else base.ENDPOINTS}-{port.protocol}"
        frontend = f"{port.node_port}" if node else f"{address} . {port.port}"
        for index, backend in enumerate(backends):
            self.element(container, f"{frontend} . {index}", f" : {backend.address} . {backend.port}")
        match = f"{port.protocol} dport" if node else f"{self.header} daddr . {port.protocol} dport"
        name = f"{node}pick-{'local-' if local else ''}{port.protocol}-{count}"
        self.out.chains[name] = (f"dnat {self.header} addr . port to {match} . numgen random mod {count} map @{container}",)
        return name

    def firewall(self, address: str) -> None:
        """Only the given ranges may reach a load balancer's address; so may this node through the address itself."""
        port, key = self.port, self.key(address, "")
        self.element(base.FIREWALLED, key)
        ranges = [ipaddress.ip_network(r) for r in port.source_ranges]
        if self.facts.node_ip and any(ipaddress.ip_address(self.facts.node_ip) in r for r in ranges):
            ranges += [ipaddress.ip_network(a) for a in port.load_balancer_ips]
        for network in ipaddress.collapse_addresses(ranges):  # type: ignore[type-var]
            self.element(base.FIREWALL_SOURCES, f"{key} . {network}")

    def affinity_chains(self) -> None:
        """A client keeps its endpoint: each endpoint has a set of its clients, looked up before the dice are thrown."""
        port, choice = self.port, self.choice
        names = {b: chain_name("endpoint", port, b) for b in choice.reachable}
        for backend, name in names.items():
            clients = self.clients(backend)
            address = "ipv4_addr" if self.header == "ip" else "ipv6_addr"
            self.out.sets[clients] = f"type {address}; flags dynamic, timeout; timeout {port.affinity_seconds}s;"
            target = f"{backend.address}:{backend.port}" if self.header == "ip" else f"[{backend.address}]:{backend.port}"
            self.out.chains[name] = (
                f"update @{clients} {{ {self.header} saddr }}",
                f"meta l4proto {port.protocol} dnat to {target}",
            )
        cluster, local = chain_name("service", port), chain_name("local", port)
        for name, backends in ((cluster, choice.cluster), (local, choice.local)):
            if backends:
                self.out.chains[name] = self.affinity_pick(backends, names)
        if port.external:
            policy = self.local_policy(cluster, local if choice.local else "")
            self.out.chains[chain_name("external", port)] = policy if port.external_local else (base.mark(self.facts), f"goto {cluster}")

    def clients(self, backend: Backend) -> str:
        """The set of an endpoint's clients. Its timeout is part of the name: a set cannot change its own."""
        return chain_name(f"affinity-{self.port.affinity_seconds}", self.port, backend)

    def affinity_pick(self, backends: Sequence[Backend], names: dict[Backend, str]) -> tuple[str, ...]:
        known = (f"{self.header} saddr @{self.clients(b)} goto {names[b]}" for b in backends)
        table = ", ".join(f"{index} : goto {names[b]}" for index, b in enumerate(backends))
        return (*known, f"numgen random mod {len(backends)} vmap {{ {table} }}")
