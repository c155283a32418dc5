"""Answers that are written while they are made: lists, and what is made of them.

A list of 20,000 pods is 60 MB, and its Table takes two seconds of work. Held whole, five of them took 1.4 GB and everybody else waited.
So an answer here is a sequence of parts over entries that were chosen at one moment; parts are joined to pieces, and the next piece is
made when the client has taken the last. Work that costs is done in slices, of which one runs in a turn of the loop, whoever asked:
ten Tables at once take ten times as long, and a small GET waits for one slice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

PIECE = 1 << 18
SLICE_SECONDS = 0.004


class Turns:
    """Hands the loop to one slice of costly work at a time."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.sleep(0)  # what became ready meanwhile goes before the next slice
        finally:
            self._lock.release()

    async def chosen(self, values: Sequence[T], matches: Callable[[T], bool], cost: int) -> list[T]:
        """The values that match, in slices. `cost` is how much one match costs; a hundred thousand units take 20 ms."""
        if len(values) * cost < 20_000:
            return [value for value in values if matches(value)]
        step = max(1, 20_000 // cost)
        found: list[T] = []
        for at in range(0, len(values), step):
            async with self:
                found += [value for value in values[at : at + step] if matches(value)]
        return found


async def pieces(parts: Iterable[bytes], turns: Turns) -> AsyncIterator[bytes]:
    """Parts joined to pieces that are worth a write, each made in a turn of its own.

    That holds for parts that cost nothing, too: to encrypt and send them costs, and a client that takes them fast never makes us wait.
    """
    left = iter(parts)
    more = True
    while more:
        async with turns:
            piece, more = _piece(left, time.perf_counter() + SLICE_SECONDS)
        if piece:
            yield piece


def _piece(parts: Iterator[bytes], until: float) -> tuple[bytes, bool]:
    """The next piece, and whether there may be more."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE or time.perf_counter() > until:
            return b"".join(held), True
    return b"".join(held), False
