"""The Node object: what this machine offers and how it is. Pure.

In: facts measured on the machine. Out: capacity, allocatable, conditions, the whole status. Upstream's counterparts:
kubelet_node_status.go and pkg/kubelet/nodestatus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from navarch import KUBERNETES_VERSION
from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import quantity, timestamps

EVICTION_MEMORY = 100 << 20
MAX_IMAGES = 50
MAX_NAMES = 5


@dataclass(frozen=True)
class Machine:
    """What does not change while the kubelet runs. Memory and disk in bytes; `arch` as Go calls it."""

    cpus: int
    memory: int
    disk: int
    machine_id: str
    system_uuid: str
    boot_id: str
    kernel: str
    os_image: str
    arch: str
    hugepages: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Health:
    """How things are now. `problems` are why the node is not ready; the pressures are booleans."""

    problems: Sequence[str] = ()
    memory_pressure: bool = False
    disk_pressure: bool = False
    pid_pressure: bool = False


@dataclass(frozen=True)
class Identity:
    """Who the node is and where its kubelet listens."""

    name: str
    ips: tuple[str, ...]
    port: int
    runtime_version: str
    max_pods: int


def capacity(machine: Machine, max_pods: int) -> dict[str, str]:
    """All the machine has."""
    return {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory // 1024}Ki",
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        "pods": str(max_pods),
        **{f"hugepages-{size}": str(count) for size, count in machine.hugepages.items()},
    }


def allocatable(machine: Machine, max_pods: int, reserved: Mapping[str, int]) -> dict[str, str]:
    """What pods may use: less what is reserved (milli-CPU, bytes), the eviction threshold, a tenth of the disk."""
    milli = machine.cpus * 1000 - reserved.get("cpu", 0)
    memory = machine.memory - reserved.get("memory", 0) - EVICTION_MEMORY
    return {
        **capacity(machine, max_pods),
        "cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
        "memory": f"{max(0, memory) // 1024}Ki",
        "ephemeral-storage": str(machine.disk * 9 // 10),
    }


def conditions(health: Health, held: Sequence[v1.NodeCondition], now: float) -> list[v1.NodeCondition]:
    """The kubelet's four conditions, with times of change kept from `held`; conditions of others follow."""
    stamp = timestamps.seconds(now)
    before = {c.type: c for c in held}

    def condition(kind: str, status: bool, reason: str, message: str) -> v1.NodeCondition:
        value = "True" if status else "False"
        known = before.pop(kind, None)
        changed = known.lastTransitionTime if known is not None and known.status == value else stamp
        return v1.NodeCondition(type=kind, status=value, reason=reason, message=message, lastHeartbeatTime=stamp, lastTransitionTime=changed)

    memory, disk, pid = health.memory_pressure, health.disk_pressure, health.pid_pressure
    ready = not health.problems
    result = [
        condition(
            "MemoryPressure",
            memory,
            "KubeletHasInsufficientMemory" if memory else "KubeletHasSufficientMemory",
            f"kubelet has {'in' if memory else ''}sufficient memory available",
        ),
        condition(
            "DiskPressure",
            disk,
            "KubeletHasDiskPressure" if disk else "KubeletHasNoDiskPressure",
            f"kubelet has {'' if disk else 'no '}disk pressure",
        ),
        condition(
            "PIDPressure",
            pid,
            "KubeletHasInsufficientPID" if pid else "KubeletHasSufficientPID",
            f"kubelet has {'in' if pid else ''}sufficient PID available",
        ),
        condition(
            "Ready",
            ready,
            "KubeletReady" if ready else "KubeletNotReady",
            "kubelet is posting ready status" if ready else _list(health.problems),
        ),
    ]
    return [*result, *before.values()]


RUNTIME_PATIENCE = 30.0
"""Seconds without a word from the runtime before the node is not ready; upstream's baseRuntimeSyncThreshold."""


@dataclass(frozen=True, slots=True)
class RuntimeHealth:
    """What is known of the runtime: when it last answered (seconds; None for never), what it complained of then, why it does not answer."""

    answered_at: float | None = None
    complaints: tuple[str, ...] = ()
    error: str = ""

    def problems(self, now: float) -> list[str]:
        """Why the node is not ready. One call that fails is no reason yet: a runtime that is started again answers soon."""
        if self.answered_at is None or now - self.answered_at > RUNTIME_PATIENCE:
            return [f"container runtime is down: {self.error}" if self.error else "container runtime is down"]
        return list(self.complaints)


def _list(problems: Sequence[str]) -> str:
    return problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"


def status(
    machine: Machine,
    identity: Identity,
    reserved: Mapping[str, int],
    health: Health,
    images: Sequence[v1.ContainerImage],
    held: v1.NodeStatus,
    now: float,
) -> v1.NodeStatus:
    """The whole status. Extended resources that others put into capacity stay."""
    whole, usable = capacity(machine, identity.max_pods), allocatable(machine, identity.max_pods, reserved)
    extra = {key: value for key, value in (held.capacity or {}).items() if "/" in key}
    given = {key: value for key, value in (held.allocatable or {}).items() if key in extra}
    return v1.NodeStatus(
        capacity={**extra, **whole},
        allocatable={**extra, **given, **usable},
        addresses=[
            *(v1.NodeAddress(type="InternalIP", address=ip) for ip in identity.ips),
            v1.NodeAddress(type="Hostname", address=identity.name),
        ],
        daemonEndpoints=v1.NodeDaemonEndpoints(kubeletEndpoint=v1.DaemonEndpoint(Port=identity.port)),
        nodeInfo=v1.NodeSystemInfo(
            machineID=machine.machine_id,
            systemUUID=machine.system_uuid,
            bootID=machine.boot_id,
            kernelVersion=machine.kernel,
            osImage=machine.os_image,
            containerRuntimeVersion=identity.runtime_version,
            kubeletVersion=KUBERNETES_VERSION,
            kubeProxyVersion="",
            operatingSystem="linux",
            architecture=machine.arch,
        ),
        conditions=conditions(health, held.conditions or (), now),
        images=list(images),
        volumesInUse=held.volumesInUse,
        volumesAttached=held.volumesAttached,
        runtimeHandlers=held.runtimeHandlers,
        features=held.features,
        config=held.config,
        phase=held.phase,
    )


def initial(machine: Machine, identity: Identity, labels: Mapping[str, str], taints: Sequence[v1.Taint]) -> v1.Node:
    """The Node as it is first registered, without its status."""
    return v1.Node(
        apiVersion="v1",
        kind="Node",
        metadata=meta_v1.ObjectMeta(
            name=identity.name,
            labels={**default_labels(machine, identity.name), **labels},
            annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        ),
        spec=v1.NodeSpec(taints=list(taints) or None),
    )


def default_labels(machine: Machine, name: str) -> dict[str, str]:
    """Labels every node has."""
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.arch,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.arch,
    }


def meaningful(before: v1.NodeStatus, after: v1.NodeStatus) -> bool:
    """Whether anything besides heartbeat times has changed."""
    return _without_heartbeats(before) != _without_heartbeats(after)


def _without_heartbeats(held: v1.NodeStatus) -> tuple[object, ...]:
    quiet = [(c.type, c.status, c.reason, c.message) for c in held.conditions or ()]
    images = [(tuple(i.names or ()), i.sizeBytes) for i in held.images or ()]
    amounts = [{key: quantity.milli(value) for key, value in (group or {}).items()} for group in (held.capacity, held.allocatable)]
    return (quiet, images, held.runtimeHandlers, held.features, amounts, held.addresses, held.nodeInfo, held.daemonEndpoints)
