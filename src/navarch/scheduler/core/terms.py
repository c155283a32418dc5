"""What a pod asks of its node, read once from the object: requests, selectors, affinities, spreads, ports.

Pods of one template ask for the same; `Demand.signature` is equal for them, so that what is computed for one serves all.

Upstream counterparts: component-helpers/resource (requests), framework.PodInfo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import codec, quantity, selectors

CPU, MEMORY, EPHEMERAL, PODS = "cpu", "memory", "ephemeral-storage", "pods"
DEFAULT_CPU, DEFAULT_MEMORY = 100, 200 * 1024 * 1024
"""What scoring assumes of a container that asks for nothing."""


@dataclass(frozen=True, slots=True)
class SpreadTerm:
    """One topology spread constraint with its selector completed by matchLabelKeys."""

    key: str
    skew: int
    hard: bool
    selector: selectors.Selector
    minimum_domains: int
    honor_affinity: bool
    honor_taints: bool


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """One pod (anti-)affinity term: which pods (namespaces and selector), in which domain, with which weight."""

    key: str
    selector: selectors.Selector
    namespaces: frozenset[str]
    namespace_selector: selectors.Selector | None
    weight: int = 0

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether a pod is one the term speaks of."""
        if namespace not in self.namespaces:
            chosen = self.namespace_selector
            if chosen is None or not chosen.matches(namespace_labels.get(namespace, {})):
                return False
        return self.selector.matches(labels)


@dataclass(slots=True)
class Demand:
    """All a pod asks for."""

    uid: str
    name: str
    namespace: str
    labels: dict[str, str]
    priority: int
    node_name: str
    requests: dict[str, int]
    """Resource → amount: milli-CPU, bytes, or units."""
    scored_cpu: int
    scored_memory: int
    node_selector: tuple[tuple[str, str], ...]
    node_affinity: core_v1.NodeAffinity | None
    tolerations: tuple[core_v1.Toleration, ...]
    ports: tuple[tuple[str, str, int], ...]
    """Host ports: (protocol, address, port)."""
    spreads: tuple[SpreadTerm, ...]
    affinity: tuple[AffinityTerm, ...]
    anti_affinity: tuple[AffinityTerm, ...]
    preferred_affinity: tuple[AffinityTerm, ...]
    preferred_anti_affinity: tuple[AffinityTerm, ...]
    images: tuple[str, ...]
    scheduler: str
    gates: tuple[str, ...]
    preemption_policy: str
    signature: bytes = b""
    default_spread: bool = False
    extra: dict[str, str] = field(default_factory=dict)


def amount(resource: str, value: str | int | float) -> int:
    """A quantity in the scheduler's unit: thousandths of a CPU, whole units of anything else."""
    return quantity.milli(value) if resource == CPU else quantity.value(value)


def _amounts(listed: Mapping[str, str | int | float] | None) -> dict[str, int]:
    return {name: amount(name, value) for name, value in (listed or {}).items()}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _most(total: dict[str, int], other: Mapping[str, int]) -> None:
    for name, value in other.items():
        total[name] = max(total.get(name, 0), value)


def requests_of(spec: core_v1.PodSpec, status: core_v1.PodStatus | None = None) -> dict[str, int]:
    """What a pod takes from its node: containers and sidecars together, or the largest init container if that is more; or its own
    pod-level requests; and overhead."""
    allocated = {s.name: s.allocatedResources for s in ((status.containerStatuses or ()) if status else ()) if s.allocatedResources}
    total: dict[str, int] = {}
    for container in spec.containers or ():
        wanted = _amounts(container.resources.requests if container.resources else None)
        if container.name in allocated:
            _most(wanted, _amounts(allocated[container.name]))
        _add(total, wanted)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.initContainers or ():
        wanted = _amounts(container.resources.requests if container.resources else None)
        if container.restartPolicy == "Always":
            _add(total, wanted)
            _add(sidecars, wanted)
            wanted = dict(sidecars)
        else:
            _add(wanted, sidecars)
        _most(peak, wanted)
    _most(total, peak)
    for name, value in _amounts(spec.resources.requests if spec.resources else None).items():
        total[name] = value
    _add(total, _amounts(spec.overhead))
    return total


def _scored(spec: core_v1.PodSpec, resource: str, default: int) -> int:
    """The request that scoring counts: containers that ask for nothing count with a default."""
    if spec.resources is not None and (spec.resources.requests or {}).get(resource) is not None:
        return amount(resource, (spec.resources.requests or {})[resource])
    total = peak = sidecars = 0
    for container in spec.containers or ():
        held = (container.resources.requests or {}) if container.resources else {}
        total += amount(resource, held[resource]) if resource in held else default
    for container in spec.initContainers or ():
        held = (container.resources.requests or {}) if container.resources else {}
        wanted = amount(resource, held[resource]) if resource in held else default
        if container.restartPolicy == "Always":
            sidecars += wanted
            total += wanted
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + wanted)
    overhead = (spec.overhead or {}).get(resource)
    return max(total, peak) + (amount(resource, overhead) if overhead is not None else 0)


