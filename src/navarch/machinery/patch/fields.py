"""Sets of fields, in the very form they have in `managedFields`.

A set is a tree of dicts: `{"f:spec": {"f:replicas": {}, "f:selector": {".": {}, "f:app": {}}}}`. A key is a step of a path (`f:` a
field's name, `k:` the keys of a list's item as JSON, `v:` an item that is a scalar, `i:` an index). An empty dict says that
the path to it belongs to the set; one that is not empty says so by the key ".".

The form needs no decoding and no encoding, and parts are shared between sets: never change one. The empty set is `{}`.

Upstream counterpart: structured-merge-diff's fieldpath.Set and its FieldsV1 JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from navarch.lib import integers

Fields = dict[str, Any]
"""A set of fields: `dict[str, Fields]`."""
Path = tuple[str, ...]

EMPTY: Fields = {}
SELF: Fields = {".": {}}


def node(member: bool, children: Fields) -> Fields | None:
    """What stands below a step: whether it is in the set itself, and what is below it. None when neither."""
    if not children:
        return {} if member else None
    if member:
        return {".": {}, **children}
    return children


def is_member(below: Fields) -> bool:
    return not below or "." in below


def union(left: Fields, right: Fields) -> Fields:
    """What is in either."""
    if not left or left is right:
        return right
    if not right:
        return left
    made = dict(left)
    for key, theirs in right.items():
        mine = made.get(key)
        if mine is None:
            made[key] = theirs
        elif mine is not theirs and mine != theirs:
            if not mine:
                made[key] = {".": {}, **theirs}
            elif not theirs:
                made[key] = {".": {}, **mine}
            else:
                made[key] = union(mine, theirs)
    return made


def ordered(fields: Fields) -> Fields:
    """The set with its steps in order, as upstream writes it: clients compare the text. (6 µs for a pod's.)"""
    return {step: ordered(below) if (below := fields[step]) else below for step in sorted(fields)}


def difference(left: Fields, right: Fields) -> Fields:
    """What is in `left` and not in `right`. A path in `right` takes out itself, not what is below it."""
    if not right or not left:
        return left
    made: Fields | None = None
    for key, theirs in right.items():
        mine = left.get(key)
        if mine is None or key == ".":
            continue
        kept = _difference(mine, theirs)
        if kept is not mine:
            made = dict(left) if made is None else made
            if kept is None:
                del made[key]
            else:
                made[key] = kept
    return left if made is None else made


def _difference(mine: Fields, theirs: Fields) -> Fields | None:
    """The same below one step."""
    member = is_member(mine)
    stays = member and not is_member(theirs)
    children = difference(mine, theirs) if mine and theirs else mine
    if stays == member and children is mine:
        return mine
    return node(stays, {key: below for key, below in children.items() if key != "."})


def without(left: Fields, right: Fields) -> Fields:
    """What is in `left` and neither in `right` nor below a path of `right`."""
    if not right or not left:
        return left
    made = {}
    for key, mine in left.items():
        theirs = right.get(key)
        if theirs is None:
            made[key] = mine
        elif not is_member(theirs):
            rest = without({k: v for k, v in mine.items() if k != "."}, theirs)
            kept = node(is_member(mine), rest)
            if kept is not None:
                made[key] = kept
    return made


def intersection(left: Fields, right: Fields) -> Fields:
    """What is in both."""
    made = {}
    for key, mine in left.items():
        theirs = right.get(key)
        if theirs is None or key == ".":
            continue
        if mine is theirs:
            made[key] = mine
            continue
        kept = node(is_member(mine) and is_member(theirs), intersection(mine, theirs) if mine and theirs else {})
        if kept is not None:
            made[key] = kept
    return made


def has(fields: Fields, path: Path) -> bool:
    for step in path:
        below = fields.get(step)
        if below is None:
            return False
        fields = below
    return is_member(fields)


def paths(fields: Fields, prefix: Path = ()) -> Iterator[Path]:
    """Every path of the set: at each level first what ends there, then what lies deeper."""
    ordered = sorted((key for key in fields if key != "."), key=sort_key)
    for key in ordered:
        if is_member(fields[key]):
            yield (*prefix, key)
    for key in ordered:
        if fields[key]:
            yield from paths(fields[key], (*prefix, key))


def of_paths(*members: Path) -> Fields:
    """The set of some paths."""
    made: Fields = {}
    for path in members:
        below: Fields = {}
        for step in reversed(path):
            below = {step: below}
        made = union(made, below)
    return made


RANKS = {"f": 0, "k": 1, "v": 2, "i": 3}


def sort_key(step: str) -> tuple[int, Any]:
    return RANKS.get(step[:1], 4), step[2:]


def text(path: Path) -> str:
    """A path as people read it: `.spec.containers[name="web"].image`."""
    return "".join(map(step_text, path))


def step_text(step: str) -> str:
    kind, rest = step[:2], step[2:]
    match kind:
        case "f:":
            return "." + rest
        case "k:":
            keys = json.loads(rest)
            return "[" + ",".join(f"{name}={json.dumps(keys[name], ensure_ascii=False)}" for name in sorted(keys)) + "]"
        case "v:":
            return f"[={rest}]"
        case _:
            return f"[{rest}]"


def decode(tree: Any) -> Fields:
    """A set from a client, brought to one spelling. ValueError when it is none. Steps of kinds not known are dropped."""
    if not isinstance(tree, dict):
        raise ValueError("a set of fields is an object")
    made: Fields = {}
    for key, below in tree.items():
        if key == ".":
            made[key] = {}
        elif (step := decode_step(key)) is not None:
            made[step] = decode(below)
    return made


def decode_step(key: str) -> str | None:
    if len(key) < 2 or key[1] != ":":
        raise ValueError(f"missing colon: {key}")
    match key[0]:
        case "f":
            return key
        case "k":
            keys = _json(key[2:])
            if not isinstance(keys, dict):
                raise ValueError(f"no keys: {key}")
            return "k:{" + ",".join(f"{encode(name)}:{encode(keys[name])}" for name in sorted(keys)) + "}"
        case "v":
            return "v:" + encode(_json(key[2:]))
        case "i":
            return f"i:{integers.required(key[2:])}"
        case _:
            return None


def _json(text: str) -> Any:
    """The JSON in a step. ValueError when it is none, or nested as no item's keys are."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("exceeded max depth") from None


def encode(value: Any) -> str:
    """A scalar as Go's encoder writes it inside a step."""
    made = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if "<" in made or ">" in made or "&" in made:
        made = made.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return made
