"""Walking values with their schema: which fields a value has, how two differ, merging them, taking fields out.

Values are builtin (dicts, lists, scalars); sets of fields are as in `fields`. Nothing given is changed; results share parts
with what was given.

A walk never looks into what did not change: two equal values are told apart from different ones by one comparison in C.

Upstream counterpart: structured-merge-diff's typed package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from navarch.machinery.patch.fields import Fields, encode, node, step_text
from navarch.machinery.patch.strategic import go_text
from navarch.machinery.schema import ANY, ANY_LIST, Kind, Scalar, Schema

ABSENT: Any = object()
PLAIN = re.compile(r"[\w./:-]*\Z", re.A).match
"""Strings that JSON writes as they are."""
STRUCT, MAP, KEYED, SET, ANYTHING = Kind.STRUCT, Kind.MAP, Kind.KEYED, Kind.SET, Kind.ANY
Difference = tuple[Fields | None, Fields | None]
"""What is new or different, and what is gone, below one step (see `fields.node`)."""


class TypeProblem(ValueError):
    """A value is not of its schema's shape; the message starts with the path."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path

    def below(self, step: str) -> TypeProblem:
        return TypeProblem(self.message, step + self.path)


def deduced(schema: Schema, value: Any) -> Schema:
    """The schema that a value of any type has: an object's fields are its own, the rest is one value."""
    return ANY if isinstance(value, dict) else ANY_LIST


# ---- items of lists ------------------------------------------------------------------------------------------------


