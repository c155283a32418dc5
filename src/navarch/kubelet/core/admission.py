"""Whether this node takes a pod that was bound to it. Pure.

Upstream's counterparts: lifecycle/predicate.go (generalPredicates), the host-port check, topology and OS checks. A refused pod fails with
the reason and message given here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from navarch.api.core import v1
from navarch.api.scalars import Quantity
from navarch.kubelet.core import containers, resources, sysctls
from navarch.kubelet.core.model import Failure
from navarch.machinery import quantity
from navarch.objects import affinity, pods


def check(
    pod: v1.Pod, node: v1.Node | None, allocatable: Mapping[str, Quantity], others: Iterable[v1.Pod], allowed: sysctls.Allowlist
) -> Failure | None:
    """None when the pod may run beside `others`; otherwise why not."""
    beside = [other for other in others if not pods.finished(other)]
    failure = allowed.check(pod) or _fits(pod, allocatable, beside) or _ports(pod, beside)
    if failure is None and node is not None:
        failure = _affinity(pod, node)
    if failure is None:
        failure = _system(pod)
    return rejected(failure)


def rejected(failure: Failure | None) -> Failure | None:
    """A refusal in the words of the pod's status."""
    return None if failure is None else Failure(failure.reason, f"Pod was rejected: {failure.message}")


def _fits(pod: v1.Pod, allocatable: Mapping[str, Quantity], beside: list[v1.Pod]) -> Failure | None:
    most = int(quantity.value(allocatable.get("pods")))
    if most and len(beside) + 1 > most:
        message = f"Node didn't have enough resource: pods, requested: 1, used: {len(beside)}, capacity: {most}"
        return Failure("OutOfpods", message)
    need = resources.totals(pod)
    if not any(need.values()):
        return None
    used: dict[str, int] = {}
    for other in beside:
        for name, amount in resources.totals(other).items():
            used[name] = used.get(name, 0) + amount
    for name, amount in need.items():
        total = quantity.milli(allocatable.get(name))
        if amount and (name in allocatable or "/" not in name) and amount + used.get(name, 0) > total:
            unit = 1 if name == "cpu" else 1000
            message = (
                f"Node didn't have enough resource: {name}, requested: {amount // unit}, used: {used.get(name, 0) // unit}, capacity: {total // unit}"
            )
            return Failure(f"OutOf{name}", message)
    return None


Port = tuple[str, str, int]


def host_ports(pod: v1.Pod) -> set[Port]:
    """(protocol, address, port) of every port the pod takes of the node."""
    inits, mains, _ = containers.of(pod)
    host_network = bool(pod.spec and pod.spec.hostNetwork)
    found: set[Port] = set()
    for container in (*filter(containers.sidecar, inits), *mains):
        for port in container.ports or ():
            number = port.hostPort or (port.containerPort if host_network else 0)
            if number:
                found.add((port.protocol or "TCP", port.hostIP or "0.0.0.0", number))
    return found


def _ports(pod: v1.Pod, beside: list[v1.Pod]) -> Failure | None:
    wanted = host_ports(pod)
    if not wanted:
        return None
    taken = {port for other in beside for port in host_ports(other)}
    for protocol, address, number in wanted:
        for other_protocol, other_address, other_number in taken:
            overlaps = address == other_address or "0.0.0.0" in (address, other_address)
            if protocol == other_protocol and number == other_number and overlaps:
                return Failure("NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
    return None


def _affinity(pod: v1.Pod, node: v1.Node) -> Failure | None:
    if affinity.allows(pod.spec or v1.PodSpec(), node):
        return None
    return Failure("NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")


def _system(pod: v1.Pod) -> Failure | None:
    wanted = pod.spec.os.name if pod.spec and pod.spec.os else None
    if wanted not in (None, "linux"):
        return Failure("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    label = ((pod.spec.nodeSelector if pod.spec else None) or {}).get("kubernetes.io/os")
    if label not in (None, "linux"):
        return Failure("PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
    return None
