"""Filters: which nodes can take a pod, each a mask over all nodes.

`FILTERS` is the order in which upstream's default profile runs them; the first that a node fails is the reason it gives. A
filter returns the mask of nodes that pass and, where a node can fail it in several ways, says so through `Reasons`.

Upstream counterparts: pkg/scheduler/framework/plugins/{nodeunschedulable,nodename,tainttoleration,nodeaffinity,nodeports,
noderesources,podtopologyspread,interpodaffinity}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from navarch.api.core import v1 as core_v1
from navarch.scheduler.core.columns import Columns, Ints, Mask
from navarch.scheduler.core.terms import PODS, AffinityTerm, Demand, SpreadTerm


@dataclass(slots=True)
class Reasons:
    """Why nodes were refused: text → mask. `final`: nodes that no eviction can help."""

    columns: Columns
    masks: dict[str, Mask] = field(default_factory=dict)
    final: Mask | None = None

    def add(self, text: str, refused: Mask, *, final: bool) -> None:
        if not refused.any():
            return
        held = self.masks.get(text)
        self.masks[text] = refused if held is None else held | refused
        if final:
            self.final = refused.copy() if self.final is None else self.final | refused


Filter = Callable[[Columns, Demand, Mask, Reasons], Mask]


def tolerates(toleration: core_v1.Toleration, key: str, value: str, effect: str) -> bool:
    """Whether a toleration covers a taint (core/v1 helper ToleratesTaint)."""
    if toleration.effect and toleration.effect != effect:
        return False
    if toleration.key and toleration.key != key:
        return False
    operator = toleration.operator or "Equal"
    if operator == "Exists":
        return True
    if operator in ("Lt", "Gt"):
        return _compares(operator, value, toleration.value or "")
    return bool(toleration.key) and (toleration.value or "") == value


def _compares(operator: str, held: str, bound: str) -> bool:
    try:
        return int(held) < int(bound) if operator == "Lt" else int(held) > int(bound)
    except ValueError:
        return False


def _tolerated(demand: Demand, key: str, value: str, effect: str) -> bool:
    return any(tolerates(t, key, value, effect) for t in demand.tolerations)


def unschedulable(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    if _tolerated(demand, "node.kubernetes.io/unschedulable", "", "NoSchedule"):
        return left
    reasons.add("node(s) were unschedulable", left & columns.unschedulable, final=True)
    return left & ~columns.unschedulable


def node_name(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    if not demand.node_name:
        return left
    passed = np.zeros_like(left)
    slot = columns.slots.get(demand.node_name)
    if slot is not None:
        passed[slot] = left[slot]
    reasons.add("node(s) didn't match the requested node name", left & ~passed, final=True)
    return passed


def taints(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    refused = untolerated(columns, demand)
    if refused is None:
        return left
    reasons.add("node(s) had untolerated taint(s)", left & refused, final=True)
    return left & ~refused


def untolerated(columns: Columns, demand: Demand) -> Mask | None:
    """Nodes with a NoSchedule or NoExecute taint the pod does not tolerate; None when there are none."""
    refused: Mask | None = None
    for (key, value, effect), mask in columns.taints.items():
        if effect != "PreferNoSchedule" and not _tolerated(demand, key, value, effect):
            refused = mask.copy() if refused is None else refused | mask
    return refused


def node_affinity(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    passed = left & selected(columns, demand)
    reasons.add("node(s) didn't match Pod's node affinity/selector", left & ~passed, final=True)
    return passed


def selected(columns: Columns, demand: Demand) -> Mask:
    """Nodes that the pod's nodeSelector and required node affinity accept."""
    passed = columns.alive.copy()
    for key, value in demand.node_selector:
        passed &= _has(columns, key, (value,))
    affinity = demand.node_affinity
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if required is not None:
        either = np.zeros_like(passed)
        for term in required.nodeSelectorTerms or ():
            either |= node_term(columns, term)
        passed &= either
    return passed


