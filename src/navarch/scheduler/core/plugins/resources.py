"""NodeResourcesFit and NodeResourcesBalancedAllocation: whether a node has enough of everything, and how well it would be used.

Upstream's integer arithmetic is kept, so that numbers are the same.

Upstream counterpart: plugins/noderesources.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from navarch.scheduler.core.arguments import Fit, Point
from navarch.scheduler.core.arrays import Floats, Ints, Mask
from navarch.scheduler.core.plugin import MOST
from navarch.scheduler.core.requests import PODS
from navarch.scheduler.core.view import ALL, At, Refusal, View

_ALWAYS = ("cpu", "memory", "ephemeral-storage")


def enough(view: View, at: At) -> list[Refusal]:
    """Enough of everything. All that lacks is told, not only the first."""
    columns, fit = view.columns, view.arguments.fit
    row = columns.resources[PODS]
    extra = reserved(view, at)
    used = columns.requested[row][at] + 1
    if extra is not None:
        used = used + extra.get(PODS, 0)
    found = [Refusal("Too many pods", used > columns.allocatable[row][at], False)]
    for name, wanted in view.pod.requests.items():
        if wanted <= 0 or ignored(fit, name):
            continue
        row = columns.row(name)
        has = columns.allocatable[row][at]
        free = has - columns.requested[row][at]
        if extra is not None:
            free = free - extra.get(name, 0)
        lacking = free < wanted
        if not lacking.any():
            continue
        never = has < wanted
        found.append(Refusal(f"Insufficient {name}", lacking & ~never, False))
        found.append(Refusal(f"Insufficient {name}", lacking & never, True))
    return found


def ignored(fit: Fit, name: str) -> bool:
    """Whether the profile leaves a resource to somebody else."""
    return "/" in name and (name in fit.ignored or name.partition("/")[0] in fit.ignored_groups)


def reserved(view: View, at: At) -> dict[str, Ints] | None:
    """What pods of the same or higher priority wait for on these nodes, by resource; None when nothing waits there."""
    nominated = view.columns.nominated
    if not nominated:
        return None
    where = {int(s): i for i, s in enumerate(at)} if at is not ALL else {s: s for s in nominated}
    found: dict[str, Ints] = {}
    for slot, waiting in nominated.items():
        index = where.get(slot)
        if index is None:
            continue
        for info in waiting.values():
            if info.terms.priority < view.pod.priority:
                continue
            for name, value in (*info.terms.requests.items(), (PODS, 1)):
                if name not in found:
                    found[name] = np.zeros(view.size(at), np.int64)
                found[name][index] += value
    return found or None


# ---- scores -------------------------------------------------------------------------------------------------------


class Shares(NamedTuple):
    """The scored resources that matter for a pod, one row each: allocatable, used by the pods there, what this pod adds, weight."""

    has: Ints
    used: Ints
    own: Ints
    weights: Ints


def _shares(view: View, at: At, resources: tuple[tuple[str, int], ...], *, scored: bool) -> Shares:
    columns = view.columns
    asked = view.pod.scored if scored else view.pod.requests
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


def allocation(view: View, at: At) -> Ints | None:
    """How much of the scored resources is left (or taken), by the profile's strategy."""
    chosen = view.arguments.fit
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
    wanted = view.arguments.balanced
    if not any(view.pod.requests.get(name, 0) for name, _ in wanted):
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
