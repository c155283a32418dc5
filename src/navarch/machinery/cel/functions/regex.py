"""`find` and `findAll`.

Upstream counterpart: apiserver's pkg/cel/library/regex.go.
"""

from __future__ import annotations

from navarch.machinery import regexp
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import EvaluationError


def _find(text: str, pattern: str) -> str:
    return next(iter(_found(text, pattern, 1)), "")


def _find_all(text: str, pattern: str, count: int = -1) -> list[str]:
    return _found(text, pattern, count)


def _found(text: str, pattern: str, count: int) -> list[str]:
    try:
        return regexp.pattern(pattern).find_all(text, count)
    except regexp.Invalid as error:
        raise EvaluationError(f"Illegal regex: {error}") from None


LIBRARY: Library = {
    "find": (Overload("string_find_string", "string.(string) -> string", _find),),
    "findAll": (
        Overload("string_find_all_string", "string.(string) -> list(string)", _find_all),
        Overload("string_find_all_string_int", "string.(string, int) -> list(string)", _find_all),
    ),
}
