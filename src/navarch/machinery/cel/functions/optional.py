"""Optional values: `a.?b`, `l[?0]`, `optional.of(x)`.

`_?._`, `_[?_]`, `orValue` and `or` are done by `program`: they do not fail where something is missing.

Upstream counterpart: cel-go's cel/library.go (optionalLib, version 0 to 2).
"""

from __future__ import annotations

from typing import Any

from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.functions.standard import _special
from navarch.machinery.cel.values import NONE, EvaluationError, Optional, is_zero


def _value(held: Optional) -> Any:
    if not held.present:
        raise EvaluationError("optional.none() dereference")
    return held.held


def _first(items: list[Any]) -> Optional:
    return Optional(items[0]) if items else NONE


def _last(items: list[Any]) -> Optional:
    return Optional(items[-1]) if items else NONE


def _unwrap(items: list[Any]) -> list[Any]:
    return [item.held for item in items if item.present]


LIBRARY: Library = {
    "optional.of": (Overload("optional_of", "(V) -> optional_type(V)", Optional),),
    "optional.ofNonZeroValue": (
        Overload("optional_ofNonZeroValue", "(V) -> optional_type(V)", lambda value: NONE if is_zero(value) else Optional(value)),
    ),
    "optional.none": (Overload("optional_none", "() -> optional_type(V)", lambda: NONE),),
    "optional.unwrap": (Overload("optional_unwrap", "(list(optional_type(V))) -> list(V)", _unwrap),),
    "unwrapOpt": (Overload("optional_unwrapOpt", "list(optional_type(V)).() -> list(V)", _unwrap),),
    "value": (Overload("optional_value", "optional_type(V).() -> V", _value),),
    "hasValue": (Overload("optional_hasValue", "optional_type(V).() -> bool", lambda held: held.present),),
    "or": (Overload("optional_or_optional", "optional_type(V).(optional_type(V)) -> optional_type(V)", _special),),
    "orValue": (Overload("optional_orValue_value", "optional_type(V).(V) -> V", _special),),
    "first": (Overload("list_first", "list(V).() -> optional_type(V)", _first),),
    "last": (Overload("list_last", "list(V).() -> optional_type(V)", _last),),
    "_[?_]": (
        Overload("list_optindex_optional_int", "(list(V), int) -> optional_type(V)", _special),
        Overload("optional_list_optindex_optional_int", "(optional_type(list(V)), int) -> optional_type(V)", _special),
        Overload("map_optindex_optional_value", "(map(K, V), K) -> optional_type(V)", _special),
        Overload("optional_map_optindex_optional_value", "(optional_type(map(K, V)), K) -> optional_type(V)", _special),
    ),
    "_[_]": (
        Overload("optional_list_index_int", "(optional_type(list(V)), int) -> optional_type(V)", _special),
        Overload("optional_map_index_value", "(optional_type(map(K, V)), K) -> optional_type(V)", _special),
    ),
}
