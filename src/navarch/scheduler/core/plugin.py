"""What a plugin is: one value with all that is to be known of it. `plugins.table` has a row for each built-in one.

A plugin that a profile brings along is such a value too (docs/scheduler-plugins.md says how to write one); of it only `name`,
`filter`, `score`, `normalize` and `events` are read.

Upstream counterparts: framework.Plugin and its extension points, EnqueueExtensions (EventsToRegister).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from navarch.machinery import field
from navarch.scheduler.core.arguments import Arguments
from navarch.scheduler.core.arrays import Ints, Mask
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.view import At, Refusal, View

MOST = 100
"""The highest score (MaxNodeScore)."""
Filter = Callable[[View, At], list[Refusal]]
Score = Callable[[View, At], Ints | None]
"""A score per slot looked at; None when the plugin has nothing to say."""
Normalize = Literal["", "scaled", "reversed"]
NORMALIZE: tuple[Normalize, ...] = ("", "scaled", "reversed")


class Scope(StrEnum):
    """What a plugin looks at, which decides when it is asked again, and what it is handed as `at`."""

    NODE = "Node"
    """A node's own properties: asked again when nodes change. `at`: slots."""
    PODS = "Pods"
    """Also the pods on the node: asked again about the nodes where pods came or went. `at`: slots."""
    VOLUMES = "Volumes"
    """The pod's volumes: asked for every pod that has some. `at`: the mask of the nodes that are left."""
    DOMAINS = "Domains"
    """The pods of whole topology domains: asked for every pod. `at`: the mask of the nodes that are left, or that are scored."""
    ANYTHING = "Anything"
    """Whatever it likes: asked for every pod, about all nodes, after the others. `at`: slots."""


@dataclass(frozen=True, slots=True)
class ArgumentReader:
    """How a configuration's arguments for a plugin are read: their type, what is wrong with them, what they change."""

    kind: type[Any]
    check: Callable[[list[field.Problem], str, Any], None]
    read: Callable[[Arguments, Any], Arguments] | None = None
    """None: they are accepted and make no difference here."""


@dataclass(frozen=True, slots=True, eq=False)
class Plugin:
    """One plugin."""

    name: str
    filter: Filter | None = None
    score: Score | None = None
    normalize: Normalize = ""
    """"scaled": the largest score among the nodes that can take the pod becomes 100; "reversed": it becomes 0."""
    events: tuple[Event, ...] | None = None
    """What may let a pod pass that it refused; None: anything."""
    scope: Scope = Scope.ANYTHING
    points: tuple[str, ...] = ()
    """Its extension points, in Kubernetes' words: where a profile can enable and disable it."""
    weight: int = 0
    """Of its score, where a profile names no other."""
    needs: tuple[str, ...] = ()
    """Points without which it would fail every pod at the later point that reads what they prepare (`plugin_sets.LATER`)."""
    pre_filter: Callable[[View], str] | None = None
    """Why no node at all can have the pod, told once instead of per node; "" when some may."""
    hint: Callable[[View, int], str] | None = None
    """What would have to be different on a node (a slot) that it refused; "" when its refusal says it all."""
    arguments: ArgumentReader | None = None


def scaled(raw: Ints, feasible: Mask, *, reverse: bool) -> Ints:
    """Scaled so that the largest feasible score is 100; reversed, so that it is 0."""
    largest = int(raw.max(where=feasible, initial=0))
    if largest == 0:
        return np.full_like(raw, MOST) if reverse else raw
    part = raw * MOST // largest
    return MOST - part if reverse else part
