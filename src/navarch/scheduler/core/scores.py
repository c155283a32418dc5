"""Scores that look at a node alone: how good it is for a pod, 0 to 100 per plugin.

Same shape as `filters`: a `View` and the slots to look at. Upstream's integer arithmetic is kept, so that numbers are the same.
`PLAIN` scores are final as they are; `SCALED` ones are raw and are set in relation to the largest among the nodes that can take
the pod.

Upstream counterparts: pkg/scheduler/framework/plugins/{tainttoleration,nodeaffinity,noderesources,imagelocality}.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from navarch.objects import tolerations
from navarch.scheduler.core.columns import Ints, Mask
from navarch.scheduler.core.filters import ALL, At, View, node_term
from navarch.scheduler.core.profile import Point

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
        if effect == "PreferNoSchedule" and not any(tolerations.tolerates(t, key, value, effect) for t in view.ask.tolerations):
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


class Shares(NamedTuple):
    """The scored resources that matter for a pod, one row each: allocatable, used by the pods there, what this pod adds, weight."""

    has: Ints
    used: Ints
    own: Ints
    weights: Ints


def _shares(view: View, at: At, resources: tuple[tuple[str, int], ...], *, scored: bool) -> Shares:
    columns = view.columns
    asked = view.ask.scored if scored else view.ask.requests
    wanted = [(columns.row(n), asked.get(n, 0), w, n) for n, w in resources if asked.get(n, 0) or n in _ALWAYS]
    rows = np.array([row for row, *_ in wanted], np.int64)
    own = np.array([[value] for _, value, *_ in wanted], np.int64)
    weights = np.array([[weight] for *_, weight, _ in wanted], np.int64)
    where = (rows, at) if at is ALL else (rows[:, None], at)
    used = columns.requested[where]
    if scored:
        for i, row in enumerate(rows):
            if row < 2:
                used[i] = columns.scored[row, at]
    return Shares(columns.allocatable[where], used, own, weights)


_ALWAYS = ("cpu", "memory", "ephemeral-storage")


def fit(view: View, at: At) -> Ints | None:
    """How much of the scored resources is left (or taken), by the profile's strategy."""
    chosen = view.profile.fit
    has, used, own, weights = _shares(view, at, chosen.resources, scored=True)
    used = used + own
    if chosen.strategy == "RequestedToCapacityRatio":
        return _to_shape(has, used, weights, chosen.shape)
    part = np.minimum(used, has) if chosen.strategy == "MostAllocated" else np.maximum(has - used, 0)
    part = part * MOST // np.maximum(has, 1)
    divisor = ((has > 0) * weights).sum(axis=0)
    score: Ints = (part * weights).sum(axis=0) // np.maximum(divisor, 1)
    return score


def _to_shape(has: Ints, used: Ints, weights: Ints, shape: tuple[Point, ...]) -> Ints:
    percent = np.where(used > has, MOST, used * MOST // np.maximum(has, 1))
    score = _along(shape, percent)
    counts = ((has > 0) & (score > 0)) * weights
    ratio = (score * counts).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    rounded: Ints = np.floor(ratio + 0.5).astype(np.int64)
    return rounded


def _along(shape: tuple[Point, ...], percent: Ints) -> Ints:
    """The broken line through the points, at each percentage (helper.BuildBrokenLinearFunction)."""
    found = np.full_like(percent, shape[-1].score)
    for before, after in reversed(list(itertools.pairwise(shape))):
        slope = (after.score - before.score) * (percent - before.utilization)
        width = after.utilization - before.utilization
        line = before.score + np.where(slope >= 0, slope // width, -(-slope // width))
        found = np.where(percent <= after.utilization, line, found)
    ends: Ints = np.where(percent <= shape[0].utilization, shape[0].score, found)
    return ends


def balanced_allocation(view: View, at: At) -> Ints | None:
    """Resources used in like measure are better; a pod that asks for none of them does not care."""
    wanted = view.profile.balanced
    if not any(view.ask.requests.get(name, 0) for name, _ in wanted):
        return None
    has, used, own, _ = _shares(view, at, wanted, scored=False)
    both = used + np.stack([own, np.zeros_like(own)])  # with the pod, without it
    fractions = np.minimum(both / np.maximum(has, 1), 1.0)
    scores = ((1 - _deviation(fractions, has > 0)) * MOST).astype(np.int64)
    difference = MOST // 2 + scores[0] - scores[1]
    score: Ints = MOST // 2 + ((difference + (difference < 0)) >> 1)  # Go's division: towards zero
    return score


def _deviation(fractions: Floats, there: Mask) -> Floats:
    """The standard deviation over the resources a node has (axis 1), in upstream's order of operations."""
    if len(there) == 1:
        return np.zeros_like(fractions[:, 0])
    if len(there) == 2:
        pair: Floats = np.abs((fractions[:, 0] - fractions[:, 1]) / 2) * (there[0] & there[1])
        return pair
    number = np.maximum(there.sum(axis=0), 1)
    total = np.zeros_like(fractions[:, 0])
    for i, mask in enumerate(there):
        total += fractions[:, i] * mask
    mean = total / number
    squares = np.zeros_like(total)
    for i, mask in enumerate(there):
        squares += (fractions[:, i] - mean) * (fractions[:, i] - mean) * mask
    low = np.where(there, fractions, np.inf).min(axis=1)
    high = np.where(there, fractions, -np.inf).max(axis=1)
    half = (high - low) / 2
    found: Floats = np.where(number > 2, np.sqrt(squares / number), np.where(number == 2, half, 0.0))
    return found


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
