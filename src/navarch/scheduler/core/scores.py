"""Scores that look at a node alone: how good it is for a pod, 0 to 100 per plugin.

Same shape as `filters`: a `View` and the slots to look at. Upstream's integer arithmetic is kept, so that numbers are the same.
`PLAIN` scores are final as they are; `SCALED` ones are raw and are set in relation to the largest among the nodes that can take
the pod.

Upstream counterparts: pkg/scheduler/framework/plugins/{tainttoleration,nodeaffinity,noderesources,imagelocality}.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from navarch.scheduler.core.columns import Ints, Mask
from navarch.scheduler.core.filters import At, View, node_term, tolerates
from navarch.scheduler.core.profile import Fit, Point

MOST = 100
Score = Callable[[View, At], Ints | None]
"""A score per slot looked at; None when the plugin has nothing to say."""
Floats = NDArray[np.float64]
_MIB = 1024 * 1024


# ---- set in relation to the largest -------------------------------------------------------------------------------


def scaled(raw: Ints, feasible: Mask, *, reverse: bool) -> Ints:
    """Scaled so that the largest feasible score is 100; reversed, so that it is 0."""
    largest = int(raw.max(where=feasible, initial=0))
    if largest == 0:
        return np.full_like(raw, MOST) if reverse else raw
    part = raw * MOST // largest
    return MOST - part if reverse else part


def taint_toleration(view: View, at: At) -> Ints | None:
    """How many PreferNoSchedule taints of a node are not tolerated."""
    counts = np.zeros(view.size(at), np.int64)
    for (key, value, effect), mask in view.columns.taints.items():
        if effect == "PreferNoSchedule" and not any(tolerates(t, key, value, effect) for t in view.ask.tolerations):
            counts += mask[at]
    return counts


def node_affinity(view: View, at: At) -> Ints | None:
    """The weights of the preferred terms a node matches: the pod's and the profile's."""
    found: Ints | None = None
    for chosen in (view.ask.node_affinity, view.profile.added_affinity):
        for wish in (chosen.preferredDuringSchedulingIgnoredDuringExecution if chosen is not None else None) or ():
            if wish.preference is None or not wish.weight:
                continue
            part = node_term(view.columns, wish.preference)[at] * wish.weight
            found = part.astype(np.int64) if found is None else found + part
    return found


# ---- resources ----------------------------------------------------------------------------------------------------


def _shares(view: View, at: At, resources: tuple[tuple[str, int], ...], *, scored: bool) -> list[tuple[Ints, Ints, int, int]]:
    """(allocatable, used by pods there, what this pod adds, weight) of each scored resource that matters."""
    columns, ask = view.columns, view.ask
    found: list[tuple[Ints, Ints, int, int]] = []
    for name, weight in resources:
        own = (ask.scored if scored else ask.requests).get(name, 0)
        if own == 0 and name not in ("cpu", "memory", "ephemeral-storage"):
            continue
        row = columns.row(name)
        used = columns.scored[row][at] if scored and row < 2 else columns.requested[row][at]
        found.append((columns.allocatable[row][at], used, own, weight))
    return found


def fit(view: View, at: At) -> Ints | None:
    """How much of the scored resources is left (or taken), by the profile's strategy."""
    chosen = view.profile.fit
    if chosen.strategy == "RequestedToCapacityRatio":
        return _to_shape(view, at, chosen)
    most = chosen.strategy == "MostAllocated"
    total: Ints | int = 0
    weights: Ints | int = 0
    for has, used, own, weight in _shares(view, at, chosen.resources, scored=True):
        there = has > 0
        part = _part(has, used + own, most=most)
        total = total + np.where(there, part * weight, 0)
        weights = weights + there * weight
    return np.asarray(total // np.maximum(weights, 1), np.int64)


def _part(has: Ints, used: Ints, *, most: bool) -> Ints:
    divisor = np.maximum(has, 1)
    part: Ints = (np.minimum(used, has) if most else np.maximum(has - used, 0)) * MOST // divisor
    return part


def _to_shape(view: View, at: At, chosen: Fit) -> Ints:
    total = np.zeros(view.size(at), np.int64)
    weights = np.zeros(view.size(at), np.int64)
    for has, used, own, weight in _shares(view, at, chosen.resources, scored=True):
        use = used + own
        percent = np.where(use > has, MOST, use * MOST // np.maximum(has, 1))
        score = _along(chosen.shape, percent)
        counts = (has > 0) & (score > 0)
        total += np.where(counts, score * weight, 0)
        weights += counts * weight
    ratio = total / np.maximum(weights, 1)
    return np.floor(ratio + 0.5).astype(np.int64)


def _along(shape: tuple[Point, ...], percent: Ints) -> Ints:
    """The broken line through the points, at each percentage (helper.BuildBrokenLinearFunction)."""
    found = np.full_like(percent, shape[-1].score)
    for before, after in reversed(list(itertools.pairwise(shape))):
        slope = (after.score - before.score) * (percent - before.utilization)
        width = after.utilization - before.utilization
        line = before.score + np.where(slope >= 0, slope // width, -(-slope // width))
        found = np.where(percent <= after.utilization, line, found)
    return np.where(percent <= shape[0].utilization, shape[0].score, found)


def balanced_allocation(view: View, at: At) -> Ints | None:
    """Resources used in like measure are better; a pod that asks for none of them does not care."""
    wanted = view.profile.balanced
    if not any(view.ask.requests.get(name, 0) for name, _ in wanted):
        return None
    shares = _shares(view, at, wanted, scored=False)
    half = MOST // 2
    difference = half + _balance([(h, u + own) for h, u, own, _ in shares]) - _balance([(h, u) for h, u, _, _ in shares])
    return half + np.where(difference >= 0, difference // 2, -(-difference // 2))


def _balance(shares: list[tuple[Ints, Ints]]) -> Ints:
    """100 less the deviation of the shares in use."""
    there = [has > 0 for has, _ in shares]
    fractions = [np.minimum(used / np.maximum(has, 1), 1.0) for has, used in shares]
    if len(shares) == 2:
        deviation = np.abs((fractions[0] - fractions[1]) / 2) * (there[0] & there[1])
    else:
        deviation = _deviation(fractions, there)
    return ((1 - deviation) * MOST).astype(np.int64)


def _deviation(fractions: list[Floats], there: list[Mask]) -> Floats:
    number = np.sum(there, axis=0)
    divisor = np.maximum(number, 1)
    total = np.zeros(len(divisor))
    for fraction, mask in zip(fractions, there, strict=True):
        total += np.where(mask, fraction, 0.0)
    mean = total / divisor
    squares = np.zeros(len(divisor))
    for fraction, mask in zip(fractions, there, strict=True):
        squares += np.where(mask, (fraction - mean) * (fraction - mean), 0.0)
    pair = _pair(fractions, there)
    spread: Floats = np.where(number > 2, np.sqrt(squares / divisor), np.where(number == 2, pair, 0.0))
    return spread


def _pair(fractions: list[Floats], there: list[Mask]) -> Floats:
    """Half the distance, on nodes that have exactly two of the resources."""
    low, high = np.full(len(fractions[0]), np.inf), np.full(len(fractions[0]), -np.inf)
    for fraction, mask in zip(fractions, there, strict=True):
        low = np.where(mask, np.minimum(low, fraction), low)
        high = np.where(mask, np.maximum(high, fraction), high)
    return np.where(np.isfinite(low), (high - low) / 2, 0.0)


# ---- images -------------------------------------------------------------------------------------------------------


def image_locality(view: View, at: At) -> Ints | None:
    """Nodes that have the pod's large images already are better; an image that few nodes have counts less."""
    columns, ask = view.columns, view.ask
    sums: Ints | None = None
    for image in ask.images:
        known = columns.images.get(image)
        if known is None:
            continue
        size, mask = known
        share = float(np.count_nonzero(mask)) / float(max(columns.alive_count, 1))
        part = mask[at] * int(size * share)
        sums = part if sums is None else sums + part
    if sums is None:
        return None
    low, high = 23 * _MIB, 1000 * _MIB * ask.containers
    return (np.clip(sums, low, high) - low) * MOST // (high - low)


PLAIN: tuple[tuple[str, Score], ...] = (
    ("NodeResourcesFit", fit),
    ("NodeResourcesBalancedAllocation", balanced_allocation),
    ("ImageLocality", image_locality),
)
SCALED: tuple[tuple[str, Score, bool], ...] = (
    ("TaintToleration", taint_toleration, True),
    ("NodeAffinity", node_affinity, False),
)
"""(plugin, raw score, whether less is better)."""
