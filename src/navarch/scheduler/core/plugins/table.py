"""The built-in plugins: one row each, and all that is to be known of a plugin stands in its row.

The order is upstream's default order: of refusals the first one is told, and profiles merge their own lists into this one. A row
without a filter or score names a plugin whose work is done elsewhere (the queue, preemption, binding) but which a profile can switch
off, or one that has nothing to do here: a pod that names its node never comes to the scheduler.

A new plugin is a function and a row.

Upstream counterparts: apis/config/v1/default_plugins.go, framework/plugins/registry.go, the plugins' EventsToRegister.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from navarch.scheduler.core import topology
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.plugin import ArgumentReader, Filter, Plugin, Scope, Score
from navarch.scheduler.core.plugins import args, checks, hints, images, node_affinity, ports, resources, taints
from navarch.scheduler.core.volumes import binding
from navarch.scheduler.core.volumes import filters as volumes

TABLE: tuple[Plugin, ...] = (
    Plugin("SchedulingGates", points=("preEnqueue",)),
    Plugin("PrioritySort", points=("queueSort",)),
    Plugin(
        "NodeUnschedulable",
        taints.unschedulable,
        scope=Scope.NODE,
        points=("filter",),
        events=(Event.NODE_ADDED, Event.NODE_TAINTS),
        hint=hints.cordon,
    ),
    Plugin("NodeName", points=("filter",)),
    Plugin(
        "TaintToleration",
        taints.untolerated_taints,
        taints.preference,
        "reversed",
        scope=Scope.NODE,
        points=("filter", "preScore", "score"),
        weight=3,
        needs=("preScore",),
        events=(Event.NODE_ADDED, Event.NODE_TAINTS),
        hint=hints.taints,
    ),
    Plugin(
        "NodeAffinity",
        node_affinity.required,
        node_affinity.preferred,
        "scaled",
        scope=Scope.NODE,
        points=("preFilter", "filter", "preScore", "score"),
        weight=2,
        pre_filter=node_affinity.pre_filter,
        events=(Event.NODE_ADDED, Event.NODE_LABELS),
        hint=hints.labels,
        arguments=ArgumentReader(args.NodeAffinityArgs, checks.node_affinity, args.node_affinity),
    ),
    Plugin(
        "NodePorts",
        ports.free,
        scope=Scope.PODS,
        points=("preFilter", "filter"),
        needs=("preFilter",),
        events=(Event.NODE_ADDED, Event.POD_GONE),
    ),
    Plugin(
        "NodeResourcesFit",
        resources.enough,
        resources.allocation,
        scope=Scope.PODS,
        points=("preFilter", "filter", "preScore", "score", "placementScore"),
        weight=1,
        needs=("preFilter",),
        events=(Event.NODE_ADDED, Event.NODE_RESOURCES, Event.POD_GONE),
        hint=hints.deficits,
        arguments=ArgumentReader(args.NodeResourcesFitArgs, checks.fit, args.fit),
    ),
    Plugin(
        "VolumeRestrictions",
        volumes.restrictions,
        scope=Scope.VOLUMES,
        points=("preFilter", "filter"),
        needs=("preFilter",),
        pre_filter=volumes.unknown,
        events=(Event.NODE_ADDED, Event.POD_GONE, Event.CLAIM),
    ),
    Plugin(
        "NodeVolumeLimits",
        volumes.limits,
        scope=Scope.VOLUMES,
        points=("preFilter", "filter"),
        events=(Event.NODE_ADDED, Event.POD_GONE, Event.CLAIM, Event.CSI_NODE, Event.ATTACHMENT_GONE),
        hint=hints.limits,
    ),
    Plugin(
        "VolumeBinding",
        volumes.binding,
        scope=Scope.VOLUMES,
        points=("preFilter", "filter", "reserve", "preBind", "preScore", "score"),
        needs=("preFilter", "reserve"),
        pre_filter=binding.pre_filter,
        events=(Event.NODE_ADDED, Event.NODE_LABELS, Event.CLAIM, Event.VOLUME, Event.CLASS, Event.CSI_DRIVER, Event.CAPACITY),
        hint=hints.unmatched,
        arguments=ArgumentReader(args.VolumeBindingArgs, checks.volume_binding, args.volume_binding),
    ),
    Plugin(
        "VolumeZone",
        volumes.zone,
        scope=Scope.VOLUMES,
        points=("preFilter", "filter"),
        pre_filter=volumes.unplaced,
        events=(Event.NODE_ADDED, Event.NODE_LABELS, Event.CLAIM, Event.VOLUME, Event.CLASS),
    ),
    Plugin(
        "PodTopologySpread",
        topology.spread,
        topology.spread_score,
        scope=Scope.DOMAINS,
        points=("preFilter", "filter", "preScore", "score"),
        weight=2,
        needs=("preFilter", "preScore"),
        events=(Event.NODE_ADDED, Event.NODE_LABELS, Event.NODE_TAINTS, Event.POD_PLACED, Event.POD_GONE),
        arguments=ArgumentReader(args.PodTopologySpreadArgs, checks.topology_spread, args.topology_spread),
    ),
    Plugin(
        "InterPodAffinity",
        topology.affinity,
        topology.affinity_score,
        scope=Scope.DOMAINS,
        points=("preFilter", "filter", "preScore", "score"),
        weight=2,
        needs=("preFilter", "preScore"),
        events=(Event.NODE_ADDED, Event.NODE_LABELS, Event.POD_PLACED, Event.POD_GONE, Event.NAMESPACE),
        arguments=ArgumentReader(args.InterPodAffinityArgs, checks.pod_affinity, args.pod_affinity),
    ),
    Plugin(
        "DynamicResources",
        points=("preEnqueue", "preFilter", "filter", "postFilter", "score", "reserve", "preBind"),
        weight=2,
        needs=("preFilter", "reserve"),
        arguments=ArgumentReader(args.DynamicResourcesArgs, checks.dynamic_resources),
    ),
    Plugin(
        "DefaultPreemption",
        points=("preEnqueue", "postFilter"),
        arguments=ArgumentReader(args.DefaultPreemptionArgs, checks.preemption, args.preemption),
    ),
    Plugin(
        "NodeResourcesBalancedAllocation",
        score=resources.balanced_allocation,
        scope=Scope.PODS,
        points=("preScore", "score"),
        weight=1,
        arguments=ArgumentReader(args.NodeResourcesBalancedAllocationArgs, checks.balanced, args.balanced),
    ),
    Plugin("ImageLocality", score=images.locality, scope=Scope.PODS, points=("score",), weight=1),
    Plugin("DefaultBinder", points=("bind",)),
    Plugin("NodeDeclaredFeatures", points=("preFilter", "filter")),
    Plugin("GangScheduling", points=("preEnqueue", "permit"), events=()),
)
"""GangScheduling is off in upstream's v1.36 until its feature gate is set; here it is on, and does nothing for pods that name no group.
Its refusals end with its group's: no event helps by itself."""


