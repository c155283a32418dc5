"""Numbers as Go's validation sees them: their ranges, bounds and multiples.

An integer is an int64, all else a float64; an integer beyond 64 bits is a float64, as it is for Go's decoder. Bounds of a schema are
float64s, and are cut to an int64 where the value is one.

Upstream counterpart: kube-openapi's pkg/validation/validate (validator.go, values.go).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from navarch.machinery import goform
from navarch.machinery.structural.schema import Values

MAX_INT64, MIN_INT64 = 2**63 - 1, -(2**63)
_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (MIN_INT64, MAX_INT64)}
_MAX_JSON = float(2**53 - 1)
_FLOAT32_OVERFLOW = float.fromhex("0x1.ffffffp127")
_EPSILON = 1e-9

Complaint = tuple[str, Any]
"""What a message says behind the field's name, and the value it shows; a value of None: the message is about the schema itself."""


def is_int64(value: Any) -> bool:
    return value.__class__ is int and MIN_INT64 <= value <= MAX_INT64


def is_integral(value: float) -> bool:
    """Whether a float64 is a whole number that JSON can carry, give or take rounding."""
    if not math.isfinite(value) or abs(value) > _MAX_JSON:
        return False
    nearest = math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)
    return value == nearest or (nearest != 0 and abs(value - nearest) < _EPSILON * abs(nearest))


def in_range(value: float, kind: str, form: str) -> bool:
    """Whether a number can be one of a type and format at all. `kind`: "integer", "number" or "" for any."""
    if kind == "integer":
        low, high = _RANGES.get(form, _RANGES["int64"])
        return float(value).is_integer() and low <= int(value) <= high if math.isfinite(value) else False
    return form != "float" or abs(value) < _FLOAT32_OVERFLOW


def complaints(value: float, values: Values, kind: str, form: str) -> Iterator[Complaint]:
    """What is wrong with a number, in upstream's order: its range, its multiple, its bounds."""
    number: int | float = value if is_int64(value) else float(value)
    if not in_range(number, kind, form):
        yield _out_of_range("Checked", kind, form)
    if values.multiple_of is not None:
        yield from _multiple(number, values.multiple_of, kind, form)
    if values.minimum is not None:
        yield from _minimum(number, values.minimum, values.exclusive_minimum, kind, form)
    if values.maximum is not None:
        yield from _maximum(number, values.maximum, values.exclusive_maximum, kind, form)


def _out_of_range(what: str, kind: str, form: str) -> Complaint:
    return f"{what} value must be of type {kind} {f'with format {form}' if form else '(default format)'}", None


def _native(value: float, bound: float) -> float:
    """A bound in the type of a value: cut to an int64 beside one."""
    return max(MIN_INT64, min(MAX_INT64, int(bound))) if isinstance(value, int) else bound


def _multiple(value: float, factor: float, kind: str, form: str) -> Iterator[Complaint]:
    if in_range(factor, kind, form):
        factor = _native(value, factor)
    else:
        yield _out_of_range("MultipleOf", kind, form)
        value = float(value)
    if factor <= 0:
        yield f"factor MultipleOf declared for %s must be positive: {goform.number(factor)}", factor
    elif isinstance(factor, int):
        if value % factor:
            yield f"should be a multiple of {factor}", value
    elif not is_integral(1 / factor * value if factor < 1 else value / factor):
        yield f"should be a multiple of {goform.number(factor)}", value


def _maximum(value: float, bound: float, exclusive: bool, kind: str, form: str) -> Iterator[Complaint]:
    if in_range(bound, kind, form):
        bound = _native(value, bound)
    else:
        yield _out_of_range("Maximum boundary", kind, form)
        value = float(value)
    if value > bound or (exclusive and value == bound):
        yield f"should be less than {'' if exclusive else 'or equal to '}{goform.number(bound)}", value


def _minimum(value: float, bound: float, exclusive: bool, kind: str, form: str) -> Iterator[Complaint]:
    if in_range(bound, kind, form):
        bound = _native(value, bound)
    else:
        yield _out_of_range("Minimum boundary", kind, form)
        value = float(value)
    if value < bound or (exclusive and value == bound):
        yield f"should be greater than {'' if exclusive else 'or equal to '}{goform.number(bound)}", value
