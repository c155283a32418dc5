"""Upstream's KubeSchedulerConfiguration, read into profiles, extenders and the scheduler's own settings.

In: the YAML of `--config` (kubescheduler.config.k8s.io/v1). Out: a `Configuration`. It is read strictly: an unknown field, a plugin
that does not exist, a value out of range are refused with their field path, in upstream's words. What is accepted and makes no
difference here is told once (`notes`).

Upstream counterparts: pkg/scheduler/apis/config (v1 defaults, validation), cmd/kube-scheduler/app/options/configfile.go.
"""

from __future__ import annotations

import functools
import logging
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.machinery import codec, durations
from navarch.machinery import field as fields
from navarch.scheduler import configuration_types as types
from navarch.scheduler import extender_settings, plugin_args, plugin_loading, plugin_sets
from navarch.scheduler.core.plugin import Plugin
from navarch.scheduler.core.profile import SCORED_BY_DEFAULT, WEIGHTS, Fit, Point, Preemption, Profile
from navarch.scheduler.extender_settings import ExtenderSettings

VERSION, KIND = types.VERSION, types.KIND
FILTERS = frozenset(name for name, points in plugin_sets.BUILT_IN.items() if "filter" in points)
_REMOVED = frozenset({"AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"})
_DEFAULT_NAME = "default-scheduler"
A = TypeVar("A", bound=types.Args)
_log = logging.getLogger(__name__)


class Unacceptable(ValueError):
    """The configuration cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """The lease that the leader holds; times in seconds."""

    elect: bool = True
    namespace: str = "kube-system"
    name: str = "kube-scheduler"
    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a configuration file says."""

    profiles: Mapping[str, Profile]
    """By scheduler name."""
    extenders: tuple[ExtenderSettings, ...] = ()
    """In the order in which they are asked."""
    first_backoff: float = 1.0
    most_backoff: float = 10.0
    leadership: Leadership = Leadership()
    kubeconfig: str = ""
    notes: tuple[str, ...] = field(default=())
    """What was accepted and makes no difference."""


def default(name: str = _DEFAULT_NAME) -> Configuration:
    """What holds without a file."""
    return Configuration({name: Profile(name)})


def load(path: str) -> Configuration:
    """The configuration in a file. Raises Unacceptable."""
    try:
        text = pathlib.Path(path).read_text()
        found = codec.from_yaml(text)
    except (OSError, codec.DecodeError) as error:
        raise Unacceptable(f"{path}: {error}") from None
    if repeated := codec.yaml_duplicates(text.encode()):
        raise Unacceptable(f"strict decoding error: {', '.join(repeated)}")
    return read(found)


def read(config: Any) -> Configuration:
    """The configuration in a document. Raises Unacceptable."""
    if not isinstance(config, dict) or (config.get("apiVersion"), config.get("kind")) != (VERSION, KIND):
        raise Unacceptable(f"not a {KIND} of {VERSION}")
    given = _decoded(types.KubeSchedulerConfiguration, config)
    listed = given.profiles or [types.Profile()]
    args = [_arguments(profile, f".profiles[{i}]") for i, profile in enumerate(listed)]
    _refuse([*_settings(given), *_profile_problems(listed, args), *extender_settings.problems(given.extenders or [])])
    try:
        extenders = extender_settings.read(given.extenders or [])
    except ValueError as error:
        raise Unacceptable(f"couldn't build extenders: {error}") from None
    ignored = frozenset(name for extender in extenders for name in extender.ignored)
    profiles = [_profile(profile, known, ignored) for profile, known in zip(listed, args, strict=True)]
    return Configuration(
        profiles={p.name: p for p in profiles},
        extenders=extenders,
        first_backoff=float(_value(given.podInitialBackoffSeconds, 1)),
        most_backoff=float(_value(given.podMaxBackoffSeconds, 10)),
        leadership=_leadership(given.leaderElection or types.LeaderElection()),
        kubeconfig=(given.clientConnection.kubeconfig if given.clientConnection else None) or "",
        notes=tuple(_notes(given)),
    )


