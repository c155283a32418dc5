"""Quantities and semantic versions.

Upstream counterparts: apiserver's pkg/cel/library (quantity.go, semverlib.go), blang/semver, whose words these are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from navarch.lib import integers
from navarch.machinery import quantity
from navarch.machinery.cel import values
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import EvaluationError


class Quantity:
    """An exact amount, in billionths."""

    __slots__ = ("nano",)
    type_name = "kubernetes.Quantity"

    def __init__(self, nano: int) -> None:
        self.nano = nano

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and other.nano == self.nano

    def __hash__(self) -> int:
        return hash(self.nano)


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(quantity.parse(text).nano)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _integer(held: Quantity) -> int:
    if not _is_integer(held):
        raise EvaluationError("cannot convert value to integer")
    return held.nano // quantity.NANO


def _is_integer(held: Quantity) -> bool:
    return held.nano % quantity.NANO == 0 and values.MIN_INT <= held.nano // quantity.NANO <= values.MAX_INT


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _accepts(reads: Callable[..., Any]) -> Callable[..., bool]:
    """Whether a text can be read."""

    def accepts(*args: Any) -> bool:
        try:
            reads(*args)
        except EvaluationError:
            return False
        return True

    return accepts


# ---- versions ------------------------------------------------------------------------------------------------------


class Semver:
    __slots__ = ("before", "numbers")
    type_name = "kubernetes.Semver"

    def __init__(self, numbers: tuple[int, int, int], before: tuple[str, ...]) -> None:
        self.numbers = numbers
        self.before = before
        """The identifiers of what comes before the release: alpha, 1."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and compare_versions(self, other) == 0

    def __hash__(self) -> int:
        return hash((self.numbers, self.before))


def compare_versions(left: Semver, right: Semver) -> int:
    if left.numbers != right.numbers:
        return 1 if left.numbers > right.numbers else -1
    if not left.before or not right.before:
        return bool(right.before) - bool(left.before)
    for one, other in zip(left.before, right.before, strict=False):
        if one != other:
            return _compare_identifiers(one, other)
    return _sign(len(left.before) - len(right.before))


def _compare_identifiers(one: str, other: str) -> int:
    """Numbers by value, and before words."""
    if integers.is_digits(one) and integers.is_digits(other):
        return _sign(int(one) - int(other))
    if integers.is_digits(one) != integers.is_digits(other):
        return -1 if integers.is_digits(one) else 1
    return 1 if one > other else -1


def _semver(text: str, lenient: bool = False) -> Semver:
    return _read_version(_normalized(text) if lenient else text)


def _read_version(text: str) -> Semver:
    if not text:
        raise EvaluationError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise EvaluationError("No Major.Minor.Patch elements found")
    patch, _, build = parts[2].partition("+")
    patch, dash, before = patch.partition("-")
    numbers = tuple(_number(part, name) for part, name in zip((*parts[:2], patch), ("major", "minor", "patch"), strict=True))
    identifiers = tuple(map(_identifier, before.split("."))) if dash else ()
    if "+" in parts[2]:
        for part in build.split("."):
            if re.match(r"[0-9A-Za-z-]+\Z", part) is None:
                raise EvaluationError("Build meta data is empty" if not part else f'Invalid character(s) found in build meta data "{part}"')
    return Semver((numbers[0], numbers[1], numbers[2]), identifiers)


def _number(text: str, name: str) -> int:
    if re.match(r"[0-9]+\Z", text) is None:
        raise EvaluationError(f'Invalid character(s) found in {name} number "{text}"')
    if len(text) > 1 and text[0] == "0":
        raise EvaluationError(f'{name.capitalize()} number must not contain leading zeroes "{text}"')
    if len(text) > 20 or int(text) > values.MAX_UINT:
        raise EvaluationError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def _identifier(text: str) -> str:
    if not text:
        raise EvaluationError("Prerelease is empty")
    if re.match(r"[0-9A-Za-z-]+\Z", text) is None:
        raise EvaluationError(f'Invalid character(s) found in prerelease "{text}"')
    if integers.is_digits(text) and len(text) > 1 and text[0] == "0":
        raise EvaluationError(f'Numeric PreRelease version must not contain leading zeroes "{text}"')
    return text


