"""Answers that are written while they are made: lists, and what is made of them.

A list of 20,000 pods is 60 MB, and its Table takes two seconds of work. Held whole, five of them took 1.4 GB and everybody else waited.
So an answer here is a sequence of parts over entries that were chosen at one moment; parts are joined to pieces, and the next piece is
made when the client has taken the last. Work that costs is done in slices, of which one runs in a turn of the loop, whoever asked:
ten Tables at once take ten times as long, and a small GET waits for one slice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

T = TypeVar("T")

PIECE = 1 << 18
_IN_A_ROW = 4 * PIECE
"""Bytes that are written before others get their turn, however fast the client takes them: encrypting them takes a millisecond."""
SLICE_SECONDS = 0.004
WRITE_SECONDS = 60.0
"""How long a client may take for an answer: as long as upstream gives a request (--request-timeout)."""


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


class Streamed(web.StreamResponse):
    """An answer whose body comes piece by piece. `length`, where it is known, spares the client chunks."""

    def __init__(self, body: AsyncIterator[bytes], media: str, length: int | None = None) -> None:
        super().__init__(headers={"Content-Type": media, "Cache-Control": "no-cache, private"})
        if length is not None:
            self.content_length = length
        self._pieces = body

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.prepared:
            return await super().prepare(request)
        writer = await super().prepare(request)
        if request.method != "HEAD":
            async for piece in self._pieces:
                await self.write(piece)
        return writer


class Late(web.Response):
    """An answer whose body is made when it is written: away from the loop."""

    def __init__(self, make: Callable[[], Awaitable[bytes]], status: int, media: str) -> None:
        super().__init__(status=status, headers={"Content-Type": media, "Cache-Control": "no-cache, private"})
        self._make: Callable[[], Awaitable[bytes]] | None = make

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        make, self._make = self._make, None
        if make is not None:
            self.body = await make()
        return await super().prepare(request)


class Pieces(web.Response):
    """A large body that is there, written as fast as the client takes it.

    Written at once, it would be encrypted at once, into a buffer that stays as large for as long as the connection: 16 clients
    that list 15 MB each held 370 MB.
    """

    async def write_eof(self, data: bytes = b"") -> None:
        body = self.body
        if not isinstance(body, bytes) or self._eof_sent or self._must_be_empty_body:
            await super().write_eof(data)
            return
        view = memoryview(body)
        for at in range(0, len(view), PIECE):
            await self.write(view[at : at + PIECE])
            if at % _IN_A_ROW == _IN_A_ROW - PIECE:
                await asyncio.sleep(0)
        await web.StreamResponse.write_eof(self)


LARGE = frozenset({Streamed, Late, Pieces})
"""The types of answers that are sent by `send`. Their types are compared: aiohttp's answers are mappings, of which isinstance is slow to ask."""


async def send(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Writes a large answer whole, in the time a client has for it. ConnectionResetError when that is over."""
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client did not take the answer in time") from None
