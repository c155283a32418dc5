"""Connections whose bytes are no TLS or no HTTP: what they are told before they are closed.

aiohttp reads the requests; this only words the refusal of what it cannot read, as Go's net/http does: the status line and one
sentence, no headers of ours.

Upstream counterpart: net/http.Server's badRequestError and statusError.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web

from navarch.apiserver.http.request import Request
from navarch.apiserver.http.responses import Written
from navarch.lib import tls

_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}

HANDSHAKE_SECONDS = 15.0
HEADER_SECONDS = 32.0
"""How long a connection may take until its first request is there: upstream's ReadHeaderTimeout. Later ones have the 90 s it may idle."""
MOST_WAITING = 512
"""Connections that may have asked nothing yet."""
MOST_CONNECTIONS = 4096
_MOST_HEADER_BYTES = 1024 * 1024
_HEADER_SLACK = 4096
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
    b"431 Request Header Fields Too Large"
)
SETTINGS: dict[str, Any] = {
    "handler_cancellation": True,
    "keepalive_timeout": 90,
    "access_log": None,
    "auto_decompress": False,
    "max_line_size": _MOST_HEADER_BYTES,
    "max_field_size": _MOST_HEADER_BYTES,
}
"""How connections are kept; a long selector or token fits as it does in Go."""


_PLAIN = b"Client sent an HTTP request to an HTTPS server.\n"
_PLAIN_ANSWER = b"HTTP/1.0 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(_PLAIN), _PLAIN)


class _Handshake(tls.Connection):
    """A TLS connection that tells a client who speaks plain HTTP what is wrong, before it fails."""

    outgoing: ssl.MemoryBIO | None = None
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            if error.reason != "HTTP_REQUEST" or self.outgoing is None:
                raise
            self._failure = error
            self.outgoing.write(_PLAIN_ANSWER)
            raise ssl.SSLWantReadError from None  # so that the loop sends it; what comes next ends the connection


class TlsContext(tls.ServerContext):
    """A server's TLS, with `_Handshake` for connections."""

    sslobject_class = _Handshake

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, *args, **kwargs)
        assert isinstance(made, _Handshake)
        made.outgoing = outgoing
        return made


class Connection(web.RequestHandler):
    """One connection. It is closed when its first request takes too long to come, or any request's head is too large."""

    _listener: Listener
    _head_bytes = 0
    _hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._hurry = self._loop.call_later(HEADER_SECONDS, self._too_late)
        self._listener.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._started()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        requests = self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._head_bytes = 0
            if self._hurry is not None:
                self._started()
        elif self._current_request is None:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEADER_BYTES + _HEADER_SLACK and self.transport is not None:
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    @property
    def idle(self) -> bool:
        """Whether it is neither answered nor waited for."""
        return self._current_request is None and self._hurry is None

    def _started(self) -> None:
        """Its first request is there, or it is gone: nobody waits for it any more."""
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None
            self._listener.waiting.pop(self, None)

    def _too_late(self) -> None:
        self._started()
        self.force_close()

    async def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> tuple[web.StreamResponse, bool]:
        """An answer that is written needs nothing more, unless an upgrade was declined, of which the library has to go back."""
        if isinstance(cast(object, resp), Written) and not self._upgraded:
            return resp, False
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that could not be read; everything else is as aiohttp has it."""
        if isinstance(request, Request) and request.begun:
            raise ConnectionResetError("the answer failed after it had begun")
        if status != 400:
            return super().handle_error(request, status, exc, message)
        code, text = refusal(message or "")
        answer = web.Response(status=code, text=text, headers=_HEADERS)
        answer.force_close()
        return answer


class Listener(web.Server):
    """Makes the connections of a listening socket, and bounds how many there are of those that ask nothing."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **settings: Any) -> None:
        super().__init__(handler, **settings)
        self.waiting: dict[Connection, None] = {}
        """Connections that have not sent a request yet, the oldest first."""

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return Request(message, payload, protocol, writer, task, self._loop)

    def __call__(self) -> web.RequestHandler:
        arguments: dict[str, Any] = self._kwargs
        made = Connection(self, loop=self._loop, **arguments)
        made._listener = self
        return made

    def opened(self, connection: Connection) -> None:
        """Takes a new connection; where there are too many, the oldest that is good for nothing goes."""
        self.waiting[connection] = None
        if len(self.waiting) > MOST_WAITING:
            next(iter(self.waiting))._too_late()
        if len(self.connections) > MOST_CONNECTIONS:
            for other in self.connections:
                if isinstance(other, Connection) and other.idle:
                    other.force_close()
                    break


def refusal(message: str) -> tuple[int, str]:
    """Status and text for the parser's complaint."""
    if "Invalid HTTP version" in message:
        return 505, "505 HTTP Version Not Supported: unsupported protocol version"
    if "'Host' header" in message:
        return 400, "400 Bad Request: missing required Host header"
    if message.startswith("Got more than"):
        return 431, "431 Request Header Fields Too Large"
    return 400, "400 Bad Request"
