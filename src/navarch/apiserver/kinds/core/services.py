"""Services: defaults, the addresses and ports each is given, rules.

Upstream counterparts: pkg/apis/core/v1/defaults.go, pkg/registry/core/service/{strategy,storage/alloc}.go, validateService in
pkg/apis/core/validation.
"""

from __future__ import annotations

from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, UNKNOWN, Tree, age_of, balancer_addresses, label_text, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.core.service_numbers import EXTERNAL_TYPES, HEADLESS, allocate, needs_health_check, needs_ports
from navarch.apiserver.kinds.strategy import Key, Strategy, selectable
from navarch.machinery import field, names

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_FAMILIES = ("IPv4", "IPv6")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_SET_ONCE = "may not change once set"
_BALANCED = "may only be used when `type` is 'LoadBalancer'"


def default_service(obj: core_v1.Service) -> None:
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
    accessible = spec.type in EXTERNAL_TYPES or (spec.type == "ClusterIP" and bool(spec.externalIPs))
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


def prepare_service(obj: core_v1.Service, now: float) -> None:
    obj.status = core_v1.ServiceStatus(loadBalancer=core_v1.LoadBalancerStatus())
    assert obj.spec is not None
    if obj.spec.clusterIP and not obj.spec.clusterIPs:
        obj.spec.clusterIPs = [obj.spec.clusterIP]
    _drop_type_dependent(obj.spec, None)


def _drop_type_dependent(spec: core_v1.ServiceSpec, old: core_v1.Service | None) -> None:
    """What the new type has no use for goes, unless the client changed it in the same write (then validation speaks)."""
    before = old.spec if old is not None else None
    if before is None:
        return
    if not _needs_address(spec) and _needs_address(before):
        if spec.clusterIP == before.clusterIP:
            spec.clusterIP = spec.clusterIPs = None
        spec.ipFamilies = spec.ipFamilyPolicy = spec.internalTrafficPolicy = None
    if not needs_ports(spec) and needs_ports(before):
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
    accessible = spec.type in EXTERNAL_TYPES or (spec.type == "ClusterIP" and bool(spec.externalIPs))
    if not accessible and spec.externalTrafficPolicy == before.externalTrafficPolicy:
        spec.externalTrafficPolicy = None
    if spec.type != "ExternalName" and before.type == "ExternalName" and spec.externalName == before.externalName:
        spec.externalName = None


def prepare_service_update(new: core_v1.Service, old: core_v1.Service, now: float) -> None:
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
    if needs_ports(spec) and needs_ports(before):
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


def _needs_address(spec: core_v1.ServiceSpec) -> bool:
    return spec.type != "ExternalName"


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


def prepare_service_status(new: core_v1.Service, old: core_v1.Service, now: float) -> None:
    default_service(old)
    new.status = new.status or core_v1.ServiceStatus()
    new.status.loadBalancer = new.status.loadBalancer or core_v1.LoadBalancerStatus()
    for ingress in new.status.loadBalancer.ingress or ():
        if ingress.ip and not ingress.ipMode:
            ingress.ipMode = "VIP"


def validate_service(service: core_v1.Service) -> Found:
    """Problems of a Service whose addresses and ports have been given."""
    found: Found = []
    spec = service.spec
    assert spec is not None
    headless = (spec.clusterIPs or [""])[0] == HEADLESS
    if not spec.ports and not headless and spec.type != "ExternalName":
        found.append(field.required("spec.ports"))
    _by_type(found, spec, headless=headless)
    _check_ports(found, spec)
    checks.labels(found, "spec.selector", spec.selector)
    _affinity(found, spec)
    addresses(found, spec)
    for i, ip in enumerate(spec.externalIPs or ()):
        before = len(found)
        checks.address(found, f"spec.externalIPs[{i}]", ip)
        if len(found) == before:
            checks.endpoint_address(found, f"spec.externalIPs[{i}]", ip)
    checks.one_of(found, "spec.type", spec.type, _TYPES)
    _numbers(found, spec)
    _check_balancer(found, spec)
    _traffic(found, service, spec)
    return found


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
        if i == 0 and ip == HEADLESS:
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
        if ip != HEADLESS and family in _FAMILIES and (":" in ip) != (family == "IPv6"):
            found.append(field.invalid(f"spec.clusterIPs[{i}]", ip, f"expected an {family} value as indicated by `ipFamilies[{i}]`"))


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


def _by_type(found: Found, spec: core_v1.ServiceSpec, *, headless: bool) -> None:
    if spec.type in ("LoadBalancer", "NodePort"):
        if headless:
            found.append(field.invalid("spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {spec.type} services"))
    elif spec.type == "ExternalName":
        for part in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if getattr(spec, part):
                found.append(field.forbidden(f"spec.{part}", "may not be set for ExternalName services"))
        name = (spec.externalName or "").removesuffix(".")
        if name:
            checks.subdomain(found, "spec.externalName", name)
        else:
            found.append(field.required("spec.externalName"))


def validate_service_update(new: core_v1.Service, old: core_v1.Service) -> Found:
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
    return found + validate_service(new)


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
    if fresh and held and fresh[0] != held[0] and old[:1] != [HEADLESS]:
        found.append(field.invalid("spec.ipFamilies[0]", fresh, _SET_ONCE))


def service_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    addresses = spec.get("clusterIPs") or [NOTHING]
    external = _external(spec, status_of(t))
    head = [name_of(t, now), spec.get("type", ""), addresses[0], external, _port_text(spec), age_of(t, now)]
    return [*head, label_text(spec.get("selector"))]


def _external(spec: Tree, status: Tree) -> str:
    kind, own = spec.get("type"), spec.get("externalIPs") or []
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        found = [*balancer_addresses(status), *own]
        return ",".join(found) or "<pending>"
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(own) or NOTHING
    return UNKNOWN


def _check_ports(found: Found, spec: core_v1.ServiceSpec) -> None:
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
        checks.one_of(found, f"{at}.protocol", port.protocol, checks.PROTOCOLS)
        checks.port(found, f"{at}.targetPort", port.targetPort)
        if port.appProtocol is not None:
            checks.qualified(found, f"{at}.appProtocol", port.appProtocol)


def _port_text(spec: Tree) -> str:
    parts = []
    for port in spec.get("ports") or ():
        number, protocol = port.get("port"), port.get("protocol", "")
        parts.append(f"{number}:{port['nodePort']}/{protocol}" if port.get("nodePort") else f"{number}/{protocol}")
    return ",".join(parts) or NOTHING


def _check_balancer(found: Found, spec: core_v1.ServiceSpec) -> None:
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


KINDS: dict[Key, Strategy] = {
    ("", "services"): Strategy(
        default=default_service,
        prepare_create=prepare_service,
        prepare_update=prepare_service_update,
        prepare_status=prepare_service_status,
        allocate=allocate,
        validate=validate_service,
        validate_update=validate_service_update,
        name=names.dns_label,
        create_on_update=True,
        returns_deleted=True,
        columns=sheet("Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector*", service_row),
        selectable=selectable("spec.clusterIP", "spec.type"),
    )
}
