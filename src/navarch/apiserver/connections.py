"""Connections whose bytes are no TLS or no HTTP: what they are told before they are closed.

aiohttp reads the requests; this only words the refusal of what it cannot read, as Go's net/http does: the status line and one
sentence, no headers of ours.

Upstream counterpart: net/http.Server's badRequestError and statusError.
"""

from __future__ import annotations

import ssl
from typing import Any

from aiohttp import web

from navarch.lib import tls

_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}

_MOST_HEADER_BYTES = 1024 * 1024
SETTINGS: dict[str, Any] = {
    "handler_cancellation": True,
    "keepalive_timeout": 90,
    "access_log": None,
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
    """One connection."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that could not be read; everything else is as aiohttp has it."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        code, text = refusal(message or "")
        answer = web.Response(status=code, text=text, headers=_HEADERS)
        answer.force_close()
        return answer


class Listener(web.Server):
    """Makes the connections of a listening socket."""

    def __call__(self) -> web.RequestHandler:
        arguments: dict[str, Any] = self._kwargs
        return Connection(self, loop=self._loop, **arguments)


def refusal(message: str) -> tuple[int, str]:
    """Status and text for the parser's complaint."""
    if "Invalid HTTP version" in message:
        return 505, "505 HTTP Version Not Supported: unsupported protocol version"
    if "'Host' header" in message:
        return 400, "400 Bad Request: missing required Host header"
    if message.startswith("Got more than"):
        return 431, "431 Request Header Fields Too Large"
    return 400, "400 Bad Request"
