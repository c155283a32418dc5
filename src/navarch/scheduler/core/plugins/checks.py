"""What plugins' arguments may say: one check per plugin, and the problems it finds, in upstream's words.

In: decoded arguments and their field path. Out: `field.Problem`s.

Upstream counterparts: apis/config/validation/validation_pluginargs.go, component-helpers' nodeaffinity (for the added affinity).
"""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.core import v1 as core_v1
from navarch.lib import integers
from navarch.machinery import codec, durations, field, names
from navarch.scheduler.core.plugins import args as types

Found = list[field.Problem]
STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_FIELD_OPERATORS = ("In", "NotIn")


def _within(found: Found, path: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        found.append(field.invalid(path, value, f"not in valid range [{low}, {high}]"))


def _label_name(found: Found, path: str, value: str) -> None:
    found += (field.invalid(path, value, problem) for problem in names.qualified_name(value))


def preemption(found: Found, path: str, args: types.DefaultPreemptionArgs) -> None:
    percentage, absolute = args.minCandidateNodesPercentage, args.minCandidateNodesAbsolute
    first, second = f"{path}.minCandidateNodesPercentage", f"{path}.minCandidateNodesAbsolute"
    if percentage is not None:
        _within(found, first, percentage, 0, 100)
    if absolute is not None and absolute < 0:
        found.append(field.invalid(second, absolute, "not in valid range [0, inf)"))
    if percentage == absolute == 0:
        found.append(field.invalid(first, 0, "cannot be zero at the same time as minCandidateNodesAbsolute"))
        found.append(field.invalid(second, 0, "cannot be zero at the same time as minCandidateNodesPercentage"))


def pod_affinity(found: Found, path: str, args: types.InterPodAffinityArgs) -> None:
    if args.hardPodAffinityWeight is not None:
        _within(found, f"{path}.hardPodAffinityWeight", args.hardPodAffinityWeight, 0, 100)


# ---- topology spread ----------------------------------------------------------------------------------------------


def topology_spread(found: Found, path: str, args: types.PodTopologySpreadArgs) -> None:
    kind, listed = args.defaultingType or "System", args.defaultConstraints or []
    if kind not in ("System", "List"):
        found.append(field.not_supported(f"{path}.defaultingType", kind, ("System", "List")))
    elif kind == "System" and listed:
        found.append(field.invalid(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty"))
    seen: set[tuple[str | None, str | None]] = set()
    for i, constraint in enumerate(listed):
        at = field.index(f"{path}.defaultConstraints", i)
        _constraint(found, at, constraint)
        pair = (constraint.topologyKey, constraint.whenUnsatisfiable)
        if pair in seen:
            found.append(field.duplicate(at, f"{{{pair[0] or ''}, {pair[1] or ''}}}"))
        seen.add(pair)


def _constraint(found: Found, at: str, constraint: core_v1.TopologySpreadConstraint) -> None:
    if (constraint.maxSkew or 0) <= 0:
        found.append(field.invalid(f"{at}.maxSkew", constraint.maxSkew or 0, "not in valid range (0, inf)"))
    if constraint.topologyKey:
        _label_name(found, f"{at}.topologyKey", constraint.topologyKey)
    else:
        found.append(field.required(f"{at}.topologyKey", "can not be empty"))
    if not constraint.whenUnsatisfiable:
        found.append(field.required(f"{at}.whenUnsatisfiable", "can not be empty"))
    elif constraint.whenUnsatisfiable not in _ACTIONS:
        found.append(field.not_supported(f"{at}.whenUnsatisfiable", constraint.whenUnsatisfiable, _ACTIONS))
    if constraint.labelSelector is not None:
        found.append(field.forbidden(f"{at}.labelSelector", "constraint must not define a selector, as they deduced for each pod"))


# ---- resources ----------------------------------------------------------------------------------------------------


def fit(found: Found, path: str, args: types.NodeResourcesFitArgs) -> None:
    for i, name in enumerate(args.ignoredResources or ()):
        _label_name(found, f"{path}.ignoredResources[{i}]", name)
    for i, group in enumerate(args.ignoredResourceGroups or ()):
        at = f"{path}.ignoredResourceGroups[{i}]"
        if "/" in group:
            found.append(field.invalid(at, group, "resource group name can't contain '/'"))
        _label_name(found, at, group)
    if args.scoringStrategy is not None:
        _strategy(found, f"{path}.scoringStrategy", args.scoringStrategy)


def _strategy(found: Found, path: str, strategy: types.ScoringStrategy) -> None:
    kind, ratio = strategy.type or "", strategy.requestedToCapacityRatio
    if kind not in STRATEGIES:
        found.append(field.not_supported(f"{path}.type", kind, STRATEGIES))
    for i, resource in enumerate(strategy.resources or ()):
        weight = resource.weight or 1
        if not 0 < weight <= 100:
            why = f"resource weight of {resource.name} not in valid range (0, 100]"
            found.append(field.invalid(f"{path}.resources[{i}].weight", weight, why))
    at = f"{path}.requestedToCapacityRatio"
    if kind != "RequestedToCapacityRatio":
        if ratio is not None:
            found.append(field.forbidden(at, "must be nil when type is not RequestedToCapacityRatio"))
    elif ratio is None:
        found.append(field.required(at, "must be specified when type is RequestedToCapacityRatio"))
    else:
        _shape(found, f"{at}.shape", ratio.shape or [])


def _shape(found: Found, path: str, shape: Sequence[types.UtilizationShapePoint]) -> None:
    if not shape:
        found.append(field.required(path, "at least one point must be specified"))
    for i in range(1, len(shape)):
        if shape[i - 1].utilization >= shape[i].utilization:
            found.append(field.invalid(f"{path}[{i}].utilization", shape[i].utilization, "values must be sorted in increasing order"))
            break
    for i, point in enumerate(shape):
        _within(found, f"{path}[{i}].utilization", point.utilization, 0, 100)
        _within(found, f"{path}[{i}].score", point.score, 0, 10)


def balanced(found: Found, path: str, args: types.NodeResourcesBalancedAllocationArgs) -> None:
    seen: set[str] = set()
    for i, resource in enumerate(args.resources or ()):
        at = f"{path}.resources[{i}]"
        if resource.name in seen:
            found.append(field.duplicate(f"{at}.name", resource.name))
        seen.add(resource.name)
        if (resource.weight or 1) != 1:
            found.append(field.invalid(f"{at}.weight", resource.weight, "must be 1"))


# ---- affinity -----------------------------------------------------------------------------------------------------


def node_affinity(found: Found, path: str, args: types.NodeAffinityArgs) -> None:
    added = args.addedAffinity
    if added is None:
        return
    path = f"{path}.addedAffinity"
    required = added.requiredDuringSchedulingIgnoredDuringExecution
    for i, term in enumerate((required.nodeSelectorTerms if required is not None else None) or ()):
        _term(found, f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{i}]", term)
    for i, preferred in enumerate(added.preferredDuringSchedulingIgnoredDuringExecution or ()):
        if preferred.weight and preferred.preference is not None:
            _term(found, f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{i}]", preferred.preference)


def _term(found: Found, path: str, term: core_v1.NodeSelectorTerm) -> None:
    for i, requirement in enumerate(term.matchExpressions or ()):
        _requirement(found, f"{path}.matchExpressions[{i}]", requirement)
    for i, requirement in enumerate(term.matchFields or ()):
        at = f"{path}.matchFields[{i}]"
        if requirement.operator not in _FIELD_OPERATORS:
            found.append(field.not_supported(f"{at}.operator", requirement.operator or "", _FIELD_OPERATORS))
        elif len(requirement.values or ()) != 1:
            found.append(field.invalid(f"{at}.values", requirement.values or [], "must have one element"))


def _requirement(found: Found, at: str, requirement: core_v1.NodeSelectorRequirement) -> None:
    key, operator, values = requirement.key or "", requirement.operator or "", requirement.values or []
    if operator not in _OPERATORS:
        found.append(field.not_supported(f"{at}.operator", operator, _OPERATORS))
        return
    if problems := names.qualified_name(key):
        found.append(field.invalid(f"{at}.key", key, "; ".join(problems)))
    if operator in ("In", "NotIn") and not values:
        found.append(field.invalid(f"{at}.values", values, "for 'in', 'notin' operators, values set can't be empty"))
    if operator in ("Exists", "DoesNotExist") and values:
        found.append(field.invalid(f"{at}.values", values, "values set must be empty for exists and does not exist"))
    if operator in ("Gt", "Lt"):
        _number(found, f"{at}.values", values)
    for i, value in enumerate(values):
        if problems := names.label_value(value):
            found.append(field.invalid(f"{at}.values[{i}]", value, "; ".join(problems)))


def _number(found: Found, at: str, values: list[str]) -> None:
    if len(values) != 1:
        found.append(field.invalid(at, values, "for 'Gt', 'Lt' operators, exactly one value is required"))
    for i, value in enumerate(values):
        if integers.parse(value) is None:
            found.append(field.invalid(f"{at}[{i}]", value, "for 'Gt', 'Lt' operators, the value must be an integer"))


# ---- volumes and devices ------------------------------------------------------------------------------------------


def volume_binding(found: Found, path: str, args: types.VolumeBindingArgs) -> None:
    seconds = args.bindTimeoutSeconds
    if seconds is not None and seconds < 0:
        found.append(field.invalid(f"{path}.bindTimeoutSeconds", seconds, "invalid BindTimeoutSeconds, should not be a negative value"))
    if args.shape is not None:
        shown = [codec.to_tree(point) for point in args.shape]
        why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        found.append(field.invalid(f"{path}.shape", shown, why))


def dynamic_resources(found: Found, path: str, args: types.DynamicResourcesArgs) -> None:
    if args.filterTimeout is not None and (_seconds(found, f"{path}.filterTimeout", args.filterTimeout) or 0.0) < 0:
        found.append(field.invalid(f"{path}.filterTimeout", args.filterTimeout, "must be zero or positive"))
    if args.bindingTimeout is not None:
        seconds = _seconds(found, f"{path}.bindingTimeout", args.bindingTimeout)
        if seconds is not None and seconds < 1:
            found.append(field.invalid(f"{path}.bindingTimeout", args.bindingTimeout, "must be at least 1 second"))


def _seconds(found: Found, path: str, text: str) -> float | None:
    try:
        return durations.seconds(text)
    except ValueError as error:
        found.append(field.invalid(path, text, str(error)))
        return None
