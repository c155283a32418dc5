"""A profile: which plugins decide, with which weights and arguments.

Upstream counterpart: KubeSchedulerProfile (apis/config), with the default profile of v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from navarch.api.core import v1 as core_v1
from navarch.scheduler.core.plugin import Plugin

SCORED_BY_DEFAULT = (("cpu", 1), ("memory", 1))
WEIGHTS: Mapping[str, int] = MappingProxyType(
    {
        "TaintToleration": 3,
        "NodeAffinity": 2,
        "NodeResourcesFit": 1,
        "PodTopologySpread": 2,
        "InterPodAffinity": 2,
        "NodeResourcesBalancedAllocation": 1,
        "ImageLocality": 1,
    }
)


class Point(NamedTuple):
    """A point of a requested-to-capacity shape: at this utilization (percent) this score (0 to 100)."""

    utilization: int
    score: int


@dataclass(frozen=True, slots=True)
class Fit:
    """NodeResourcesFitArgs."""

    strategy: str = "LeastAllocated"
    resources: tuple[tuple[str, int], ...] = SCORED_BY_DEFAULT
    shape: tuple[Point, ...] = ()
    ignored: frozenset[str] = frozenset()
    ignored_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Preemption:
    """DefaultPreemptionArgs; they bound the search only where looking at all nodes would be slow."""

    percentage: int = 10
    absolute: int = 100


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile; the defaults are upstream's."""

    name: str = "default-scheduler"
    disabled_filters: frozenset[str] = frozenset()
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    fit: Fit = Fit()
    balanced: tuple[tuple[str, int], ...] = SCORED_BY_DEFAULT
    added_affinity: core_v1.NodeAffinity | None = None
    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False
    default_constraints: tuple[core_v1.TopologySpreadConstraint, ...] | None = None
    """None: the system's own, over hosts (skew 3) and zones (skew 5), both soft."""
    bind_timeout: float = 600.0
    """Seconds that a pod's volumes may take to be bound."""
    preempts: bool = True
    preemption: Preemption = Preemption()
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
