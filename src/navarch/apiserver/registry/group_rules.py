"""Rules of the smaller groups: discovery, networking, policy, autoscaling, RBAC, coordination, scheduling, storage, node,
certificates, admission configuration.

Upstream counterparts: pkg/apis/{discovery,networking,policy,autoscaling,rbac,coordination,scheduling,storage,node,certificates,
admissionregistration}/validation.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.autoscaling import v2 as autoscaling_v2
from navarch.api.certificates import v1 as certificates_v1
from navarch.api.coordination import v1 as coordination_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.networking import v1 as networking_v1
from navarch.api.node import v1 as node_v1
from navarch.api.policy import v1 as policy_v1
from navarch.api.rbac import v1 as rbac_v1
from navarch.api.scheduling import v1 as scheduling_v1
from navarch.api.storage import v1 as storage_v1
from navarch.apiserver.registry import checks, service_rules
from navarch.apiserver.registry.checks import Found
from navarch.lib import inet
from navarch.machinery import codec, field, names

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_RBAC = "rbac.authorization.k8s.io"

# ---- discovery ----


def endpoint_slice(obj: discovery_v1.EndpointSlice) -> Found:
    found: Found = []
    checks.one_of(found, "addressType", obj.addressType, ("FQDN", "IPv4", "IPv6"))
    seen: set[str | None] = set()
    for i, port in enumerate(obj.ports or ()):
        if port.name and (problems := names.dns_label(port.name)):
            found += (field.invalid(f"ports[{i}].name", port.name, p) for p in problems)
        if port.name in seen:
            found.append(field.duplicate(f"ports[{i}].name", port.name))
        seen.add(port.name)
        checks.one_of(found, f"ports[{i}].protocol", port.protocol, _PROTOCOLS)
        if port.port is not None and port.port != 0:
            checks.port_number(found, f"ports[{i}].port", port.port)
        if port.appProtocol is not None:
            checks.qualified(found, f"ports[{i}].appProtocol", port.appProtocol)
    if len(obj.endpoints or ()) > 1000:
        found.append(field.too_many("endpoints", len(obj.endpoints or ()), 1000))
    for i, endpoint in enumerate(obj.endpoints or ()):
        _endpoint(found, f"endpoints[{i}]", endpoint, obj.addressType)
    return found


def _endpoint(found: Found, at: str, endpoint: discovery_v1.Endpoint, kind: str | None) -> None:
    addresses = endpoint.addresses or []
    if not addresses:
        found.append(field.required(f"{at}.addresses", "must contain at least 1 address"))
    elif len(addresses) > 100:
        found.append(field.too_many(f"{at}.addresses", len(addresses), 100))
    for i, address in enumerate(addresses):
        path = f"{at}.addresses[{i}]"
        if kind == "FQDN":
            checks.subdomain(found, path, address)
            continue
        before = len(found)
        checks.address(found, path, address)
        if len(found) == before:
            if kind in ("IPv4", "IPv6") and kind != f"IPv{inet.version(address)}":
                found.append(field.invalid(f"{at}.addresses", address, f"must be an {kind} address"))
            service_rules.endpoint_address(found, path, address)
    if endpoint.nodeName is not None:
        checks.subdomain(found, f"{at}.nodeName", endpoint.nodeName)
    if endpoint.hostname is not None:
        checks.label(found, f"{at}.hostname", endpoint.hostname)


def endpoint_slice_update(new: discovery_v1.EndpointSlice, old: discovery_v1.EndpointSlice) -> Found:
    found: Found = []
    if new.endpoints != old.endpoints or new.ports != old.ports or new.addressType != old.addressType:
        found += endpoint_slice(new)
    checks.same(found, "addressType", new.addressType, old.addressType)
    return found


# ---- networking ----


def network_policy(obj: networking_v1.NetworkPolicy) -> Found:
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


def ingress(obj: networking_v1.Ingress) -> Found:
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


def ingress_class(obj: networking_v1.IngressClass) -> Found:
    found: Found = []
    controller = obj.spec.controller if obj.spec else None
    if not controller:
        found.append(field.required("spec.controller"))
    elif "/" not in controller:
        found.append(field.invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    return found


def address_name(value: str) -> tuple[str, ...]:
    """An IPAddress is named by the address it stands for, in the one canonical way to write it."""
    try:
        held = ipaddress.ip_address(value)
    except ValueError:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    return () if str(held) == value else (f'must be in canonical form ("{held}")',)


def ip_address(obj: networking_v1.IPAddress) -> Found:
    found: Found = []
    ref = obj.spec.parentRef if obj.spec else None
    if ref is None:
        return [field.required("spec.parentRef")]
    if not ref.resource:
        found.append(field.required("spec.parentRef.resource"))
    if not ref.name:
        found.append(field.required("spec.parentRef.name"))
    return found


def ip_address_update(new: networking_v1.IPAddress, old: networking_v1.IPAddress) -> Found:
    found = ip_address(new)
    if new.spec != old.spec:
        found.append(field.invalid("spec.parentRef", codec.to_tree(new.spec) if new.spec else None, checks.IMMUTABLE))
    return found


def service_cidr(obj: networking_v1.ServiceCIDR) -> Found:
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


def service_cidr_update(new: networking_v1.ServiceCIDR, old: networking_v1.ServiceCIDR) -> Found:
    found = service_cidr(new)
    if new.spec != old.spec:
        found.append(field.invalid("spec.cidrs", (new.spec.cidrs if new.spec else None), checks.IMMUTABLE))
    return found


# ---- policy and autoscaling ----


def budget(obj: policy_v1.PodDisruptionBudget) -> Found:
    found: Found = []
    spec = obj.spec or policy_v1.PodDisruptionBudgetSpec()
    if spec.minAvailable is not None and spec.maxUnavailable is not None:
        found.append(field.invalid("spec", codec.to_tree(spec), "minAvailable and maxUnavailable cannot be both set"))
    for part in ("minAvailable", "maxUnavailable"):
        checks.percent_or_count(found, f"spec.{part}", getattr(spec, part))
        checks.at_most_hundred(found, f"spec.{part}", getattr(spec, part))
    checks.selector(found, "spec.selector", spec.selector)
    if spec.unhealthyPodEvictionPolicy is not None:
        checks.one_of(found, "spec.unhealthyPodEvictionPolicy", spec.unhealthyPodEvictionPolicy, ("AlwaysAllow", "IfHealthyBudget"))
    return found


_METRIC_PARTS = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def autoscaler(obj: autoscaling_v2.HorizontalPodAutoscaler) -> Found:
    found: Found = []
    spec = obj.spec or autoscaling_v2.HorizontalPodAutoscalerSpec()
    least, most = spec.minReplicas, spec.maxReplicas or 0
    if least is not None and least < 1:
        found.append(field.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(field.required("spec.maxReplicas", "must be set and greater than 0"))
    elif least is not None and most < least:
        found.append(field.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.scaleTargetRef or autoscaling_v2.CrossVersionObjectReference()
    for part in ("kind", "name"):
        value = getattr(target, part)
        if not value:
            found.append(field.required(f"spec.scaleTargetRef.{part}"))
        else:
            found += (field.invalid(f"spec.scaleTargetRef.{part}", value, p) for p in names.path_segment(value))
    if "/" not in (target.apiVersion or "") and target.kind != "ReplicationController":
        found.append(field.invalid("spec.scaleTargetRef.apiVersion", target.apiVersion or "", "apiVersion must specify API group"))
    for i, metric in enumerate(spec.metrics or ()):
        _metric(found, f"spec.metrics[{i}]", metric)
    return found


def _metric(found: Found, at: str, metric: autoscaling_v2.MetricSpec) -> None:
    if not metric.type:
        found.append(field.required(f"{at}.type", "must specify a metric source type"))
        return
    if metric.type not in _METRIC_PARTS:
        found.append(field.not_supported(f"{at}.type", metric.type, sorted(_METRIC_PARTS)))
        return
    part = _METRIC_PARTS[metric.type]
    held: Any = getattr(metric, part)
    if held is None:
        why = "must populate information for the given metric source"
        found.append(field.required(f"{at}.{part}", why))
        return
    target = held.target
    if target is None or not target.type:
        found.append(field.required(f"{at}.{part}.target.type", "must specify a metric target type"))
        return
    if target.type not in ("Utilization", "Value", "AverageValue"):
        why = "must be either Utilization, Value, or AverageValue"
        found.append(field.invalid(f"{at}.{part}.target.type", target.type, why))
    if target.averageUtilization is not None and target.averageUtilization < 1:
        found.append(field.invalid(f"{at}.{part}.target.averageUtilization", target.averageUtilization, "must be greater than 0"))
    if part in ("resource", "containerResource"):
        if not held.name:
            found.append(field.required(f"{at}.{part}.name", "must specify a resource name"))
        if target.averageUtilization is None and target.averageValue is None:
            path = f"{at}.{part}.target.averageUtilization"
            found.append(field.required(path, "must set either a target raw value or a target utilization"))
        if target.averageUtilization is not None and target.averageValue is not None:
            why = "may not set both a target raw value and a target utilization"
            found.append(field.forbidden(f"{at}.{part}.target.averageValue", why))


# ---- rbac ----


def role(obj: rbac_v1.Role | rbac_v1.ClusterRole) -> Found:
    found: Found = []
    namespaced = isinstance(obj, rbac_v1.Role)
    for i, rule in enumerate(obj.rules or ()):
        at = f"rules[{i}]"
        if not rule.verbs:
            found.append(field.required(f"{at}.verbs", "verbs must contain at least one value"))
        if rule.nonResourceURLs:
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                found.append(field.invalid(f"{at}.nonResourceURLs", rule.nonResourceURLs, why))
            if rule.apiGroups or rule.resources or rule.resourceNames:
                why = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(field.invalid(f"{at}.nonResourceURLs", rule.nonResourceURLs, why))
            continue
        if not rule.apiGroups:
            found.append(field.required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.resources:
            found.append(field.required(f"{at}.resources", "resource rules must supply at least one resource"))
    aggregation = getattr(obj, "aggregationRule", None)
    if aggregation is not None:
        chosen = aggregation.clusterRoleSelectors or []
        if not chosen:
            why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            found.append(field.required("aggregationRule.clusterRoleSelectors", why))
        for i, selector in enumerate(chosen):
            checks.selector(found, f"aggregationRule.clusterRoleSelectors[{i}]", selector)
    return found


def binding(obj: rbac_v1.RoleBinding | rbac_v1.ClusterRoleBinding) -> Found:
    found: Found = []
    namespaced = isinstance(obj, rbac_v1.RoleBinding)
    ref = obj.roleRef
    assert ref is not None
    if ref.apiGroup != _RBAC:
        found.append(field.not_supported("roleRef.apiGroup", ref.apiGroup or "", (_RBAC,)))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if ref.kind not in kinds:
        found.append(field.not_supported("roleRef.kind", ref.kind or "", kinds))
    if not ref.name:
        found.append(field.required("roleRef.name"))
    else:
        found += (field.invalid("roleRef.name", ref.name, p) for p in names.path_segment(ref.name))
    for i, subject in enumerate(obj.subjects or ()):
        _subject(found, f"subjects[{i}]", subject, namespaced=namespaced)
    return found


def _subject(found: Found, at: str, subject: rbac_v1.Subject, *, namespaced: bool) -> None:
    if not subject.name:
        found.append(field.required(f"{at}.name"))
    if subject.kind == "ServiceAccount":
        if subject.name:
            checks.subdomain(found, f"{at}.name", subject.name)
        if subject.apiGroup:
            found.append(field.not_supported(f"{at}.apiGroup", subject.apiGroup, ("",)))
        if not namespaced and not subject.namespace:
            found.append(field.required(f"{at}.namespace"))
    elif subject.kind in ("User", "Group"):
        if subject.apiGroup != _RBAC:
            found.append(field.not_supported(f"{at}.apiGroup", subject.apiGroup or "", (_RBAC,)))
    else:
        found.append(field.not_supported(f"{at}.kind", subject.kind or "", ("ServiceAccount", "User", "Group")))


def binding_update(new: Any, old: Any) -> Found:
    found = binding(new)
    if new.roleRef != old.roleRef:
        found.append(field.invalid("roleRef", codec.to_tree(new.roleRef), "cannot change roleRef"))
    return found


# ---- coordination, scheduling, storage, node, certificates ----


def lease(obj: coordination_v1.Lease) -> Found:
    found: Found = []
    spec = obj.spec or coordination_v1.LeaseSpec()
    if spec.leaseDurationSeconds is not None and spec.leaseDurationSeconds <= 0:
        found.append(field.invalid("spec.leaseDurationSeconds", spec.leaseDurationSeconds, "must be greater than 0"))
    if spec.leaseTransitions is not None and spec.leaseTransitions < 0:
        found.append(field.invalid("spec.leaseTransitions", spec.leaseTransitions, checks.NOT_NEGATIVE))
    return found


_SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
_HIGHEST = 1_000_000_000


def priority_class(obj: scheduling_v1.PriorityClass) -> Found:
    found: Found = []
    assert obj.metadata is not None
    name = obj.metadata.name or ""
    if name.startswith("system-"):
        if name not in _SYSTEM_CLASSES:
            reserved = "priority class names with 'system-' prefix are reserved for system use only"
            why = f"{reserved}. error: {name} is not a known system priority class"
            found.append(field.forbidden("metadata.name", why))
    elif (obj.value or 0) > _HIGHEST:
        found.append(field.forbidden("value", f"maximum allowed value of a user defined priority is {_HIGHEST}"))
    checks.one_of(found, "preemptionPolicy", obj.preemptionPolicy, ("PreemptLowerPriority", "Never"), required=False)
    return found


def priority_class_update(new: scheduling_v1.PriorityClass, old: scheduling_v1.PriorityClass) -> Found:
    found: Found = []
    if (new.value or 0) != (old.value or 0):
        found.append(field.forbidden("value", "may not be changed in an update."))
    checks.same(found, "preemptionPolicy", new.preemptionPolicy, old.preemptionPolicy)
    return found


def storage_class(obj: storage_v1.StorageClass) -> Found:
    found: Found = []
    if not obj.provisioner:
        found.append(field.required("provisioner"))
    else:
        checks.qualified(found, "provisioner", obj.provisioner.lower())
    for key in obj.parameters or ():
        if not key:
            found.append(field.invalid("parameters", key, "field can not be empty."))
    checks.one_of(found, "reclaimPolicy", obj.reclaimPolicy, ("Delete", "Retain"), required=False)
    checks.one_of(found, "volumeBindingMode", obj.volumeBindingMode, ("Immediate", "WaitForFirstConsumer"))
    return found


def storage_class_update(new: storage_v1.StorageClass, old: storage_v1.StorageClass) -> Found:
    found: Found = []
    if (new.parameters or {}) != (old.parameters or {}):
        found.append(field.invalid("parameters", new.parameters, checks.IMMUTABLE))
    for part in ("provisioner", "reclaimPolicy", "volumeBindingMode"):
        checks.same(found, part, getattr(new, part), getattr(old, part))
    return found


def runtime_class(obj: node_v1.RuntimeClass) -> Found:
    found: Found = []
    checks.label(found, "handler", obj.handler or "")
    return found


def runtime_class_update(new: node_v1.RuntimeClass, old: node_v1.RuntimeClass) -> Found:
    found: Found = []
    checks.same(found, "handler", new.handler, old.handler)
    return found


_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
    "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip


def signing_request(obj: certificates_v1.CertificateSigningRequest) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    _request(found, spec.request or "")
    if not spec.usages:
        found.append(field.required("spec.usages"))
    for i, usage in enumerate(spec.usages or ()):
        if usage not in _USAGES:
            found.append(field.not_supported(f"spec.usages[{i}]", usage, _USAGES))
        if usage in (spec.usages or ())[:i]:
            found.append(field.duplicate(f"spec.usages[{i}]", usage))
    signer = spec.signerName or ""
    if not signer:
        found.append(field.required("spec.signerName"))
    elif signer == "kubernetes.io/legacy-unknown":
        found.append(field.invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version"))
    elif "/" not in signer:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        found.append(field.invalid("spec.signerName", signer, why))
    if spec.expirationSeconds is not None and spec.expirationSeconds < 600:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(field.invalid("spec.expirationSeconds", spec.expirationSeconds, why))
    return found


def _request(found: Found, text: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in data:
        found.append(field.invalid("spec.request", text, "PEM block type must be CERTIFICATE REQUEST"))
        return
    from cryptography import x509

    try:
        x509.load_pem_x509_csr(data)
    except ValueError as error:
        found.append(field.invalid("spec.request", text, str(error)))


def signing_request_approval(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest) -> Found:
    found: Found = []
    kinds = [c.type for c in (new.status.conditions or ())] if new.status else []
    held = {c.type for c in (old.status.conditions or ())} if old.status else set()
    if "Approved" in kinds and "Denied" in kinds:
        found.append(field.invalid("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive"))
    for kind in ("Approved", "Denied", "Failed"):
        if kind in held and kind not in kinds:
            found.append(field.forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"'))
    return found


def signing_request_status(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest) -> Found:
    found: Found = []
    made, held = (s.status.certificate if s.status else None for s in (new, old))
    if held and made != held:
        found.append(field.forbidden("status.certificate", "updates may not modify certificate content"))
    if made and not held:
        try:
            data = base64.b64decode(made, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if b"-----BEGIN CERTIFICATE-----" not in data:
            found.append(field.invalid("status.certificate", "<certificate data>", "must contain at least one CERTIFICATE PEM block"))
    return found


# ---- admission configuration ----

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
AnyHook = admission_v1.ValidatingWebhook | admission_v1.MutatingWebhook


def webhooks(obj: admission_v1.ValidatingWebhookConfiguration | admission_v1.MutatingWebhookConfiguration) -> Found:
    found: Found = []
    seen: set[str] = set()
    hooks: Sequence[AnyHook] = obj.webhooks or ()
    for i, hook in enumerate(hooks):
        at = f"webhooks[{i}]"
        name = hook.name or ""
        if name in seen:
            found.append(field.duplicate(f"{at}.name", name))
        seen.add(name)
        _hook(found, at, hook)
    return found


def _hook(found: Found, at: str, hook: AnyHook) -> None:
    name = hook.name or ""
    if not name:
        found.append(field.required(f"{at}.name"))
    else:
        checks.subdomain(found, f"{at}.name", name)
        if len(name.split(".")) < 3:
            why = "should be a domain with at least three segments separated by dots"
            found.append(field.invalid(f"{at}.name", name, why))
    for i, rule in enumerate(hook.rules or ()):
        _rule(found, f"{at}.rules[{i}]", rule)
    checks.one_of(found, f"{at}.failurePolicy", hook.failurePolicy, ("Fail", "Ignore"), required=False)
    checks.one_of(found, f"{at}.matchPolicy", hook.matchPolicy, ("Equivalent", "Exact"), required=False)
    if not hook.sideEffects:
        found.append(field.required(f"{at}.sideEffects", "must specify one of None, NoneOnDryRun"))
    else:
        checks.one_of(found, f"{at}.sideEffects", hook.sideEffects, ("None", "NoneOnDryRun"))
    if hook.timeoutSeconds is not None and not 1 <= hook.timeoutSeconds <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        found.append(field.invalid(f"{at}.timeoutSeconds", hook.timeoutSeconds, why))
    checks.selector(found, f"{at}.namespaceSelector", hook.namespaceSelector)
    checks.selector(found, f"{at}.objectSelector", hook.objectSelector)
    client = hook.clientConfig
    url, service = (client.url, client.service) if client else (None, None)
    if (url is None) == (service is None):
        found.append(field.required(f"{at}.clientConfig", "exactly one of url or service is required"))
    elif url is not None:
        if not url.startswith("https://"):
            why = "'https' is the only allowed URL scheme; desired format: https://host[/path]"
            found.append(field.invalid(f"{at}.clientConfig.url", url.split(":")[0], why))
    elif service is not None:
        for part in ("name", "namespace"):
            if not getattr(service, part):
                found.append(field.required(f"{at}.clientConfig.service.{part}", f"service {part} is required"))
        if not 1 <= (service.port or 0) <= 65535:
            why = "port is not valid: must be between 1 and 65535, inclusive"
            found.append(field.invalid(f"{at}.clientConfig.service.port", service.port, why))
    versions = hook.admissionReviewVersions or []
    if not versions:
        found.append(field.required(f"{at}.admissionReviewVersions", "must specify one of v1, v1beta1"))
    elif not {"v1", "v1beta1"} & set(versions):
        found.append(field.invalid(f"{at}.admissionReviewVersions", versions, "must include at least one of v1, v1beta1"))


def _rule(found: Found, at: str, rule: admission_v1.RuleWithOperations) -> None:
    if not rule.operations:
        found.append(field.required(f"{at}.operations"))
    elif len(rule.operations) > 1 and "*" in rule.operations:
        why = "if '*' is present, must not specify other operations"
        found.append(field.invalid(f"{at}.operations", rule.operations, why))
    for i, operation in enumerate(rule.operations or ()):
        checks.one_of(found, f"{at}.operations[{i}]", operation, _OPERATIONS)
    for part, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values = getattr(rule, part)
        if not values:
            found.append(field.required(f"{at}.{part}"))
        elif len(values) > 1 and "*" in values:
            found.append(field.invalid(f"{at}.{part}", values, f"if '*' is present, must not specify other {what}"))
    if not rule.resources:
        found.append(field.required(f"{at}.resources"))
    checks.one_of(found, f"{at}.scope", rule.scope, ("*", "Cluster", "Namespaced"), required=False)


def again(check: Callable[[Any], Found]) -> Callable[[Any, Any], Found]:
    """A check of updates that is the one of creations."""

    def run(new: Any, old: Any) -> Found:
        del old
        return check(new)

    return run