def item_key(schema: Schema, item: Any) -> str:
    """The step to an item of a KEYED list or a SET. TypeProblem when it has none."""
    if schema.kind is SET:
        if isinstance(item, str) and PLAIN(item):
            return f'v:"{item}"'
        if item is None:
            raise TypeProblem("associative list without keys has an element that's an explicit null")
        if isinstance(item, dict):
            raise TypeProblem("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise TypeProblem("not supported: associative list with lists as elements")
        return "v:" + encode(item)
    if not isinstance(item, dict):
        what = "a null element" if item is None else "non-map elements"
        raise TypeProblem(f"associative list with keys may not have {what}")
    parts = []
    for name, default in schema.defaults.items():
        value = item.get(name, default)
        if value is None and name not in item:
            continue
        if isinstance(value, str) and PLAIN(value):
            parts.append(f'"{name}":"{value}"')
        else:
            parts.append(f'"{name}":{encode(value)}')
    if not parts:
        names = " ".join(f'"{name}"' for name in schema.defaults)
        raise TypeProblem(
            f"associative list with keys has an element that omits all key fields [{names}] (and doesn't have default values for any key fields)"
        )
    return "k:{" + ",".join(parts) + "}"


def keyed(schema: Schema, items: list[Any] | None) -> dict[str, list[Any]]:
    """A list's items by their step; those that have none are left out."""
    found: dict[str, list[Any]] = {}
    for item in items or ():
        try:
            step = item_key(schema, item)
        except TypeProblem:
            continue
        found.setdefault(step, []).append(item)
    return found


# ---- how two values differ -----------------------------------------------------------------------------------------


def compare(schema: Schema, old: dict[str, Any], new: dict[str, Any]) -> tuple[Fields, Fields]:
    """What is new or different in `new`, and what of `old` is gone."""
    changed, gone = _differ_maps(schema, old, new)
    return changed or {}, gone or {}


def note_field(schema: Schema, name: str, old: dict[str, Any], new: dict[str, Any], changed: Fields, gone: Fields) -> None:
    """Compares one field of two objects, and notes what differs in the two sets."""
    _field(schema.field(name) or ANY, "f:" + name, old.get(name, ABSENT), new.get(name, ABSENT), changed, gone)


def _field(place: Schema, step: str, old: Any, new: Any, changed: Fields, gone: Fields) -> None:
    """Compares one place that at least one side has, and notes the result under its step."""
    if old is ABSENT:
        old = ABSENT if place.present is None else place.present
    elif new is ABSENT:
        new = ABSENT if place.present is None else place.present
    if old is ABSENT:
        if new is not ABSENT:
            changed[step] = everything(place, new)
    elif new is ABSENT:
        gone[step] = everything(place, old)
    elif old != new:
        more, less = differ(place, old, new)
        if more is not None:
            changed[step] = more
        if less is not None:
            gone[step] = less


def differ(place: Schema, old: Any, new: Any) -> Difference:
    """How two different values of one place differ."""
    kind = place.kind
    if kind is ANYTHING and not (isinstance(old, dict) and isinstance(new, dict)):
        return _differ_anyhow(place, old, new)
    if kind is STRUCT or kind is MAP or kind is ANYTHING:
        return _differ_maps(place, old or {}, new or {}) if old or new else _differ_empty(place)
    if kind is KEYED or kind is SET:
        return _differ_lists(place, old, new)
    return {}, None


def _differ_empty(place: Schema) -> Difference:
    """Null and an empty object or list are two values, except where Go has no null."""
    return ({}, None) if place.present is None else (None, None)


def _differ_anyhow(place: Schema, old: Any, new: Any) -> Difference:
    """How two values differ that are not both objects: what an object's fields were or become counts too.

    Null fits an object: between them only the fields change, not the place.
    """
    if isinstance(old, dict) and old:
        less = {step: below for step, below in everything(place, old).items() if step != "."}
        return (None if new is None else {}), less
    if isinstance(new, dict) and new:
        more = everything(place, new)
        return ({step: below for step, below in more.items() if step != "."} if old is None else more), None
    return {}, None


def _differ_maps(place: Schema, old: Any, new: Any) -> Difference:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return {}, None
    changed: Fields = {}
    gone: Fields = {}
    fields, other = place.fields, place.field
    for name, theirs in new.items():
        mine = old.get(name, ABSENT)
        if mine is not theirs and (mine is ABSENT or mine != theirs):
            _field(fields.get(name) or other(name) or ANY, "f:" + name, mine, theirs, changed, gone)
    for name, mine in old.items():
        if name not in new:
            _field(fields.get(name) or other(name) or ANY, "f:" + name, mine, ABSENT, changed, gone)
    return changed or None, gone or None


def _differ_lists(place: Schema, old: Any, new: Any) -> Difference:
    if not old and not new:
        return _differ_empty(place)
    changed: Fields = {}
    gone: Fields = {}
    mine, theirs = keyed(place, old), keyed(place, new)
    element = place.element
    for step, news in theirs.items():
        olds = mine.get(step, ())
        if len(olds) > 1 or len(news) > 1:
            _duplicates(element, step, list(olds), news, changed, gone)
        elif not olds:
            changed[step] = everything(element, news[0])
        elif olds[0] != news[0]:
            more, less = differ(element, olds[0], news[0])
            if more is not None:
                changed[step] = more
            if less is not None:
                gone[step] = less
    for step, olds in mine.items():
        if step not in theirs:
            gone[step] = everything(element, olds[0]) if len(olds) == 1 else {}
    return changed or None, gone or None


def _duplicates(element: Schema, step: str, old: list[Any], new: list[Any], changed: Fields, gone: Fields) -> None:
    """Items that share a step are one value together."""
    if len(old) > 1 and len(new) > 1:
        if old != new:
            changed[step] = {}
    elif len(old) > 1:
        changed[step] = everything(element, new[0])
        gone[step] = {}
    else:
        changed[step] = {}
        if old:
            gone[step] = everything(element, old[0])


def everything(place: Schema, value: Any) -> Fields:
    """Every field of a value that was not there before, the place itself included."""
    kind = place.kind
    if kind is KEYED or kind is SET:
        return _every_item(place, value) if value else {}
    if not isinstance(value, dict) or not value:
        if not value and kind is STRUCT and place.always and isinstance(value, dict):
            return {".": {}, **{"f:" + name: {} for name in place.always}}
        return {}
    if kind is STRUCT:
        fields, other = place.fields, place.open
        made: Fields = {".": {}}
        for name, inner in value.items():
            field = fields.get(name)
            if field is None:
                field = other or ANY
            made["f:" + name] = everything(field, inner) if isinstance(inner, dict | list) else {}
        for name in place.always:
            if name not in value:
                made["f:" + name] = everything(fields[name], {})
        return made
    if kind is MAP or kind is ANYTHING:
        element = place.element if kind is MAP else ANY
        return {".": {}, **{"f:" + name: everything(element, inner) for name, inner in value.items()}}
    return {}


def _every_item(place: Schema, items: list[Any]) -> Fields:
    made: Fields = {".": {}}
    element = place.element
    for item in items:
        try:
            step = item_key(place, item)
        except TypeProblem:
            continue
        made[step] = {} if step in made else everything(element, item)
    return made


# ---- which fields a configuration names ----------------------------------------------------------------------------


def field_set(place: Schema, value: Any) -> Fields:
    """The fields that a value names, as server-side apply owns them: leaves, items of lists, keys of maps."""
    return _named(place, value)[1]


def _named(place: Schema, value: Any) -> tuple[bool, Fields]:
    """Whether the place itself is named, and what is below it."""
    kind = place.kind
    if kind is ANYTHING and not isinstance(value, dict):
        return True, {}
    if kind is STRUCT or kind is MAP or kind is ANYTHING:
        return False, _named_in_map(place, value) if isinstance(value, dict) else {}
    if kind is KEYED or kind is SET:
        return False, _named_in_list(place, value) if isinstance(value, list) else {}
    return True, {}


def _named_in_map(place: Schema, value: dict[str, Any]) -> Fields:
    made: Fields = {}
    fields = place.fields if place.kind is STRUCT else {}
    for name, inner in value.items():
        member, below = _named(fields.get(name) or place.field(name) or ANY, inner)
        member = member or inner is None or (isinstance(inner, dict) and not inner) or name not in fields
        kept = node(member, below)
        if kept is not None:
            made["f:" + name] = kept
    return made


def _named_in_list(place: Schema, items: list[Any]) -> Fields:
    made: Fields = {}
    for step, same in keyed(place, items).items():
        made[step] = {} if len(same) > 1 else (node(True, _named(place.element, same[0])[1]) or {})
    return made


# ---- merging -------------------------------------------------------------------------------------------------------


def merged(place: Schema, live: Any, config: Any) -> Any:
    """A live value with a configuration laid over it. TypeProblem when the configuration's lists name something twice."""
    kind = place.kind
    if kind is ANYTHING:
        kind = MAP if isinstance(live, dict) and isinstance(config, dict | None) else Kind.SCALAR
    if kind is STRUCT or kind is MAP:
        if not live and not config:
            return config
        return _merged_maps(place, live or {}, config or {})
    if kind is KEYED or kind is SET:
        if not live and not config:
            return config
        return _merged_lists(place, live or [], config or [])
    return config


def _merged_maps(place: Schema, live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    made = dict(live)
    for name, value in config.items():
        if name in made:
            try:
                made[name] = merged(place.field(name) or ANY, made[name], value)
            except TypeProblem as problem:
                raise problem.below("." + name) from None
        else:
            made[name] = value
    return made


def _merged_lists(place: Schema, live: list[Any], config: list[Any]) -> list[Any]:
    """Both lists' items once each: the configuration's in its order, the live ones' around them where they were."""
    theirs = unique(place, config)
    mine = keyed(place, live)
    steps = [item_key(place, item) for item in live]
    order = list(theirs)
    shared = iter([step for step in order if step in mine])
    wanted = next(shared, None)
    made: list[Any] = []
    done: set[str] = set()
    left = right = 0

    def take(step: str) -> None:
        nonlocal wanted
        done.add(step)
        olds = mine.get(step, ())
        made.append(merged(place.element, olds[0], theirs[step]) if len(olds) == 1 else theirs[step])
        if step == wanted:
            wanted = next(shared, None)

    while left < len(steps) or right < len(order):
        if left < len(steps) and right < len(order):
            step = steps[left]
            if step == order[right]:
                take(step)
                left += 1
                right += 1
                continue
            if step in theirs and wanted is not None and wanted != step:
                left += 1
                continue
        if left < len(steps):
            step = steps[left]
            if step not in theirs:
                made.append(live[left])
                left += 1
                continue
            if step in done:
                left += 1
        if right < len(order):
            take(order[right])
            right += 1
    return made


def unique(place: Schema, items: list[Any]) -> dict[str, Any]:
    """A configuration's items by step. TypeProblem when two share one."""
    found: dict[str, Any] = {}
    for n, item in enumerate(items):
        try:
            step = item_key(place, item)
        except TypeProblem as problem:
            raise TypeProblem(f"element {n}: {problem.message}") from None
        if step in found:
            raise TypeProblem(f"duplicate entries for key {step_text(step)}")
        found[step] = item
    return found


# ---- taking fields out ---------------------------------------------------------------------------------------------


def removed(place: Schema, value: Any, fields: Fields) -> Any:
    """A value without the fields of a set, and without what is below them. What becomes empty stays, empty."""
    kind = place.kind
    if isinstance(value, dict) and (kind is STRUCT or kind is MAP or kind is ANYTHING):
        return _each_left(((("f:" + name), name, place.field(name) or ANY, inner) for name, inner in value.items()), fields, {})
    if isinstance(value, list) and (kind is KEYED or kind is SET):
        found: dict[int, Any] = _each_left(((_step(place, item), n, place.element, item) for n, item in enumerate(value)), fields, {})
        return list(found.values())
    return value


def _step(place: Schema, item: Any) -> str:
    try:
        return item_key(place, item)
    except TypeProblem:
        return ""


def _each_left(parts: Iterator[tuple[str, Any, Schema, Any]], fields: Fields, made: dict[Any, Any]) -> dict[Any, Any]:
    for step, key, place, inner in parts:
        below = fields.get(step)
        if below is None:
            made[key] = inner
        elif below and "." not in below:
            made[key] = removed(place, inner, below)
    return made


def with_named(place: Schema, fields: Fields) -> Fields:
    """The set with every named field that has something in it as a member."""
    made: Fields = {}
    names = place.fields if place.kind is STRUCT else {}
    for step, below in fields.items():
        if not below or step == ".":
            made[step] = below
            continue
        inner = with_named(_below(place, step), below)
        if step[:2] == "f:" and step[2:] in names and "." not in inner:
            inner = {".": {}, **inner}
        made[step] = inner
    return made


def _below(place: Schema, step: str) -> Schema:
    if step[:2] == "f:":
        return place.field(step[2:]) or ANY
    return place.element if place.kind in (KEYED, SET) else ANY


# ---- checking ------------------------------------------------------------------------------------------------------


def problems(place: Schema, value: Any, path: str = "") -> Iterator[TypeProblem]:
    """Where a value is not of its schema's shape."""
    if value is None or place.kind is ANYTHING:
        return
    check = _CHECKS.get(place.kind)
    if check is not None and (message := check(value)):
        yield TypeProblem(message, path)
        return
    if place.kind is Kind.SCALAR:
        if message := wrong_scalar(place.scalar, value):
            yield TypeProblem(message, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            field = place.field(name)
            if field is None:
                yield TypeProblem("field not declared in schema", f"{path}.{name}")
            else:
                yield from problems(field, inner, f"{path}.{name}")
    elif isinstance(value, list):
        try:
            steps = list(unique(place, value)) if place.kind in (KEYED, SET) else [f"i:{n}" for n in range(len(value))]
        except TypeProblem as problem:
            yield TypeProblem(problem.message, path)
            return
        for step, item in zip(steps, value, strict=True):
            yield from problems(place.element, item, path + step_text(step))


def _expect_map(value: Any) -> str:
    return "" if isinstance(value, dict) else f"expected map, got &{{{go_text(value)}}}"


def _expect_list(value: Any) -> str:
    return "" if isinstance(value, list) else f"expected list, got &{{{go_text(value)}}}"


_CHECKS: dict[Kind, Callable[[Any], str]] = {
    Kind.STRUCT: _expect_map,
    Kind.MAP: _expect_map,
    Kind.ATOMIC: _expect_map,
    Kind.LIST: _expect_list,
    Kind.SET: _expect_list,
    Kind.KEYED: _expect_list,
}


def wrong_scalar(scalar: Scalar, value: Any) -> str:
    """What is wrong with a scalar's type, "" if nothing."""
    match scalar:
        case Scalar.NUMERIC if not isinstance(value, int | float) or isinstance(value, bool):
            return f"expected numeric (int or float), got {go_type(value)}"
        case Scalar.STRING if not isinstance(value, str):
            return f"expected string, got &value.valueUnstructured{{Value:{go_text(value)}}}"
        case Scalar.BOOLEAN if not isinstance(value, bool):
            return f"expected boolean, got &{{{go_text(value)}}}"
        case Scalar.UNTYPED if isinstance(value, dict | list):
            return f"expected any scalar, got &{{{go_text(value)}}}"
        case _:
            return ""


def go_type(value: Any) -> str:
    """The Go type of a decoded value."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int64"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case _:
            return "map[string]interface {}"
