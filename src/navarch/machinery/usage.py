"""What an object counts against a ResourceQuota, and which quotas look at it. Pure.

Upstream counterpart: pkg/quota/v1/evaluator/core and k8s.io/apiserver/pkg/quota/v1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Quantity
from navarch.machinery import amounts, pod_resources, quantity, timestamps

Usage = dict[str, Quantity]
NAMED = ("configmaps", "secrets", "replicationcontrollers", "resourcequotas", "services", "persistentvolumeclaims", "pods")
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_CLASS = ".storageclass.storage.k8s.io/"


def of(group: str, plural: str, obj: Any, now: float) -> Usage:
    """What an object uses."""
    used: Usage = {f"count/{plural}.{group}" if group else f"count/{plural}": "1"}
    if group:
        return used
    if plural == "pods":
        return used | (_pod(obj) if _counts(obj, now) else {})
    if plural in NAMED:
        used[plural] = "1"
    if plural == "services":
        used |= _service(obj)
    elif plural == "persistentvolumeclaims":
        used |= _claim(obj)
    return used


def _counts(pod: core_v1.Pod, now: float) -> bool:
    """Pods that have ended, or that nobody ends although their time is over, hold nothing."""
    if pod.status is not None and pod.status.phase in ("Failed", "Succeeded"):
        return False
    m = pod.metadata
    if m is None or m.deletionTimestamp is None or m.deletionGracePeriodSeconds is None:
        return True
    return now <= timestamps.parse(m.deletionTimestamp) + m.deletionGracePeriodSeconds


def _pod(pod: core_v1.Pod) -> Usage:
    assert pod.spec is not None
    used: Usage = {"pods": "1"}
    for name, value in pod_resources.pod_total(pod.spec, "requests").items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            used[name] = value
        used[f"requests.{name}"] = value
    for name, value in pod_resources.pod_total(pod.spec, "limits").items():
        if name in _COMPUTE:
            used[f"limits.{name}"] = value
    return used


def _service(service: core_v1.Service) -> Usage:
    spec = service.spec or core_v1.ServiceSpec()
    ports = sum(1 for p in spec.ports or () if p.nodePort) if spec.allocateLoadBalancerNodePorts is False else len(spec.ports or ())
    return {
        "services.nodeports": str(ports if spec.type in ("NodePort", "LoadBalancer") else 0),
        "services.loadbalancers": str(int(spec.type == "LoadBalancer")),
    }


def _claim(claim: core_v1.PersistentVolumeClaim) -> Usage:
    used: Usage = {}
    spec = claim.spec or core_v1.PersistentVolumeClaimSpec()
    name = spec.storageClassName
    size = (spec.resources.requests or {}).get("storage") if spec.resources else None
    if size is not None:
        used["requests.storage"] = size
    if name:
        used[f"{name}{_CLASS}persistentvolumeclaims"] = "1"
        if size is not None:
            used[f"{name}{_CLASS}requests.storage"] = size
    return used


# ---- which quotas ----


def matches(spec: core_v1.ResourceQuotaSpec, group: str, plural: str, obj: Any) -> bool:
    """Whether an object is in all the scopes of a quota. Only pods are in scopes."""
    chosen: list[tuple[str, str, Sequence[str]]] = [(s, "Exists", ()) for s in spec.scopes or ()]
    if spec.scopeSelector is not None:
        chosen += [(e.scopeName or "", e.operator or "", e.values or ()) for e in spec.scopeSelector.matchExpressions or ()]
    if not chosen:
        return True
    if (group, plural) != ("", "pods"):
        return False
    return all(_in_scope(obj, *term) for term in chosen)


def _in_scope(pod: core_v1.Pod, scope: str, operator: str, values: Sequence[str]) -> bool:
    assert pod.spec is not None
    match scope:
        case "Terminating":
            return (pod.spec.activeDeadlineSeconds or -1) >= 0
        case "NotTerminating":
            return (pod.spec.activeDeadlineSeconds or -1) < 0
        case "BestEffort":
            return pod_resources.quality(pod.spec) == "BestEffort"
        case "NotBestEffort":
            return pod_resources.quality(pod.spec) != "BestEffort"
        case "PriorityClass":
            return _selects(operator, values, pod.spec.priorityClassName or "")
        case "CrossNamespacePodAffinity":
            return _crosses(pod.spec.affinity)
    return False


def _selects(operator: str, values: Sequence[str], held: str) -> bool:
    match operator:
        case "Exists":
            return bool(held)
        case "DoesNotExist":
            return not held
        case "In":
            return held in values
        case "NotIn":
            return held not in values
    return False


def _crosses(affinity: core_v1.Affinity | None) -> bool:
    """Whether a pod's affinity looks into other namespaces."""
    if affinity is None:
        return False
    for part in (affinity.podAffinity, affinity.podAntiAffinity):
        if part is None:
            continue
        terms = list(part.requiredDuringSchedulingIgnoredDuringExecution or ())
        terms += [w.podAffinityTerm for w in part.preferredDuringSchedulingIgnoredDuringExecution or () if w.podAffinityTerm]
        if any(t.namespaces or t.namespaceSelector is not None for t in terms):
            return True
    return False


def missing(pod: core_v1.Pod, hard: Mapping[str, Quantity]) -> str:
    """What the containers of a pod must say under a quota of CPU or memory: "must specify limits.cpu for: a,b", "" when nothing."""
    spec = pod.spec
    if spec is None or (spec.resources is not None and (spec.resources.requests or spec.resources.limits)):
        return ""
    lacking: dict[str, set[str]] = {}
    needed = [n for n in hard if n in ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")]
    for container in (*(spec.containers or ()), *(spec.initContainers or ())):
        held = container.resources or core_v1.ResourceRequirements()
        given = {*(held.requests or ()), *(f"requests.{n}" for n in held.requests or ()), *(f"limits.{n}" for n in held.limits or ())}
        for name in needed:
            if name not in given:
                lacking.setdefault(name, set()).add(container.name or "")
    if not lacking:
        return ""
    return "must specify " + "; ".join(f"{n} for: {','.join(sorted(lacking[n]))}" for n in sorted(lacking))


# ---- sums ----


def total(parts: Sequence[Usage], names: Mapping[str, Quantity]) -> Usage:
    """The sum of usages, of the names a quota limits; what nothing uses is zero."""
    summed = amounts.total(parts)
    return {n: summed.get(n, "0") for n in names}


def growth(new: Usage, old: Usage) -> Usage:
    """By how much `new` is more than `old`; nothing where it is not."""
    made: Usage = {}
    for name, value in new.items():
        more = quantity.subtract(value, old[name]) if name in old else value
        if quantity.parse(more).nano > 0:
            made[name] = more
    return made


def exceeded(used: Usage, delta: Usage, hard: Mapping[str, Quantity]) -> list[str]:
    """The names for which there is not enough left."""
    return [n for n, v in delta.items() if n in hard and quantity.compare(quantity.add(used.get(n, "0"), v), hard[n]) > 0]


def show(held: Mapping[str, Quantity], names: Sequence[str]) -> str:
    """`cpu=1,pods=2`, in the order of the names."""
    return ",".join(f"{n}={amounts.stored(held.get(n, '0'))}" for n in sorted(names))
