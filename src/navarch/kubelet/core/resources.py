"""What a pod may use: its QoS class, the cgroup values of its containers, whether a running container's differ from its spec.

Upstream's counterparts: pkg/apis/core/v1/helper/qos, cm/helpers_linux.go (shares, quota), qos/policy.go (oom_score_adj),
component-helpers' PodRequests and PodLimits. Quantities come as in the API; results are plain numbers in the kernel's units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from navarch.api.core import v1
from navarch.api.scalars import Quantity
from navarch.kubelet.core import containers
from navarch.kubelet.core.model import ContainerView
from navarch.machinery import quantity

SHARES_PER_CPU = 1024
MIN_SHARES, MAX_SHARES = 2, 262144
PERIOD = 100_000
MIN_QUOTA = 1000

Amounts = Mapping[str, Quantity]


@dataclass(frozen=True, slots=True)
class CgroupValues:
    """Values for one cgroup. A quota or limit of 0 means none."""

    cpu_shares: int
    cpu_quota: int = 0
    memory_limit: int = 0
    oom_score_adj: int = 0
    cpu_period: int = PERIOD
    pids_limit: int = 0


def requests(container: v1.Container) -> Amounts:
    """A container's requests; what has only a limit requests that."""
    held = container.resources
    if held is None:
        return {}
    return {**(held.limits or {}), **(held.requests or {})}


def limits(container: v1.Container) -> Amounts:
    """A container's limits."""
    return (container.resources.limits or {}) if container.resources else {}


def qos_class(pod: v1.Pod) -> str:
    """Guaranteed, Burstable or BestEffort, by cpu and memory of all containers, or of the pod where it says."""
    if pod.spec and pod.spec.resources and (pod.spec.resources.requests or pod.spec.resources.limits):
        pairs = [(pod.spec.resources.requests or {}, pod.spec.resources.limits or {})]
    else:
        inits, mains, _ = containers.of(pod)
        pairs = [(c.resources.requests or {}, c.resources.limits or {}) if c.resources else ({}, {}) for c in (*inits, *mains)]
    wanted: dict[str, int] = {}
    limited: dict[str, int] = {}
    guaranteed = True
    for asked, most in pairs:
        for name in ("cpu", "memory"):
            request, limit = quantity.milli(asked.get(name)), quantity.milli(most.get(name))
            if request:
                wanted[name] = wanted.get(name, 0) + request
            if limit:
                limited[name] = limited.get(name, 0) + limit
            else:
                guaranteed = False
    if not wanted and not limited:
        return "BestEffort"
    same = all(limited.get(name) == amount for name, amount in wanted.items()) and len(wanted) == len(limited)
    return "Guaranteed" if guaranteed and same else "Burstable"


