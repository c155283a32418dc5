"""Strategic merge patch: a merge patch that knows which lists are keyed.

In: a document, a patch and the `Schema` of its type. Out: a new document; the given ones are not changed.

A list whose schema says `patch` "merge" is merged item by item, told apart by `merge_key` (scalars: as a set); other lists are
replaced. Directives inside a patch say what merging cannot:

    $patch: replace | delete              in an object: put mine in its place | drop it; in a list's item: the whole list | this item
    $retainKeys: [names]                  drop the object's other fields
    $deleteFromPrimitiveList/NAME: [..]   take these out of a list of scalars
    $setElementOrder/NAME: [..]           the order the merged list should have

Upstream counterpart: apimachinery's strategicpatch, for the API server's side of it. Errors have its words: a 400 for
malformed directives, a 422 for lists of lists, a bare 500 for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from navarch.machinery import errors
from navarch.machinery.patch import json_patch
from navarch.machinery.schema import Schema

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_FROM = "$deleteFromPrimitiveList/"
ORDER = "$setElementOrder/"
BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
BAD_DELETE_LIST = "invalid patch format of primitive list"
BAD_ORDER = "invalid patch format of setElementOrder list"

Tree = dict[str, Any]


def apply(document: Tree, patch: Any, schema: Schema) -> Tree:
    """The document after the patch. BadRequest, Invalid, Unknown."""
    if not isinstance(patch, dict):
        kind = json_patch.json_kind(patch)
        raise errors.BadRequest(f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
    return merge_map(copied(document), copied(patch), schema)


def copied(tree: Tree) -> Tree:
    """A deep copy; a tenth of the time that `copy.deepcopy` takes."""
    made: Tree = msgspec.json.decode(msgspec.json.encode(tree))
    return made


def failure(message: str) -> errors.ApiError:
    """An error upstream gives no reason for."""
    error = errors.Unknown(message)
    error.status.reason = None
    return error


def merge_map(original: Tree, patch: Tree, schema: Schema) -> Tree:
    """One object merged; both are used up."""
    if PATCH in patch:
        return directed(patch)
    retain_keys(original, patch)
    for key in [key for key in patch if key.startswith(ORDER)]:
        merge_ordered(original, patch, key, schema)
    for key, value in patch.items():
        if key.startswith(DELETE_FROM):
            delete_scalars(original, key.removeprefix(DELETE_FROM), value)
        elif value is None:
            original.pop(key, None)
        else:
            merge_field(original, key, value, schema)
    return original


def directed(patch: Tree) -> Tree:
    """What an object with a `$patch` becomes."""
    match patch[PATCH]:
        case "replace":
            return {key: value for key, value in patch.items() if key != PATCH}
        case "delete":
            return {}
        case other:
            raise failure(f"unknown patch type: {go_text(other)} in map: {go_text(patch)}")


def merge_field(original: Tree, key: str, value: Any, schema: Schema) -> None:
    current = original.get(key)
    if isinstance(current, dict) and isinstance(value, dict):
        place = looked_up(schema, key)
        original[key] = value if "replace" in place.patch else merge_map(current, value, place)
    elif isinstance(current, list) and isinstance(value, list):
        place = looked_up(schema, key)
        original[key] = merge_list(current, value, place) if "merge" in place.patch else value
    elif (kept := brought(value)) is not DROPPED:
        original[key] = kept
    else:
        original.pop(key, None)


def looked_up(schema: Schema, key: str) -> Schema:
    place = schema.field(key)
    if place is None:
        raise failure(f'unable to find api field "{key}" in {schema.name.rsplit(".", 1)[-1]}')
    return place


DROPPED: Any = object()


def brought(value: Any) -> Any:
    """A value that the patch newly brings: without null fields, without what carries directives."""
    if isinstance(value, dict):
        if PATCH in value:
            return DROPPED
        made = {}
        for key, inner in value.items():
            if inner is None or key == RETAIN_KEYS or key.startswith((DELETE_FROM, ORDER)):
                continue
            kept = brought(inner)
            if kept is not DROPPED:
                made[key] = kept
        return made
    if isinstance(value, list):
        return [kept for inner in value if (kept := brought(inner)) is not DROPPED]
    return value


def retain_keys(original: Tree, patch: Tree) -> None:
    wanted = patch.pop(RETAIN_KEYS, DROPPED)
    if wanted is DROPPED:
        return
    if not isinstance(wanted, list):
        raise errors.BadRequest(BAD_RETAIN_KEYS)
    names = {name for name in wanted if isinstance(name, str)}
    for key, value in patch.items():
        if value is not None and not key.startswith((DELETE_FROM, ORDER)) and key not in names:
            raise errors.BadRequest(BAD_RETAIN_KEYS)
    for key in [key for key in original if key not in names]:
        del original[key]


def delete_scalars(original: Tree, key: str, gone: Any) -> None:
    current = original.get(key)
    if isinstance(current, list) and isinstance(gone, list):
        plain = {value for value in gone if not isinstance(value, dict | list)}
        rest = [value for value in gone if isinstance(value, dict | list)] if len(plain) < len(gone) else []
        original[key] = [value for value in current if not (value in rest if isinstance(value, dict | list) else value in plain)]


# ---- lists ---------------------------------------------------------------------------------------------------------


def merge_list(original: list[Any], patch: list[Any], place: Schema) -> list[Any]:
    """A list that is merged: of objects by key, or a set of scalars."""
    if not original and not patch:
        return original
    if not are_maps(original, patch):
        merged = list(dict.fromkeys([*original, *patch]))
        return ordered(merged, patch, original, "")
    key = place.merge_key
    if not key:
        raise failure(f"cannot merge lists without merge key for {place.name.rsplit('.', 1)[-1]}")
    rest, items = special_items(original, patch, key)
    merged = merge_items(list(rest), items, key, place.element)
    result = ordered(merged, items, rest, key)
    # Upstream deletes and appends in the array that it later reads the old order from. So what a patch adds has a place in
    # that order where it deletes something too; kubectl's users see the difference.
    original[:] = merged[: len(original)] + original[len(merged) :]
    return result


def are_maps(*lists: list[Any]) -> bool:
    """Whether lists hold objects; raises when kinds are mixed or lists hold lists."""
    kinds = {json_patch.json_kind(value) for values in lists for value in values}
    if "array" in kinds:
        raise errors.Invalid(json_patch.REJECTED) from json_patch.DoesNotApply("lists of lists are not supported")
    if "object" in kinds and len(kinds) > 1:
        other = next(kind for kind in sorted(kinds) if kind != "object")
        raise failure(f"list element types are not identical: map[string]interface {{}} and {other}")
    return "object" in kinds


def special_items(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Carries out the items with `$patch`; what is left to merge."""
    items: list[Any] = []
    replace = False
    gone: set[Any] = set()
    for item in patch:
        match item.get(PATCH, DROPPED):
            case "delete":
                gone.add(name_of(item, key))
            case "replace":
                replace = True
            case "merge":
                raise failure("merging lists cannot yet be specified in the patch")
            case directive if directive is DROPPED:
                items.append(item)
            case directive:
                raise failure(f"unknown patch type: {go_text(directive)} in map: {go_text(item)}")
    if gone:
        original = [item for item in original if key not in item or name_of(item, key) not in gone]
    return (items, []) if replace else (original, items)


