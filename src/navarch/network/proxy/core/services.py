"""From API objects to service ports and the endpoints each may use.

Upstream counterparts: pkg/proxy's serviceport.go, endpointslicecache.go and topology.go. What goes in are Services and their
EndpointSlices, what comes out are `ServicePort`s, each with its `Choice` of backends under the Cluster and the Local policy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.network.proxy.core.facts import Facts, Family, family_of

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
AFFINITY_SECONDS = 10800


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """One endpoint of one service port. `address` is in its canonical text form."""

    address: str
    port: int
    local: bool = False
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a Service, for one address family."""

    namespace: str
    service: str
    name: str
    protocol: str
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int = 0
    internal_local: bool = False
    external_local: bool = False

    @property
    def external(self) -> bool:
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster(self) -> bool:
        """External traffic needs the Cluster choice even under policy Local: traffic from pods is short-circuited to it."""
        return not self.internal_local or self.external

    @property
    def uses_local(self) -> bool:
        return self.internal_local or (self.external_local and self.external)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}" + (f":{self.name}" if self.name else "")


@dataclass(frozen=True, slots=True)
class Choice:
    """The backends of a port: under policy Cluster, under policy Local, and whether any is usable anywhere."""

    cluster: tuple[Backend, ...] = ()
    local: tuple[Backend, ...] = ()
    anywhere: bool = False

    @property
    def reachable(self) -> tuple[Backend, ...]:
        """Both lists as one, without doubles, in a stable order."""
        return tuple(dict.fromkeys((*self.cluster, *self.local)))


def proxied(service: core_v1.Service) -> bool:
    """Whether kube-proxy serves this Service at all."""
    spec = service.spec
    if spec is None or spec.type == "ExternalName" or spec.clusterIP in (None, "", "None"):
        return False
    labels = (service.metadata.labels if service.metadata else None) or {}
    return PROXY_NAME_LABEL not in labels and HEADLESS_LABEL not in labels


def canonical(address: str) -> str | None:
    """An address in the one form that map keys use; None when it is none."""
    try:
        return str(ipaddress.ip_address(address.strip()))
    except ValueError:
        return None


def _addresses(texts: Iterable[str | None] | None, family: Family) -> tuple[str, ...]:
    found = (canonical(text) for text in texts or () if text)
    return tuple(dict.fromkeys(a for a in found if a is not None and family_of(a) is family))


def _source_ranges(texts: Sequence[str] | None, family: Family) -> tuple[str, ...]:
    """The ranges of the family, merged; empty when there are none or one of them allows everybody."""
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for text in texts or ():
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError:
            continue
        if family_of(str(network)) is not family:
            continue
        if network.prefixlen == 0:
            return ()
        networks.append(network)
    return tuple(str(n) for n in ipaddress.collapse_addresses(networks))  # type: ignore[type-var]


def _affinity(spec: core_v1.ServiceSpec) -> int:
    if spec.sessionAffinity != "ClientIP":
        return 0
    config = spec.sessionAffinityConfig.clientIP if spec.sessionAffinityConfig else None
    return (config.timeoutSeconds if config else None) or AFFINITY_SECONDS


def external_policy_local(spec: core_v1.ServiceSpec) -> bool:
    reachable = spec.type in ("NodePort", "LoadBalancer") or bool(spec.externalIPs)
    return reachable and spec.externalTrafficPolicy == "Local"


def health_check_port(spec: core_v1.ServiceSpec) -> int:
    """The port on which load balancers ask this node; 0 when they do not."""
    return (spec.healthCheckNodePort or 0) if spec.type == "LoadBalancer" and external_policy_local(spec) else 0


