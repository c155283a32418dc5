"""Answers as bytes on a connection: their heads, documents, pieces and streams.

aiohttp's responses are made for what a browser may want (cookies, compression, ranges): 20 µs of an answer that is a status line, four
headers and finished bytes. These are written here, head and body at once.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web

from navarch.apiserver import answers
from navarch.apiserver.answers import Document, Pieces, Stream
from navarch.apiserver.call import Call
from navarch.apiserver.http.request import Request
from navarch.apiserver.streams import PIECE

WRITE_SECONDS = 60.0
"""How long a client may take for an answer: as long as upstream gives a request (--request-timeout)."""
_IN_A_ROW = 4 * PIECE
"""Bytes that are written before others get their turn, however fast the client takes them: encrypting them takes a millisecond."""
_CACHE = "Cache-Control"
_UNCACHED = "no-cache, private"
_BARE = frozenset({204, 304})
"""Statuses of answers that have no body, and say nothing of one."""
_MOST_HEADS = 256


class Written:
    """What the web library is told of an answer that was written here: nothing is left to do."""

    prepared = True

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Its head was written."""

    async def write_eof(self) -> None:
        """It was written whole."""


KEPT, CLOSED = Written(keep_alive=True), Written(keep_alive=False)


def written(request: Request) -> web.StreamResponse:
    """What the handler of a request returns after its answer was written."""
    return cast(web.StreamResponse, KEPT if request.keep_alive else CLOSED)


class _Clock:
    """The time as the header Date has it, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""

    def date(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second, self._text = now, email.utils.formatdate(now, usegmt=True).encode()
        return self._text


_clock = _Clock()
_lines: dict[tuple[int, str], bytes] = {}


def _line(status: int, media: str) -> bytes:
    """The beginning of an answer that has no headers of its own."""
    made = _lines.get((status, media))
    if made is None:
        made = _made(status, media, {})
        if len(_lines) < _MOST_HEADS:
            _lines[status, media] = made
    return made


def _made(status: int, media: str, headers: Mapping[str, str]) -> bytes:
    """Status line and headers. ValueError for a header that would be two."""
    found = {_CACHE: _UNCACHED, **headers} if status in _BARE else {"Content-Type": media, _CACHE: _UNCACHED, **headers}
    lines = [f"HTTP/1.1 {status} {_reason(status)}", *(f"{name}: {value}" for name, value in found.items())]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header of the answer has a line break in it")
    return "\r\n".join([*lines, ""]).encode("utf-8", "surrogateescape")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def head(call: Call, request: Request, status: int, media: str, headers: Mapping[str, str] | None, length: int | None) -> bytes:
    """All that stands before a body. Without a length the body comes in chunks, or to old clients until the connection ends."""
    first = _made(status, media, headers) if headers else _line(status, media)
    if call.warnings:
        first += "".join(f"Warning: {value}\r\n" for value in answers.warnings(call.warnings)).encode("utf-8", "surrogateescape")
    if request.version < (1, 1):
        kept = b"Connection: keep-alive\r\n" if request.keep_alive and length is not None else b""
        first = b"HTTP/1.0" + first[8:] + kept
    else:
        if length is None:
            first += b"Transfer-Encoding: chunked\r\n"
        if not request.keep_alive:
            first += b"Connection: close\r\n"
    if length is None or status in _BARE:
        return b"%bDate: %b\r\n\r\n" % (first, _clock.date())
    return b"%bContent-Length: %d\r\nDate: %b\r\n\r\n" % (first, length, _clock.date())


async def flushed(request: Request) -> None:
    """Waits until the client has taken most of what was written. ConnectionResetError when it is gone."""
    protocol: Any = request.protocol
    if protocol._paused:
        await protocol._drain_helper()


def _transport(request: Request) -> asyncio.Transport:
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client is gone")
    request.begun = True
    return transport


def at_once(request: Request, call: Call, answer: Document) -> web.StreamResponse:
    """Finished bytes that are no more than a piece, written with their head."""
    body = answer.body
    first = head(call, request, answer.status, answer.media, answer.headers, len(body))
    _transport(request).write(first if request.method == "HEAD" or answer.status in _BARE else first + body)
    return written(request)


async def document(request: Request, call: Call, answer: Document) -> web.StreamResponse:
    """Finished bytes. Large ones are written as fast as the client takes them.

    Written at once, they would be encrypted at once, into a buffer that stays as large for as long as the connection: 16 clients
    that list 15 MB each held 370 MB.
    """
    view = memoryview(answer.body)
    async with asyncio.timeout(WRITE_SECONDS):
        if len(view) <= PIECE or request.method == "HEAD":
            made = at_once(request, call, answer)
            await flushed(request)
            return made
        transport = _transport(request)
        first = head(call, request, answer.status, answer.media, answer.headers, len(view))
        for at in range(0, len(view), PIECE):
            piece = view[at : at + PIECE]
            transport.writelines((first, piece) if at == 0 else (piece,))
            await flushed(request)
            if at % _IN_A_ROW == _IN_A_ROW - PIECE:
                await asyncio.sleep(0)
    return written(request)


class Sink:
    """Where the body of an answer goes whose length is not known: in chunks, or plain to clients older than those."""

    __slots__ = ("_chunked", "_protocol", "_transport")

    def __init__(self, request: Request, *, chunked: bool) -> None:
        self._transport = _transport(request)
        self._protocol: Any = request.protocol
        self._chunked = chunked

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes) -> int:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        return self._transport.get_write_buffer_size()

    async def send(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if data:
            self.write(data)
        if self._protocol._paused:
            await self._protocol._drain_helper()

    def abort(self) -> None:
        self._transport.abort()

    async def end(self) -> None:
        """The body is whole."""
        if self._chunked and not self._transport.is_closing():
            self._transport.write(b"0\r\n\r\n")
        if self._protocol._paused:
            await self._protocol._drain_helper()


async def pieces(request: Request, call: Call, answer: Pieces) -> web.StreamResponse:
    """A body piece by piece, whole in the time a client has for it."""
    async with asyncio.timeout(WRITE_SECONDS):
        sink = _begin(request, call, answer.media, answer.length)
        if request.method != "HEAD":
            async for piece in answer.parts:
                await sink.send(piece)
            await sink.end()
    return _ended(request, answer.length)


async def stream(request: Request, call: Call, answer: Stream) -> web.StreamResponse:
    """An answer for as long as it is wanted."""
    sink = _begin(request, call, answer.media, None)
    if request.method != "HEAD":
        await answer.produce(sink)
        await sink.end()
    return _ended(request, None)


def _begin(request: Request, call: Call, media: str, length: int | None) -> Sink:
    sink = Sink(request, chunked=length is None and request.version >= (1, 1))
    _transport(request).write(head(call, request, 200, media, None, length))
    return sink


def _ended(request: Request, length: int | None) -> web.StreamResponse:
    """Old clients know the end of a body without length by the connection's."""
    return written(request) if length is not None or request.version >= (1, 1) else cast(web.StreamResponse, CLOSED)