def _selector(
    selector: meta_v1.LabelSelector | None, labels: Mapping[str, str], match: list[str] | None, mismatch: list[str] | None = None
) -> selectors.Selector:
    """A label selector narrowed by the pod's own values of some keys."""
    found = selectors.from_object(selector)
    more = [selectors.Requirement(k, "=", frozenset({labels[k]})) for k in match or () if k in labels]
    more += [selectors.Requirement(k, "notin", frozenset({labels[k]})) for k in mismatch or () if k in labels]
    return selectors.Selector((*found.requirements, *more), found.nothing) if more else found


def _spread(constraint: core_v1.TopologySpreadConstraint, labels: Mapping[str, str]) -> SpreadTerm:
    return SpreadTerm(
        constraint.topologyKey or "",
        constraint.maxSkew or 1,
        constraint.whenUnsatisfiable != "ScheduleAnyway",
        _selector(constraint.labelSelector, labels, constraint.matchLabelKeys),
        constraint.minDomains or 1,
        constraint.nodeAffinityPolicy != "Ignore",
        constraint.nodeTaintsPolicy == "Honor",
    )


def _affinity(term: core_v1.PodAffinityTerm, namespace: str, labels: Mapping[str, str], weight: int = 0) -> AffinityTerm:
    chosen = selectors.from_object(term.namespaceSelector) if term.namespaceSelector is not None else None
    named = frozenset(term.namespaces or ()) or (frozenset({namespace}) if chosen is None else frozenset())
    selector = _selector(term.labelSelector, labels, term.matchLabelKeys, term.mismatchLabelKeys)
    return AffinityTerm(term.topologyKey or "", selector, named, chosen, weight)


def _terms(
    affinity: core_v1.PodAffinity | core_v1.PodAntiAffinity | None, namespace: str, labels: Mapping[str, str]
) -> tuple[tuple[AffinityTerm, ...], tuple[AffinityTerm, ...]]:
    """(required, preferred)."""
    if affinity is None:
        return (), ()
    required = tuple(_affinity(t, namespace, labels) for t in affinity.requiredDuringSchedulingIgnoredDuringExecution or ())
    preferred = tuple(
        _affinity(w.podAffinityTerm, namespace, labels, w.weight or 0)
        for w in affinity.preferredDuringSchedulingIgnoredDuringExecution or ()
        if w.podAffinityTerm is not None
    )
    return required, preferred


def demand_of(pod: core_v1.Pod) -> Demand:
    """Everything a pod asks for."""
    m, spec = pod.metadata or meta_v1.ObjectMeta(), pod.spec or core_v1.PodSpec()
    labels = m.labels or {}
    namespace = m.namespace or ""
    affinity = spec.affinity or core_v1.Affinity()
    required, preferred = _terms(affinity.podAffinity, namespace, labels)
    anti_required, anti_preferred = _terms(affinity.podAntiAffinity, namespace, labels)
    sidecars = [c for c in spec.initContainers or () if c.restartPolicy == "Always"]
    ports = tuple(
        (p.protocol or "TCP", p.hostIP or "0.0.0.0", p.hostPort) for c in (*(spec.containers or ()), *sidecars) for p in c.ports or () if p.hostPort
    )
    demand = Demand(
        uid=m.uid or "",
        name=m.name or "",
        namespace=namespace,
        labels=labels,
        priority=spec.priority or 0,
        node_name=spec.nodeName or "",
        requests=requests_of(spec, pod.status),
        scored_cpu=_scored(spec, CPU, DEFAULT_CPU),
        scored_memory=_scored(spec, MEMORY, DEFAULT_MEMORY),
        node_selector=tuple(sorted((spec.nodeSelector or {}).items())),
        node_affinity=affinity.nodeAffinity,
        tolerations=tuple(spec.tolerations or ()),
        ports=ports,
        spreads=tuple(_spread(c, labels) for c in spec.topologySpreadConstraints or ()),
        affinity=required,
        anti_affinity=anti_required,
        preferred_affinity=preferred,
        preferred_anti_affinity=anti_preferred,
        images=tuple(c.image or "" for c in (*(spec.containers or ()), *(spec.initContainers or ()))),
        scheduler=spec.schedulerName or "default-scheduler",
        gates=tuple(g.name or "" for g in spec.schedulingGates or ()),
        preemption_policy=spec.preemptionPolicy or "PreemptLowerPriority",
    )
    demand.signature = _signature(demand, spec)
    return demand


def _signature(demand: Demand, spec: core_v1.PodSpec) -> bytes:
    """Equal for pods that any node treats alike as far as the node alone goes (not pods on it)."""
    return codec.encode(
        [
            demand.requests,
            demand.scored_cpu,
            demand.scored_memory,
            demand.node_selector,
            demand.node_affinity,
            demand.tolerations,
            demand.ports,
            demand.node_name,
            demand.images,
        ]
    )
