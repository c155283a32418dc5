"""Many rows as a few long strings, made by SQL's aggregates: the library gives up Python's lock at every row, and behind a busy event
loop each getting it back can take milliseconds.

A row comes as a head, which is everything but its value, and its value out of a string of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from navarch.store import checksum


class Head(NamedTuple):
    """A row without its value. `length` is -1 when it has none, `checksum` -1 when there is no such row."""

    id: int
    key: str
    created: int
    length: int
    seed: int
    checksum: int


def sound(head: Head, value: bytes | None) -> bool:
    return checksum.matches(head.key, value, head.seed, head.checksum)


def heads_of(row: Sequence[str | None]) -> list[Head]:
    """Heads from the packed columns of a query."""
    ids, keys, *rest = row
    if ids is None or keys is None:
        return []
    return list(map(Head, numbers(ids), keys.split("\0"), *(numbers(column or "") for column in rest)))


def numbers(packed: str) -> list[int]:
    return list(map(int, packed.split(",")))


def cut(packed: bytes, lengths: Sequence[int], found: list[bytes | None]) -> None:
    """Adds the values that were strung together."""
    at = 0
    for length in lengths:
        found.append(None if length < 0 else packed[at : at + length])
        at += max(length, 0)
