"""What a pod asks of its node, read once from the object: requests, selectors, affinities, spreads, ports.

Pods of one template ask for the same thing, so they share one `Ask`: a `Reader` knows the asks it has read by the bytes of
what they were read from. A `Demand` is one pod: its identity and its ask. `Ask.signature` is equal for asks that any node
treats alike as far as the node alone goes (labels do not matter to it, pods on other nodes neither).

Upstream counterparts: component-helpers/resource (requests), framework.PodInfo, fwk.PodSignature.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import codec, quantity, selectors, timestamps
from navarch.scheduler.core import volume_terms
from navarch.scheduler.core.volume_terms import Volumes

CPU, MEMORY, EPHEMERAL, PODS = "cpu", "memory", "ephemeral-storage", "pods"
DEFAULTS = {CPU: 100, MEMORY: 200 * 1024 * 1024}
"""What scoring assumes of a container that asks for nothing."""
_KEPT = 4096
_Resources = Mapping[str, str | int | float] | None


@dataclass(frozen=True, slots=True)
class Matcher:
    """Which pods: of these namespaces, or of namespaces with such labels, that the selector matches."""

    selector: selectors.Selector
    namespaces: frozenset[str]
    namespace_selector: selectors.Selector | None = None

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, Mapping[str, str]]) -> bool:
        if namespace not in self.namespaces:
            chosen = self.namespace_selector
            if chosen is None or not chosen.matches(namespace_labels.get(namespace, {})):
                return False
        return self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class AffinityTerm:
    """One pod (anti-)affinity term: which pods, in which domain, with which weight (0 when required)."""

    key: str
    pods: Matcher
    weight: int = 0


@dataclass(frozen=True, slots=True)
class SpreadTerm:
    """One topology spread constraint with its selector completed by matchLabelKeys."""

    key: str
    skew: int
    hard: bool
    selector: selectors.Selector
    minimum_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(eq=False, slots=True)
class Ask:
    """All that pods of one template ask for. Compared by identity: a `Reader` makes each only once."""

    namespace: str
    labels: dict[str, str]
    priority: int
    preemption_policy: str
    requests: dict[str, int]
    """Resource → amount: milli-CPU, bytes, or units."""
    scored: dict[str, int]
    """The same as scoring sees it: CPU and memory are never nothing."""
    counted: tuple[int, int]
    """CPU and memory as scoring counts them once the pod is on its node."""
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
    """Normalised, one per container and image volume."""
    containers: int
    signature: bytes = b""
    volumes: Volumes | None = None
    """None for a pod whose volumes any node can make."""
    default_spread: bool = False
    """The spread constraints are the scheduler's own, not the pod's."""


@dataclass(slots=True)
class Demand:
    """One pod."""

    uid: str
    name: str
    ask: Ask
    node_name: str = ""
    terminating: bool = False
    started: float = math.inf
    """Seconds since the epoch; who has not started counts as the latest. Preemption spares the pods that have run for longest."""
    preempted: bool = False
    """It is being deleted to make room for another."""

    @property
    def key(self) -> str:
        return f"{self.ask.namespace}/{self.name}"


# ---- resources ----------------------------------------------------------------------------------------------------


def amount(resource: str, value: str | int | float) -> int:
    """A quantity in the scheduler's unit: thousandths of a CPU, whole units of anything else."""
    return quantity.milli(value) if resource == CPU else quantity.value(value)


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


def _counted(spec: core_v1.PodSpec, status: core_v1.PodStatus | None, requests: Mapping[str, int]) -> tuple[int, int]:
    """CPU and memory that scoring counts for a placed pod: with pod-level requests, only what is wholly unnamed gets a default."""
    missing = {k: v for k, v in DEFAULTS.items() if k not in requests} if _pod_level(spec) else DEFAULTS
    found = requests_of(spec, status, missing) if missing else requests
    return found.get(CPU, 0), found.get(MEMORY, 0)


# ---- selectors ----------------------------------------------------------------------------------------------------


def _selector(
    selector: meta_v1.LabelSelector | None, labels: Mapping[str, str], match: list[str] | None, mismatch: list[str] | None = None
) -> selectors.Selector:
    """A label selector narrowed by the pod's own values of some keys."""
    found = selectors.from_object(selector)
    more = [selectors.Requirement(k, "=", frozenset({labels[k]})) for k in match or () if k in labels]
    more += [selectors.Requirement(k, "notin", frozenset({labels[k]})) for k in mismatch or () if k in labels]
    return selectors.Selector((*found.requirements, *more), found.nothing) if more and not found.nothing else found


def spread_term(constraint: core_v1.TopologySpreadConstraint, labels: Mapping[str, str]) -> SpreadTerm:
    """A constraint as a pod with these labels means it."""
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
    return AffinityTerm(term.topologyKey or "", Matcher(selector, named, chosen), weight)


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


def normal_image(name: str) -> str:
    """An image name as nodes report it: with a tag."""
    return f"{name}:latest" if name.rfind(":") <= name.rfind("/") else name


def _images(spec: core_v1.PodSpec) -> tuple[str, ...]:
    containers = (*(spec.initContainers or ()), *(spec.containers or ()))
    volumes = (v.image.reference or "" for v in spec.volumes or () if v.image is not None)
    return tuple(normal_image(name) for name in (*(c.image or "" for c in containers), *volumes))


def _ports(spec: core_v1.PodSpec) -> tuple[tuple[str, str, int], ...]:
    sidecars = [c for c in spec.initContainers or () if c.restartPolicy == "Always"]
    holders = (*(spec.containers or ()), *sidecars)
    return tuple((p.protocol or "TCP", p.hostIP or "0.0.0.0", p.hostPort) for c in holders for p in c.ports or () if p.hostPort)


