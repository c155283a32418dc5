"""What admission settles of a pod itself: tolerations of sick nodes, priority, runtime class.

Upstream counterparts: plugin/pkg/admission/{defaulttolerationseconds,priority,runtimeclass}.
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.api.node import v1 as node_v1
from navarch.api.scheduling import v1 as scheduling_v1
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.authz.references import MIRROR
from navarch.apiserver.served import Catalog
from navarch.machinery import amounts, codec

_POD = ("", "pods")
_SICK = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SECONDS = 300


async def tolerate(attributes: Attributes) -> None:
    """A pod stays five minutes on a node that is not ready or not reachable, unless it says otherwise."""
    if attributes.key != _POD or attributes.subresource or attributes.operation not in ("CREATE", "UPDATE"):
        return
    spec: core_v1.PodSpec = attributes.obj.spec
    held = spec.tolerations or ()
    missing = [key for key in _SICK if not any(t.key in (key, None, "") and t.effect in ("NoExecute", None, "") for t in held)]
    if missing:
        added = [core_v1.Toleration(key=k, operator="Exists", effect="NoExecute", tolerationSeconds=_SECONDS) for k in missing]
        spec.tolerations = [*held, *added]


def _classes(catalog: Catalog) -> list[scheduling_v1.PriorityClass]:
    cache = catalog.of("scheduling.k8s.io", "priorityclasses").cache
    return [codec.decode(scheduling_v1.PriorityClass, e.body) for e in cache.select_all()]


async def priority(attributes: Attributes, catalog: Catalog) -> None:
    """Sets a pod's priority and preemption policy from its class."""
    if attributes.key != _POD or attributes.subresource:
        return
    pod: core_v1.Pod = attributes.obj
    if attributes.operation == "UPDATE":
        spec, before = pod.spec, attributes.old.spec
        assert spec is not None
        if spec.priority is None:
            spec.priority = before.priority
        if spec.preemptionPolicy is None:
            spec.preemptionPolicy = before.preemptionPolicy
    elif attributes.operation == "CREATE":
        _set_priority(attributes, catalog, pod)


def _set_priority(attributes: Attributes, catalog: Catalog, pod: core_v1.Pod) -> None:
    spec = pod.spec
    assert spec is not None and pod.metadata is not None
    if spec.priorityClassName:
        found = catalog.of("scheduling.k8s.io", "priorityclasses").cache.get(spec.priorityClassName)
        if found is None:
            raise refuse(attributes, f"no PriorityClass with name {spec.priorityClassName} was found")
        chosen = codec.decode(scheduling_v1.PriorityClass, found.body)
    else:
        chosen = _default_class(catalog)
        if chosen.metadata is not None:
            spec.priorityClassName = chosen.metadata.name
    value = chosen.value or 0
    mirror = MIRROR in (pod.metadata.annotations or {})
    if spec.priority is not None and spec.priority != value and not mirror:
        why = (
            f"the integer value of priority ({spec.priority}) must not be provided in pod spec; priority admission controller "
            f"computed {value} from the given PriorityClass name"
        )
        raise refuse(attributes, why)
    policy = chosen.preemptionPolicy or "PreemptLowerPriority"
    if spec.preemptionPolicy and spec.preemptionPolicy != policy:
        why = (
            f"the string value of PreemptionPolicy ({spec.preemptionPolicy}) must not be provided in pod spec; priority admission "
            f"controller computed {policy} from the given PriorityClass name"
        )
        raise refuse(attributes, why)
    spec.priority, spec.preemptionPolicy = value, policy


def _default_class(catalog: Catalog) -> scheduling_v1.PriorityClass:
    """The class marked as default; the lowest of several; an empty one when there is none."""
    marked = [c for c in _classes(catalog) if c.globalDefault]
    return min(marked, key=lambda c: c.value or 0) if marked else scheduling_v1.PriorityClass()


async def one_default(attributes: Attributes, catalog: Catalog) -> None:
    """Only one PriorityClass may be the default."""
    if attributes.key != ("scheduling.k8s.io", "priorityclasses") or attributes.operation not in ("CREATE", "UPDATE"):
        return
    if attributes.subresource or not attributes.obj.globalDefault:
        return
    for other in _classes(catalog):
        assert other.metadata is not None
        name = other.metadata.name
        if other.globalDefault and (attributes.operation == "CREATE" or name != attributes.obj.metadata.name):
            raise refuse(attributes, f"PriorityClass {name} is already marked as default. Only one default can exist")


async def runtime_class(attributes: Attributes, catalog: Catalog) -> None:
    """A pod gets the overhead, node selector and tolerations of its runtime class."""
    if attributes.key != _POD or attributes.operation != "CREATE" or attributes.subresource:
        return
    spec: core_v1.PodSpec = attributes.obj.spec
    if not spec.runtimeClassName:
        if spec.overhead:
            raise refuse(attributes, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        return
    entry = catalog.of("node.k8s.io", "runtimeclasses").cache.get(spec.runtimeClassName)
    if entry is None:
        raise refuse(attributes, f'pod rejected: RuntimeClass "{spec.runtimeClassName}" not found')
    chosen = codec.decode(node_v1.RuntimeClass, entry.body)
    fixed = {k: amounts.stored(v) for k, v in (chosen.overhead.podFixed or {}).items()} if chosen.overhead else {}
    if fixed:
        if spec.overhead and spec.overhead != fixed:
            raise refuse(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        spec.overhead = dict(fixed)
    elif spec.overhead:
        raise refuse(attributes, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
    if chosen.scheduling is not None:
        _schedule(attributes, spec, chosen.scheduling)


def _schedule(attributes: Attributes, spec: core_v1.PodSpec, scheduling: node_v1.Scheduling) -> None:
    held = dict(spec.nodeSelector or {})
    for key, value in (scheduling.nodeSelector or {}).items():
        if held.setdefault(key, value) != value:
            why = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {held[key]}"
            raise refuse(attributes, why)
    spec.nodeSelector = held or None
    tolerations = list(spec.tolerations or ())
    tolerations += [t for t in scheduling.tolerations or () if t not in tolerations]
    spec.tolerations = tolerations or None


async def nodes(attributes: Attributes) -> None:
    """A new node is not ready until its lifecycle controller says that it is (TaintNodesByCondition)."""
    if attributes.key != ("", "nodes") or attributes.operation != "CREATE" or attributes.subresource:
        return
    spec = attributes.obj.spec = attributes.obj.spec or core_v1.NodeSpec()
    if any(t.key == _SICK[0] and t.effect == "NoSchedule" for t in spec.taints or ()):
        return
    spec.taints = [*(spec.taints or ()), core_v1.Taint(key=_SICK[0], effect="NoSchedule")]
