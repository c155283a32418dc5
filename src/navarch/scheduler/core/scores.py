"""Scores: how good each node is for a pod, 0 to 100 per plugin, weighted and added.

Upstream's integer arithmetic is kept, so that the numbers are the same.

Upstream counterparts: pkg/scheduler/framework/plugins/{tainttoleration,nodeaffinity,noderesources,podtopologyspread,
interpodaffinity,imagelocality}.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from navarch.machinery import selectors
from navarch.scheduler.core.columns import Columns, Ints, Mask
from navarch.scheduler.core.filters import domain_sums, node_term, spread_eligible, tolerates
from navarch.scheduler.core.terms import Demand, SpreadTerm

MOST = 100
Score = Callable[[Columns, Demand, Mask], Ints | None]
"""(columns, demand, feasible nodes) → a score per slot; None when the plugin has nothing to say."""

_HOSTNAME = "kubernetes.io/hostname"
_MIB = 1024 * 1024


def _normalized(scores: Ints, feasible: Mask, *, reverse: bool = False) -> Ints:
    """Scaled so that the largest feasible score is 100; reversed, so that it is 0."""
    largest = int(scores[feasible].max(initial=0))
    if largest == 0:
        return np.full_like(scores, MOST) if reverse else scores
    scaled = scores * MOST // largest
    return MOST - scaled if reverse else scaled


def taint_toleration(columns: Columns, demand: Demand, feasible: Mask) -> Ints | None:
    """Fewer PreferNoSchedule taints that are not tolerated are better."""
    counts: Ints | None = None
    for (key, value, effect), mask in columns.taints.items():
        if effect != "PreferNoSchedule":
            continue
        tolerated = any(t.effect in (None, "", effect) and tolerates(t, key, value, effect) for t in demand.tolerations)
        if not tolerated:
            counts = mask.astype(np.int64) if counts is None else counts + mask
    if counts is None:
        counts = np.zeros(columns.capacity, np.int64)
    return _normalized(counts, feasible, reverse=True)


def node_affinity(columns: Columns, demand: Demand, feasible: Mask) -> Ints | None:
    """The weights of the preferred terms a node matches."""
    affinity = demand.node_affinity
    preferred = affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity is not None else None
    if not preferred:
        return None
    scores = np.zeros(columns.capacity, np.int64)
    for wish in preferred:
        if wish.preference is not None:
            scores += node_term(columns, wish.preference) * (wish.weight or 0)
    return _normalized(scores, feasible)


def least_allocated(columns: Columns, demand: Demand, feasible: Mask) -> Ints | None:
    """The more is left of CPU and memory, the better."""
    total = np.zeros(columns.capacity, np.int64)
    weights = np.zeros(columns.capacity, np.int64)
    for row, extra in ((0, demand.scored_cpu), (1, demand.scored_memory)):
        has = columns.allocatable[row]
        used = columns.scored[row] + extra
        share = np.where(used > has, 0, (has - used) * MOST // np.maximum(has, 1))
        total += np.where(has > 0, share, 0)
        weights += has > 0
    return np.where(weights > 0, total // np.maximum(weights, 1), 0)


def balanced_allocation(columns: Columns, demand: Demand, feasible: Mask) -> Ints | None:
    """CPU and memory used in like measure are better; a pod that asks for nothing does not care."""
    cpu, memory = demand.requests.get("cpu", 0), demand.requests.get("memory", 0)
    if not cpu and not memory:
        return None
    without = _balance(columns, 0, 0)
    with_pod = _balance(columns, cpu, memory)
    half = MOST // 2
    difference = half + with_pod - without
    return half + np.where(difference >= 0, difference // 2, -((-difference) // 2))


def _balance(columns: Columns, cpu: int, memory: int) -> Ints:
    fractions = []
    for row, extra in ((0, cpu), (1, memory)):
        has = columns.allocatable[row]
        share = np.minimum((columns.requested[row] + extra) / np.maximum(has, 1), 1.0)
        fractions.append(np.where(has > 0, share, np.nan))
    deviation = np.abs(fractions[0] - fractions[1]) / 2
    deviation = np.where(np.isnan(deviation), 0.0, deviation)
    balanced: Ints = ((1 - deviation) * MOST).astype(np.int64)
    return balanced


def image_locality(columns: Columns, demand: Demand, feasible: Mask) -> Ints | None:
    """Nodes that have the pod's large images already are better; an image that few nodes have counts less."""
    scores: Ints | None = None
    for image in demand.images:
        known = columns.images.get(image) or columns.images.get(_tagged(image))
        if known is None:
            continue
        size, mask = known
        spread = int((mask & columns.alive).sum()) / max(columns.count, 1)
        part = mask * int(size * spread)
        scores = part if scores is None else scores + part
    if scores is None:
        return None
    low, high = 23 * _MIB, 1000 * _MIB * max(len(demand.images), 1)
    return (np.clip(scores, low, high) - low) * MOST // (high - low)


