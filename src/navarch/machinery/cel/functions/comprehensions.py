"""What the macros with two variables are made of.

Upstream counterpart: cel-go's ext/comprehensions.go.
"""

from __future__ import annotations

from typing import Any

from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import EvaluationError, lookup


def insert(held: dict[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    if lookup(held, key)[0]:
        raise EvaluationError(f"insert failed: key {key} already exists")
    return {**held, key: value}


def _insert_all(held: dict[Any, Any], more: dict[Any, Any]) -> dict[Any, Any]:
    for key, value in more.items():
        held = insert(held, key, value)
    return held


LIBRARY: Library = {
    "cel.@mapInsert": (
        Overload("@mapInsert_map_key_value", "(map(K, V), K, V) -> map(K, V)", insert),
        Overload("@mapInsert_map_map", "(map(K, V), map(K, V)) -> map(K, V)", _insert_all),
    ),
}
