"""The arguments of plugins as a configuration file says them, and what they change.

In: decoded arguments that `checks` finds nothing wrong with. Out: `Arguments`.

Upstream counterpart: the *Args types of k8s.io/kube-scheduler/config/v1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Int32, Int64, Object
from navarch.scheduler.core.arguments import SCORED_BY_DEFAULT, Arguments, Fit, Point, Preemption


class Args(Object):
    """What all arguments have: they may say what they are."""

    apiVersion: str | None = None
    kind: str | None = None


class ResourceSpec(Object):
    name: str = ""
    weight: Int64 | None = None


class UtilizationShapePoint(Object):
    utilization: Int32 = 0
    score: Int32 = 0


class RequestedToCapacityRatioParam(Object):
    shape: list[UtilizationShapePoint] | None = None


class ScoringStrategy(Object):
    type: str | None = None
    resources: list[ResourceSpec] | None = None
    requestedToCapacityRatio: RequestedToCapacityRatioParam | None = None


class DefaultPreemptionArgs(Args):
    minCandidateNodesPercentage: Int32 | None = None
    minCandidateNodesAbsolute: Int32 | None = None


class InterPodAffinityArgs(Args):
    hardPodAffinityWeight: Int32 | None = None
    ignorePreferredTermsOfExistingPods: bool | None = None


class NodeResourcesFitArgs(Args):
    ignoredResources: list[str] | None = None
    ignoredResourceGroups: list[str] | None = None
    scoringStrategy: ScoringStrategy | None = None


class PodTopologySpreadArgs(Args):
    defaultConstraints: list[core_v1.TopologySpreadConstraint] | None = None
    defaultingType: str | None = None


class NodeResourcesBalancedAllocationArgs(Args):
    resources: list[ResourceSpec] | None = None


class NodeAffinityArgs(Args):
    addedAffinity: core_v1.NodeAffinity | None = None


class VolumeBindingArgs(Args):
    bindTimeoutSeconds: Int64 | None = None
    shape: list[UtilizationShapePoint] | None = None


class DynamicResourcesArgs(Args):
    filterTimeout: str | None = None
    bindingTimeout: str | None = None


# ---- reading ------------------------------------------------------------------------------------------------------


def preemption(arguments: Arguments, args: DefaultPreemptionArgs) -> Arguments:
    default = Preemption()
    percentage = _value(args.minCandidateNodesPercentage, default.percentage)
    return replace(arguments, preemption=Preemption(percentage, _value(args.minCandidateNodesAbsolute, default.absolute)))


def pod_affinity(arguments: Arguments, args: InterPodAffinityArgs) -> Arguments:
    return replace(
        arguments,
        hard_pod_affinity_weight=_value(args.hardPodAffinityWeight, 1),
        ignore_preferred_terms_of_existing_pods=bool(args.ignorePreferredTermsOfExistingPods),
    )


def topology_spread(arguments: Arguments, args: PodTopologySpreadArgs) -> Arguments:
    system = (args.defaultingType or "System") == "System"
    return replace(arguments, default_constraints=None if system else tuple(args.defaultConstraints or ()))


def fit(arguments: Arguments, args: NodeResourcesFitArgs) -> Arguments:
    strategy = args.scoringStrategy or ScoringStrategy(type="LeastAllocated")
    ratio = strategy.requestedToCapacityRatio
    shape = tuple(Point(p.utilization, 10 * p.score) for p in (ratio.shape if ratio is not None else None) or ())
    ignored, groups = frozenset(args.ignoredResources or ()), frozenset(args.ignoredResourceGroups or ())
    return replace(arguments, fit=Fit(strategy.type or "LeastAllocated", _resources(strategy.resources), shape, ignored, groups))


def balanced(arguments: Arguments, args: NodeResourcesBalancedAllocationArgs) -> Arguments:
    return replace(arguments, balanced=_resources(args.resources))


def node_affinity(arguments: Arguments, args: NodeAffinityArgs) -> Arguments:
    return replace(arguments, added_affinity=args.addedAffinity)


def volume_binding(arguments: Arguments, args: VolumeBindingArgs) -> Arguments:
    return replace(arguments, bind_timeout=float(_value(args.bindTimeoutSeconds, 600)))


def _value(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _resources(listed: Sequence[ResourceSpec] | None) -> tuple[tuple[str, int], ...]:
    return tuple((r.name, r.weight or 1) for r in listed) if listed else SCORED_BY_DEFAULT
