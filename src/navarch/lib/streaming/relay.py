"""Taking a connection over from the HTTP server, and passing bytes between two connections.

`take_over` gives the raw connection of an aiohttp request, for protocols the server does not speak; `pipe` copies both ways until both sides
have ended, handing on a half-close where the transport can say one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

from aiohttp import web

BLOCK = 64 * 1024
LIMIT = 1 << 20


async def take_over(request: web.Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The request's connection as streams. Nothing was answered yet; the handler must not answer either, but close the writer.

    End the handler with `released(request)` once the streams are done with.
    """
    transport = cast(asyncio.Transport, request.transport)
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LIMIT, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    server: Any = request.protocol
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    tail: bytes = getattr(server, "_message_tail", b"") or b""
    if tail:
        reader.feed_data(tail)
    transport.resume_reading()
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def released(request: web.Request) -> web.StreamResponse:
    """What a handler returns after it has used the connection up: an answer that is not sent any more."""
    server: Any = request.protocol
    server.connection_lost(None)
    return web.Response()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the end of `reader`, then closes the writer's half."""
    with contextlib.suppress(ConnectionError, RuntimeError):
        while data := await reader.read(BLOCK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()


async def pipe(left: tuple[asyncio.StreamReader, asyncio.StreamWriter], right: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Copies between two connections until both directions have ended; both are closed then."""
    try:
        await asyncio.gather(copy(left[0], right[1]), copy(right[0], left[1]))
    finally:
        for _, writer in (left, right):
            writer.close()
