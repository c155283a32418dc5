"""What validation finds: one `Problem` per field, and the Invalid error they make together.

A path is a plain string that grows as validation descends ("spec.containers[0].name"), since most objects are valid and
the path is then never looked at.

Upstream counterpart: k8s.io/apimachinery/pkg/util/validation/field. Words and quoting are upstream's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.machinery import errors, goform

_WORDS = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTooFew": "Too few",
    "InternalError": "Internal error",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueTooShort": "Too short",
}
OMIT: Any = object()
"""Marks a value that the message must not show."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one field. `reason` is the cause's type on the wire."""

    reason: str
    field: str
    value: Any
    detail: str

    def body(self) -> str:
        text = _WORDS[self.reason]
        if self.reason not in ("FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "InternalError", "FieldValueTooShort"):
            text += "" if self.value is OMIT else f": {show(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body()}"


def show(value: Any) -> str:
    """A bad value as messages show it: strings quoted, numbers bare, the rest as JSON."""
    if isinstance(value, str):
        return goform.quoted(value)
    if isinstance(value, float):
        return goform.number(value)
    return goform.json(value)


def not_found(path: str, value: Any) -> Problem:
    return Problem("FieldValueNotFound", path, value, "")


def required(path: str, detail: str = "") -> Problem:
    return Problem("FieldValueRequired", path, "", detail)


def duplicate(path: str, value: Any) -> Problem:
    return Problem("FieldValueDuplicate", path, value, "")


def invalid(path: str, value: Any, detail: str) -> Problem:
    return Problem("FieldValueInvalid", path, value, detail)


def type_invalid(path: str, value: Any, detail: str) -> Problem:
    return Problem("FieldValueTypeInvalid", path, value, detail)


def not_supported(path: str, value: Any, supported: Sequence[str]) -> Problem:
    choices = ", ".join(goform.quoted(s) for s in supported)
    return Problem("FieldValueNotSupported", path, value, f"supported values: {choices}" if supported else "")


def forbidden(path: str, detail: str) -> Problem:
    return Problem("FieldValueForbidden", path, "", detail)


def too_long(path: str, most: int) -> Problem:
    return Problem("FieldValueTooLong", path, "", f"may not be more than {most} byte{'s' * (most != 1)}")


def too_many(path: str, actual: int, most: int) -> Problem:
    return Problem("FieldValueTooMany", path, actual, f"must have at most {most} item{'s' * (most != 1)}")


def index(path: str, key: int | str) -> str:
    """The path of a list's item."""
    return f"{path}[{key}]"


def invalid_error(group: str, kind: str, name: str, problems: Iterable[Problem]) -> errors.Invalid:
    """The 422 for an object: one cause per problem, equal ones once, in upstream's aggregate form."""
    found = list(problems)
    unique = list(dict.fromkeys(str(p) for p in found))
    text = unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
    qualified = errors.qualified(group, kind)
    message = f'{qualified} "{name}" is invalid' + (f": {text}" if unique else "")
    causes = [meta_v1.StatusCause(reason=p.reason, message=p.body(), field=p.field) for p in found]
    return errors.Invalid(message, group=group, kind=kind, name=name, causes=causes)
