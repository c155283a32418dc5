"""Tunnels: a client's connection that is to be upgraded is handed over to a kubelet, pod or service, and bytes go both ways.

Nothing is handed over before the far end has agreed to the upgrade. What it refuses becomes the client's answer; a redirect does not
reach the client, who would follow it with credentials that were for us.

Upstream counterpart: apimachinery's util/proxy (UpgradeAwareHandler.tryUpgrade).
"""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
from typing import Any, cast

from navarch.apiserver.answers import PLAIN, Document, Tunnel
from navarch.apiserver.http.forwarding import forwarded
from navarch.apiserver.http.request import Request
from navarch.apiserver.targets import Target
from navarch.machinery import errors

_DIAL_SECONDS, _HEAD_SECONDS, _REFUSAL_SECONDS = 30.0, 60.0, 10.0
_MOST_HEAD, _MOST_REFUSAL = 64 * 1024, 256 * 1024
_END_OF_HEAD = b"\r\n\r\n"


class _Far(asyncio.Protocol):
    """The far end of a tunnel. Until there is a near end, what comes is held."""

    def __init__(self) -> None:
        self.near: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self.held = bytearray()
        self.closed = asyncio.Event()
        self.came = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        if self.near is None:
            self.held += data
            self.came.set()
        else:
            self.near.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self.came.set()
        if self.near is not None:
            self.near.close()

    def pause_writing(self) -> None:
        if self.near is not None:
            self.near.pause_reading()

    def resume_writing(self) -> None:
        if self.near is not None:
            self.near.resume_reading()

    async def more(self) -> bool:
        """Waits for more to come; whether any can."""
        if self.closed.is_set():
            return False
        self.came.clear()
        await self.came.wait()
        return True


class _Near(asyncio.Protocol):
    """The client's end of a tunnel, in the place of the HTTP protocol."""

    def __init__(self, far: asyncio.Transport, http: asyncio.BaseProtocol) -> None:
        self._far = far
        self._http = http
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._far.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._far.close()
        self.closed.set()
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._far.pause_reading()

    def resume_writing(self) -> None:
        self._far.resume_reading()


async def tunnel(request: Request, wanted: Tunnel) -> Document | None:
    """Asks the target to upgrade, and then connects both ends until one closes. What it refuses is the answer; InternalError for the rest."""
    try:
        far = await _dial(wanted.target)
    except errors.InternalError as error:
        if not wanted.plain:
            raise
        return Document(f"{error}\n".encode(), 503, PLAIN)
    transport = far.transport
    assert transport is not None
    transport.write(_head(request, wanted))
    try:
        status = await _status(far)
        if status != 101:
            return await _refused(far, status)
        near = cast(asyncio.Transport, request.transport)
        protocol = _Near(transport, near.get_protocol())
        near.set_protocol(protocol)
        near.write(bytes(far.held))
        far.near = near
        if far.closed.is_set():
            near.close()
        await protocol.closed.wait()
        return None
    finally:
        transport.close()


async def _dial(target: Target) -> _Far:
    name = (target.server_name or target.host) if target.tls else None
    try:
        async with asyncio.timeout(_DIAL_SECONDS):
            _, far = await asyncio.get_running_loop().create_connection(_Far, target.host, target.port, ssl=target.tls, server_hostname=name)
    except (OSError, TimeoutError) as error:
        raise errors.internal(f"error dialing backend: {error}") from None
    return far


def _head(request: Request, wanted: Tunnel) -> bytes:
    lines = [f"{request.method} {wanted.path or request.target} HTTP/1.1", f"Host: {wanted.target.authority}"]
    lines += [f"{k}: {v}" for k, v in (*forwarded(request, frozenset({"host", "content-length"})), *wanted.headers)]
    lines += ["Connection: Upgrade", f"Upgrade: {request.headers['Upgrade']}"]
    if request.method == "POST":
        lines.append("Content-Length: 0")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


async def _status(far: _Far) -> int:
    """The code the far end answers with. InternalError when it does not answer with one."""
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            while _END_OF_HEAD not in far.held and len(far.held) < _MOST_HEAD and await far.more():
                pass
    except TimeoutError:
        raise errors.internal("error dialing backend: no answer to the request for an upgrade") from None
    words = bytes(far.held.split(b"\r\n", 1)[0]).split(b" ", 2)
    if _END_OF_HEAD not in far.held or len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
        raise errors.internal("error dialing backend: malformed HTTP response")
    return int(words[1])


class _Bytes:
    """What http.client reads an answer from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


async def _refused(far: _Far, status: int) -> Document:
    """The answer of a far end that does not upgrade. InternalError when it is no refusal."""
    if status < 400:
        raise errors.internal(f"invalid upgrade response: status code {status}")
    try:
        async with asyncio.timeout(_REFUSAL_SECONDS):
            while not _complete(far.held) and len(far.held) < _MOST_REFUSAL and await far.more():
                pass
    except TimeoutError:
        pass  # what came until now is the answer
    answer = http.client.HTTPResponse(cast(socket.socket, _Bytes(bytes(far.held))))
    try:
        answer.begin()
        body = answer.read(_MOST_REFUSAL)
    except (http.client.HTTPException, ValueError) as error:
        raise errors.internal(f"invalid upgrade response: {error}") from None
    return Document(body, status, answer.headers.get("Content-Type", "text/plain"))


def _complete(held: bytearray) -> bool:
    """Whether an answer has come whole, as far as it says how long it is."""
    head, _, body = bytes(held).partition(_END_OF_HEAD)
    lines = head.lower().split(b"\r\n")
    length = next((line.partition(b":")[2].strip() for line in lines if line.startswith(b"content-length:")), b"")
    if length:
        return length.isdigit() and len(length) < 10 and len(body) >= int(length)
    return any(line.startswith(b"transfer-encoding:") for line in lines) and body.endswith(b"0\r\n\r\n")
