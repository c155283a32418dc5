"""What a pod takes of its node: amounts of resources, as integers in the scheduler's units.

In: the spec and status of a pod. Out: resource → milli-CPU, bytes, or units.

Upstream counterpart: component-helpers/resource (PodRequests), with what scoring assumes of containers that name nothing
(pkg/scheduler/util/pod_resources.go).
"""

from __future__ import annotations

from collections.abc import Mapping

from navarch.api.core import v1 as core_v1
from navarch.machinery import quantity

CPU, MEMORY, PODS = "cpu", "memory", "pods"
DEFAULTS = {CPU: 100, MEMORY: 200 * 1024 * 1024}
"""What scoring assumes of a container that asks for nothing."""
_Resources = Mapping[str, str | int | float] | None


def amount(resource: str, value: str | int | float) -> int:
    """A quantity in the scheduler's unit: thousandths of a CPU, whole units of anything else."""
    return quantity.milli(value) if resource == CPU else quantity.value(value)


def as_text(resource: str, value: int) -> str:
    """An amount as people write it."""
    if resource == "cpu":
        return quantity.canonical(f"{value}m")
    if resource in ("memory", "ephemeral-storage") or resource.startswith("hugepages-"):
        for unit, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
            if value >= size:
                return f"{value // size}{unit}" if value % size == 0 else f"{value / size:.1f}{unit}"
    return str(value)


def _amounts(listed: _Resources) -> dict[str, int]:
    return {name: amount(name, value) for name, value in (listed or {}).items()}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _most(total: dict[str, int], other: Mapping[str, int]) -> None:
    for name, value in other.items():
        total[name] = max(total.get(name, value), value)


def _pod_level(spec: core_v1.PodSpec) -> dict[str, int]:
    listed = (spec.resources.requests if spec.resources else None) or {}
    return _amounts({name: value for name, value in listed.items() if name in (CPU, MEMORY) or name.startswith("hugepages-")})


def _in_force(container: core_v1.Container, held: core_v1.ContainerStatus | None, *, infeasible: bool) -> dict[str, int]:
    """What a container asks for, or has been given while a resize is under way, whichever is more."""
    wanted = _amounts(container.resources.requests if container.resources else None)
    if held is None or held.resources is None:
        return wanted
    found: dict[str, int] = {} if infeasible else wanted
    _most(found, _amounts(held.resources.requests))
    _most(found, _amounts(held.allocatedResources))
    return found


def requests_of(spec: core_v1.PodSpec, status: core_v1.PodStatus | None = None, missing: Mapping[str, int] | None = None) -> dict[str, int]:
    """What a pod takes from its node: containers and sidecars together, or the largest init container if that is more; its own
    pod-level requests instead, where it has some; and overhead. `missing`: what a container counts with that names nothing."""
    status = status or core_v1.PodStatus()
    held = {s.name: s for s in (*(status.containerStatuses or ()), *(status.initContainerStatuses or ()))}
    infeasible = any(c.type == "PodResizePending" and c.reason == "Infeasible" for c in status.conditions or ())
    total: dict[str, int] = {}
    for container in spec.containers or ():
        _add(total, {**(missing or {}), **_in_force(container, held.get(container.name), infeasible=infeasible)})
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.initContainers or ():
        if container.restartPolicy == "Always":
            wanted = {**(missing or {}), **_in_force(container, held.get(container.name), infeasible=infeasible)}
            _add(total, wanted)
            _add(sidecars, wanted)
            wanted = sidecars
        else:
            wanted = {**(missing or {}), **_in_force(container, None, infeasible=False)}
            _add(wanted, sidecars)
        _most(peak, wanted)
    _most(total, peak)
    total.update(_pod_level(spec))
    _add(total, _amounts(spec.overhead))
    return total


def counted(spec: core_v1.PodSpec, status: core_v1.PodStatus | None, requests: Mapping[str, int]) -> tuple[int, int]:
    """CPU and memory that scoring counts for a placed pod: with pod-level requests, only what is wholly unnamed gets a default."""
    missing = {k: v for k, v in DEFAULTS.items() if k not in requests} if _pod_level(spec) else DEFAULTS
    found = requests_of(spec, status, missing) if missing else requests
    return found.get(CPU, 0), found.get(MEMORY, 0)
