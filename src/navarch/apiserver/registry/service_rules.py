"""Rules of Services.

Upstream counterpart: validateService and ValidateServiceUpdate in pkg/apis/core/validation.
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.apiserver.registry import checks
from navarch.apiserver.registry.checks import Found
from navarch.apiserver.registry.services import NONE, needs_health_check
from navarch.lib import inet
from navarch.machinery import field

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_FAMILIES = ("IPv4", "IPv6")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_SET_ONCE = "may not change once set"
_BALANCED = "may only be used when `type` is 'LoadBalancer'"
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")


def create(service: core_v1.Service) -> Found:
    """Problems of a Service whose addresses and ports have been given."""
    found: Found = []
    spec = service.spec
    assert spec is not None
    headless = (spec.clusterIPs or [""])[0] == NONE
    if not spec.ports and not headless and spec.type != "ExternalName":
        found.append(field.required("spec.ports"))
    _by_type(found, spec, headless=headless)
    _ports(found, spec)
    checks.labels(found, "spec.selector", spec.selector)
    _affinity(found, spec)
    addresses(found, spec)
    for i, ip in enumerate(spec.externalIPs or ()):
        before = len(found)
        checks.address(found, f"spec.externalIPs[{i}]", ip)
        if len(found) == before:
            endpoint_address(found, f"spec.externalIPs[{i}]", ip)
    checks.one_of(found, "spec.type", spec.type, _TYPES)
    _numbers(found, spec)
    _balancer(found, spec)
    _traffic(found, service, spec)
    return found


def _by_type(found: Found, spec: core_v1.ServiceSpec, *, headless: bool) -> None:
    if spec.type in ("LoadBalancer", "NodePort"):
        if headless:
            found.append(field.invalid("spec.clusterIPs[0]", NONE, f"may not be set to 'None' for {spec.type} services"))
    elif spec.type == "ExternalName":
        for part in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if getattr(spec, part):
                found.append(field.forbidden(f"spec.{part}", "may not be set for ExternalName services"))
        name = (spec.externalName or "").removesuffix(".")
        if name:
            checks.subdomain(found, "spec.externalName", name)
        else:
            found.append(field.required("spec.externalName"))


def _ports(found: Found, spec: core_v1.ServiceSpec) -> None:
    ports = spec.ports or []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        at = f"spec.ports[{i}]"
        if port.name:
            checks.label(found, f"{at}.name", port.name)
            if port.name in seen:
                found.append(field.duplicate(f"{at}.name", port.name))
            seen.add(port.name)
        elif len(ports) > 1:
            found.append(field.required(f"{at}.name"))
        checks.port_number(found, f"{at}.port", port.port or 0)
        checks.one_of(found, f"{at}.protocol", port.protocol, _PROTOCOLS)
        checks.port(found, f"{at}.targetPort", port.targetPort)
        if port.appProtocol is not None:
            checks.qualified(found, f"{at}.appProtocol", port.appProtocol)


def _affinity(found: Found, spec: core_v1.ServiceSpec) -> None:
    checks.one_of(found, "spec.sessionAffinity", spec.sessionAffinity, ("ClientIP", "None"))
    held = spec.sessionAffinityConfig
    if spec.sessionAffinity == "ClientIP":
        seconds = held.clientIP.timeoutSeconds if held is not None and held.clientIP is not None else None
        path = "spec.sessionAffinityConfig"
        if seconds is None:
            found.append(field.required(path, "when session affinity type is ClientIP"))
        elif not 0 < seconds <= 86400:
            found.append(field.invalid(f"{path}.clientIP.timeoutSeconds", seconds, "must be greater than 0 and less than 86400"))
    elif spec.sessionAffinity == "None" and held is not None:
        found.append(field.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None"))


def addresses(found: Found, spec: core_v1.ServiceSpec) -> None:
    """clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy among themselves."""
    if spec.type == "ExternalName":
        return
    held = spec.clusterIPs or []
    if spec.clusterIP:
        if not held:
            found.append(field.required("spec.clusterIPs"))
        elif held[0] != spec.clusterIP:
            found.append(field.invalid("spec.clusterIPs", held, "first value must match `clusterIP`"))
    elif held:
        found.append(field.invalid("spec.clusterIPs", held, "must be empty when `clusterIP` is not specified"))
    families = spec.ipFamilies or []
    for i, family in enumerate(families):
        checks.one_of(found, f"spec.ipFamilies[{i}]", family, _FAMILIES)
        if family in families[:i]:
            found.append(field.duplicate(f"spec.ipFamilies[{i}]", family))
    checks.one_of(found, "spec.ipFamilyPolicy", spec.ipFamilyPolicy, _POLICIES, required=False)
    before = len(found)
    for i, ip in enumerate(held):
        if i == 0 and ip == NONE:
            if len(held) > 1:
                found.append(field.invalid("spec.clusterIPs", held, "'None' must be the first and only value"))
            continue
        checks.address(found, f"spec.clusterIPs[{i}]", ip)
    bad = len(found) != before
    if len(held) > 2:
        found.append(field.invalid("spec.clusterIPs", held, "may only hold up to 2 values"))
    if bad:
        return
    if len(held) > 1 and len({":" in ip for ip in held}) != 2:
        found.append(field.invalid("spec.clusterIPs", held, "may specify no more than one IP for each IP family"))
    for i, (ip, family) in enumerate(zip(held, families, strict=False)):
        if ip != NONE and family in _FAMILIES and (":" in ip) != (family == "IPv6"):
            found.append(field.invalid(f"spec.clusterIPs[{i}]", ip, f"expected an {family} value as indicated by `ipFamilies[{i}]`"))


def endpoint_address(found: Found, path: str, ip: str) -> None:
    """An address that traffic may be sent to."""
    held = inet.parse(ip)
    if held is None:
        found.append(field.invalid(path, ip, "must be a valid IP address"))
        return
    if held.is_unspecified:
        found.append(field.invalid(path, ip, f"may not be unspecified ({ip})"))
    if held.is_loopback:
        found.append(field.invalid(path, ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if held.is_link_local:
        found.append(field.invalid(path, ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if inet.is_link_local_multicast(held):
        found.append(field.invalid(path, ip, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))


def _numbers(found: Found, spec: core_v1.ServiceSpec) -> None:
    ports = spec.ports or ()
    if spec.type == "ClusterIP":
        for i, port in enumerate(ports):
            if port.nodePort:
                found.append(field.forbidden(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'"))
    outside: set[tuple[str | None, int]] = set()
    inside: set[tuple[str | None, int | None]] = set()
    for i, port in enumerate(ports):
        if port.nodePort:
            if (port.protocol, port.nodePort) in outside:
                found.append(field.duplicate(f"spec.ports[{i}].nodePort", port.nodePort))
            outside.add((port.protocol, port.nodePort))
    for i, port in enumerate(ports):
        if (port.protocol, port.port) in inside:
            shown = {"Name": "", "Protocol": port.protocol, "AppProtocol": None, "Port": port.port, "TargetPort": 0, "NodePort": 0}
            found.append(field.duplicate(f"spec.ports[{i}]", shown))
        inside.add((port.protocol, port.port))


def _balancer(found: Found, spec: core_v1.ServiceSpec) -> None:
    if spec.loadBalancerSourceRanges:
        if spec.type != "LoadBalancer":
            found.append(field.forbidden("spec.LoadBalancerSourceRanges", _BALANCED))
        for i, cidr in enumerate(spec.loadBalancerSourceRanges):
            checks.network(found, f"spec.LoadBalancerSourceRanges[{i}]", cidr.strip())
    if spec.allocateLoadBalancerNodePorts is not None and spec.type != "LoadBalancer":
        found.append(field.forbidden("spec.allocateLoadBalancerNodePorts", _BALANCED))
    if spec.loadBalancerClass is not None:
        if spec.type == "LoadBalancer":
            checks.qualified(found, "spec.loadBalancerClass", spec.loadBalancerClass)
        else:
            found.append(field.forbidden("spec.loadBalancerClass", _BALANCED))


def _traffic(found: Found, service: core_v1.Service, spec: core_v1.ServiceSpec) -> None:
    accessible = spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(spec.externalIPs))
    if accessible:
        checks.one_of(found, "spec.externalTrafficPolicy", spec.externalTrafficPolicy, ("Cluster", "Local"))
    elif spec.externalTrafficPolicy:
        why = "may only be set for externally-accessible services"
        found.append(field.invalid("spec.externalTrafficPolicy", spec.externalTrafficPolicy, why))
    if needs_health_check(service):
        if not spec.healthCheckNodePort:
            found.append(field.required("spec.healthCheckNodePort"))
        else:
            checks.port_number(found, "spec.healthCheckNodePort", spec.healthCheckNodePort)
    elif spec.healthCheckNodePort:
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(field.invalid("spec.healthCheckNodePort", spec.healthCheckNodePort, why))
    needed = spec.type in ("NodePort", "LoadBalancer", "ClusterIP")
    checks.one_of(found, "spec.internalTrafficPolicy", spec.internalTrafficPolicy, ("Cluster", "Local"), required=needed)
    if spec.trafficDistribution is not None:
        checks.one_of(found, "spec.trafficDistribution", spec.trafficDistribution, _DISTRIBUTIONS)


def update(new: core_v1.Service, old: core_v1.Service) -> Found:
    """Problems of changing a Service."""
    found: Found = []
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None
    if spec.type != "ExternalName" and before.type != "ExternalName":
        _kept(found, spec, before)
    if spec.type == before.type == "LoadBalancer" and spec.loadBalancerClass != before.loadBalancerClass:
        found.append(field.invalid("spec.loadBalancerClass", spec.loadBalancerClass, _SET_ONCE))
    if needs_health_check(new) and needs_health_check(old) and spec.healthCheckNodePort != before.healthCheckNodePort:
        found.append(field.forbidden("spec.healthCheckNodePort", checks.IMMUTABLE))
    return found + create(new)


def _kept(found: Found, spec: core_v1.ServiceSpec, before: core_v1.ServiceSpec) -> None:
    """Addresses and families, once given, stay; only a secondary one comes and goes."""
    new, old = spec.clusterIPs or [], before.clusterIPs or []
    if len(new) == len(old):
        found += (field.invalid(f"spec.clusterIPs[{i}]", new, _SET_ONCE) for i, ip in enumerate(old) if ip != new[i])
    elif not new:
        found.append(field.invalid("spec.clusterIPs[0]", new, "primary clusterIP can not be unset"))
    elif old and new[0] != old[0]:
        found.append(field.invalid("spec.clusterIPs[0]", new, _SET_ONCE))
    fresh, held = spec.ipFamilies or [], before.ipFamilies or []
    if fresh and held and fresh[0] != held[0] and old[:1] != [NONE]:
        found.append(field.invalid("spec.ipFamilies[0]", fresh, _SET_ONCE))
