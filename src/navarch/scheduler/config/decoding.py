"""Reading a document strictly: an object of a type, nothing more and nothing less."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from navarch.machinery import codec
from navarch.machinery import field as fields

T = TypeVar("T", bound=msgspec.Struct)


class Unacceptable(ValueError):
    """The configuration cannot be used; the message names the field."""


def decoded(kind: type[T], tree: Any, within: str = "") -> T:
    """An object of a type, nothing more and nothing less."""
    try:
        found, strict = codec.decode_reporting(kind, msgspec.json.encode(tree))
    except codec.DecodeError as error:
        raise Unacceptable(f"{within}{error}") from None
    if strict:
        raise Unacceptable(f"strict decoding error: {within}{', '.join(strict)}")
    return found


def percentage(path: str, value: int | None) -> list[fields.Problem]:
    """What is wrong with a percentage."""
    return [] if value is None or 0 <= value <= 100 else [fields.invalid(path, value, "not in valid range [0-100]")]
