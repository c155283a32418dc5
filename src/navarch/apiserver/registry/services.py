"""Services: defaults, and the addresses and ports the server gives them.

What is taken is learnt from the Services themselves, as they are committed; what a write under way has set aside is held until
that write is over, so that two of them cannot choose the same.

Upstream counterparts: pkg/apis/core/v1/defaults.go, pkg/registry/core/service/{strategy,storage/alloc}.go.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from navarch.api.core import v1 as core_v1
from navarch.apiserver.registry import ranges
from navarch.apiserver.registry.strategy import Finish
from navarch.machinery import codec, errors, field
from navarch.machinery.field import Problem

if TYPE_CHECKING:
    from navarch.apiserver.server import Server
    from navarch.apiserver.watch_cache import Cache, Entry, Event

_EXTERNAL = ("NodePort", "LoadBalancer")
_FULL = "range is full"
_TAKEN_IP = "provided IP is already allocated"
_TAKEN_PORT = "provided port is already allocated"
NONE = "None"


def default(obj: core_v1.Service) -> None:
    spec = obj.spec = obj.spec or core_v1.ServiceSpec()
    spec.sessionAffinity = spec.sessionAffinity or "None"
    if spec.sessionAffinity == "None":
        spec.sessionAffinityConfig = None
    elif spec.sessionAffinity == "ClientIP":
        held = spec.sessionAffinityConfig
        if held is None or held.clientIP is None or held.clientIP.timeoutSeconds is None:
            spec.sessionAffinityConfig = core_v1.SessionAffinityConfig(clientIP=core_v1.ClientIPConfig(timeoutSeconds=10800))
    spec.type = spec.type or "ClusterIP"
    for port in spec.ports or ():
        port.protocol = port.protocol or "TCP"
        if port.targetPort in (None, 0, ""):
            port.targetPort = port.port
        port.nodePort = port.nodePort or None
    accessible = spec.type in _EXTERNAL or (spec.type == "ClusterIP" and bool(spec.externalIPs))
    if accessible and not spec.externalTrafficPolicy:
        spec.externalTrafficPolicy = "Cluster"
    if not spec.internalTrafficPolicy and spec.type != "ExternalName":
        spec.internalTrafficPolicy = "Cluster"
    if spec.type == "LoadBalancer":
        if spec.allocateLoadBalancerNodePorts is None:
            spec.allocateLoadBalancerNodePorts = True
        for ingress in (obj.status.loadBalancer.ingress or ()) if obj.status and obj.status.loadBalancer else ():
            if ingress.ip and not ingress.ipMode:
                ingress.ipMode = "VIP"
    spec.clusterIP, spec.externalName = spec.clusterIP or None, spec.externalName or None
    spec.clusterIPs = spec.clusterIPs or None


def prepare_create(obj: core_v1.Service) -> None:
    obj.status = core_v1.ServiceStatus(loadBalancer=core_v1.LoadBalancerStatus())
    assert obj.spec is not None
    if obj.spec.clusterIP and not obj.spec.clusterIPs:
        obj.spec.clusterIPs = [obj.spec.clusterIP]
    _drop_type_dependent(obj.spec, None)


def prepare_update(new: core_v1.Service, old: core_v1.Service) -> None:
    """Clients that send back what they read, or leave out what the server chose, change nothing by that."""
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None
    _normalize_addresses(spec, before)
    if _needs_address(spec) and _needs_address(before):
        if not spec.clusterIP and not spec.clusterIPs:
            spec.clusterIP, spec.clusterIPs = before.clusterIP, list(before.clusterIPs or ()) or None
        if not spec.ipFamilies:
            spec.ipFamilies = list(before.ipFamilies or ()) or None
        if not spec.ipFamilyPolicy:
            spec.ipFamilyPolicy = before.ipFamilyPolicy
    if _needs_ports(spec) and _needs_ports(before):
        held = {(p.protocol, p.port): p.nodePort for p in before.ports or ()}
        used = {p.nodePort for p in spec.ports or () if p.nodePort}
        for port in spec.ports or ():
            earlier = held.get((port.protocol, port.port))
            if not port.nodePort and earlier and earlier not in used:
                port.nodePort = earlier
    if needs_health_check(new) and needs_health_check(old) and not spec.healthCheckNodePort:
        spec.healthCheckNodePort = before.healthCheckNodePort
    if spec.type == before.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is None:
        spec.allocateLoadBalancerNodePorts = before.allocateLoadBalancerNodePorts
    _drop_type_dependent(spec, old)
    if spec.type != "LoadBalancer" and new.status is not None and new.status.loadBalancer is not None:
        new.status = core_v1.ServiceStatus(conditions=new.status.conditions, loadBalancer=core_v1.LoadBalancerStatus())


def _normalize_addresses(spec: core_v1.ServiceSpec, before: core_v1.ServiceSpec) -> None:
    """clusterIP and clusterIPs[0] say the same: the one that was changed wins."""
    same_one, same_many = spec.clusterIP == before.clusterIP, (spec.clusterIPs or []) == (before.clusterIPs or [])
    if not same_one and same_many:
        if not spec.clusterIP:
            spec.clusterIPs = None
        elif before.clusterIP:
            spec.clusterIPs = [spec.clusterIP]
    elif same_one and not same_many and not spec.clusterIPs:
        return
    if spec.clusterIP and not spec.clusterIPs:
        spec.clusterIPs = [spec.clusterIP]


def _needs_address(spec: core_v1.ServiceSpec) -> bool:
    return spec.type != "ExternalName"


def _needs_ports(spec: core_v1.ServiceSpec) -> bool:
    return spec.type == "NodePort" or (spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is not False)


def needs_health_check(service: core_v1.Service) -> bool:
    spec = service.spec
    return spec is not None and spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"


def _drop_type_dependent(spec: core_v1.ServiceSpec, old: core_v1.Service | None) -> None:
    """What the new type has no use for goes, unless the client changed it in the same write (then validation speaks)."""
    before = old.spec if old is not None else None
    if before is None:
        return
    if not _needs_address(spec) and _needs_address(before):
        if spec.clusterIP == before.clusterIP:
            spec.clusterIP = spec.clusterIPs = None
        spec.ipFamilies = spec.ipFamilyPolicy = spec.internalTrafficPolicy = None
    if not _needs_ports(spec) and _needs_ports(before):
        held = [p.nodePort for p in before.ports or ()]
        if [p.nodePort for p in spec.ports or ()] == held or all(p.nodePort in held for p in spec.ports or () if p.nodePort):
            for port in spec.ports or ():
                port.nodePort = None
    was_checked = before.type == "LoadBalancer" and before.externalTrafficPolicy == "Local"
    checked = spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"
    if was_checked and not checked and spec.healthCheckNodePort == before.healthCheckNodePort:
        spec.healthCheckNodePort = None
    if spec.type != "LoadBalancer" and before.type == "LoadBalancer":
        if spec.allocateLoadBalancerNodePorts == before.allocateLoadBalancerNodePorts:
            spec.allocateLoadBalancerNodePorts = None
        if spec.loadBalancerClass == before.loadBalancerClass:
            spec.loadBalancerClass = None
    accessible = spec.type in _EXTERNAL or (spec.type == "ClusterIP" and bool(spec.externalIPs))
    if not accessible and spec.externalTrafficPolicy == before.externalTrafficPolicy:
        spec.externalTrafficPolicy = None
    if spec.type != "ExternalName" and before.type == "ExternalName" and spec.externalName == before.externalName:
        spec.externalName = None


def status_update(new: core_v1.Service, old: core_v1.Service) -> None:
    default(old)
    new.status = new.status or core_v1.ServiceStatus()
    new.status.loadBalancer = new.status.loadBalancer or core_v1.LoadBalancerStatus()
    for ingress in new.status.loadBalancer.ingress or ():
        if ingress.ip and not ingress.ipMode:
            ingress.ipMode = "VIP"


# ---- what is given out ----


class Allocations:
    """What Services hold of the cluster's addresses and node ports."""

    def __init__(self, cidrs: str, node_ports: str) -> None:
        networks = [ipaddress.ip_network(c.strip()) for c in cidrs.split(",") if c.strip()]
        self.networks = {f"IPv{n.version}": n for n in networks}
        self.default_family = f"IPv{networks[0].version}"
        self._bands = {family: ranges.address_band(n) for family, n in self.networks.items()}
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
        addresses, ports = holdings(service)
        for held, numbers in ((self.addresses, addresses), (self.ports, ports)):
            for number in numbers:
                held[number] += by
                if held[number] <= 0:
                    del held[number]

    def address(self, family: str) -> int | None:
        return self._bands[family].choose(self.addresses, secrets.randbits(32))

    def port(self) -> int | None:
        return self._ports.choose(self.ports, secrets.randbits(32))

    def ask_address(self, text: str, family: str) -> str:
        """Why an address cannot be had, "" when it can."""
        number = int(ipaddress.ip_address(text))
        network = self.networks[family]
        if ipaddress.ip_address(text) not in network or number not in self._bands[family]:
            return f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {network}"
        return _TAKEN_IP if number in self.addresses else ""

    def ask_port(self, number: int) -> str:
        if number not in self._ports:
            return f"provided port is not in the valid range. The range of valid ports is {self._port_text}"
        return _TAKEN_PORT if number in self.ports else ""


