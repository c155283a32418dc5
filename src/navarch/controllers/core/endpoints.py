"""What the Endpoints and EndpointSlices of a Service should be. Pure.

`slices_for` and `subsets_for` go from a Service and its pods to what should be there; `difference` to what must be written, with as few
changes as possible: endpoints stay in the slice they are in.

Upstream counterparts: pkg/controller/endpoint, k8s.io/endpointslice, pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import codec
from navarch.objects import meta, ownership
from navarch.objects import pods as pods_of

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
HEADLESS = "service.kubernetes.io/headless"
OURS = "endpointslice-controller.k8s.io"
MIRRORS = "endpointslicemirroring-controller.k8s.io"
LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MOST_PER_SLICE = 100
MOST_ADDRESSES = 1000
PortKey = tuple[tuple[str, str, int | None, str], ...]
"""Resolved ports of an endpoint: (name, protocol, port, appProtocol), sorted."""


def spec_of(service: core_v1.Service) -> core_v1.ServiceSpec:
    return service.spec or core_v1.ServiceSpec()


def is_headless(service: core_v1.Service) -> bool:
    return spec_of(service).clusterIP == "None"


def find_port(pod: core_v1.Pod, port: core_v1.ServicePort) -> int | None:
    """The number of a service port's target on a pod; None when the pod has no port of that name."""
    target = port.targetPort
    if isinstance(target, int):
        return target or port.port
    if not target:
        return port.port
    spec = pod.spec or core_v1.PodSpec()
    sidecars = (c for c in spec.initContainers or () if c.restartPolicy == "Always")
    for container in (*(spec.containers or ()), *sidecars):
        for declared in container.ports or ():
            if declared.name == target and (declared.protocol or "TCP") == (port.protocol or "TCP"):
                found: int | None = declared.containerPort
                return found
    return None


def port_key(service: core_v1.Service, pod: core_v1.Pod) -> PortKey:
    found = []
    for port in spec_of(service).ports or ():
        number = find_port(pod, port)
        if number is not None:
            found.append((port.name or "", port.protocol or "TCP", number, port.appProtocol or ""))
    return tuple(sorted(found, key=str))


def eligible(pod: core_v1.Pod, *, terminating: bool = True) -> bool:
    """Whether a pod can be an endpoint: it has an address, and is not finished."""
    status = pod.status
    if status is None or not status.podIP or status.phase in ("Succeeded", "Failed"):
        return False
    return terminating or meta.of(pod).deletionTimestamp is None


def endpoint_of(service: core_v1.Service, pod: core_v1.Pod, address: str, node: core_v1.Node | None) -> discovery_v1.Endpoint:
    spec = pod.spec or core_v1.PodSpec()
    serving = pods_of.is_ready(pod)
    terminating = meta.of(pod).deletionTimestamp is not None
    ready = (serving and not terminating) or bool(spec_of(service).publishNotReadyAddresses)
    zone = (meta.of(node).labels or {}).get("topology.kubernetes.io/zone") if node is not None else None
    m = meta.of(pod)
    in_subdomain = spec.subdomain == meta.of(service).name and m.namespace == meta.of(service).namespace
    return discovery_v1.Endpoint(
        addresses=[address],
        conditions=discovery_v1.EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=spec.hostname if spec.hostname and in_subdomain else None,
        nodeName=spec.nodeName,
        zone=zone,
        targetRef=core_v1.ObjectReference(kind="Pod", namespace=m.namespace, name=m.name, uid=m.uid),
    )


def addresses(pod: core_v1.Pod, family: str) -> str | None:
    """A pod's address of a family (IPv4, IPv6)."""
    status = pod.status or core_v1.PodStatus()
    every = [i.ip or "" for i in status.podIPs or ()] or [status.podIP or ""]
    return next((a for a in every if a and (":" in a) == (family == "IPv6")), None)