def filters(*scopes: Scope) -> tuple[tuple[str, Filter], ...]:
    """The filters of some scopes, by plugin, in order."""
    return tuple((row.name, row.filter) for row in TABLE if row.filter is not None and row.scope in scopes)


def scores(*scopes: Scope) -> tuple[tuple[str, Score], ...]:
    """The scores of some scopes that are final as they are, by plugin, in order."""
    return tuple((row.name, row.score) for row in TABLE if row.score is not None and row.scope in scopes and not row.normalize)


BY_NAME: Mapping[str, Plugin] = MappingProxyType({row.name: row for row in TABLE})
WEIGHTS: Mapping[str, int] = MappingProxyType({row.name: row.weight for row in TABLE if row.score is not None})
"""Plugin → the weight of its score by default."""
PRE_FILTERS = tuple((row.name, row.pre_filter) for row in TABLE if row.pre_filter is not None)
SCALED: tuple[tuple[str, Score, bool], ...] = tuple(
    (row.name, row.score, row.normalize == "reversed") for row in TABLE if row.score is not None and row.normalize
)
"""(plugin, raw score, whether less is better): scores that are set in relation to the largest."""
HELPS: Mapping[str, frozenset[Event]] = MappingProxyType({row.name: frozenset(row.events) for row in TABLE if row.events is not None})
"""Plugin → the events after which it may let a pod pass that it refused. Plugins that are not in it, extenders too: any event."""
HINTS = MappingProxyType({row.name: row.hint for row in TABLE if row.hint is not None})
