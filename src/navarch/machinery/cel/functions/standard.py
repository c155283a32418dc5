"""CEL's own functions and operators.

`&&`, `||`, `?:`, `@not_strictly_false` and what selects are declared here and done by `program`: they do not evaluate all they are given.

Upstream counterpart: cel-go's common/stdlib.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from navarch.lib import integers
from navarch.machinery import goform, regexp
from navarch.machinery.cel import times, values
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import (
    Duration,
    EvaluationError,
    Timestamp,
    TypeValue,
    Uint,
    checked_int,
    checked_timestamp,
    checked_uint,
)

_NUMBERS = {"int": "int64", "uint": "uint64", "double": "double"}
_ORDERED = {"bool": "bool", **_NUMBERS, "string": "string", "bytes": "bytes", "timestamp": "timestamp", "duration": "duration"}


def _special(*args: Any) -> Any:
    raise AssertionError("evaluated by the program itself")


# ---- arithmetic ----------------------------------------------------------------------------------------------------


def _divide(left: int, right: int) -> int:
    """Towards zero."""
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return checked_int(quotient if (left < 0) == (right < 0) else -quotient)


def _modulo(left: int, right: int) -> int:
    """With the sign of what is divided."""
    if right == 0:
        raise EvaluationError("modulus by zero")
    return int(math.copysign(abs(left) % abs(right), left)) if abs(left) < 2**53 else (abs(left) % abs(right)) * (1 if left >= 0 else -1)


def _divide_uint(left: int, right: int) -> Uint:
    if right == 0:
        raise EvaluationError("division by zero")
    return Uint(left // right)


def _modulo_uint(left: int, right: int) -> Uint:
    if right == 0:
        raise EvaluationError("modulus by zero")
    return Uint(left % right)


def _divide_double(left: float, right: float) -> float:
    if right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
    return left / right


def _multiply_double(left: float, right: float) -> float:
    return left * right


def _shift(held: Timestamp, by: Duration) -> Timestamp:
    return checked_timestamp(held.nanoseconds + by.nanoseconds)


# ---- conversions ---------------------------------------------------------------------------------------------------


def _failed(given: str, wanted: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from '{given}' to '{wanted}'")


def _int_of_text(text: str) -> int:
    if re.match(r"[+-]?[0-9]+\Z", text) is None or len(text) > 25 or not values.MIN_INT <= int(text) <= values.MAX_INT:
        raise _failed("string", "int")
    return int(text)


def _uint_of_text(text: str) -> Uint:
    if re.match(r"[0-9]+\Z", text) is None or len(text) > 25 or int(text) > values.MAX_UINT:
        raise _failed("string", "uint")
    return Uint(int(text))


def _int_of_double(value: float) -> int:
    if not -(2.0**63) < value < 2.0**63:
        raise EvaluationError("integer overflow")
    return int(value)


def _uint_of_double(value: float) -> Uint:
    if not 0 <= value < 2.0**64:
        raise EvaluationError("unsigned integer overflow")
    return Uint(int(value))


def _double_of_text(text: str) -> float:
    if re.match(r"[+-]?([0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))\Z", text) is None:
        raise _failed("string", "double")
    value = float(text)
    if math.isinf(value) and integers.is_digits(text[-1]):
        raise _failed("string", "double")
    return value


def _bool_of_text(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise _failed("string", "bool")


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


def _read(reads: Callable[[str], Any], wanted: str) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return reads(text)
        except EvaluationError:
            raise _failed("string", wanted) from None

    return convert


def _no_duration(value: int) -> Duration:
    raise _failed("int", "google.protobuf.Duration")


def _same(value: Any) -> Any:
    return value


def text_of_double(value: float) -> str:
    """Go's %g."""
    return goform.number(value)


_timestamp = _read(times.timestamp, "google.protobuf.Timestamp")
_duration = _read(times.duration, "google.protobuf.Duration")


# ---- order ---------------------------------------------------------------------------------------------------------


def _comparisons(name: str, holds: Callable[[Any, Any], bool]) -> tuple[Overload, ...]:
    """One type with itself, and numbers with numbers."""
    same = [Overload(f"{name}_{short}", f"({one}, {one}) -> bool", holds) for one, short in _ORDERED.items()]
    mixed = [
        Overload(f"{name}_{a}_{b}", f"({left}, {right}) -> bool", holds)
        for left, a in _NUMBERS.items()
        for right, b in _NUMBERS.items()
        if left != right
    ]
    return (*same, *mixed)


