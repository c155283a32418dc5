"""The downward API: what a pod may learn about itself, as the text that ends up in an environment variable or a file.

Upstream's counterparts: pkg/fieldpath and pkg/api/v1/resource. `BadField` when a path or resource does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from navarch.api.core import v1
from navarch.api.scalars import Quantity
from navarch.kubelet.core import containers, resources
from navarch.machinery import quantity

_SUBSCRIPT = re.compile(r"^(metadata\.(?:annotations|labels))\['(.*)'\]$")


class BadField(ValueError):
    """A field or resource that pods do not have; the message is for the user."""


def metadata_value(pod: v1.Pod, path: str) -> str:
    """A field of the metadata: `metadata.labels['app']`, `metadata.annotations`..."""
    meta = pod.metadata
    if meta is None:
        return ""
    if match := _SUBSCRIPT.match(path):
        held = meta.labels if match[1] == "metadata.labels" else meta.annotations
        return (held or {}).get(match[2], "")
    match path:
        case "metadata.annotations":
            return format_map(meta.annotations or {})
        case "metadata.labels":
            return format_map(meta.labels or {})
        case "metadata.name":
            return meta.name or ""
        case "metadata.namespace":
            return meta.namespace or ""
        case "metadata.uid":
            return meta.uid or ""
    raise BadField(f"unsupported fieldPath: {path}")


def format_map(held: Mapping[str, str]) -> str:
    """Labels or annotations as sorted lines of key="value", quoted as Go quotes."""
    return "\n".join(f"{key}={msgspec.json.encode(held[key]).decode()}" for key in sorted(held))


def pod_value(pod: v1.Pod, path: str, pod_ips: tuple[str, ...], host_ips: tuple[str, ...]) -> str:
    """A field for an environment variable: metadata, or what is only known on the node."""
    spec = pod.spec or v1.PodSpec()
    match path:
        case "spec.nodeName":
            return spec.nodeName or ""
        case "spec.serviceAccountName":
            return spec.serviceAccountName or ""
        case "status.hostIP":
            return host_ips[0] if host_ips else ""
        case "status.hostIPs":
            return ",".join(host_ips)
        case "status.podIP":
            return pod_ips[0] if pod_ips else ""
        case "status.podIPs":
            return ",".join(pod_ips)
    return metadata_value(pod, path)


def resource_value(pod: v1.Pod, ref: v1.ResourceFieldSelector, container_name: str, allocatable: Mapping[str, Quantity]) -> str:
    """A container's request or limit in units of the divisor; a missing limit is what the node can give."""
    name = ref.containerName or container_name
    container = containers.find(pod, name)
    if container is None:
        raise BadField(f"container {name} not found")
    kind, _, resource = (ref.resource or "").partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise BadField(f"unsupported container resource : {ref.resource}")
    held = container.resources or v1.ResourceRequirements()
    if kind == "limits":
        amount = (held.limits or {}).get(resource, allocatable.get(resource) if resource in _FROM_NODE else None)
    else:
        amount = resources.requests(container).get(resource)
    divisor = ref.divisor if ref.divisor not in (None, "", "0", 0) else "1"
    scale = quantity.milli if resource == "cpu" else quantity.value
    return str(-(-scale(amount) // max(1, scale(divisor))))


_FROM_NODE = ("cpu", "memory", "ephemeral-storage")
