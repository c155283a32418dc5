"""Upstream's KubeSchedulerConfiguration, read into profiles.

In: the YAML of `--config` (kubescheduler.config.k8s.io/v1). Out: a `Profile` per scheduler name. What this scheduler does not do
yet is refused with its field path instead of being ignored.

Upstream counterpart: pkg/scheduler/apis/config.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from navarch.api.core import v1 as core_v1
from navarch.machinery import codec
from navarch.scheduler.core.profile import SCORED_BY_DEFAULT, WEIGHTS, Fit, Point, Preemption, Profile

VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
FILTERS = frozenset(
    {"NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity"}
)
OTHERS = frozenset({"SchedulingGates", "PrioritySort", "DefaultPreemption", "DefaultBinder", "ImageLocality", "NodeResourcesBalancedAllocation"})
VOLUMES = frozenset({"VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "DynamicResources", "NodeDeclaredFeatures"})
KNOWN = FILTERS | OTHERS | VOLUMES
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")


class Unacceptable(ValueError):
    """The configuration cannot be used; the message names the field."""


def load(path: str) -> dict[str, Profile]:
    """Profiles by scheduler name, from a file."""
    try:
        found = yaml.load(pathlib.Path(path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise Unacceptable(f"{path}: {error}") from None
    return read(found)


def read(config: Any) -> dict[str, Profile]:
    """Profiles by scheduler name."""
    if not isinstance(config, dict) or (config.get("apiVersion"), config.get("kind")) != (VERSION, KIND):
        raise Unacceptable(f"not a {KIND} of {VERSION}")
    if config.get("extenders"):
        raise Unacceptable("extenders: not supported")
    profiles = [_profile(p or {}, f"profiles[{i}]") for i, p in enumerate(config.get("profiles") or [{}])]
    names = [p.name for p in profiles]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise Unacceptable(f'profiles[{i}].schedulerName: Duplicate value: "{name}"')
    return {p.name: p for p in profiles}


def _profile(given: Mapping[str, Any], path: str) -> Profile:
    args = {c.get("name"): c.get("args") or {} for c in given.get("pluginConfig") or ()}
    plugins = given.get("plugins") or {}
    off, weights = _points(plugins, f"{path}.plugins")
    fit, spread, affinity = args.get("NodeResourcesFit", {}), args.get("PodTopologySpread", {}), args.get("InterPodAffinity", {})
    preemption, added = args.get("DefaultPreemption", {}), args.get("NodeAffinity", {}).get("addedAffinity")
    return Profile(
        name=given.get("schedulerName") or "default-scheduler",
        disabled_filters=frozenset(name for name in FILTERS if ("filter", name) in off),
        weights=weights,
        fit=_fit(fit, f"{path}.pluginConfig[NodeResourcesFit].args"),
        balanced=_resources(args.get("NodeResourcesBalancedAllocation", {}).get("resources")),
        added_affinity=codec.decode(core_v1.NodeAffinity, msgspec.json.encode(added)) if added else None,
        hard_pod_affinity_weight=int(affinity.get("hardPodAffinityWeight", 1)),
        ignore_preferred_terms_of_existing_pods=bool(affinity.get("ignorePreferredTermsOfExistingPods", False)),
        default_constraints=_constraints(spread, f"{path}.pluginConfig[PodTopologySpread].args"),
        preempts=("postFilter", "DefaultPreemption") not in off,
        preemption=Preemption(int(preemption.get("minCandidateNodesPercentage", 10)), int(preemption.get("minCandidateNodesAbsolute", 100))),
    )


def _points(plugins: Mapping[str, Any], path: str) -> tuple[set[tuple[str, str]], dict[str, int]]:
    """(extension point, plugin) pairs that are off, and the weights of the scores that are on."""
    off: set[tuple[str, str]] = set()
    weights = dict(WEIGHTS)
    for point, chosen in plugins.items():
        points = ("filter", "score", "postFilter") if point == "multiPoint" else (point,)
        for entry in (chosen or {}).get("disabled") or ():
            for name in sorted(KNOWN) if entry.get("name") == "*" else (_known(entry, f"{path}.{point}.disabled"),):
                off |= {(p, name) for p in points}
                if "score" in points:
                    weights.pop(name, None)
        for entry in (chosen or {}).get("enabled") or ():
            name = _known(entry, f"{path}.{point}.enabled")
            off -= {(p, name) for p in points}
            if "score" in points and name in WEIGHTS:
                weights[name] = int(entry.get("weight") or (WEIGHTS[name] if point == "multiPoint" else 1))
    return off, weights


def _known(entry: Mapping[str, Any], path: str) -> str:
    name = str(entry.get("name"))
    if name not in KNOWN:
        raise Unacceptable(f'{path}: plugin "{name}" does not exist')
    return name


def _resources(listed: Any) -> tuple[tuple[str, int], ...]:
    return tuple((str(r["name"]), int(r.get("weight") or 1)) for r in listed) if listed else SCORED_BY_DEFAULT


def _fit(args: Mapping[str, Any], path: str) -> Fit:
    strategy = args.get("scoringStrategy") or {}
    kind = strategy.get("type") or "LeastAllocated"
    if kind not in _STRATEGIES:
        supported = ", ".join(f'"{s}"' for s in _STRATEGIES)
        raise Unacceptable(f'{path}.scoringStrategy.type: Unsupported value: "{kind}": supported values: {supported}')
    listed = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
    shape = tuple(Point(int(p.get("utilization", 0)), 10 * int(p.get("score", 0))) for p in listed)
    if kind == "RequestedToCapacityRatio" and not shape:
        raise Unacceptable(f"{path}.scoringStrategy.requestedToCapacityRatio.shape: Required value: at least one point must be specified")
    ignored, groups = frozenset(args.get("ignoredResources") or ()), frozenset(args.get("ignoredResourceGroups") or ())
    return Fit(kind, _resources(strategy.get("resources")), shape, ignored, groups)


def _constraints(args: Mapping[str, Any], path: str) -> tuple[core_v1.TopologySpreadConstraint, ...] | None:
    listed = args.get("defaultConstraints") or ()
    if (args.get("defaultingType") or "System") == "System":
        if listed:
            raise Unacceptable(f"{path}.defaultingType: Invalid value: when .defaultConstraints are specified, it must be List")
        return None
    return tuple(codec.decode(core_v1.TopologySpreadConstraint, msgspec.json.encode(c)) for c in listed)