def shares(milli_cpu: int) -> int:
    """cpu.shares for a request in thousandths of a CPU."""
    if milli_cpu == 0:
        return MIN_SHARES
    return max(MIN_SHARES, min(MAX_SHARES, milli_cpu * SHARES_PER_CPU // 1000))


def quota(milli_cpu: int) -> int:
    """cpu.cfs_quota_us per `PERIOD` for a limit in thousandths of a CPU; 0 for none."""
    return max(MIN_QUOTA, milli_cpu * PERIOD // 1000) if milli_cpu else 0


def oom_score_adj(pod: v1.Pod, container: v1.Container, node_memory: int) -> int:
    """How readily the kernel kills the container's processes when memory runs out: 1000 first, -997 last."""
    spec = pod.spec or v1.PodSpec()
    annotations = (pod.metadata and pod.metadata.annotations) or {}
    if (spec.priority or 0) >= 2_000_000_000 or "kubernetes.io/config.mirror" in annotations:
        return -997
    match qos_class(pod):
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
    share = 1000 * quantity.value(requests(container).get("memory")) // max(1, node_memory)
    adjusted = 1000 - share
    if adjusted < 3:
        return 3
    return 999 if adjusted == 1000 else adjusted


def cgroup_values(pod: v1.Pod, container: v1.Container, node_memory: int) -> CgroupValues:
    """The cgroup values of one container."""
    asked, most = requests(container), limits(container)
    return CgroupValues(
        cpu_shares=shares(quantity.milli(asked.get("cpu"))),
        cpu_quota=quota(quantity.milli(most.get("cpu"))),
        memory_limit=quantity.value(most.get("memory")),
        oom_score_adj=oom_score_adj(pod, container, node_memory),
    )


def pod_cgroup(pod: v1.Pod) -> CgroupValues:
    """The values of the pod's own cgroup: what its containers need at any time, init containers included; no limit where one has none."""
    quality = qos_class(pod)
    if quality == "BestEffort":
        return CgroupValues(MIN_SHARES)
    most = _at_most(pod, limits, (pod.spec and pod.spec.resources and pod.spec.resources.limits) or {})
    inits, mains, _ = containers.of(pod)
    own = (pod.spec and pod.spec.resources and pod.spec.resources.limits) or {}

    def limited(name: str) -> int:
        everywhere = all(quantity.milli(limits(c).get(name)) for c in (*inits, *mains))
        return most.get(name, 0) if everywhere or quality == "Guaranteed" or quantity.milli(own.get(name)) else 0

    return CgroupValues(shares(totals(pod).get("cpu", 0)), quota(limited("cpu")), limited("memory") // 1000)


def burstable_shares(pods: Iterable[v1.Pod]) -> int:
    """The CPU shares of the class of Burstable pods: of all they request together."""
    return shares(sum(totals(pod).get("cpu", 0) for pod in pods if qos_class(pod) == "Burstable"))


def node_cgroup(cpus: int, memory: int, pids: int, reserved: Mapping[str, int]) -> CgroupValues:
    """The values of the cgroup of all pods: the node less what is reserved for the system (milli-CPU, bytes, process ids)."""
    return CgroupValues(
        cpu_shares=shares(max(0, cpus * 1000 - reserved.get("cpu", 0))),
        memory_limit=max(1, memory - reserved.get("memory", 0)),
        pids_limit=max(0, pids - reserved.get("pid", 0)),
    )


def wants_resize(pod: v1.Pod, container: v1.Container, view: ContainerView) -> bool:
    """Whether a running container's cgroup has other cpu or memory values than its spec."""
    if view.resources is None:
        return False
    return _amounts(view.resources) != _amounts(container.resources)


def _amounts(held: v1.ResourceRequirements | None) -> tuple[int, ...]:
    if held is None:
        return (0, 0, 0, 0)
    asked, most = held.requests or {}, held.limits or {}
    return tuple(quantity.milli(group.get(name)) for group in (asked, most) for name in ("cpu", "memory"))


def totals(pod: v1.Pod) -> dict[str, int]:
    """What a pod needs of a node, in thousandths: sums of running containers, or the largest init step, plus overhead."""
    need = _at_most(pod, requests, (pod.spec and pod.spec.resources and pod.spec.resources.requests) or {})
    _add(need, (pod.spec and pod.spec.overhead) or {})
    return need


def _at_most(pod: v1.Pod, amounts: Callable[[v1.Container], Amounts], own: Amounts) -> dict[str, int]:
    """The most of each resource the pod's containers have at any one time, in thousandths; what the pod itself says (`own`) goes first."""
    inits, mains, _ = containers.of(pod)
    need: dict[str, int] = {}
    for container in mains:
        _add(need, amounts(container))
    beside: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in inits:
        step = dict(beside)
        _add(step, amounts(container))
        if containers.sidecar(container):
            beside = step
        for name, amount in step.items():
            peak[name] = max(peak.get(name, 0), amount)
    for name, amount in beside.items():
        need[name] = need.get(name, 0) + amount
    for name, amount in peak.items():
        need[name] = max(need.get(name, 0), amount)
    for name, value in own.items():
        need[name] = quantity.milli(value)
    return need


def _add(total: dict[str, int], amounts: Amounts) -> None:
    for name, value in amounts.items():
        total[name] = total.get(name, 0) + quantity.milli(value)
