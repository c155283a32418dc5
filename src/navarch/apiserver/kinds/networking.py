"""networking.k8s.io: NetworkPolicies, Ingresses and their classes, addresses and ranges of Services.

Upstream counterparts: pkg/apis/networking/{v1/defaults.go,validation}, pkg/registry/networking.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.api.networking import v1 as networking_v1
from navarch.apiserver.kinds import checks, workloads
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, Tree, age_of, balancer_addresses, marked_name, name_of, selector_text, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy, again
from navarch.machinery import codec, field, names


def default_network_policy(obj: networking_v1.NetworkPolicy) -> None:
    spec = obj.spec = obj.spec or networking_v1.NetworkPolicySpec()
    spec.podSelector = spec.podSelector or meta_v1.LabelSelector()
    if not spec.policyTypes:
        spec.policyTypes = ["Ingress", "Egress"] if spec.egress else ["Ingress"]
    for rule in (*(spec.ingress or ()), *(spec.egress or ())):
        for port in rule.ports or ():
            port.protocol = port.protocol or "TCP"


def validate_network_policy(obj: networking_v1.NetworkPolicy) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    checks.selector(found, "spec.podSelector", spec.podSelector)
    for i, ingress in enumerate(spec.ingress or ()):
        _policy_ports(found, f"spec.ingress[{i}].ports", ingress.ports)
        for j, peer in enumerate(ingress.from_ or ()):
            _peer(found, f"spec.ingress[{i}].from[{j}]", peer)
    for i, egress in enumerate(spec.egress or ()):
        _policy_ports(found, f"spec.egress[{i}].ports", egress.ports)
        for j, peer in enumerate(egress.to or ()):
            _peer(found, f"spec.egress[{i}].to[{j}]", peer)
    types = spec.policyTypes or []
    if len(types) > 2:
        found.append(field.invalid("spec.policyTypes", types, "may not specify more than two policyTypes"))
    else:
        for i, kind in enumerate(types):
            checks.one_of(found, f"spec.policyTypes[{i}]", kind, ("Ingress", "Egress"))
    return found


def _peer(found: Found, at: str, peer: networking_v1.NetworkPolicyPeer) -> None:
    checks.selector(found, f"{at}.podSelector", peer.podSelector)
    checks.selector(found, f"{at}.namespaceSelector", peer.namespaceSelector)
    selected = peer.podSelector is not None or peer.namespaceSelector is not None
    if peer.ipBlock is not None:
        if not peer.ipBlock.cidr:
            found.append(field.required(f"{at}.ipBlock.cidr"))
        else:
            checks.network(found, f"{at}.ipBlock.cidr", peer.ipBlock.cidr)
        for i, cidr in enumerate(peer.ipBlock.except_ or ()):
            checks.network(found, f"{at}.ipBlock.except[{i}]", cidr)
        if selected:
            found.append(field.forbidden(at, "may not specify both ipBlock and another peer"))
    elif not selected:
        found.append(field.required(at, "must specify a peer"))


def _policy_ports(found: Found, path: str, ports: Sequence[networking_v1.NetworkPolicyPort] | None) -> None:
    for i, port in enumerate(ports or ()):
        checks.one_of(found, f"{path}[{i}].protocol", port.protocol, ("TCP", "UDP", "SCTP"), required=False)
        if port.port is None:
            if port.endPort is not None:
                found.append(field.required(f"{path}[{i}].port", "must be specified when `endPort` is specified"))
            continue
        checks.port(found, f"{path}[{i}].port", port.port)
        if port.endPort is not None:
            if isinstance(port.port, str):
                why = "may not be specified when `port` is non-numeric"
                found.append(field.invalid(f"{path}[{i}].endPort", port.endPort, why))
            elif port.endPort < port.port:
                found.append(field.invalid(f"{path}[{i}].endPort", port.endPort, "must be greater than or equal to `port`"))
            elif not 1 <= port.endPort <= 65535:
                checks.port_number(found, f"{path}[{i}].endPort", port.endPort)


def network_policy_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), selector_text(spec_of(t).get("podSelector") or {}), age_of(t, now)]


def validate_ingress(obj: networking_v1.Ingress) -> Found:
    found: Found = []
    spec = obj.spec
    if spec is None or (not spec.rules and spec.defaultBackend is None):
        return [field.invalid("spec", None, "either `defaultBackend` or `rules` must be specified")]
    if spec.defaultBackend is not None:
        _backend(found, "spec.defaultBackend", spec.defaultBackend)
    for i, rule in enumerate(spec.rules or ()):
        at = f"spec.rules[{i}]"
        if rule.host:
            _host(found, f"{at}.host", rule.host)
        if rule.http is not None:
            if not rule.http.paths:
                found.append(field.required(f"{at}.http.paths"))
            for j, path in enumerate(rule.http.paths or ()):
                _ingress_path(found, f"{at}.http.paths[{j}]", path)
    for i, tls in enumerate(spec.tls or ()):
        for j, host in enumerate(tls.hosts or ()):
            _host(found, f"spec.tls[{i}].hosts[{j}]", host, tls=True)
    if spec.ingressClassName is not None:
        checks.subdomain(found, "spec.ingressClassName", spec.ingressClassName)
    return found


def _ingress_path(found: Found, at: str, path: networking_v1.HTTPIngressPath) -> None:
    if path.pathType is None:
        found.append(field.required(f"{at}.pathType", "pathType must be specified"))
        return
    if path.pathType in ("Exact", "Prefix"):
        text = path.path or ""
        if not text.startswith("/"):
            found.append(field.invalid(f"{at}.path", text, "must be an absolute path"))
        elif text:
            for part in ("//", "/./", "/../", "%2f", "%2F"):
                if part in text:
                    found.append(field.invalid(f"{at}.path", text, f"must not contain '{part}'"))
            for part in ("/..", "/."):
                if text.endswith(part):
                    found.append(field.invalid(f"{at}.path", text, f"cannot end with '{part}'"))
    elif path.pathType == "ImplementationSpecific":
        if path.path and not path.path.startswith("/"):
            found.append(field.invalid(f"{at}.path", path.path, "must be an absolute path"))
    else:
        found.append(field.not_supported(f"{at}.pathType", path.pathType, ("Exact", "ImplementationSpecific", "Prefix")))
    if path.backend is not None:
        _backend(found, f"{at}.backend", path.backend)


_WILDCARD = r"\*(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+"


def _host(found: Found, path: str, host: str, *, tls: bool = False) -> None:
    if not tls and names.is_ip(host):
        found.append(field.invalid(path, host, "must be a DNS name, not an IP address"))
        return
    if "*" in host:
        if not re.fullmatch(_WILDCARD, host):
            what = (
                "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower "
                "case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
            )
            form = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
            found.append(field.invalid(path, host, names.regex_message(what, form, "*.example.com")))
    else:
        checks.subdomain(found, path, host)


def _backend(found: Found, at: str, backend: networking_v1.IngressBackend) -> None:
    if backend.resource is not None and backend.service is not None:
        return found.append(field.invalid(at, "", "cannot set both resource and service backends"))
    if backend.resource is not None:
        if not backend.resource.kind:
            found.append(field.required(f"{at}.resource.kind"))
        if not backend.resource.name:
            found.append(field.required(f"{at}.resource.name"))
        return None
    service = backend.service
    if service is None:
        return found.append(field.required(at, "resource or service backend is required"))
    if not service.name:
        found.append(field.required(f"{at}.service.name"))
    else:
        found += (field.invalid(f"{at}.service.name", service.name, p) for p in names.dns_label_1035(service.name))
    port = service.port
    if port is None or (not port.name and not port.number):
        return found.append(field.required(at, "port name or number is required"))
    if port.name and port.number:
        return found.append(field.invalid(at, "", "cannot set both port name & port number"))
    if port.name:
        found += (field.invalid(f"{at}.service.port.name", port.name, p) for p in names.port_name(port.name))
    elif port.number:
        checks.port_number(found, f"{at}.service.port.number", port.number)
    return None


def ingress_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    rules = spec.get("rules") or ()
    hosts = [r["host"] for r in rules if r.get("host")]
    shown = ",".join(hosts[:3]) or "*"
    if len(hosts) >= 3 and len(rules) > 3:
        shown = f"{shown} + {len(rules) - 3} more..."
    ports = "80, 443" if spec.get("tls") else "80"
    return [name_of(t, now), spec.get("ingressClassName") or NOTHING, shown, ",".join(balancer_addresses(status_of(t))), ports, age_of(t, now)]


def default_ingress_class(obj: networking_v1.IngressClass) -> None:
    parameters = obj.spec.parameters if obj.spec else None
    if parameters is not None:
        parameters.scope = parameters.scope or "Cluster"


def validate_ingress_class(obj: networking_v1.IngressClass) -> Found:
    found: Found = []
    controller = obj.spec.controller if obj.spec else None
    if not controller:
        found.append(field.required("spec.controller"))
    elif "/" not in controller:
        found.append(field.invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    return found


def ingress_class_row(t: Tree, now: float) -> list[Any]:
    spec = spec_of(t)
    p = spec.get("parameters")
    shown = NOTHING
    if p:
        shown = f"{p.get('kind', '')}.{p['apiGroup']}/{p.get('name', '')}" if p.get("apiGroup") else f"{p.get('kind', '')}/{p.get('name', '')}"
    return [marked_name(t, now, "ingressclass.kubernetes.io/is-default-class"), spec.get("controller", ""), shown, age_of(t, now)]


def validate_ip_address(obj: networking_v1.IPAddress) -> Found:
    found: Found = []
    ref = obj.spec.parentRef if obj.spec else None
    if ref is None:
        return [field.required("spec.parentRef")]
    if not ref.resource:
        found.append(field.required("spec.parentRef.resource"))
    if not ref.name:
        found.append(field.required("spec.parentRef.name"))
    return found


def validate_ip_address_update(new: networking_v1.IPAddress, old: networking_v1.IPAddress) -> Found:
    found = validate_ip_address(new)
    if new.spec != old.spec:
        found.append(field.invalid("spec.parentRef", codec.to_tree(new.spec) if new.spec else None, checks.IMMUTABLE))
    return found


def ip_address_row(t: Tree, now: float) -> list[Any]:
    ref = spec_of(t).get("parentRef")
    shown = NOTHING
    if ref:
        group = f".{ref['group']}" if ref.get("group") else ""
        where = f"/{ref['namespace']}" if ref.get("namespace") else ""
        shown = f"{ref.get('resource', '')}{group}".lower() + f"{where}/{ref.get('name', '')}"
    return [name_of(t, now), shown, age_of(t, now)]


def address_name(value: str) -> tuple[str, ...]:
    """An IPAddress is named by the address it stands for, in the one canonical way to write it."""
    try:
        held = ipaddress.ip_address(value)
    except ValueError:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    return () if str(held) == value else (f'must be in canonical form ("{held}")',)


def validate_service_cidr(obj: networking_v1.ServiceCIDR) -> Found:
    found: Found = []
    cidrs = (obj.spec.cidrs or []) if obj.spec else []
    if not cidrs:
        found.append(field.required("spec.cidrs", "at least one CIDR required"))
    elif len(cidrs) > 2:
        found.append(field.invalid("spec.cidrs", cidrs, "may only hold up to 2 values"))
    elif len(cidrs) == 2 and len({":" in c for c in cidrs}) != 2:
        found.append(field.invalid("spec.cidrs", cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96"))
    for i, cidr in enumerate(cidrs):
        checks.network(found, f"spec.cidrs[{i}]", cidr)
    return found


def validate_service_cidr_update(new: networking_v1.ServiceCIDR, old: networking_v1.ServiceCIDR) -> Found:
    """Nothing may change, but a range of the other family may be added."""
    now, before = ((obj.spec.cidrs or []) if obj.spec else [] for obj in (new, old))
    if len(now) == len(before):
        return [field.invalid(f"spec.cidrs[{i}]", cidr, checks.IMMUTABLE) for i, cidr in enumerate(now) if cidr != before[i]]
    if (len(before), len(now)) != (1, 2):
        return [field.invalid("spec.cidrs", now, checks.IMMUTABLE)]
    found = [] if now[0] == before[0] else [field.invalid("spec.cidrs[0]", now[0], checks.IMMUTABLE)]
    return found + validate_service_cidr(new)


def service_cidr_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), ",".join(spec_of(t).get("cidrs") or ()), age_of(t, now)]


GROUP = "networking.k8s.io"

KINDS: dict[Key, Strategy] = {
    (GROUP, "networkpolicies"): Strategy(
        default=default_network_policy,
        validate=validate_network_policy,
        validate_update=again(validate_network_policy),
        generation=True,
        columns=sheet("Name|Pod-Selector|Age", network_policy_row),
    ),
    (GROUP, "ingresses"): Strategy(
        prepare_create=workloads.blank_status(lambda: networking_v1.IngressStatus(loadBalancer=networking_v1.IngressLoadBalancerStatus())),
        validate=validate_ingress,
        validate_update=again(validate_ingress),
        generation=True,
        columns=sheet("Name|Class|Hosts|Address|Ports|Age", ingress_row),
    ),
    (GROUP, "ingressclasses"): Strategy(
        default=default_ingress_class,
        validate=validate_ingress_class,
        validate_update=again(validate_ingress_class),
        generation=True,
        columns=sheet("Name|Controller|Parameters|Age", ingress_class_row),
    ),
    (GROUP, "ipaddresses"): Strategy(
        validate=validate_ip_address,
        validate_update=validate_ip_address_update,
        name=address_name,
        columns=sheet("Name|ParentRef|Age", ip_address_row),
    ),
    (GROUP, "servicecidrs"): Strategy(
        prepare_create=workloads.blank_status(networking_v1.ServiceCIDRStatus),
        validate=validate_service_cidr,
        validate_update=validate_service_cidr_update,
        columns=sheet("Name|CIDRs|Age", service_cidr_row),
    ),
}