def _refuse(problems: Sequence[fields.Problem]) -> None:
    unique = list(dict.fromkeys(map(str, problems)))
    if unique:
        raise Unacceptable(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")


def _value(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


# ---- decoding -----------------------------------------------------------------------------------------------------

T = TypeVar("T", bound=msgspec.Struct)


def _decoded(kind: type[T], tree: Any, within: str = "") -> T:
    """An object of a type, nothing more and nothing less."""
    try:
        found, strict = codec.decode_reporting(kind, msgspec.json.encode(tree))
    except codec.DecodeError as error:
        raise Unacceptable(f"{within}{error}") from None
    if strict:
        raise Unacceptable(f"strict decoding error: {within}{', '.join(strict)}")
    return found


def _arguments(profile: types.Profile, path: str) -> dict[str, types.Args]:
    """The decoded arguments of the plugins that are known to take some."""
    found: dict[str, types.Args] = {}
    for i, config in enumerate(profile.pluginConfig or ()):
        kind = types.ARGS.get(config.name)
        if kind is None:
            continue
        within = f"decoding {path}.pluginConfig[{i}]: decoding args for plugin {config.name}: "
        args = _decoded(kind, config.args or {}, within)
        if args.kind and args.kind != f"{config.name}Args":
            wanted = f"{config.name}Args.kubescheduler.config.k8s.io"
            got = f"{args.kind}.kubescheduler.config.k8s.io"
            raise Unacceptable(f"decoding {path}.pluginConfig[{i}]: args for plugin {config.name} were not of type {wanted}, got {got}")
        found.setdefault(config.name, args)
    return found


# ---- settings -----------------------------------------------------------------------------------------------------


def _settings(given: types.KubeSchedulerConfiguration) -> list[fields.Problem]:
    found: list[fields.Problem] = []
    burst = given.clientConnection.burst if given.clientConnection is not None else None
    if burst is not None and burst < 0:
        found.append(fields.invalid("clientConnection.burst", burst, "must be non-negative"))
    found += _leadership_problems(given.leaderElection or types.LeaderElection())
    if given.parallelism is not None and given.parallelism <= 0:
        found.append(fields.invalid("parallelism", given.parallelism, "should be an integer value greater than zero"))
    found += _percentage("percentageOfNodesToScore", given.percentageOfNodesToScore)
    first, most = _value(given.podInitialBackoffSeconds, 1), _value(given.podMaxBackoffSeconds, 10)
    if first <= 0:
        found.append(fields.invalid("podInitialBackoffSeconds", first, "must be greater than 0"))
    if most < first:
        found.append(fields.invalid("podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds"))
    return found


def _percentage(path: str, value: int | None) -> list[fields.Problem]:
    return [] if value is None or 0 <= value <= 100 else [fields.invalid(path, value, "not in valid range [0-100]")]


_TIMES = (("leaseDuration", 15.0), ("renewDeadline", 10.0), ("retryPeriod", 2.0))


def _times(given: types.LeaderElection) -> dict[str, float]:
    """The lease's times, in seconds; 0 is the default, as upstream has it."""
    found = {}
    for name, otherwise in _TIMES:
        text = getattr(given, name)
        try:
            found[name] = (durations.seconds(text) if text is not None else 0.0) or otherwise
        except ValueError as error:
            raise Unacceptable(f"leaderElection.{name}: {error}") from None
    return found


def _leadership_problems(given: types.LeaderElection) -> list[fields.Problem]:
    if given.leaderElect is False:
        return []
    found: list[fields.Problem] = []
    times = _times(given)
    for name, seconds in times.items():
        if seconds <= 0:
            found.append(fields.invalid(f"leaderElection.{name}", getattr(given, name), "must be greater than zero"))
    if times["leaseDuration"] <= times["renewDeadline"]:
        shown = given.renewDeadline or "10s"
        found.append(fields.invalid("leaderElection.leaseDuration", shown, "must be greater than `RenewDeadline`"))
    if given.resourceLock and given.resourceLock != "leases":
        found.append(fields.invalid("leaderElection.resourceLock", given.resourceLock, 'resourceLock value must be "leases"'))
    return found


def _leadership(given: types.LeaderElection) -> Leadership:
    times = _times(given)
    return Leadership(
        given.leaderElect is not False,
        given.resourceNamespace or "kube-system",
        given.resourceName or "kube-scheduler",
        times["leaseDuration"],
        times["renewDeadline"],
        times["retryPeriod"],
    )


def _notes(given: types.KubeSchedulerConfiguration) -> list[str]:
    found = []
    if given.percentageOfNodesToScore or any(p.percentageOfNodesToScore for p in given.profiles or ()):
        found.append("percentageOfNodesToScore: all nodes are looked at")
    if given.parallelism is not None:
        found.append("parallelism: all nodes are looked at at once, on one thread")
    connection = given.clientConnection or types.ClientConnection()
    if connection.qps or connection.burst:
        found.append("clientConnection: requests are bounded by how many are under way, not by qps and burst")
    if given.delayCacheUntilActive is False:
        found.append("delayCacheUntilActive: caches are always filled once the lease is held")
    return found


# ---- profiles -----------------------------------------------------------------------------------------------------


def _profile_problems(listed: Sequence[types.Profile], args: Sequence[Mapping[str, types.Args]]) -> list[fields.Problem]:
    found: list[fields.Problem] = []
    names: dict[str, int] = {}
    for i, profile in enumerate(listed):
        path = f"profiles[{i}]"
        name = _name(profile, alone=len(listed) == 1)
        if not name:
            found.append(fields.required(f"{path}.schedulerName"))
        found += _percentage(f"{path}.percentageOfNodesToScore", profile.percentageOfNodesToScore)
        found += _plugin_problems(profile, path, args[i])
        if name in names:
            found.append(fields.duplicate(f"{path}.schedulerName", f"profiles[{names[name]}].schedulerName"))
        names.setdefault(name, i)
    return [*found, *_queue_sort_problems(listed)]


def _name(profile: types.Profile, *, alone: bool) -> str:
    return _DEFAULT_NAME if alone and profile.schedulerName is None else profile.schedulerName or ""


def _plugin_problems(profile: types.Profile, path: str, args: Mapping[str, types.Args]) -> list[fields.Problem]:
    found: list[fields.Problem] = []
    why = f'was invalid in version "{VERSION}" (KubeSchedulerConfiguration is version "{VERSION}")'
    for point in plugin_sets.POINTS:
        chosen = getattr(profile.plugins, point) if profile.plugins is not None else None
        for i, entry in enumerate((chosen.enabled if chosen is not None else None) or ()):
            if entry.name in _REMOVED:
                found.append(fields.invalid(f"{path}.plugins.{point}.enabled[{i}]", entry.name, why))
    seen: set[str] = set()
    for i, config in enumerate(profile.pluginConfig or ()):
        at = f"{path}.pluginConfig[{i}]"
        if config.name in seen:
            found.append(fields.duplicate(at, config.name))
        elif config.name in _REMOVED:
            found.append(fields.invalid(at, config.name, why))
        elif config.name in args:
            plugin_args.CHECKS[config.name](found, f"{at}.args", args[config.name])
        seen.add(config.name)
    return found


def _queue_sort_problems(listed: Sequence[types.Profile]) -> list[fields.Problem]:
    """All profiles share one queue, so they must agree on its order."""
    found: list[fields.Problem] = []
    sets = [(p.plugins.queueSort if p.plugins is not None else None) or types.PluginSet() for p in listed]
    names = [entry.name for entry in sets[0].enabled or ()]
    if len(names) > 1:
        found.append(fields.invalid("profiles[0].plugins.queueSort.Enabled", len(names), "only one queue sort plugin can be enabled"))
    for i, chosen in enumerate(sets[1:], 1):
        if _comparable(chosen) != _comparable(sets[0]):
            found.append(fields.invalid(f"profiles[{i}].plugins.queueSort", codec.to_tree(chosen), "must be the same for all profiles"))
    return found


def _comparable(chosen: types.PluginSet) -> Any:
    return [[(e.name, e.weight or 0) for e in listed or ()] for listed in (chosen.enabled, chosen.disabled)]


def _profile(given: types.Profile, args: Mapping[str, types.Args], ignored: frozenset[str]) -> Profile:
    name = given.schedulerName or _DEFAULT_NAME
    try:
        own = _own_plugins(given)
        known = {**plugin_sets.BUILT_IN, **{plugin: plugin_loading.points(made) for plugin, made in own.items()}}
        chosen = plugin_sets.select(given.plugins, name, known)
    except (plugin_sets.Unusable, plugin_loading.Unloadable) as error:
        raise Unacceptable(f"initializing profiles: creating profile for scheduler name {name}: {error}") from None
    filters = chosen.points["filter"]
    scored = {plugin: weight for plugin, weight in chosen.weights.items() if plugin in WEIGHTS or plugin in own}
    made = Profile(
        name=name,
        disabled_filters=FILTERS - set(filters),
        weights=scored,
        preempts=chosen.runs("postFilter", "DefaultPreemption"),
        filters=tuple(own[plugin] for plugin in filters if plugin in own),
        scorers=tuple(own[plugin] for plugin in chosen.points["score"] if plugin in own),
        order=filters if filters != _default_order() else (),
        honours_gates=chosen.runs("preEnqueue", "SchedulingGates"),
        waits_for_groups=chosen.runs("preEnqueue", "GangScheduling"),
        places_groups=chosen.runs("permit", "GangScheduling"),
    )
    return _with_arguments(made, args, ignored)


@functools.cache
def _default_order() -> tuple[str, ...]:
    return plugin_sets.select(None, "", plugin_sets.BUILT_IN).points["filter"]


def _own_plugins(given: types.Profile) -> dict[str, Plugin]:
    """The plugins that the profile enables and that are not built in."""
    args = {config.name: config.args for config in given.pluginConfig or ()}
    found = {}
    for name in plugin_sets.needed(given.plugins):
        if name not in plugin_sets.BUILT_IN and (made := plugin_loading.find(name, args.get(name))) is not None:
            found[name] = made
    return found


# ---- arguments ----------------------------------------------------------------------------------------------------


def _with_arguments(profile: Profile, args: Mapping[str, types.Args], ignored: frozenset[str]) -> Profile:
    affinity = _args(args, "InterPodAffinity", types.InterPodAffinityArgs)
    preemption = _args(args, "DefaultPreemption", types.DefaultPreemptionArgs)
    balanced = _args(args, "NodeResourcesBalancedAllocation", types.NodeResourcesBalancedAllocationArgs)
    fit = _fit(_args(args, "NodeResourcesFit", types.NodeResourcesFitArgs))
    return replace(
        profile,
        fit=replace(fit, ignored=ignored) if ignored else fit,
        balanced=_resources(balanced.resources),
        added_affinity=_args(args, "NodeAffinity", types.NodeAffinityArgs).addedAffinity,
        hard_pod_affinity_weight=_value(affinity.hardPodAffinityWeight, 1),
        ignore_preferred_terms_of_existing_pods=bool(affinity.ignorePreferredTermsOfExistingPods),
        default_constraints=_constraints(_args(args, "PodTopologySpread", types.PodTopologySpreadArgs)),
        bind_timeout=float(_value(_args(args, "VolumeBinding", types.VolumeBindingArgs).bindTimeoutSeconds, 600)),
        preemption=Preemption(_value(preemption.minCandidateNodesPercentage, 10), _value(preemption.minCandidateNodesAbsolute, 100)),
    )


def _args(args: Mapping[str, types.Args], name: str, kind: type[A]) -> A:
    found = args.get(name)
    return found if isinstance(found, kind) else kind()


def _resources(listed: Sequence[types.ResourceSpec] | None) -> tuple[tuple[str, int], ...]:
    return tuple((r.name, r.weight or 1) for r in listed) if listed else SCORED_BY_DEFAULT


def _fit(args: types.NodeResourcesFitArgs) -> Fit:
    strategy = args.scoringStrategy or types.ScoringStrategy(type="LeastAllocated")
    ratio = strategy.requestedToCapacityRatio
    shape = tuple(Point(p.utilization, 10 * p.score) for p in (ratio.shape if ratio is not None else None) or ())
    ignored, groups = frozenset(args.ignoredResources or ()), frozenset(args.ignoredResourceGroups or ())
    return Fit(strategy.type or "LeastAllocated", _resources(strategy.resources), shape, ignored, groups)


def _constraints(args: types.PodTopologySpreadArgs) -> tuple[core_v1.TopologySpreadConstraint, ...] | None:
    return None if (args.defaultingType or "System") == "System" else tuple(args.defaultConstraints or ())
