"""What a cluster has before anybody creates anything: namespaces, default roles, the `kubernetes` Service, priority classes.

Objects are created when they are missing; the default roles are also brought up to date, unless annotated
`rbac.authorization.kubernetes.io/autoupdate: "false"`.

Upstream counterparts: pkg/controlplane/controller (systemnamespaces, kubernetesservice), rbac's bootstrap hook, scheduling's.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.networking import v1 as networking_v1
from navarch.api.scalars import Object
from navarch.api.scheduling import v1 as scheduling_v1
from navarch.apiserver import writing
from navarch.apiserver.authz import policy
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.numbers.repair import Repair
from navarch.apiserver.numbers.services import DEFAULT
from navarch.apiserver.options import Options
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.verbs.write import Writer, by_server
from navarch.lib import inet
from navarch.machinery import codec, errors, timestamps

_log = logging.getLogger(__name__)
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a cluster's first objects are made with."""

    catalog: Catalog
    writer: Writer
    options: Options
    repair: Repair


async def run(cluster: Bootstrap) -> None:
    """Brings the cluster to where every cluster begins."""
    await namespaces(cluster)
    for obj in policy.objects():
        await reconcile_role(cluster, obj)
    for obj in _priority_classes():
        await ensure(cluster, obj)
    await service_ranges(cluster)
    await cluster.repair.everything()
    await _kubernetes_service(cluster)


async def namespaces(cluster: Bootstrap) -> None:
    """The namespaces that every cluster has; also after somebody deleted one."""
    for name in NAMESPACES:
        labels = {"kubernetes.io/metadata.name": name}
        spec = core_v1.NamespaceSpec(finalizers=["kubernetes"])
        await ensure(
            cluster,
            core_v1.Namespace(metadata=meta_v1.ObjectMeta(name=name, labels=labels), spec=spec, status=core_v1.NamespaceStatus(phase="Active")),
        )


def _served(cluster: Bootstrap, obj: Obj) -> Any:
    from navarch.api import resources

    resource = resources.of(type(obj))
    found = cluster.catalog.get(resource.group, resource.version, resource.plural)
    assert found is not None
    return found


async def ensure(cluster: Bootstrap, obj: Object) -> bool:
    """Creates an object unless it is there. Whether it was created."""
    made: Obj = obj
    served = _served(cluster, made)
    name, namespace = made.metadata.name, made.metadata.namespace or ""
    if served.cache.get(served.key(name, namespace)) is not None:
        return False
    try:
        await cluster.writer.create(by_server(), served, namespace, writing.settle(served, made))
    except errors.AlreadyExists:
        return False
    return True


async def reconcile_role(cluster: Bootstrap, obj: Object) -> None:
    """Creates a default role or binding, or adds to an existing one what it lacks."""
    if await ensure(cluster, obj):
        return
    wanted: Obj = obj
    served = _served(cluster, wanted)
    name, namespace = wanted.metadata.name, wanted.metadata.namespace or ""

    def completed(held: Obj) -> bool:
        """Adds what is lacking; whether anything was."""
        if (held.metadata.annotations or {}).get(_AUTOUPDATE) == "false":
            return False
        changed = False
        for part in ("rules", "subjects"):
            lacking = _lacking(getattr(held, part, None), getattr(wanted, part, None))
            if lacking:
                setattr(held, part, [*(getattr(held, part) or ()), *lacking])
                changed = True
        return changed

    entry = served.cache.get(served.key(name, namespace))
    if entry is not None and completed(served.decode(entry.body)):

        async def make(old: Obj) -> Obj:
            held = served.decode(codec.encode(old))
            completed(held)
            return held

        await cluster.writer.change(by_server(), served, name, namespace, make, patch=True)


def _lacking(held: Iterable[Any] | None, wanted: Iterable[Any] | None) -> list[Any]:
    there = list(held or ())
    return [w for w in wanted or () if w not in there]


