"""Where a Service that extends the server is reached: a ready endpoint, or the Service's own address while it has no EndpointSlices.

An endpoint is looked up for each new connection; connections that are open are used again.

Upstream counterpart: apiserver's util/proxy (ResolveEndpoint, ResolveCluster).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.apiserver.served import Catalog
from navarch.apiserver.watch_cache import Scope
from navarch.machinery import codec, selectors


class Address(NamedTuple):
    """A host (a name or an address) and a port."""

    host: str
    port: int


class Unresolved(Exception):
    """There is no address for a Service; the message is upstream's."""


def resolve(catalog: Catalog, namespace: str, name: str, port: int) -> Address:
    """Where a Service's port is reached. Unresolved."""
    return random.choice(candidates(catalog, namespace, name, port))


def candidates(catalog: Catalog, namespace: str, name: str, port: int) -> Sequence[Address]:
    """All the places where a Service's port is reached, each as good as any other: one at least. Unresolved."""
    entry = catalog.of("", "services").cache.get(f"{namespace}/{name}")
    if entry is None:
        raise Unresolved(f'service "{name}" not found')
    spec = codec.decode(core_v1.Service, entry.body).spec or core_v1.ServiceSpec()
    if spec.type == "ExternalName":
        return [Address(spec.externalName or "", port)]
    wanted = next((p for p in spec.ports or () if p.port == port), None)
    if wanted is None:
        raise Unresolved(f'no service port {port} found for service "{name}"')
    slices = slices_of(catalog, namespace, name)
    if slices:
        found = endpoints(slices, wanted.name or "", (spec.ipFamilies or ["IPv4"])[0])
        if not found:
            raise Unresolved(f'no endpoints available for service "{name}"')
        return found
    if spec.clusterIP in (None, "", "None"):
        raise Unresolved(f'no endpoints available for service "{name}"')
    return [Address(spec.clusterIP or "", port)]


def slices_of(catalog: Catalog, namespace: str, name: str) -> list[discovery_v1.EndpointSlice]:
    """The EndpointSlices of a Service."""
    label = selectors.parse_labels(f"kubernetes.io/service-name={name}")
    found = catalog.of("discovery.k8s.io", "endpointslices").cache.select(Scope(namespace, label))
    return [codec.decode(discovery_v1.EndpointSlice, entry.body) for entry in found]


def endpoints(slices: Sequence[discovery_v1.EndpointSlice], port: str, family: str) -> list[Address]:
    """The ready endpoints of a port, by its name: those of the preferred family, the others where there are none."""
    for preferred in (True, False):
        ready = [a for s in slices if (s.addressType == family) is preferred for a in _ready(s, port)]
        if ready:
            return ready
    return []


def _ready(found: discovery_v1.EndpointSlice, port: str) -> list[Address]:
    number = next((p.port for p in found.ports or () if (p.name or "") == port), None)
    if number is None:
        return []
    return [
        Address(e.addresses[0], number) for e in found.endpoints or () if e.addresses and (e.conditions is None or e.conditions.ready is not False)
    ]
