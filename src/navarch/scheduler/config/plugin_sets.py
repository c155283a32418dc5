"""Which plugins a profile runs at which extension point, in which order, with which weights.

In: a profile's `plugins` and the points that each known plugin has. Out: a `Selection`. A profile says what differs from the
default: `multiPoint` is merged with the default list, then spread over the points; a point's own list comes before what
multiPoint brings there when it names the same plugin, and after it when it does not.

Upstream counterparts: apis/config/v1/default_plugins.go (mergePlugins), framework/runtime (NewFramework, expandMultiPointPlugins).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from navarch.scheduler.config.types import PluginEntry, Plugins, PluginSet
from navarch.scheduler.core.plugins import table

POINTS = (
    "preFilter",
    "filter",
    "postFilter",
    "reserve",
    "preScore",
    "score",
    "preBind",
    "bind",
    "postBind",
    "permit",
    "preEnqueue",
    "queueSort",
    "placementGenerate",
    "placementScore",
)
"""Extension points in the order in which upstream sets them up, so that the first complaint is the same."""

LATER: Mapping[str, str] = {"preFilter": "filter", "preScore": "score", "reserve": "preBind"}
"""Point → the later one that reads what plugins prepare there: one that `needs` the earlier point fails every pod without it."""


class Unusable(ValueError):
    """These plugins make no profile."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Point → plugins, in order; and the weights of the scores."""

    points: Mapping[str, tuple[str, ...]]
    weights: Mapping[str, int]

    def runs(self, point: str, plugin: str) -> bool:
        return plugin in self.points[point]


@dataclass(frozen=True, slots=True)
class _Set:
    enabled: tuple[PluginEntry, ...] = ()
    disabled: frozenset[str] = frozenset()


def needed(custom: Plugins | None) -> list[str]:
    """The names of all plugins that a profile enables anywhere."""
    merged = _merged(custom)
    return list(dict.fromkeys(entry.name for chosen in merged.values() for entry in chosen.enabled))


def select(custom: Plugins | None, scheduler: str, known: Mapping[str, frozenset[str]]) -> Selection:
    """What runs where. `known`: the extension points of each plugin there is. Raises Unusable, in upstream's words."""
    merged = _merged(custom)
    for point in POINTS:
        _check(point, merged[point], known)
    points = {point: _expanded(point, merged[point], merged["multiPoint"], known) for point in POINTS}
    if len(points["queueSort"]) != 1:
        got = len(points["queueSort"])
        raise Unusable(f'only one queue sort plugin required for profile with scheduler name "{scheduler}", but got {got}')
    if not points["bind"]:
        raise Unusable(f'at least one bind plugin is needed for profile with scheduler name "{scheduler}"')
    for earlier, later in LATER.items():
        for name in points[later]:
            if name in table.BY_NAME and earlier in table.BY_NAME[name].needs and name not in points[earlier]:
                raise Unusable(f'plugin "{name}" is disabled at {earlier} and enabled at {later}, where it would fail every pod')
    return Selection(points, _weights(points["score"], merged))


def _merged(custom: Plugins | None) -> dict[str, _Set]:
    given = custom if custom is not None else Plugins()
    found = {point: _merge((), _read(getattr(given, point))) for point in POINTS}
    defaults = tuple(PluginEntry(name=row.name, weight=row.weight) for row in table.TABLE)
    found["multiPoint"] = _merge(defaults, _read(given.multiPoint))
    return found


def _read(given: PluginSet | None) -> _Set:
    if given is None:
        return _Set()
    return _Set(tuple(given.enabled or ()), frozenset(e.name for e in given.disabled or ()))


def _merge(defaults: tuple[PluginEntry, ...], custom: _Set) -> _Set:
    """The defaults that are not disabled, with the custom entry in the place of one that is named again; then the others."""
    again = {entry.name: entry for entry in custom.enabled}
    kept = () if "*" in custom.disabled else tuple(again.get(e.name, e) for e in defaults if e.name not in custom.disabled)
    replaced = {id(entry) for entry in kept}
    return _Set((*kept, *(e for e in custom.enabled if id(e) not in replaced)), custom.disabled)


def _kind(point: str) -> str:
    """What upstream calls the plugins of a point."""
    return f"{point[0].upper()}{point[1:]}Plugin"


def _check(point: str, chosen: _Set, known: Mapping[str, frozenset[str]]) -> None:
    seen: set[str] = set()
    for entry in chosen.enabled:
        name = entry.name
        if name not in known:
            raise Unusable(f'{_kind(point)} "{name}" does not exist')
        if point not in known[name]:
            raise Unusable(f'plugin "{name}" does not extend {_kind(point)} plugin')
        if name in seen:
            raise Unusable(f'plugin "{name}" already registered as "{_kind(point)}"')
        seen.add(name)


def _expanded(point: str, own: _Set, every: _Set, known: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    names = [entry.name for entry in own.enabled]
    if "*" in own.disabled:
        return tuple(names)
    brought: list[str] = []
    again: set[str] = set()
    for entry in every.enabled:
        name = entry.name
        if name not in known:
            raise Unusable(f'{_kind(point)} "{name}" does not exist')
        if point not in known[name] or name in own.disabled:
            continue
        if name in names:
            again.add(name)
        elif name in brought:
            raise Unusable(f'plugin "{name}" already registered as "{_kind(point)}"')
        else:
            brought.append(name)
    return (*(n for n in names if n in again), *brought, *(n for n in names if n not in again))


def _weights(scoring: Iterable[str], merged: Mapping[str, _Set]) -> dict[str, int]:
    """A score's own weight goes before that of multiPoint; none, or 0, is 1."""
    told: dict[str, int] = {}
    for entry in (*merged["score"].enabled, *merged["multiPoint"].enabled):
        told.setdefault(entry.name, entry.weight or 1)
    return {name: told[name] for name in scoring}