def _tagged(image: str) -> str:
    return image if ":" in image.rsplit("/", 1)[-1] or "@" in image else f"{image}:latest"


# ---- topology -----------------------------------------------------------------------------------------------------


def default_spreads(demand: Demand, selector: selectors.Selector) -> tuple[SpreadTerm, ...]:
    """What a pod of a Service or controller gets that names no constraint: spread over hosts, and over zones."""
    return (
        SpreadTerm(_HOSTNAME, 3, False, selector, 1, True, False),
        SpreadTerm("topology.kubernetes.io/zone", 5, False, selector, 1, True, False),
    )


def topology_spread(columns: Columns, demand: Demand, feasible: Mask) -> Ints | None:
    """Fewer pods of the kind in a node's domains are better."""
    soft = [t for t in demand.spreads if not t.hard]
    if not soft:
        return None
    own = not demand.default_spread
    ignored = np.zeros(columns.capacity, np.bool_)
    if own:
        for term in soft:
            codes = columns.label(term.key)
            ignored |= (codes < 0) if codes is not None else True
    counted = feasible & ~ignored
    total = np.zeros(columns.capacity, np.float64)
    for term in soft:
        codes = columns.label(term.key)
        if codes is None:
            continue
        total += _spread_term(columns, demand, term, counted, feasible, ignored)
    scores = np.round(total).astype(np.int64)
    return _spread_normalized(scores, counted)


def _spread_term(
    columns: Columns, demand: Demand, term: SpreadTerm, counted: Mask, feasible: Mask, ignored: Mask
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    codes = columns.label(term.key)
    assert codes is not None
    counts = columns.counters.in_namespace(demand.namespace, term.selector)
    if term.key == _HOSTNAME:
        weight = math.log(int(counted.sum()) + 2)
        per_node = counts.astype(np.float64)
    else:
        eligible = spread_eligible(columns, demand, term) & ~ignored
        sums, _ = domain_sums(columns, term.key, counts, eligible)
        domains = np.unique(codes[counted])
        weight = math.log(len(domains[domains >= 0]) + (1 if (domains < 0).any() else 0) + 2)
        per_node = np.where(codes >= 0, sums[codes], 0).astype(np.float64)
    return np.where(codes >= 0, per_node * weight + (term.skew - 1), 0.0)


def _spread_normalized(scores: Ints, counted: Mask) -> Ints:
    if not counted.any():
        return np.zeros_like(scores)
    least, most = int(scores[counted].min()), int(scores[counted].max())
    if most == 0:
        return np.where(counted, MOST, 0)
    return np.where(counted, MOST * (most + least - scores) // most, 0)


HARD_AFFINITY_WEIGHT = 1


def pod_affinity(columns: Columns, demand: Demand, feasible: Mask) -> Ints | None:
    """Wishes of the pod about others, and of others about it, added per domain and scaled between the least and the most."""
    total: Ints | None = None
    for terms, sign in ((demand.preferred_affinity, 1), (demand.preferred_anti_affinity, -1)):
        for term in terms:
            part = _per_domain(columns, term.key, columns.counters.matching(term), sign * term.weight)
            total = part if total is None else total + part
    for (term, what), carriers in columns.counters.wishes.items():
        if not term.matches(demand.namespace, demand.labels, columns.namespaces):
            continue
        weight = HARD_AFFINITY_WEIGHT if what == "required" else term.weight if what == "preferred" else -term.weight
        part = _per_domain(columns, term.key, carriers.counts, weight)
        total = part if total is None else total + part
    if total is None:
        return None
    least, most = int(total[feasible].min(initial=2**62)), int(total[feasible].max(initial=-(2**62)))
    if most == least:
        return np.zeros_like(total)
    return ((total - least) * MOST / (most - least)).astype(np.int64)


def _per_domain(columns: Columns, key: str, counts: Ints, weight: int) -> Ints:
    codes = columns.label(key)
    if codes is None:
        return np.zeros(columns.capacity, np.int64)
    sums, _ = domain_sums(columns, key, counts, columns.alive)
    return np.where(codes >= 0, sums[codes] * weight, 0)


SCORES: tuple[tuple[str, Score, int], ...] = (
    ("TaintToleration", taint_toleration, 3),
    ("NodeAffinity", node_affinity, 2),
    ("NodeResourcesFit", least_allocated, 1),
    ("PodTopologySpread", topology_spread, 2),
    ("InterPodAffinity", pod_affinity, 2),
    ("NodeResourcesBalancedAllocation", balanced_allocation, 1),
    ("ImageLocality", image_locality, 1),
)
"""(plugin, function, weight) of upstream's default profile."""
