"""The arguments of plugins, as plugins read them: one value for all of them, part of a profile.

Upstream counterparts: the *Args types of pkg/scheduler/apis/config, with the defaults of v1.36. How a configuration file says them:
`plugins.args`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from navarch.api.core import v1 as core_v1

SCORED_BY_DEFAULT = (("cpu", 1), ("memory", 1))


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
class Arguments:
    """All of them; the defaults are upstream's."""

    fit: Fit = Fit()
    balanced: tuple[tuple[str, int], ...] = SCORED_BY_DEFAULT
    added_affinity: core_v1.NodeAffinity | None = None
    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False
    default_constraints: tuple[core_v1.TopologySpreadConstraint, ...] | None = None
    """None: the system's own, over hosts (skew 3) and zones (skew 5), both soft."""
    bind_timeout: float = 600.0
    """Seconds that a pod's volumes may take to be bound."""
    preemption: Preemption = Preemption()