def holdings(service: core_v1.Service) -> tuple[set[int], set[int]]:
    """The addresses and node ports a Service holds."""
    spec = service.spec
    if spec is None or spec.type == "ExternalName":
        return set(), set()
    texts = [t for t in (spec.clusterIPs or ([spec.clusterIP] if spec.clusterIP else [])) if t and t != NONE]
    ports = {p.nodePort for p in spec.ports or () if p.nodePort}
    if spec.healthCheckNodePort:
        ports.add(spec.healthCheckNodePort)
    return {int(ipaddress.ip_address(t)) for t in texts}, ports


def allocations(server: Server) -> Allocations:
    """The server's one set of allocations, made when first needed."""
    held = server.allocations
    if held is None:
        held = Allocations(server.options.service_cluster_ip_range, server.options.service_node_port_range)
        held.load(server.catalog.of("", "services").cache)
        server.storage.listen(held.changed)
        server.allocations = held
    return held


def begin(server: Server, service: core_v1.Service, old: core_v1.Service | None, dry_run: bool) -> Finish:
    """Gives a Service the addresses and ports it needs and does not have yet. Invalid when it asks for what it cannot have."""
    held = allocations(server)
    spec = service.spec
    assert spec is not None and service.metadata is not None
    taking = _Taking(held)
    try:
        _families(held, service, old)
        mine = holdings(old) if old is not None else (set[int](), set[int]())
        taking.addresses(service, mine[0])
        taking.node_ports(service, mine[1])
    except _Refused as refused:
        taking.back()
        raise field.invalid_error("", "Service", service.metadata.name or "", refused.problems) from None
    except errors.ApiError:
        taking.back()
        raise
    if dry_run:
        taking.back()
        return lambda: None
    return taking.back


