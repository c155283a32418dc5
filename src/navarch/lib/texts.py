"""Answers to texts that clients send, remembered within a bound of bytes.

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
