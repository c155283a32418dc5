"""What a plugin sees, and what a filter answers.

A filter or score gets a `View` (the cluster as columns, what the pod asks for, the arguments of the profile) and `at`: the slots to
look at. A filter answers with `Refusal`s: a text, the mask of nodes (one entry per slot looked at) that give it, and whether no
eviction could help there. A node passes when no filter refuses it.

Upstream counterparts: framework.CycleState, framework.Status.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from navarch.scheduler.core.arguments import Arguments
from navarch.scheduler.core.arrays import Mask
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.terms import PodTerms

At = Any
"""Slots to look at: an index array, or `ALL`."""
ALL = slice(None)


@dataclass(frozen=True, slots=True)
class View:
    """What a plugin sees."""

    columns: Columns
    pod: PodTerms
    arguments: Arguments

    def size(self, at: At) -> int:
        return self.columns.capacity if at is ALL else len(at)


class Refusal(NamedTuple):
    """Nodes that a filter refuses for one reason."""

    text: str
    nodes: Mask
    final: bool
