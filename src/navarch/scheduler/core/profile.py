"""A profile: which plugins decide, with which weights and arguments.

Upstream counterpart: KubeSchedulerProfile (apis/config), with the default profile of v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from navarch.scheduler.core.arguments import Arguments
from navarch.scheduler.core.plugin import Plugin
from navarch.scheduler.core.plugins import table


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile; the defaults are upstream's."""

    name: str = "default-scheduler"
    disabled_filters: frozenset[str] = frozenset()
    weights: Mapping[str, int] = field(default_factory=lambda: table.WEIGHTS)
    arguments: Arguments = field(default_factory=Arguments)
    preempts: bool = True
    filters: tuple[Plugin, ...] = ()
    """Filters that are not built in."""
    scorers: tuple[Plugin, ...] = ()
    """Scores that are not built in; their weights are in `weights`."""
    order: tuple[str, ...] = ()
    """The filters in the order in which they are asked, which decides whose refusal is told; empty: upstream's."""
    honours_gates: bool = True
    """Whether pods with scheduling gates are left alone (SchedulingGates)."""
    waits_for_groups: bool = True
    """Whether pods wait until their group is complete (GangScheduling at preEnqueue)."""
    places_groups: bool = True
    """Whether groups are placed together or not at all (GangScheduling at permit)."""


DEFAULT = Profile()
