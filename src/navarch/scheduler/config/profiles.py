"""Profiles of a configuration: what is wrong with them, and what they come to.

In: `types.Profile`s. Out: `core.profile.Profile`s. What a plugin is (its points, weight, arguments) is read from its row in
`core.plugins.table`.

Upstream counterparts: apis/config/validation (validateKubeSchedulerProfile), framework/runtime (NewFramework).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from navarch.machinery import codec
from navarch.machinery import field as fields
from navarch.scheduler.config import decoding, own_plugins, plugin_sets, types
from navarch.scheduler.core.arguments import Arguments
from navarch.scheduler.core.plugin import ArgumentReader, Plugin
from navarch.scheduler.core.plugins import table
from navarch.scheduler.core.plugins.args import Args
from navarch.scheduler.core.profile import Profile

DEFAULT_NAME = "default-scheduler"
BUILT_IN: Mapping[str, frozenset[str]] = {row.name: frozenset(row.points) for row in table.TABLE}
"""Plugin → its extension points."""
FILTERS = frozenset(name for name, points in BUILT_IN.items() if "filter" in points)
READERS: Mapping[str, ArgumentReader] = {row.name: row.arguments for row in table.TABLE if row.arguments is not None}
_REMOVED = frozenset({"AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"})


def arguments(profile: types.Profile, path: str) -> dict[str, Args]:
    """The decoded arguments of the plugins that are known to take some."""
    found: dict[str, Args] = {}
    for i, config in enumerate(profile.pluginConfig or ()):
        reader = READERS.get(config.name)
        if reader is None:
            continue
        within = f"decoding {path}.pluginConfig[{i}]: decoding args for plugin {config.name}: "
        args: Args = decoding.decoded(reader.kind, config.args or {}, within)
        if args.kind and args.kind != f"{config.name}Args":
            wanted = f"{config.name}Args.kubescheduler.config.k8s.io"
            got = f"{args.kind}.kubescheduler.config.k8s.io"
            raise decoding.Unacceptable(f"decoding {path}.pluginConfig[{i}]: args for plugin {config.name} were not of type {wanted}, got {got}")
        found.setdefault(config.name, args)
    return found


# ---- problems -----------------------------------------------------------------------------------------------------


def problems(listed: Sequence[types.Profile], args: Sequence[Mapping[str, Args]]) -> list[fields.Problem]:
    found: list[fields.Problem] = []
    names: dict[str, int] = {}
    for i, profile in enumerate(listed):
        path = f"profiles[{i}]"
        name = _name(profile, alone=len(listed) == 1)
        if not name:
            found.append(fields.required(f"{path}.schedulerName"))
        found += decoding.percentage(f"{path}.percentageOfNodesToScore", profile.percentageOfNodesToScore)
        found += _plugin_problems(profile, path, args[i])
        if name in names:
            found.append(fields.duplicate(f"{path}.schedulerName", f"profiles[{names[name]}].schedulerName"))
        names.setdefault(name, i)
    return [*found, *_queue_sort_problems(listed)]


def _name(profile: types.Profile, *, alone: bool) -> str:
    return DEFAULT_NAME if alone and profile.schedulerName is None else profile.schedulerName or ""


def _plugin_problems(profile: types.Profile, path: str, args: Mapping[str, Args]) -> list[fields.Problem]:
    found: list[fields.Problem] = []
    why = f'was invalid in version "{types.VERSION}" (KubeSchedulerConfiguration is version "{types.VERSION}")'
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
            READERS[config.name].check(found, f"{at}.args", args[config.name])
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


# ---- profiles -----------------------------------------------------------------------------------------------------


def make(given: types.Profile, args: Mapping[str, Args], ignored: frozenset[str]) -> Profile:
    name = given.schedulerName or DEFAULT_NAME
    try:
        own = _own_plugins(given)
        chosen = plugin_sets.select(given.plugins, name, {**BUILT_IN, **{plugin: own_plugins.points(made) for plugin, made in own.items()}})
    except (plugin_sets.Unusable, own_plugins.Unloadable) as error:
        raise decoding.Unacceptable(f"initializing profiles: creating profile for scheduler name {name}: {error}") from None
    filters = chosen.points["filter"]
    scored = {plugin: weight for plugin, weight in chosen.weights.items() if plugin in table.WEIGHTS or plugin in own}
    return Profile(
        name=name,
        disabled_filters=FILTERS - set(filters),
        weights=scored,
        arguments=_read(args, ignored),
        preempts=chosen.runs("postFilter", "DefaultPreemption"),
        filters=tuple(own[plugin] for plugin in filters if plugin in own),
        scorers=tuple(own[plugin] for plugin in chosen.points["score"] if plugin in own),
        order=filters if filters != _default_order() else (),
        honours_gates=chosen.runs("preEnqueue", "SchedulingGates"),
        waits_for_groups=chosen.runs("preEnqueue", "GangScheduling"),
        places_groups=chosen.runs("permit", "GangScheduling"),
    )


def _read(args: Mapping[str, Args], ignored: frozenset[str]) -> Arguments:
    """What the arguments of all plugins come to; resources that extenders manage (`ignored`) are left to them."""
    found = Arguments()
    for name, given in args.items():
        read = READERS[name].read
        found = read(found, given) if read is not None else found
    return replace(found, fit=replace(found.fit, ignored=ignored)) if ignored else found


@functools.cache
def _default_order() -> tuple[str, ...]:
    return plugin_sets.select(None, "", BUILT_IN).points["filter"]


def _own_plugins(given: types.Profile) -> dict[str, Plugin]:
    """The plugins that the profile enables and that are not built in."""
    args = {config.name: config.args for config in given.pluginConfig or ()}
    found = {}
    for name in plugin_sets.needed(given.plugins):
        if name not in table.BY_NAME and (made := own_plugins.find(name, args.get(name))) is not None:
            found[name] = made
    return found