def node_term(columns: Columns, term: core_v1.NodeSelectorTerm) -> Mask:
    """Nodes that one node selector term matches; an empty term matches none."""
    if not term.matchExpressions and not term.matchFields:
        return np.zeros(columns.capacity, np.bool_)
    passed = columns.alive.copy()
    for requirement in (*(term.matchExpressions or ()), *(term.matchFields or ())):
        passed &= _requirement(columns, requirement)
    return passed


def _requirement(columns: Columns, r: core_v1.NodeSelectorRequirement) -> Mask:
    key, values = r.key or "", r.values or []
    match r.operator:
        case "In":
            return _has(columns, key, values)
        case "NotIn":
            return ~_has(columns, key, values)
        case "Exists":
            codes = columns.label(key)
            return np.zeros(columns.capacity, np.bool_) if codes is None else codes >= 0
        case "DoesNotExist":
            codes = columns.label(key)
            return np.ones(columns.capacity, np.bool_) if codes is None else codes < 0
        case "Gt" | "Lt":
            return _ordered(columns, key, r.operator, values[0] if values else "")
    return np.zeros(columns.capacity, np.bool_)


def _has(columns: Columns, key: str, values: Sequence[str]) -> Mask:
    column = columns.labels.get(key)
    if column is None:
        return np.zeros(columns.capacity, np.bool_)
    codes = [column.values[v] for v in values if v in column.values]
    if len(codes) == 1:
        return column.codes == codes[0]
    return np.isin(column.codes, codes)


def _ordered(columns: Columns, key: str, operator: str, bound: str) -> Mask:
    column = columns.labels.get(key)
    passed = np.zeros(columns.capacity, np.bool_)
    if column is not None:
        for value, code in column.values.items():
            if _compares(operator, value, bound):
                passed |= column.codes == code
    return passed


