"""The addresses and node ports a Service is given: which it asks for, which it needs, and in which families.

Upstream counterpart: pkg/registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds.strategy import Finish, Numbers
from navarch.machinery import errors, field
from navarch.machinery.field import Problem

HEADLESS = "None"
"""A cluster address that says there is none."""
EXTERNAL_TYPES = ("NodePort", "LoadBalancer")
_FULL = "range is full"


def needs_health_check(service: core_v1.Service) -> bool:
    spec = service.spec
    return spec is not None and spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"


def needs_ports(spec: core_v1.ServiceSpec) -> bool:
    return spec.type == "NodePort" or (spec.type == "LoadBalancer" and spec.allocateLoadBalancerNodePorts is not False)


class Holdings(NamedTuple):
    """The addresses, as IPAddresses are named, and the node ports of a Service."""

    addresses: frozenset[str]
    ports: frozenset[int]


NONE = Holdings(frozenset(), frozenset())


class _Port(msgspec.Struct, gc=False):
    nodePort: int | None = None


class _Spec(msgspec.Struct, gc=False):
    type: str | None = None
    clusterIP: str | None = None
    clusterIPs: list[str] | None = None
    ports: list[_Port] | None = None
    healthCheckNodePort: int | None = None


class _Held(msgspec.Struct, gc=False):
    """What of a Service says which numbers it holds."""

    spec: _Spec | None = None


_decoder = msgspec.json.Decoder(_Held)
decode = _decoder.decode


def holdings(service: core_v1.Service | _Held) -> Holdings:
    """What a Service holds."""
    spec = service.spec
    if spec is None or spec.type == "ExternalName":
        return NONE
    texts = [t for t in (spec.clusterIPs or ([spec.clusterIP] if spec.clusterIP else [])) if t and t != HEADLESS]
    ports = {p.nodePort for p in spec.ports or () if p.nodePort}
    if spec.healthCheckNodePort:
        ports.add(spec.healthCheckNodePort)
    return Holdings(frozenset(str(ipaddress.ip_address(t)) if ":" in t else t for t in texts), frozenset(ports))


def allocate(numbers: Numbers, service: core_v1.Service, old: core_v1.Service | None, dry_run: bool) -> Finish:
    """Gives a Service the addresses and ports it needs and does not have yet. Invalid when it asks for what it cannot have."""
    spec = service.spec
    assert spec is not None and service.metadata is not None
    taking = _Taking(numbers)
    try:
        _families(numbers, service, old)
        mine = holdings(old) if old is not None else NONE
        taking.addresses(service, mine.addresses)
        taking.node_ports(service, mine.ports)
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

    def __init__(self, held: Numbers) -> None:
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

    def addresses(self, service: core_v1.Service, mine: AbstractSet[str]) -> None:
        spec = service.spec
        assert spec is not None
        if spec.type == "ExternalName" or (spec.clusterIPs or [""])[0] == HEADLESS:
            return
        found: list[str] = []
        wanted = spec.clusterIPs or []
        for i, family in enumerate(spec.ipFamilies or ()):
            asked = wanted[i] if i < len(wanted) else ""
            found.append(self._address(service, family, asked, mine))
        spec.clusterIPs = found or None
        spec.clusterIP = found[0] if found else None

    def _address(self, service: core_v1.Service, family: str, asked: str, mine: AbstractSet[str]) -> str:
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
        if str(ipaddress.ip_address(number) if family == "IPv4" else ipaddress.IPv6Address(number)) in mine:
            return asked
        why = held.refuse_address(asked, family)
        if why:
            assert service.spec is not None
            raise _Refused(field.invalid("spec.clusterIPs", service.spec.clusterIPs, f"failed to allocate IP {asked}: {why}"))
        self._take(held.addresses, number)
        return asked

    def node_ports(self, service: core_v1.Service, mine: AbstractSet[int]) -> None:
        spec = service.spec
        assert spec is not None
        given: dict[int, int] = {}
        if spec.type in EXTERNAL_TYPES:
            for i, port in enumerate(spec.ports or ()):
                if port.nodePort or needs_ports(spec):
                    self._node_port(spec, i, port, given, mine)
        if needs_health_check(service):
            if not spec.healthCheckNodePort:
                spec.healthCheckNodePort = self._next()
            elif spec.healthCheckNodePort not in mine and (why := self._held.refuse_port(spec.healthCheckNodePort)):
                raise errors.internal(f"failed to allocate requested HealthCheck NodePort {spec.healthCheckNodePort}: {why}")
            self._take(self._held.ports, spec.healthCheckNodePort)

    def _node_port(self, spec: core_v1.ServiceSpec, i: int, port: core_v1.ServicePort, given: dict[int, int], mine: AbstractSet[int]) -> None:
        """One port number serves TCP and UDP of the same Service port."""
        number = port.port or 0
        shared = given.get(number, 0)
        asked = port.nodePort or shared or next((p.nodePort for p in spec.ports or () if p.port == port.port and p.nodePort), 0) or 0
        if not asked:
            asked = self._next()
        elif asked not in mine and asked != shared and (why := self._held.refuse_port(asked)):
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


def _families(held: Numbers, service: core_v1.Service, old: core_v1.Service | None) -> None:
    """Decides ipFamilyPolicy and ipFamilies."""
    spec = service.spec
    assert spec is not None
    if spec.type == "ExternalName":
        return
    headless = (spec.clusterIP or (spec.clusterIPs or [""])[0]) == HEADLESS
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
        if text == HEADLESS:
            break
        family = "IPv6" if ":" in text else "IPv4"
        if i >= len(families):
            if family not in held.families:
                raise _Refused(field.invalid(f"spec.clusterIPs[{i}]", spec.clusterIPs, f"{family} is not configured on this cluster"))
            families.append(family)
    _check_families(held, spec, families, single=single, bare=bare)
    families = families or [held.families[0]]
    other = "IPv6" if families[0] == "IPv4" else "IPv4"
    if not single and len(families) == 1 and (bare or len(held.families) == 2):
        families.append(other)
    spec.ipFamilies = families


def _check_families(held: Numbers, spec: core_v1.ServiceSpec, families: list[str], *, single: bool, bare: bool) -> None:
    problems: list[Problem] = []
    policy = spec.ipFamilyPolicy
    if single and len(spec.clusterIPs or ()) == 2:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified"
        problems.append(field.invalid("spec.ipFamilyPolicy", policy, why))
    if single and len(families) == 2:
        why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        problems.append(field.invalid("spec.ipFamilyPolicy", policy, why))
    if not bare:
        if policy == "RequireDualStack" and len(held.families) < 2:
            problems.append(field.invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"))
        for i, family in enumerate(families):
            if family not in held.families:
                problems.append(field.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
    if problems:
        raise _Refused(*problems)