class _Refused(Exception):
    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = list(problems)


class _Taking:
    """Numbers set aside for one write."""

    def __init__(self, held: Allocations) -> None:
        self._held = held
        self._taken: list[tuple[Counter[int], int]] = []

    def back(self) -> None:
        for counter, number in self._taken:
            counter[number] -= 1
            if counter[number] <= 0:
                del counter[number]
        self._taken.clear()

    def _take(self, counter: Counter[int], number: int) -> None:
        counter[number] += 1
        self._taken.append((counter, number))

    def addresses(self, service: core_v1.Service, mine: set[int]) -> None:
        spec = service.spec
        assert spec is not None
        if spec.type == "ExternalName" or (spec.clusterIPs or [""])[0] == NONE:
            return
        found: list[str] = []
        wanted = spec.clusterIPs or []
        for i, family in enumerate(spec.ipFamilies or ()):
            asked = wanted[i] if i < len(wanted) else ""
            found.append(self._address(service, family, asked, mine))
        spec.clusterIPs = found or None
        spec.clusterIP = found[0] if found else None

    def _address(self, service: core_v1.Service, family: str, asked: str, mine: set[int]) -> str:
        held = self._held
        if not asked:
            number = held.address(family)
            if number is None:
                name = service.metadata.name if service.metadata else ""
                raise errors.internal(f'failed to allocate a serviceIP for Service "{name}": {_FULL}')
            self._take(held.addresses, number)
            return str(ipaddress.ip_address(number) if family == "IPv4" else ipaddress.IPv6Address(number))
        try:
            number = int(ipaddress.ip_address(asked))
        except ValueError:
            return asked
        if number in mine:
            return asked
        why = held.ask_address(asked, family)
        if why:
            assert service.spec is not None
            raise _Refused(field.invalid("spec.clusterIPs", service.spec.clusterIPs, f"failed to allocate IP {asked}: {why}"))
        self._take(held.addresses, number)
        return asked

    def node_ports(self, service: core_v1.Service, mine: set[int]) -> None:
        spec = service.spec
        assert spec is not None
        given: dict[int, int] = {}
        if spec.type in _EXTERNAL:
            for i, port in enumerate(spec.ports or ()):
                if port.nodePort or _needs_ports(spec):
                    self._node_port(spec, i, port, given, mine)
        if needs_health_check(service):
            if not spec.healthCheckNodePort:
                spec.healthCheckNodePort = self._next()
            elif spec.healthCheckNodePort not in mine and (why := self._held.ask_port(spec.healthCheckNodePort)):
                raise errors.internal(f"failed to allocate requested HealthCheck NodePort {spec.healthCheckNodePort}: {why}")
            self._take(self._held.ports, spec.healthCheckNodePort)

    def _node_port(self, spec: core_v1.ServiceSpec, i: int, port: core_v1.ServicePort, given: dict[int, int], mine: set[int]) -> None:
        """One port number serves TCP and UDP of the same Service port."""
        number = port.port or 0
        shared = given.get(number, 0)
        asked = port.nodePort or shared or next((p.nodePort for p in spec.ports or () if p.port == port.port and p.nodePort), 0) or 0
        if not asked:
            asked = self._next()
        elif asked not in mine and asked != shared and (why := self._held.ask_port(asked)):
            raise _Refused(field.invalid(f"spec.ports[{i}].nodePort", asked, why))
        if asked != shared:
            self._take(self._held.ports, asked)
        port.nodePort = asked
        given.setdefault(number, asked)

    def _next(self) -> int:
        number = self._held.port()
        if number is None:
            raise errors.internal(f"failed to allocate a nodePort: {_FULL}")
        return number