def merge_items(original: list[Any], items: list[Any], key: str, element: Schema) -> list[Any]:
    places: dict[Any, int] = {}
    for at, item in enumerate(original):
        if key in item:
            places.setdefault(name_of(item, key), at)
    for item in items:
        at = places.setdefault(name_of(item, key), len(original))
        if at == len(original):
            original.append(item)
        else:
            original[at] = merge_map(original[at], item, element)
    return original


def merge_value(item: Tree, key: str) -> Any:
    if key not in item:
        raise failure(f"map: {go_text(item)} does not contain declared merge key: {key}")
    return item[key]


def merge_ordered(original: Tree, patch: Tree, directive: str, schema: Schema) -> None:
    """Merges the list that a `$setElementOrder` speaks of and puts it in that order."""
    order = patch.pop(directive)
    name = directive.removeprefix(ORDER)
    theirs, mine = original.get(name), patch.pop(name, None)
    if not isinstance(order, list):
        raise failure(f"expected a []interface {{}}, but received a {json_patch.json_kind(order)}")
    for value in (theirs, mine):
        if value is not None and not isinstance(value, list):
            raise failure(f"expected a []interface {{}}, but received a {json_patch.json_kind(value)}")
    place = looked_up(schema, name)
    check_order(mine or [], order, place.merge_key)
    merged: list[Any]
    if mine is None:
        if theirs is None:
            return
        merged = theirs
    elif theirs is None:
        merged = brought(mine)
    else:
        merged = merge_list(theirs, mine, place) if "merge" in place.patch else mine
    original[name] = ordered(merged, order, theirs or [], place.merge_key)


def check_order(mine: list[Any], order: list[Any], key: str) -> None:
    """A patch's items must come in the order that its `$setElementOrder` gives, and be among it."""
    if not mine or not order:
        return
    rest = iter(order)
    for item in mine:
        if isinstance(item, dict) and PATCH in item:
            continue
        if not any(equal_items(item, other, key) for other in rest):
            raise failure(f"The order in patch list:\n{go_text(mine)}\n doesn't match $setElementOrder list:\n{go_text(order)}\n")


def equal_items(left: Any, right: Any, key: str) -> bool:
    if not key:
        return json_patch.same(left, right)
    for item in (left, right):
        if not isinstance(item, dict):
            raise failure(f"expected a map[string]interface {{}}, but received a {json_patch.json_kind(item)}")
    return json_patch.same(merge_value(left, key), merge_value(right, key))


def ordered(merged: list[Any], first: Sequence[Any], before: Sequence[Any], key: str) -> list[Any]:
    """Items named by `first` in its order; the others keep the places they had `before`, as far as both can be had."""
    of_patch = positions(first, key)
    of_server = positions(before, key)
    names = [name_of(item, key) for item in merged]
    mine = sorted((n for n in range(len(merged)) if names[n] in of_patch), key=lambda n: of_patch[names[n]])
    theirs = sorted((n for n in range(len(merged)) if names[n] not in of_patch), key=lambda n: of_server.get(names[n], -1))
    result: list[int] = []
    i = j = 0
    while i < len(theirs) or j < len(mine):
        if j >= len(mine) or (i < len(theirs) and comes_first(names[theirs[i]], names[mine[j]], of_server)):
            result.append(theirs[i])
            i += 1
        else:
            result.append(mine[j])
            j += 1
    return [merged[n] for n in result]


def comes_first(left: Any, right: Any, order: dict[Any, int]) -> bool:
    return left in order and right in order and order[left] < order[right]


def positions(items: Sequence[Any], key: str) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for n, item in enumerate(items):
        found.setdefault(name_of(item, key), n)
    return found


def name_of(item: Any, key: str) -> Any:
    """What tells an item apart, as something hashable."""
    if not key:
        return (type(item), item)
    if not isinstance(item, dict):
        raise failure(f"expected a map[string]interface {{}}, but received a {json_patch.json_kind(item)}")
    value = merge_value(item, key)
    return (type(value), value if not isinstance(value, dict | list) else go_text(value))


def go_text(value: Any) -> str:
    """A value as Go's %v prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(go_text, value))}]"
        case _:
            return str(value)
