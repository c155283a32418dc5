"""What a pod asks for in all: its containers, its sidecars and the largest of its init containers, and its overhead.

Upstream counterpart: k8s.io/component-helpers/resource. Quality of service is pkg/apis/core/v1/helper/qos.
"""

from __future__ import annotations

from collections.abc import Iterator

from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Quantity
from navarch.machinery import amounts, quantity

_POD_LEVEL = ("cpu", "memory")


def supported_at_pod_level(name: str) -> bool:
    """Resources that may be given for the pod as a whole."""
    return name in _POD_LEVEL or name.startswith("hugepages-")


def containers_total(spec: core_v1.PodSpec, part: str) -> dict[str, Quantity]:
    """What all containers need at once; `part` is "requests" or "limits"."""
    running = amounts.total(_of(c, part) for c in spec.containers or ())
    sidecars: dict[str, Quantity] = {}
    largest: dict[str, Quantity] = {}
    for container in spec.initContainers or ():
        own = _of(container, part) or {}
        if container.restartPolicy == "Always":
            sidecars = amounts.total((sidecars, own))
            running = amounts.total((running, own))
            needed = sidecars
        else:
            needed = amounts.total((own, sidecars))
        largest = amounts.largest(largest, needed)
    return amounts.largest(running, largest)


def _of(container: core_v1.Container, part: str) -> dict[str, Quantity] | None:
    held: dict[str, Quantity] | None = getattr(container.resources, part) if container.resources else None
    return held


def pod_total(spec: core_v1.PodSpec, part: str) -> dict[str, Quantity]:
    """What the scheduler and quotas count: the pod's own amounts before its containers', plus overhead."""
    made = containers_total(spec, part)
    if spec.resources is not None:
        for name, value in (getattr(spec.resources, part) or {}).items():
            if supported_at_pod_level(name):
                made[name] = value
    if spec.overhead:
        for name, value in spec.overhead.items():
            if part == "requests" or name in made:
                made[name] = quantity.add(made[name], value) if name in made else value
    return made


def default_pod_level(spec: core_v1.PodSpec) -> None:
    """Fills in the pod's own requests and hugepage limits from its containers and limits."""
    held = spec.resources
    if held is None or not (held.limits or held.requests):
        return
    for name, value in containers_total(spec, "limits").items():
        if name.startswith("hugepages-") and name not in (held.requests or {}) and name not in (held.limits or {}):
            held.limits = {**(held.limits or {}), name: value}
    if not held.limits:
        return
    requests = dict(held.requests or {})
    for name, value in containers_total(spec, "requests").items():
        if name in _POD_LEVEL:
            requests.setdefault(name, value)
    for name, value in held.limits.items():
        if supported_at_pod_level(name):
            requests.setdefault(name, value)
    if requests:
        held.requests = requests


def quality(pod_spec: core_v1.PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort."""
    held = pod_spec.resources
    if held is not None and (held.requests or held.limits):
        return _quality_of([held])
    return _quality_of([c.resources for c in _all(pod_spec)])


def _all(spec: core_v1.PodSpec) -> Iterator[core_v1.Container]:
    yield from spec.containers or ()
    yield from spec.initContainers or ()


def _quality_of(parts: list[core_v1.ResourceRequirements | None]) -> str:
    asked, guaranteed = False, True
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    for part in parts:
        found: set[str] = set()
        if part is not None:
            for name in _POD_LEVEL:
                value = (part.requests or {}).get(name)
                if value is not None and quantity.parse(value).nano > 0:
                    asked = True
                    requests[name] = quantity.add(requests[name], value) if name in requests else value
                value = (part.limits or {}).get(name)
                if value is not None and quantity.parse(value).nano > 0:
                    asked = True
                    found.add(name)
                    limits[name] = quantity.add(limits[name], value) if name in limits else value
        guaranteed = guaranteed and len(found) == 2
    if not asked:
        return "BestEffort"
    if guaranteed and requests.keys() == limits.keys() and all(not quantity.compare(requests[n], limits[n]) for n in requests):
        return "Guaranteed"
    return "Burstable"