def ports(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    if not demand.ports:
        return left
    passed = left.copy()
    for protocol, address, port in demand.ports:
        for (used_protocol, used_address, used_port), users in columns.ports.items():
            clash = used_address == address or "0.0.0.0" in (used_address, address)
            if used_port == port and used_protocol == protocol and clash:
                passed[list(users)] = False
    reasons.add("node(s) didn't have free ports for the requested pod ports", left & ~passed, final=False)
    return passed


def resources(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    """Enough of everything. All that lacks is told, not only the first."""
    passed = left.copy()
    row = columns.resources[PODS]
    full = left & (columns.requested[row] + 1 > columns.allocatable[row])
    reasons.add("Too many pods", full, final=False)
    passed &= ~full
    for name, wanted in demand.requests.items():
        if wanted == 0:
            continue
        row = columns.row(name)
        free = columns.allocatable[row] - columns.requested[row]
        lacking = left & (free < wanted)
        never = lacking & (columns.allocatable[row] < wanted)
        reasons.add(f"Insufficient {name}", lacking & ~never, final=False)
        reasons.add(f"Insufficient {name}", never, final=True)
        passed &= ~lacking
    return passed


# ---- topology -----------------------------------------------------------------------------------------------------


def domain_sums(columns: Columns, key: str, counts: Ints, eligible: Mask) -> tuple[Ints, Ints]:
    """Per label code: the count over eligible nodes, and how many eligible nodes there are."""
    codes = columns.label(key)
    assert codes is not None
    size = len(columns.labels[key].values)
    chosen = eligible & (codes >= 0)
    own = codes[chosen]
    sums = np.bincount(own, weights=counts[chosen], minlength=size).astype(np.int64)
    nodes = np.bincount(own, minlength=size).astype(np.int64)
    return sums, nodes


def spread_eligible(columns: Columns, demand: Demand, term: SpreadTerm) -> Mask:
    """The nodes whose pods count for a constraint, by its inclusion policies."""
    eligible = columns.alive.copy()
    if term.honor_affinity:
        eligible &= selected(columns, demand)
    if term.honor_taints:
        refused = untolerated(columns, demand)
        if refused is not None:
            eligible &= ~refused
    return eligible


def topology_spread(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    hard = [t for t in demand.spreads if t.hard]
    if not hard:
        return left
    passed = left
    every = columns.alive.copy()
    for term in hard:
        codes = columns.label(term.key)
        every &= (codes >= 0) if codes is not None else False
    text = "node(s) didn't match pod topology spread constraints"
    for term in hard:
        codes = columns.label(term.key)
        missing = passed & ((codes < 0) if codes is not None else True)
        reasons.add(f"{text} (missing required label)", missing, final=True)
        passed = passed & ~missing
        if codes is None or not passed.any():
            return passed & False if codes is None else passed
        eligible = spread_eligible(columns, demand, term) & every
        counts = columns.counters.in_namespace(demand.namespace, term.selector)
        sums, nodes = domain_sums(columns, term.key, counts, eligible)
        there = nodes > 0
        least = int(sums[there].min()) if there.any() else 0
        if int(there.sum()) < term.minimum_domains:
            least = 0
        own = 1 if term.selector.matches(demand.labels) else 0
        skewed = passed & (sums[codes] + own - least > term.skew)
        reasons.add(text, skewed, final=False)
        passed = passed & ~skewed
    return passed


def pod_affinity(columns: Columns, demand: Demand, left: Mask, reasons: Reasons) -> Mask:
    """Required affinity and anti-affinity, the pod's own and that of the pods there are."""
    passed = left
    if demand.affinity:
        ok = _affinity_mask(columns, demand)
        reasons.add("node(s) didn't match pod affinity rules", passed & ~ok, final=True)
        passed = passed & ok
    if demand.anti_affinity:
        refused = np.zeros(columns.capacity, np.bool_)
        for term in demand.anti_affinity:
            refused |= in_domain(columns, term.key, columns.counters.matching(term))
        reasons.add("node(s) didn't match pod anti-affinity rules", passed & refused, final=False)
        passed = passed & ~refused
    if columns.counters.anti:
        refused = np.zeros(columns.capacity, np.bool_)
        for term, carriers in columns.counters.anti.items():
            if term.matches(demand.namespace, demand.labels, columns.namespaces):
                refused |= in_domain(columns, term.key, carriers.counts)
        reasons.add("node(s) didn't satisfy existing pods anti-affinity rules", passed & refused, final=False)
        passed = passed & ~refused
    return passed


def _affinity_mask(columns: Columns, demand: Demand) -> Mask:
    """Nodes in a domain that has, for every term, a pod that all terms match; or anywhere, for the first pod of its kind."""
    together = _all_terms(columns, demand.affinity)
    ok = columns.alive.copy()
    labelled = columns.alive.copy()
    for term in demand.affinity:
        codes = columns.label(term.key)
        labelled &= (codes >= 0) if codes is not None else False
        ok &= in_domain(columns, term.key, together)
    if not together.any() and _matches_all(demand, columns.namespaces):
        return labelled
    return ok


def _all_terms(columns: Columns, terms: Sequence[AffinityTerm]) -> Ints:
    """Per node, the placed pods that every term speaks of."""
    if len(terms) == 1:
        return columns.counters.matching(terms[0])
    counts = np.zeros(columns.capacity, np.int64)
    first = columns.counters.matching(terms[0])
    for slot in np.flatnonzero(first):
        for placed in columns.by_slot[slot].values():
            d = placed.demand
            if all(t.matches(d.namespace, d.labels, columns.namespaces) for t in terms):
                counts[slot] += 1
    return counts


def _matches_all(demand: Demand, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
    return all(t.matches(demand.namespace, demand.labels, namespaces) for t in demand.affinity)


def in_domain(columns: Columns, key: str, counts: Ints) -> Mask:
    """Nodes of domains in which anything is counted."""
    codes = columns.label(key)
    if codes is None:
        return np.zeros(columns.capacity, np.bool_)
    sums, _ = domain_sums(columns, key, counts, np.ones(columns.capacity, np.bool_))
    found: Mask = (codes >= 0) & (sums[codes] > 0)
    return found


FILTERS: tuple[Filter, ...] = (
    unschedulable,
    node_name,
    taints,
    node_affinity,
    ports,
    resources,
    topology_spread,
    pod_affinity,
)
"""NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit, PodTopologySpread, InterPodAffinity."""