def _priority_classes() -> list[Object]:
    made: list[Object] = []
    for name, value, about in (
        (
            "system-cluster-critical",
            2000000000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        ("system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current node."),
    ):
        metadata = meta_v1.ObjectMeta(name=name)
        made.append(scheduling_v1.PriorityClass(metadata=metadata, value=value, description=about, preemptionPolicy="PreemptLowerPriority"))
    return made


def service_address(cidr: str) -> str:
    """The ClusterIP of the `kubernetes` Service: the first address of the range."""
    return str(next(ipaddress.ip_network(cidr).hosts()))


async def service_ranges(cluster: Bootstrap) -> None:
    """The ServiceCIDR of the flags, which is ready unless somebody says something else of it.

    Upstream counterpart: pkg/controlplane/controller/defaultservicecidr.
    """
    cidrs = [c.strip() for c in cluster.options.service_cluster_ip_range.split(",") if c.strip()]
    made = networking_v1.ServiceCIDR(metadata=meta_v1.ObjectMeta(name=DEFAULT), spec=networking_v1.ServiceCIDRSpec(cidrs=cidrs))
    await ensure(cluster, made)
    served = _served(cluster, made)
    entry = served.cache.get(DEFAULT)
    if entry is None:
        return
    held: networking_v1.ServiceCIDR = served.decode(entry.body)
    if held.metadata is None or held.metadata.deletionTimestamp is not None:
        return
    known = (held.spec.cidrs or []) if held.spec else []
    if len(cidrs) == 2 and known == cidrs[:1]:
        spec = networking_v1.ServiceCIDRSpec(cidrs=cidrs)
        await _set(cluster, served, DEFAULT, lambda obj: setattr(obj, "spec", spec))
    elif known != cidrs:
        _log.warning("the default ServiceCIDR %s does not match the flag --service-cluster-ip-range %s", known, cidrs)
        return
    conditions = (held.status.conditions or []) if held.status else []
    if not any(c.type == "Ready" and c.status != "Unknown" for c in conditions):
        status = networking_v1.ServiceCIDRStatus(conditions=[*(c for c in conditions if c.type != "Ready"), _ranges_ready()])
        await _set(cluster, served, DEFAULT, lambda obj: setattr(obj, "status", status), "status")


async def _set(cluster: Bootstrap, served: Served, name: str, change: Callable[[Obj], None], subresource: str = "") -> None:
    """Changes a cluster-scoped object, or a part of it."""

    async def make(old: Obj) -> Obj:
        new = served.decode(codec.encode(old))
        change(new)
        return new

    await cluster.writer.change(by_server(), served, name, "", make, subresource=subresource, patch=True)


def _ranges_ready() -> meta_v1.Condition:
    return meta_v1.Condition(
        type="Ready",
        status="True",
        reason="",
        message="Kubernetes default Service CIDR is ready",
        lastTransitionTime=timestamps.seconds(writing.now()),
    )


async def _kubernetes_service(cluster: Bootstrap) -> None:
    """The Service through which pods reach this server, and its endpoints."""
    options = cluster.options
    first = service_address(options.service_cluster_ip_range)
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = core_v1.ServicePort(name="https", port=443, protocol="TCP", targetPort=options.secure_port)
    family = "IPv6" if ":" in first else "IPv4"
    spec = core_v1.ServiceSpec(
        type="ClusterIP", clusterIP=first, clusterIPs=[first], ports=[port], sessionAffinity="None", ipFamilies=[family],
        ipFamilyPolicy="SingleStack", internalTrafficPolicy="Cluster",
    )  # fmt: skip
    metadata = meta_v1.ObjectMeta(name="kubernetes", namespace="default", labels=labels)
    await ensure(cluster, core_v1.Service(metadata=metadata, spec=spec, status=core_v1.ServiceStatus(loadBalancer=core_v1.LoadBalancerStatus())))
    address = options.advertise_address or options.bind_address
    parsed = inet.parse(address)
    if parsed is None or not inet.is_global_unicast(parsed):
        return  # a loopback or unspecified address leads nobody else here: endpoints may not have it
    subset = core_v1.EndpointSubset(
        addresses=[core_v1.EndpointAddress(ip=address)],
        ports=[core_v1.EndpointPort(name="https", port=options.secure_port, protocol="TCP")],
    )
    mirrored = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    await put(cluster, core_v1.Endpoints(metadata=meta_v1.ObjectMeta(name="kubernetes", namespace="default", labels=mirrored), subsets=[subset]))
    await put(
        cluster,
        discovery_v1.EndpointSlice(
            metadata=meta_v1.ObjectMeta(name="kubernetes", namespace="default", labels={"kubernetes.io/service-name": "kubernetes"}),
            addressType=family,
            endpoints=[discovery_v1.Endpoint(addresses=[address], conditions=discovery_v1.EndpointConditions(ready=True))],
            ports=[discovery_v1.EndpointPort(name="https", port=options.secure_port, protocol="TCP")],
        ),
    )


async def put(cluster: Bootstrap, obj: Object) -> None:
    """Creates an object, or gives the existing one this content."""
    if await ensure(cluster, obj):
        return
    wanted: Obj = obj
    served = _served(cluster, wanted)
    content = codec.encode(writing.settle(served, wanted))

    async def make(old: Obj) -> Obj:
        new = served.decode(content)
        new.metadata = served.decode(codec.encode(old)).metadata
        return new

    await cluster.writer.change(by_server(), served, wanted.metadata.name, wanted.metadata.namespace or "", make, patch=True)