def _families(held: Allocations, service: core_v1.Service, old: core_v1.Service | None) -> None:
    """Decides ipFamilyPolicy and ipFamilies."""
    spec = service.spec
    assert spec is not None
    if spec.type == "ExternalName":
        return
    headless = (spec.clusterIP or (spec.clusterIPs or [""])[0]) == NONE
    bare = headless and not spec.selector
    if not spec.ipFamilyPolicy:
        before = old.spec.ipFamilyPolicy if old is not None and old.spec is not None else None
        spec.ipFamilyPolicy = before or ("RequireDualStack" if bare else "SingleStack")
    single = spec.ipFamilyPolicy == "SingleStack"
    if single and old is not None and old.spec is not None:
        if spec.clusterIPs == old.spec.clusterIPs and len(spec.clusterIPs or ()) > 1:
            spec.clusterIPs = (spec.clusterIPs or [])[:1]
        if spec.ipFamilies == old.spec.ipFamilies and len(spec.ipFamilies or ()) > 1:
            spec.ipFamilies = (spec.ipFamilies or [])[:1]
    families = list(spec.ipFamilies or ())
    for i, text in enumerate(spec.clusterIPs or ()):
        if text == NONE:
            break
        family = "IPv6" if ":" in text else "IPv4"
        if i >= len(families):
            if family not in held.networks:
                raise _Refused(field.invalid(f"spec.clusterIPs[{i}]", spec.clusterIPs, f"{family} is not configured on this cluster"))
            families.append(family)
    _check_families(held, spec, families, single=single, bare=bare)
    families = families or [held.default_family]
    other = "IPv6" if families[0] == "IPv4" else "IPv4"
    if not single and len(families) == 1 and (bare or len(held.networks) == 2):
        families.append(other)
    spec.ipFamilies = families


def _check_families(held: Allocations, spec: core_v1.ServiceSpec, families: list[str], *, single: bool, bare: bool) -> None:
    problems: list[Problem] = []
    policy = spec.ipFamilyPolicy
    if single and len(spec.clusterIPs or ()) == 2:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"
        problems.append(field.invalid("spec.ipFamilyPolicy", policy, why))
    if single and len(families) == 2:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        problems.append(field.invalid("spec.ipFamilyPolicy", policy, why))
    if not bare:
        if policy == "RequireDualStack" and len(held.networks) < 2:
            problems.append(field.invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"))
        for i, family in enumerate(families):
            if family not in held.networks:
                problems.append(field.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
    if problems:
        raise _Refused(*problems)