def service_ports(service: core_v1.Service, family: Family) -> tuple[ServicePort, ...]:
    """The ports of a Service in one family; none when it is not proxied or has no cluster IP of that family."""
    meta, spec = service.metadata, service.spec
    if meta is None or spec is None or not proxied(service):
        return ()
    cluster_ips = _addresses([*(spec.clusterIPs or ()), spec.clusterIP], family)
    if not cluster_ips:
        return ()
    balancer = service.status.loadBalancer if service.status else None
    ingress = (balancer.ingress if balancer else None) or ()
    return tuple(
        ServicePort(
            namespace=meta.namespace or "",
            service=meta.name or "",
            name=port.name or "",
            protocol=(port.protocol or "TCP").lower(),
            cluster_ip=cluster_ips[0],
            port=port.port or 0,
            node_port=port.nodePort or 0,
            external_ips=_addresses(spec.externalIPs, family),
            load_balancer_ips=_addresses([i.ip for i in ingress if i.ipMode in (None, "", "VIP")], family),
            source_ranges=_source_ranges(spec.loadBalancerSourceRanges, family),
            affinity_seconds=_affinity(spec),
            internal_local=spec.internalTrafficPolicy == "Local",
            external_local=external_policy_local(spec),
        )
        for port in spec.ports or ()
    )


def _backend(endpoint: discovery_v1.Endpoint, port: int, node_name: str) -> Backend | None:
    address = canonical(endpoint.addresses[0]) if endpoint.addresses else None
    if address is None:
        return None
    conditions = endpoint.conditions or discovery_v1.EndpointConditions()
    hints = endpoint.hints or discovery_v1.EndpointHints()
    return Backend(
        address=address,
        port=port,
        local=endpoint.nodeName is not None and endpoint.nodeName == node_name,
        ready=conditions.ready is not False,
        serving=conditions.serving is not False,
        terminating=conditions.terminating is True,
        zones=frozenset(z.name for z in hints.forZones or () if z.name),
        nodes=frozenset(n.name for n in hints.forNodes or () if n.name),
    )


def backends(slices: Iterable[discovery_v1.EndpointSlice], port: ServicePort, facts: Facts) -> tuple[Backend, ...]:
    """All backends of a port, sorted. Of two with one address, a running pod wins over a terminating one."""
    found: dict[tuple[str, int], Backend] = {}
    for slice_ in slices:
        if slice_.addressType != facts.family.value:
            continue
        for endpoint_port in slice_.ports or ():
            same = (endpoint_port.name or "") == port.name and (endpoint_port.protocol or "TCP").lower() == port.protocol
            if not same or not endpoint_port.port:
                continue
            for endpoint in slice_.endpoints or ():
                backend = _backend(endpoint, endpoint_port.port, facts.node_name)
                if backend is None:
                    continue
                key = (backend.address, backend.port)
                if key not in found or not backend.terminating:
                    found[key] = backend
    return tuple(found[key] for key in sorted(found))


def _topology(ready: Sequence[Backend], facts: Facts) -> str:
    """ "node", "zone" or "": hints count only when every ready endpoint has them and one is meant for us."""
    if not ready:
        return ""
    if all(b.nodes for b in ready) and any(facts.node_name in b.nodes for b in ready):
        return "node"
    if all(b.zones for b in ready) and any(facts.zone in b.zones for b in ready):
        return "zone"
    return ""


def _cluster_choice(all_backends: Sequence[Backend], facts: Facts) -> tuple[Backend, ...]:
    ready = [b for b in all_backends if b.ready]
    match _topology(ready, facts):
        case "node":
            chosen = [b for b in ready if facts.node_name in b.nodes]
        case "zone":
            chosen = [b for b in ready if facts.zone in b.zones]
        case _:
            chosen = ready
    return tuple(chosen) or tuple(b for b in all_backends if b.serving and b.terminating)


def choose(port: ServicePort, all_backends: Sequence[Backend], facts: Facts) -> Choice:
    """Which backends this node may use: ready ones, or those still serving while terminating when none is ready."""
    cluster = _cluster_choice(all_backends, facts) if port.uses_cluster else ()
    if not port.uses_local:
        return Choice(cluster=cluster, anywhere=bool(cluster))
    usable = [b for b in all_backends if b.ready or (b.serving and b.terminating)]
    here = [b for b in usable if b.local]
    local = tuple(b for b in here if b.ready) or tuple(here)
    return Choice(cluster=cluster, local=local, anywhere=bool(usable))
