"""Functions of lists and sets: Kubernetes' own (sum, min, indexOf …) and cel-go's (sort, slice, flatten …).

Upstream counterparts: apiserver's pkg/cel/library/lists.go, cel-go's ext/lists.go (version 3) and ext/sets.go.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

from navarch.machinery.cel import values
from navarch.machinery.cel.charges import COMPARED
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import Duration, EvaluationError, Uint, checked_int, checked_uint

_SUMMED = {"int": 0, "uint": Uint(0), "double": 0.0, "duration": Duration(0)}


def _added(left: Any, right: Any) -> Any:
    if left.__class__ is Duration:
        return Duration(left.nanoseconds + right.nanoseconds)
    if left.__class__ is Uint:
        return checked_uint(left + right)
    return left + right if left.__class__ is float else checked_int(left + right)


def _sum(start: Any) -> Callable[[list[Any]], Any]:
    return lambda items: functools.reduce(_added, items, start)


def _best(name: str, order: int) -> Callable[[list[Any]], Any]:
    def best(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        found = items[0]
        for item in items[1:]:
            if values.compare(found, item) == order:
                found = item
        return found

    return best


def _is_sorted(items: list[Any]) -> bool:
    return all(values.compare(one, other) <= 0 for one, other in itertools.pairwise(items))


def _index_of(items: list[Any], item: Any) -> int:
    return next((i for i, one in enumerate(items) if values.equal(one, item)), -1)


def _last_index_of(items: list[Any], item: Any) -> int:
    return next((i for i in range(len(items) - 1, -1, -1) if values.equal(items[i], item)), -1)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise EvaluationError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise EvaluationError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise EvaluationError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise EvaluationError("level must be non-negative")
    for _ in range(min(depth, 1000)):
        if not any(item.__class__ is list for item in items):
            break
        if sum(len(item) if item.__class__ is list else 1 for item in items) > values.MAX_ITEMS:
            raise values.too_much()
        items = [inner for item in items for inner in (item if item.__class__ is list else [item])]
    return items


def _sort(items: list[Any]) -> list[Any]:
    return _sort_by(items, items)


def _sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    if len(items) != len(keys):
        told = f"but got {len(items)} and {len(keys)} elements respectively"
        raise EvaluationError(f"@sortByAssociatedKeys() expected a list of the same size as the associated keys list, {told}")
    if any(key.__class__ is not keys[0].__class__ for key in keys):
        raise EvaluationError("list elements must have the same type")
    if keys and keys[0].__class__ in (list, dict, type(None)):
        raise EvaluationError("list elements must be comparable")

    def compare(a: int, b: int) -> int:
        return values.compare(keys[a], keys[b])

    return [items[i] for i in sorted(range(len(keys)), key=functools.cmp_to_key(compare))]


def _range(count: int) -> list[int]:
    if count > values.MAX_ITEMS:
        raise values.too_much()
    return list(range(max(0, count)))


def _reversed(items: list[Any]) -> list[Any]:
    return items[::-1]


def _distinct(items: list[Any]) -> list[Any]:
    made: list[Any] = []
    for item in items:
        if not any(values.equal(item, one) for one in made):
            made.append(item)
    return made


def _contains(items: list[Any], some: list[Any]) -> bool:
    return all(any(values.equal(one, item) for item in items) for one in some)


LIBRARY: Library = {
    "isSorted": tuple(Overload(f"list_{kind}_is_sorted_bool", f"list({kind}).() -> bool", _is_sorted) for kind in COMPARED),
    "sum": tuple(Overload(f"list_{kind}_sum_{kind}", f"list({kind}).() -> {kind}", _sum(start)) for kind, start in _SUMMED.items()),
    "max": tuple(Overload(f"list_{kind}_max_{kind}", f"list({kind}).() -> {kind}", _best("max", -1)) for kind in COMPARED),
    "min": tuple(Overload(f"list_{kind}_min_{kind}", f"list({kind}).() -> {kind}", _best("min", 1)) for kind in COMPARED),
    "indexOf": (Overload("list_a_index_of_int", "list(A).(A) -> int", _index_of),),
    "lastIndexOf": (Overload("list_a_last_index_of_int", "list(A).(A) -> int", _last_index_of),),
    "slice": (Overload("list_slice", "list(T).(int, int) -> list(T)", _slice),),
    "flatten": (
        Overload("list_flatten", "list(list(T)).() -> list(T)", _flatten),
        Overload("list_flatten_int", "list(dyn).(int) -> list(dyn)", _flatten),
    ),
    "sort": tuple(Overload(f"list_{kind}_sort", f"list({kind}).() -> list({kind})", _sort) for kind in COMPARED),
    "@sortByAssociatedKeys": tuple(
        Overload(f"list_{kind}_sortByAssociatedKeys", f"list(T).(list({kind})) -> list(T)", _sort_by) for kind in COMPARED
    ),
    "lists.range": (Overload("lists_range", "(int) -> list(int)", _range),),
    "reverse": (Overload("list_reverse", "list(T).() -> list(T)", _reversed),),
    "distinct": (Overload("list_distinct", "list(T).() -> list(T)", _distinct),),
    "sets.contains": (Overload("list_sets_contains_list", "(list(T), list(T)) -> bool", _contains),),
    "sets.equivalent": (Overload("list_sets_equivalent_list", "(list(T), list(T)) -> bool", lambda a, b: _contains(a, b) and _contains(b, a)),),
    "sets.intersects": (Overload("list_sets_intersects_list", "(list(T), list(T)) -> bool", lambda a, b: any(_contains(b, [item]) for item in a)),),
}
