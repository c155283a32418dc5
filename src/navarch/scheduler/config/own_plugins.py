"""Finds plugins that are not built in: by entry point, or by the `module` in their arguments.

In: a plugin's name and arguments. Out: a `core.plugin.Plugin`. What is found may be a plugin (an object with `filter`, `score`, or
both) or what makes one: anything callable gets the arguments. docs/scheduler-plugins.md tells it with an example.

Upstream counterpart: app.WithPlugin and frameworkruntime.Registry, which need a scheduler compiled anew.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping
from typing import Any, cast

from navarch.scheduler.core.events import Event
from navarch.scheduler.core.plugin import NORMALIZE, Normalize, Plugin

GROUP = "navarch.scheduler.plugins"
"""The group of entry points."""


class Unloadable(ValueError):
    """There is such a plugin, but it cannot be used."""


def find(name: str, args: Any) -> Plugin | None:
    """The plugin of a name; None when there is none. Raises Unloadable."""
    given = dict(args) if isinstance(args, Mapping) else {}
    module = given.pop("module", None)
    try:
        found = _by_path(str(module)) if module is not None else _by_entry_point(name)
        if found is None:
            return None
        return _plugin(name, _made(found, given))
    except Exception as error:
        raise Unloadable(f'initializing plugin "{name}": {error or type(error).__name__}') from error


def points(plugin: Plugin) -> frozenset[str]:
    """Its extension points."""
    return frozenset(point for point, held in (("filter", plugin.filter), ("score", plugin.score)) if held is not None)


def _made(found: Any, args: Mapping[str, Any]) -> Any:
    """The plugin itself: what is callable is called with the arguments, or without when it takes none."""
    if not callable(found):
        return found
    try:
        inspect.signature(found).bind(args)
    except TypeError:
        if args:
            raise ValueError(f"it takes no arguments, but was given {', '.join(sorted(args))}") from None
        return found()
    return found(args)


def _by_path(path: str) -> Any:
    module, colon, name = path.partition(":")
    if not colon or not name:
        raise ValueError(f'module "{path}" is not package.module:object')
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _by_entry_point(name: str) -> Any:
    for entry in importlib.metadata.entry_points(group=GROUP, name=name):
        return entry.load()
    return None


def _plugin(name: str, found: Any) -> Plugin:
    own, normalize = getattr(found, "name", name), getattr(found, "normalize", "")
    if own != name:
        raise ValueError(f'it calls itself "{own}"')
    if normalize not in NORMALIZE:
        raise ValueError(f'normalize is "{normalize}": supported values: {", ".join(map(repr, NORMALIZE))}')
    made = Plugin(name, getattr(found, "filter", None), getattr(found, "score", None), cast(Normalize, normalize), _events(found))
    for method in (made.filter, made.score):
        if method is not None and not callable(method):
            raise ValueError("filter and score must be functions of (view, at)")
    if not points(made):
        raise ValueError("it has neither filter nor score")
    return made


def _events(found: Any) -> tuple[Event, ...] | None:
    listed = getattr(found, "events", None)
    if listed is None:
        return None
    named, known = set(map(str, listed)), sorted(map(str, Event))
    if wrong := sorted(named - set(known)):
        raise ValueError(f'event "{wrong[0]}": supported values: {", ".join(known)}')
    return tuple(Event(name) for name in sorted(named))