def _normalized(text: str) -> str:
    """Without a leading v and leading zeros, and with all three numbers."""
    parts = [_without_zeros(part) for part in text.removeprefix("v").split(".", 2)]
    if len(parts) < 3:
        if re.search(r"[+-]", parts[-1]):
            raise EvaluationError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _without_zeros(part: str) -> str:
    if len(part) < 2:
        return part
    stripped = part.lstrip("0")
    return stripped if integers.is_digits(stripped[:1]) else f"0{stripped}"


_Q, _V = "kubernetes.Quantity", "kubernetes.Semver"
LIBRARY: Library = {
    "quantity": (Overload("string_to_quantity", f"(string) -> {_Q}", _quantity),),
    "isQuantity": (Overload("is_quantity_string", "(string) -> bool", _accepts(_quantity)),),
    "sign": (Overload("quantity_sign", f"({_Q}) -> int", lambda held: _sign(held.nano)),),
    "isGreaterThan": (
        Overload("quantity_is_greater_than", f"{_Q}.({_Q}) -> bool", lambda one, other: one.nano > other.nano),
        Overload("semver_is_greater_than", f"{_V}.({_V}) -> bool", lambda one, other: compare_versions(one, other) > 0),
    ),
    "isLessThan": (
        Overload("quantity_is_less_than", f"{_Q}.({_Q}) -> bool", lambda one, other: one.nano < other.nano),
        Overload("semver_is_less_than", f"{_V}.({_V}) -> bool", lambda one, other: compare_versions(one, other) < 0),
    ),
    "compareTo": (
        Overload("quantity_compare_to", f"{_Q}.({_Q}) -> int", lambda one, other: _sign(one.nano - other.nano)),
        Overload("semver_compare_to", f"{_V}.({_V}) -> int", compare_versions),
    ),
    "asApproximateFloat": (Overload("quantity_get_float", f"{_Q}.() -> double", lambda held: held.nano / quantity.NANO),),
    "asInteger": (Overload("quantity_get_int", f"{_Q}.() -> int", _integer),),
    "isInteger": (Overload("quantity_is_integer", f"{_Q}.() -> bool", _is_integer),),
    "add": (
        Overload("quantity_add", f"{_Q}.({_Q}) -> {_Q}", lambda one, other: Quantity(one.nano + other.nano)),
        Overload("quantity_add_int", f"{_Q}.(int) -> {_Q}", lambda one, other: Quantity(one.nano + other * quantity.NANO)),
    ),
    "sub": (
        Overload("quantity_sub", f"{_Q}.({_Q}) -> {_Q}", lambda one, other: Quantity(one.nano - other.nano)),
        Overload("quantity_sub_int", f"{_Q}.(int) -> {_Q}", lambda one, other: Quantity(one.nano - other * quantity.NANO)),
    ),
    "semver": (
        Overload("string_to_semver", f"(string) -> {_V}", _semver),
        Overload("string_bool_to_semver", f"(string, bool) -> {_V}", _semver),
    ),
    "isSemver": (
        Overload("is_semver_string", "(string) -> bool", _accepts(_semver)),
        Overload("is_semver_string_bool", "(string, bool) -> bool", _accepts(_semver)),
    ),
    "major": (Overload("semver_major", f"{_V}.() -> int", lambda held: held.numbers[0]),),
    "minor": (Overload("semver_minor", f"{_V}.() -> int", lambda held: held.numbers[1]),),
    "patch": (Overload("semver_patch", f"{_V}.() -> int", lambda held: held.numbers[2]),),
}