# ---- reading ------------------------------------------------------------------------------------------------------


def ask_of(pod: core_v1.Pod, spreads: Iterable[SpreadTerm] = ()) -> Ask:
    """Everything a pod asks for. `spreads`: the scheduler's own constraints, for a pod that names none."""
    m, spec = pod.metadata or meta_v1.ObjectMeta(), pod.spec or core_v1.PodSpec()
    labels, namespace = m.labels or {}, m.namespace or ""
    affinity = spec.affinity or core_v1.Affinity()
    required, preferred = _terms(affinity.podAffinity, namespace, labels)
    anti_required, anti_preferred = _terms(affinity.podAntiAffinity, namespace, labels)
    own = tuple(spread_term(c, labels) for c in spec.topologySpreadConstraints or ())
    requests = requests_of(spec, pod.status)
    ask = Ask(
        namespace=namespace,
        labels=labels,
        priority=spec.priority or 0,
        preemption_policy=spec.preemptionPolicy or "PreemptLowerPriority",
        requests=requests,
        scored=requests_of(spec, pod.status, DEFAULTS),
        counted=_counted(spec, pod.status, requests),
        node_selector=tuple(sorted((spec.nodeSelector or {}).items())),
        node_affinity=affinity.nodeAffinity,
        tolerations=tuple(spec.tolerations or ()),
        ports=_ports(spec),
        spreads=own or tuple(spreads),
        affinity=required,
        anti_affinity=anti_required,
        preferred_affinity=preferred,
        preferred_anti_affinity=anti_preferred,
        images=_images(spec),
        containers=len(spec.containers or ()) + len(spec.initContainers or ()),
        volumes=volume_terms.read(m, spec) if spec.volumes else None,
        default_spread=not own,
    )
    ask.signature = _signature(ask)
    return ask


def _signature(ask: Ask) -> bytes:
    return codec.encode(
        [
            ask.requests,
            ask.scored,
            ask.node_selector,
            ask.node_affinity,
            ask.tolerations,
            ask.ports,
            ask.images,
            ask.containers,
            ask.priority,
        ]
    )


class Reader:
    """Reads pods, and each template only once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, tuple[SpreadTerm, ...]], Ask] = OrderedDict()

    def read(self, pod: core_v1.Pod, spreads: tuple[SpreadTerm, ...] = ()) -> Demand:
        """The pod's demand; `spreads` as in `ask_of`."""
        m, spec = pod.metadata or meta_v1.ObjectMeta(), pod.spec or core_v1.PodSpec()
        key = (_read_from(m, spec, pod.status), spreads)
        ask = self._known.get(key)
        if ask is None:
            ask = self._known[key] = ask_of(pod, spreads)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        leaving = m.deletionTimestamp is not None
        return Demand(m.uid or "", m.name or "", ask, spec.nodeName or "", leaving, started(pod), leaving and _preempted(pod))


def started(pod: core_v1.Pod) -> float:
    """When a pod started; one that has not counts as later than all that have (GetPodStartTime)."""
    began = pod.status.startTime if pod.status is not None else None
    return timestamps.parse(began) if began else math.inf


def finished(pod: core_v1.Pod) -> bool:
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


def waits(pod: core_v1.Pod) -> bool:
    """Whether a pod is to be scheduled, by whichever scheduler."""
    spec = pod.spec or core_v1.PodSpec()
    leaving = pod.metadata is not None and pod.metadata.deletionTimestamp is not None
    return not (spec.nodeName or spec.schedulingGates or leaving or finished(pod))


def _preempted(pod: core_v1.Pod) -> bool:
    conditions = (pod.status.conditions if pod.status is not None else None) or ()
    found = next((c for c in conditions if c.type == "DisruptionTarget"), None)
    return found is not None and found.status == "True" and found.reason == "PreemptionByScheduler"


def _read_from(m: meta_v1.ObjectMeta, spec: core_v1.PodSpec, status: core_v1.PodStatus | None) -> bytes:
    """The bytes of all that `ask_of` looks at."""
    resized: list[object] = []
    if status is not None:
        resized = [(s.name, s.resources, s.allocatedResources) for s in status.containerStatuses or () if s.resources is not None]
        resized += [(s.name, s.resources, s.allocatedResources) for s in status.initContainerStatuses or () if s.resources is not None]
        if resized:
            resized.append([c.reason for c in status.conditions or () if c.type == "PodResizePending"])
    return codec.encode(
        [
            m.namespace,
            m.labels,
            spec.priority,
            spec.preemptionPolicy,
            spec.nodeSelector,
            spec.affinity,
            spec.tolerations,
            spec.topologySpreadConstraints,
            spec.overhead,
            spec.resources,
            [(c.name, c.image, c.resources, c.ports) for c in spec.containers or ()],
            [(c.name, c.image, c.resources, c.ports, c.restartPolicy) for c in spec.initContainers or ()],
            _volumes_read(m, spec) if spec.volumes else [],
            resized,
        ]
    )


def _volumes_read(m: meta_v1.ObjectMeta, spec: core_v1.PodSpec) -> list[object]:
    found = volume_terms.sources(spec)
    images: list[object] = [v.image for v in spec.volumes or () if v.image is not None]
    return [images, found, volume_terms.identity(m, found)] if found else images


def demand_of(pod: core_v1.Pod) -> Demand:
    """One pod, read alone."""
    return Reader().read(pod)
