"""Answers to texts that clients send, remembered within a bound of bytes; and Go's reading of a number.

`functools.lru_cache` bounds entries. Where clients choose the texts that is no bound: 8,192 labels of a megabyte are eight
gigabytes. `remembered` keeps the answers to short texts, which are those that come again; a long one is computed each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SHORT = 256
"""Characters of a text whose answer is worth keeping."""


def remembered(entries: int, longest: int = SHORT) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """Remembers what a pure function of one text says: at most `entries` texts of at most `longest` characters."""

    def decorate(function: Callable[[str], T]) -> Callable[[str], T]:
        known = functools.lru_cache(entries)(function)

        @functools.wraps(function)
        def answer(text: str) -> T:
            return known(text) if len(text) <= longest else function(text)

        return answer

    return decorate


def integer(text: str, bits: int = 64) -> int:
    """A decimal integer, as Go's strconv.ParseInt reads it. ValueError in its words.

    Python's `int` also takes digits of other scripts, underscores and spaces, and raises for more than 4,300 digits.
    """
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    significant = digits.lstrip("0")
    number = int(significant or "0") if len(significant) < 20 else 1 << 64
    number = -number if text[0] == "-" else number
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def is_number(text: str) -> bool:
    """Whether a text is ASCII digits alone. (`str.isdigit` takes `²`, which `int` does not.)"""
    return text.isascii() and text.isdigit()
