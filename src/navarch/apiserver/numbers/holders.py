"""Who holds a number, as it is stored: an IPAddress for a cluster address, a record of the same form for a node port.

Each number has a key of its own, and is taken by creating it: so two API servers cannot give out the same. A Service is written together
with the numbers it takes and gives back, in one transaction: so none leaks, and none is held twice.

Upstream counterparts: ipallocator/ipallocator.go, whose IPAddresses these are, and the RangeAllocation of portallocator/storage, a bitmap
of all ports under one key, for which all creations of all servers would have to queue. kube-apiserver makes its own anew from the Services.
"""

from __future__ import annotations

import uuid

from navarch.api.networking import v1 as networking_v1
from navarch.machinery import codec, timestamps

ADDRESSES = "/registry/ipaddresses.networking.k8s.io/"
RANGES = "/registry/servicecidrs.networking.k8s.io/"
PORTS = "/registry/nodeports/"
SERVICES = "/registry/services/"
MANAGER = "ipallocator.k8s.io"
FAMILY, MANAGED_BY = "ipaddress.kubernetes.io/ip-family", "ipaddress.kubernetes.io/managed-by"


def address_labels(address: str) -> dict[str, str]:
    return {FAMILY: "IPv6" if ":" in address else "IPv4", MANAGED_BY: MANAGER}


def parent(namespace: str, name: str) -> dict[str, str]:
    """The reference to the Service that holds a number."""
    return {"resource": "services", "namespace": namespace, "name": name}


def address(text: str, namespace: str, name: str, now: float) -> bytes:
    """The IPAddress of a Service's cluster address, as it is stored."""
    metadata = {"name": text, "labels": address_labels(text), "uid": str(uuid.uuid4()), "creationTimestamp": timestamps.seconds(now)}
    spec = {"parentRef": parent(namespace, name)}
    return codec.encode({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": metadata, "spec": spec})


def port(number: int, namespace: str, name: str, now: float) -> bytes:
    """The record of a Service's node port, as it is stored. It is no API object: nothing serves it."""
    metadata = {"name": str(number), "creationTimestamp": timestamps.seconds(now)}
    return codec.encode({"apiVersion": "v1", "kind": "NodePort", "metadata": metadata, "spec": {"parentRef": parent(namespace, name)}})


def holder(body: bytes) -> tuple[str, str] | None:
    """Namespace and name of the Service that holds a number; None when it is something else that holds it."""
    held = codec.decode(networking_v1.IPAddress, body)
    reference = held.spec.parentRef if held.spec else None
    if reference is None or reference.group or reference.resource != "services":
        return None
    return reference.namespace or "", reference.name or ""
