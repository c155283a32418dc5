"""What a plugin is that a profile brings along: a filter, a score, or both, over the same columns as the built-in ones.

docs/scheduler-plugins.md says how to write one; `plugins` asks them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from navarch.scheduler.core.columns import Ints
    from navarch.scheduler.core.filters import At, Refusal, View

Normalize = Literal["", "scaled", "reversed"]
NORMALIZE: tuple[Normalize, ...] = ("", "scaled", "reversed")


@dataclass(frozen=True, slots=True, eq=False)
class Plugin:
    """One plugin. `filter` and `score` have the shapes of `filters.Filter` and `scores.Score`."""

    name: str
    filter: Callable[[View, At], list[Refusal]] | None = None
    score: Callable[[View, At], Ints | None] | None = None
    normalize: Normalize = ""
    """"scaled": the largest score among the nodes that can take the pod becomes 100; "reversed": it becomes 0."""
    events: frozenset[str] | None = None
    """Names of the events after which it may let a pod pass that it refused; None: any."""
