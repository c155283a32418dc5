"""What a pod asks of its node, read once from the object: requests, selectors, affinities, spreads, ports.

Pods of one template ask for the same thing, so they share one `PodTerms`: a `Reader` knows the terms it has read by the bytes of
what they were read from. A `PodInfo` is one pod: its identity and its terms. `PodTerms.signature` is equal for pods that any node
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
from navarch.machinery import codec, selectors, timestamps
from navarch.objects import pods
from navarch.scheduler.core import requests
from navarch.scheduler.core.volumes import terms as volume_terms
from navarch.scheduler.core.volumes.terms import Volumes

_KEPT = 4096


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
class PodTerms:
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
class PodInfo:
    """One pod."""

    uid: str
    name: str
    terms: PodTerms
    node_name: str = ""
    terminating: bool = False
    started: float = math.inf
    """Seconds since the epoch; who has not started counts as the latest. Preemption spares the pods that have run for longest."""
    preempted: bool = False
    """It is being deleted to make room for another."""

    @property
    def key(self) -> str:
        return f"{self.terms.namespace}/{self.name}"


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


def terms_of(pod: core_v1.Pod, spreads: Iterable[SpreadTerm] = ()) -> PodTerms:
    """Everything a pod asks for. `spreads`: the scheduler's own constraints, for a pod that names none."""
    m, spec = pod.metadata or meta_v1.ObjectMeta(), pod.spec or core_v1.PodSpec()
    labels, namespace = m.labels or {}, m.namespace or ""
    affinity = spec.affinity or core_v1.Affinity()
    required, preferred = _terms(affinity.podAffinity, namespace, labels)
    anti_required, anti_preferred = _terms(affinity.podAntiAffinity, namespace, labels)
    own = tuple(spread_term(c, labels) for c in spec.topologySpreadConstraints or ())
    amounts = requests.requests_of(spec, pod.status)
    terms = PodTerms(
        namespace=namespace,
        labels=labels,
        priority=spec.priority or 0,
        preemption_policy=spec.preemptionPolicy or "PreemptLowerPriority",
        requests=amounts,
        scored=requests.requests_of(spec, pod.status, requests.DEFAULTS),
        counted=requests.counted(spec, pod.status, amounts),
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
    terms.signature = _signature(terms)
    return terms


def _signature(terms: PodTerms) -> bytes:
    return codec.encode(
        [
            terms.requests,
            terms.scored,
            terms.node_selector,
            terms.node_affinity,
            terms.tolerations,
            terms.ports,
            terms.images,
            terms.containers,
            terms.priority,
        ]
    )


class Reader:
    """Reads pods, and each template only once."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, tuple[SpreadTerm, ...]], PodTerms] = OrderedDict()

    def read(self, pod: core_v1.Pod, spreads: tuple[SpreadTerm, ...] = ()) -> PodInfo:
        """The pod's info; `spreads` as in `terms_of`."""
        m, spec = pod.metadata or meta_v1.ObjectMeta(), pod.spec or core_v1.PodSpec()
        key = (_read_from(m, spec, pod.status), spreads)
        terms = self._known.get(key)
        if terms is None:
            terms = self._known[key] = terms_of(pod, spreads)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        leaving = m.deletionTimestamp is not None
        return PodInfo(m.uid or "", m.name or "", terms, spec.nodeName or "", leaving, started(pod), leaving and _preempted(pod))


def started(pod: core_v1.Pod) -> float:
    """When a pod started; one that has not counts as later than all that have (GetPodStartTime)."""
    began = pod.status.startTime if pod.status is not None else None
    return timestamps.parse(began) if began else math.inf


def waits(pod: core_v1.Pod) -> bool:
    """Whether a pod is to be scheduled, by whichever scheduler."""
    spec = pod.spec or core_v1.PodSpec()
    return not (spec.nodeName or spec.schedulingGates) and pods.is_active(pod)


def _preempted(pod: core_v1.Pod) -> bool:
    found = pods.condition(pod, "DisruptionTarget")
    return found is not None and found.status == "True" and found.reason == "PreemptionByScheduler"


def _read_from(m: meta_v1.ObjectMeta, spec: core_v1.PodSpec, status: core_v1.PodStatus | None) -> bytes:
    """The bytes of all that `terms_of` looks at."""
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


def info_of(pod: core_v1.Pod) -> PodInfo:
    """One pod, read alone."""
    return Reader().read(pod)
