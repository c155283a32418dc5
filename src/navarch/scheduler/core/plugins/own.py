"""Plugins that a profile brings along: filters and scores of a cluster's own, over the same columns as the built-in ones.

A plugin is asked about all nodes for every pod anew, so it may depend on whatever it likes: on the pod's labels, on a file, on the
hour. What it answers is checked here, since it is somebody else's code: a plugin that raises or answers nonsense fails this one
attempt (`PluginFailed`, in upstream's words), never the scheduler.

Upstream counterpart: out-of-tree plugins of the scheduling framework (framework/runtime: RunFilterPlugins, RunScorePlugins).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.plugin import MOST, Normalize, Plugin, scaled
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.view import ALL, At, Refusal, View


class PluginFailed(Exception):
    """A plugin raised, or answered what cannot be used."""


def refusals(plugin: Plugin, view: View, at: At) -> list[Refusal]:
    """What a plugin's filter says, checked."""
    assert plugin.filter is not None
    size = view.size(at)
    try:
        answer = list(plugin.filter(view, at))
        for text, nodes, final in answer:
            if np.shape(nodes) != (size,) or np.asarray(nodes).dtype != np.bool_:
                raise TypeError(f"a refusal's nodes are no mask of {size} nodes")
            if not isinstance(text, str) or not isinstance(final, bool | np.bool_):
                raise TypeError("a refusal is (text, nodes, final)")
    except Exception as error:
        raise PluginFailed(f'running "{plugin.name}" filter plugin: {_words(error)}') from error
    return answer


def passing(profile: Profile, view: View, mask: Mask) -> Mask:
    """Those of the nodes that the profile's own filters let pass."""
    for plugin in profile.filters:
        for refusal in refusals(plugin, view, ALL):
            mask = mask & ~refusal.nodes
    return mask


def score(plugin: Plugin, view: View, feasible: Mask) -> Ints | None:
    """A plugin's scores, normalized and checked: 0 to 100 where a node can take the pod."""
    assert plugin.score is not None
    try:
        raw = plugin.score(view, ALL)
        if raw is None:
            return None
        found: NDArray[np.int64] = np.asarray(raw)
        if found.shape != feasible.shape or not np.issubdtype(found.dtype, np.integer):
            raise TypeError(f"scores are no {len(feasible)} integers")
    except Exception as error:
        raise PluginFailed(f'running Score plugins: plugin "{plugin.name}" failed with: {_words(error)}') from error
    found = _normalized(found.astype(np.int64), feasible, plugin.normalize)
    wrong = feasible & ((found < 0) | (found > MOST))
    if wrong.any():
        value = int(found[wrong][0])
        text = f'plugin "{plugin.name}" returns an invalid score {value}, it should in the range of [0, {MOST}] after normalizing'
        raise PluginFailed(f"running Score plugins: {text}")
    return found


def _normalized(raw: Ints, feasible: Mask, how: Normalize) -> Ints:
    return scaled(raw, feasible, reverse=how == "reversed") if how else raw


def points(profile: Profile, view: View, mask: Mask) -> Ints | int:
    """The weighted sum of the profile's own scores."""
    total: Ints | int = 0
    for plugin in profile.scorers:
        part = score(plugin, view, mask)
        if part is not None:
            total = total + part * weight(profile, plugin)
    return total


def weight(profile: Profile, plugin: Plugin) -> int:
    return profile.weights.get(plugin.name, 1)


def _words(error: Any) -> str:
    return str(error) or type(error).__name__