def _ordered(test: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: test(values.compare(left, right))


def _in_list(value: Any, held: list[Any]) -> bool:
    return any(values.equal(value, item) for item in held)


def _in_map(key: Any, held: dict[Any, Any]) -> bool:
    return values.lookup(held, key)[0]


def _matches(text: str, pattern: str) -> bool:
    try:
        return regexp.pattern(pattern).matches(text)
    except regexp.Invalid as error:
        raise EvaluationError(str(error)) from None


def _parts() -> Library:
    """What timestamps and durations are asked for; some of both."""
    found: dict[str, tuple[Overload, ...]] = {}
    for name, (ending, read) in times.PARTS.items():
        of_timestamp = times.part(read)
        found[name] = (
            Overload(f"timestamp_to_{ending}", "timestamp.() -> int", of_timestamp),
            Overload(f"timestamp_to_{ending}_with_tz", "timestamp.(string) -> int", of_timestamp),
        )
    for name, unit in (("Hours", 3600 * 10**9), ("Minutes", 60 * 10**9), ("Seconds", 10**9), ("Milliseconds", 10**6)):
        found[f"get{name}"] += (Overload(f"duration_to_{name.lower()}", "duration.() -> int", _duration_part(unit)),)
    return found


def _duration_part(unit: int) -> Callable[[Duration], int]:
    return lambda held: _divide(held.nanoseconds, unit)


def _chained(left: list[Any], right: list[Any]) -> list[Any]:
    if len(left) + len(right) > values.MAX_ITEMS:
        raise values.too_much()
    return left + right


LIBRARY: Library = {
    "_?_:_": (Overload("conditional", "(bool, T, T) -> T", _special),),
    "_&&_": (Overload("logical_and", "(bool, bool) -> bool", _special),),
    "_||_": (Overload("logical_or", "(bool, bool) -> bool", _special),),
    "@not_strictly_false": (Overload("not_strictly_false", "(bool) -> bool", _special),),
    "_[_]": (Overload("index_list", "(list(T), int) -> T", _special), Overload("index_map", "(map(K, V), K) -> V", _special)),
    "_==_": (Overload("equals", "(T, T) -> bool", values.equal),),
    "_!=_": (Overload("not_equals", "(T, T) -> bool", lambda left, right: not values.equal(left, right)),),
    "!_": (Overload("logical_not", "(bool) -> bool", lambda value: not value),),
    "_<_": _comparisons("less", _ordered(lambda order: order < 0)),
    "_<=_": _comparisons("less_equals", _ordered(lambda order: order <= 0)),
    "_>_": _comparisons("greater", _ordered(lambda order: order > 0)),
    "_>=_": _comparisons("greater_equals", _ordered(lambda order: order >= 0)),
    "_+_": (
        Overload("add_bytes", "(bytes, bytes) -> bytes", lambda left, right: left + right),
        Overload("add_double", "(double, double) -> double", lambda left, right: left + right),
        Overload("add_duration_duration", "(duration, duration) -> duration", lambda a, b: Duration(a.nanoseconds + b.nanoseconds)),
        Overload("add_duration_timestamp", "(duration, timestamp) -> timestamp", lambda by, held: _shift(held, by)),
        Overload("add_timestamp_duration", "(timestamp, duration) -> timestamp", _shift),
        Overload("add_int64", "(int, int) -> int", lambda left, right: checked_int(left + right)),
        Overload("add_list", "(list(T), list(T)) -> list(T)", _chained),
        Overload("add_string", "(string, string) -> string", lambda left, right: left + right),
        Overload("add_uint64", "(uint, uint) -> uint", lambda left, right: checked_uint(left + right)),
    ),
    "_-_": (
        Overload("subtract_double", "(double, double) -> double", lambda left, right: left - right),
        Overload("subtract_duration_duration", "(duration, duration) -> duration", lambda a, b: Duration(a.nanoseconds - b.nanoseconds)),
        Overload("subtract_int64", "(int, int) -> int", lambda left, right: checked_int(left - right)),
        Overload("subtract_timestamp_duration", "(timestamp, duration) -> timestamp", lambda a, b: checked_timestamp(a.nanoseconds - b.nanoseconds)),
        Overload("subtract_timestamp_timestamp", "(timestamp, timestamp) -> duration", lambda a, b: Duration(a.nanoseconds - b.nanoseconds)),
        Overload("subtract_uint64", "(uint, uint) -> uint", lambda left, right: checked_uint(left - right)),
    ),
    "_*_": (
        Overload("multiply_double", "(double, double) -> double", _multiply_double),
        Overload("multiply_int64", "(int, int) -> int", lambda left, right: checked_int(left * right)),
        Overload("multiply_uint64", "(uint, uint) -> uint", lambda left, right: checked_uint(left * right)),
    ),
    "_/_": (
        Overload("divide_double", "(double, double) -> double", _divide_double),
        Overload("divide_int64", "(int, int) -> int", _divide),
        Overload("divide_uint64", "(uint, uint) -> uint", _divide_uint),
    ),
    "_%_": (
        Overload("modulo_int64", "(int, int) -> int", _modulo),
        Overload("modulo_uint64", "(uint, uint) -> uint", _modulo_uint),
    ),
    "-_": (
        Overload("negate_double", "(double) -> double", lambda value: -value),
        Overload("negate_int64", "(int) -> int", lambda value: checked_int(-value)),
    ),
    "@in": (Overload("in_list", "(T, list(T)) -> bool", _in_list), Overload("in_map", "(K, map(K, V)) -> bool", _in_map)),
    "size": tuple(
        Overload(f"{prefix}{name}{suffix}", signature.format(one), len)
        for prefix, suffix, signature in (("size_", "", "({}) -> int"), ("", "_size", "{}.() -> int"))
        for name, one in (("bytes", "bytes"), ("list", "list(T)"), ("map", "map(K, V)"), ("string", "string"))
    ),
    "type": (Overload("type", "(T) -> type(T)", lambda value: TypeValue(values.type_name(value))),),
    "dyn": (Overload("to_dyn", "(T) -> dyn", _same),),
    "bool": (Overload("bool_to_bool", "(bool) -> bool", _same), Overload("string_to_bool", "(string) -> bool", _bool_of_text)),
    "bytes": (Overload("bytes_to_bytes", "(bytes) -> bytes", _same), Overload("string_to_bytes", "(string) -> bytes", str.encode)),
    "double": (
        Overload("double_to_double", "(double) -> double", _same),
        Overload("int64_to_double", "(int) -> double", float),
        Overload("string_to_double", "(string) -> double", _double_of_text),
        Overload("uint64_to_double", "(uint) -> double", float),
    ),
    "duration": (
        Overload("duration_to_duration", "(duration) -> duration", _same),
        Overload("int64_to_duration", "(int) -> duration", _no_duration),
        Overload("string_to_duration", "(string) -> duration", _duration),
    ),
    "int": (
        Overload("int64_to_int64", "(int) -> int", _same),
        Overload("double_to_int64", "(double) -> int", _int_of_double),
        Overload("duration_to_int64", "(duration) -> int", lambda held: held.nanoseconds),
        Overload("string_to_int64", "(string) -> int", _int_of_text),
        Overload("timestamp_to_int64", "(timestamp) -> int", lambda held: held.nanoseconds // 10**9),
        Overload("uint64_to_int64", "(uint) -> int", lambda value: checked_int(int(value))),
    ),
    "string": (
        Overload("string_to_string", "(string) -> string", _same),
        Overload("bool_to_string", "(bool) -> string", lambda value: "true" if value else "false"),
        Overload("bytes_to_string", "(bytes) -> string", _text_of_bytes),
        Overload("double_to_string", "(double) -> string", text_of_double),
        Overload("duration_to_string", "(duration) -> string", times.show_duration),
        Overload("int64_to_string", "(int) -> string", str),
        Overload("timestamp_to_string", "(timestamp) -> string", times.show_timestamp),
        Overload("uint64_to_string", "(uint) -> string", lambda value: str(int(value))),
    ),
    "timestamp": (
        Overload("timestamp_to_timestamp", "(timestamp) -> timestamp", _same),
        Overload("int64_to_timestamp", "(int) -> timestamp", lambda seconds: checked_timestamp(seconds * 10**9)),
        Overload("string_to_timestamp", "(string) -> timestamp", _timestamp),
    ),
    "uint": (
        Overload("uint64_to_uint64", "(uint) -> uint", _same),
        Overload("double_to_uint64", "(double) -> uint", _uint_of_double),
        Overload("int64_to_uint64", "(int) -> uint", lambda value: checked_uint(value)),
        Overload("string_to_uint64", "(string) -> uint", _uint_of_text),
    ),
    "contains": (Overload("contains_string", "string.(string) -> bool", lambda text, part: part in text),),
    "endsWith": (Overload("ends_with_string", "string.(string) -> bool", str.endswith),),
    "startsWith": (Overload("starts_with_string", "string.(string) -> bool", str.startswith),),
    "matches": (Overload("matches", "(string, string) -> bool", _matches), Overload("matches_string", "string.(string) -> bool", _matches)),
    **_parts(),
}
CONVERSIONS = frozenset({"bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"})
"""What is done once, when the expression is compiled, where its argument is a literal."""