def families(service: core_v1.Service) -> list[str]:
    spec = spec_of(service)
    if spec.ipFamilies:
        return list(spec.ipFamilies)
    return ["IPv6" if ":" in (spec.clusterIP or "") else "IPv4"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Endpoints that share their ports and family: what one or more slices hold."""

    family: str
    ports: PortKey
    endpoints: tuple[discovery_v1.Endpoint, ...]


def slices_for(service: core_v1.Service, pods: Sequence[core_v1.Pod], nodes: dict[str, core_v1.Node]) -> list[Wanted]:
    """What a service's slices should hold."""
    groups: dict[tuple[str, PortKey], list[discovery_v1.Endpoint]] = {}
    for family in families(service):
        for pod in sorted(pods, key=lambda p: meta.of(p).name or ""):
            address = addresses(pod, family) if eligible(pod) else None
            if address is None:
                continue
            ports = port_key(service, pod)
            node = nodes.get((pod.spec.nodeName if pod.spec else None) or "")
            groups.setdefault((family, ports), []).append(endpoint_of(service, pod, address, node))
    made = [Wanted(family, ports, tuple(found)) for (family, ports), found in sorted(groups.items(), key=str)]
    if not made:
        made = [Wanted(family, (), ()) for family in families(service)]
    return made


def slice_ports(ports: PortKey) -> list[discovery_v1.EndpointPort] | None:
    made = [discovery_v1.EndpointPort(name=n, protocol=p, port=number, appProtocol=a or None) for n, p, number, a in ports]
    return made or None


def key_of_ports(ports: Sequence[discovery_v1.EndpointPort] | None) -> PortKey:
    return tuple(sorted(((p.name or "", p.protocol or "TCP", p.port, p.appProtocol or "") for p in ports or ()), key=str))


@dataclass(frozen=True, slots=True)
class Difference:
    """Slices to create, to update (with their new content) and to delete."""

    create: tuple[discovery_v1.EndpointSlice, ...]
    update: tuple[discovery_v1.EndpointSlice, ...]
    delete: tuple[discovery_v1.EndpointSlice, ...]


def difference(template: discovery_v1.EndpointSlice, wanted: Sequence[Wanted], held: Sequence[discovery_v1.EndpointSlice]) -> Difference:
    """From wanted content and the slices there are to what must be written. Endpoints stay in the slice they are in."""
    create: list[discovery_v1.EndpointSlice] = []
    update: list[discovery_v1.EndpointSlice] = []
    spare = {meta.of(s).name or "": s for s in held}
    for want in wanted:
        mine = [s for s in held if s.addressType == want.family and key_of_ports(s.ports) == want.ports and meta.of(s).name in spare]
        for s in mine:
            spare.pop(meta.of(s).name or "", None)
        left = {_identity(e): e for e in want.endpoints}
        filled: list[tuple[discovery_v1.EndpointSlice | None, list[discovery_v1.Endpoint]]] = []
        for s in mine:
            kept = [left.pop(_identity(e)) for e in s.endpoints or () if _identity(e) in left]
            filled.append((s, kept))
        _fill(filled, list(left.values()))
        first = True
        for existing, endpoints in filled:
            if existing is not None and not endpoints and not (first and not want.endpoints):
                spare[meta.of(existing).name or ""] = existing
                continue
            first = False
            made = _made(template, existing, want, endpoints)
            if existing is None:
                create.append(made)
            elif codec.encode(made) != codec.encode(existing):
                update.append(made)
    return Difference(tuple(create), tuple(update), tuple(spare.values()))


def _identity(endpoint: discovery_v1.Endpoint) -> tuple[str, ...]:
    target = endpoint.targetRef
    return (*(endpoint.addresses or ()), (target.uid or "") if target is not None else "")


def _fill(filled: list[tuple[discovery_v1.EndpointSlice | None, list[discovery_v1.Endpoint]]], new: list[discovery_v1.Endpoint]) -> None:
    """Puts new endpoints where there is room, then in new slices."""
    for _, endpoints in filled:
        while new and len(endpoints) < MOST_PER_SLICE:
            endpoints.append(new.pop(0))
    while new:
        filled.append((None, new[:MOST_PER_SLICE]))
        del new[:MOST_PER_SLICE]
    if not filled:
        filled.append((None, []))


def _made(
    template: discovery_v1.EndpointSlice, existing: discovery_v1.EndpointSlice | None, want: Wanted, endpoints: list[discovery_v1.Endpoint]
) -> discovery_v1.EndpointSlice:
    t = meta.of(template)
    if existing is None:
        metadata = msgspec.structs.replace(t)
    else:
        metadata = msgspec.structs.replace(meta.of(existing), labels=t.labels, annotations=t.annotations, ownerReferences=t.ownerReferences)
    return discovery_v1.EndpointSlice(
        apiVersion="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=metadata,
        addressType=want.family,
        endpoints=endpoints,
        ports=slice_ports(want.ports),
    )


def slice_template(service: core_v1.Service) -> discovery_v1.EndpointSlice:
    """Name, labels and owner of a service's slices."""
    m = meta.of(service)
    labels = {k: v for k, v in (m.labels or {}).items() if k not in (HEADLESS, SERVICE_NAME, MANAGED_BY)}
    labels |= {SERVICE_NAME: m.name or "", MANAGED_BY: OURS}
    if is_headless(service):
        labels[HEADLESS] = ""
    metadata = meta_v1.ObjectMeta(generateName=f"{m.name}-", namespace=m.namespace, labels=labels, ownerReferences=[ownership.reference(service)])
    return discovery_v1.EndpointSlice(metadata=metadata)


def subsets_for(service: core_v1.Service, pods: Sequence[core_v1.Pod]) -> list[core_v1.EndpointSubset]:
    """The subsets of a service's Endpoints: addresses grouped by the ports they have."""
    family = families(service)[0]
    groups: dict[PortKey, tuple[list[core_v1.EndpointAddress], list[core_v1.EndpointAddress]]] = {}
    for pod in sorted(pods, key=lambda p: meta.of(p).name or ""):
        publish = bool(spec_of(service).publishNotReadyAddresses)
        address = addresses(pod, family) if eligible(pod, terminating=publish) else None
        if address is None:
            continue
        ports = port_key(service, pod)
        if not ports and not is_headless(service):
            continue
        ready, waiting = groups.setdefault(ports, ([], []))
        endpoint = endpoint_of(service, pod, address, None)
        made = core_v1.EndpointAddress(ip=address, nodeName=endpoint.nodeName, hostname=endpoint.hostname, targetRef=endpoint.targetRef)
        (ready if publish or pods_of.is_ready(pod) else waiting).append(made)
    made_subsets = []
    for ports, (ready, waiting) in sorted(groups.items(), key=lambda g: str(g[0])):
        made_subsets.append(
            core_v1.EndpointSubset(
                addresses=_by_address(ready)[:MOST_ADDRESSES] or None,
                notReadyAddresses=_by_address(waiting)[:MOST_ADDRESSES] or None,
                ports=[core_v1.EndpointPort(name=n or None, protocol=p, port=number, appProtocol=a or None) for n, p, number, a in ports] or None,
            )
        )
    return made_subsets


def _by_address(found: list[core_v1.EndpointAddress]) -> list[core_v1.EndpointAddress]:
    return sorted(found, key=lambda a: (a.ip or "", (a.targetRef.uid if a.targetRef else "") or ""))


def mirrored(service: core_v1.Service, endpoints: core_v1.Endpoints) -> bool:
    """Whether slices are made of these Endpoints: a person keeps them, for a service without a selector."""
    labels = meta.of(endpoints).labels or {}
    if labels.get(SKIP_MIRROR) == "true" or "control-plane.alpha.kubernetes.io/leader" in (meta.of(endpoints).annotations or {}):
        return False
    return not spec_of(service).selector and bool(endpoints.subsets)


def mirror_template(endpoints: core_v1.Endpoints) -> discovery_v1.EndpointSlice:
    """Name, labels and owner of mirrored slices."""
    m = meta.of(endpoints)
    labels = dict(m.labels or {}) | {SERVICE_NAME: m.name or "", MANAGED_BY: MIRRORS}
    annotations = {k: v for k, v in (m.annotations or {}).items() if k not in (LAST_CHANGE, "kubectl.kubernetes.io/last-applied-configuration")}
    owner = meta_v1.OwnerReference(apiVersion="v1", kind="Endpoints", name=m.name, uid=m.uid, controller=True, blockOwnerDeletion=True)
    metadata = meta_v1.ObjectMeta(
        generateName=f"{m.name}-", namespace=m.namespace, labels=labels, annotations=annotations or None, ownerReferences=[owner]
    )
    return discovery_v1.EndpointSlice(metadata=metadata)


def mirror(endpoints: core_v1.Endpoints) -> list[Wanted]:
    """What the slices of hand-made Endpoints hold."""
    groups: dict[tuple[str, PortKey], list[discovery_v1.Endpoint]] = {}
    for subset in endpoints.subsets or ():
        ports = tuple(sorted(((p.name or "", p.protocol or "TCP", p.port, p.appProtocol or "") for p in subset.ports or ()), key=str))
        for ready, found in ((True, subset.addresses), (False, subset.notReadyAddresses)):
            for address in found or ():
                family = "IPv6" if ":" in (address.ip or "") else "IPv4"
                made = discovery_v1.Endpoint(
                    addresses=[address.ip or ""],
                    conditions=discovery_v1.EndpointConditions(ready=ready),
                    hostname=address.hostname,
                    nodeName=address.nodeName,
                    targetRef=address.targetRef,
                )
                groups.setdefault((family, ports), []).append(made)
    return [Wanted(family, ports, tuple(found)) for (family, ports), found in sorted(groups.items(), key=str)]
