"""pods/log over WebSocket: the log as binary (`binary.k8s.io`) or base64 text frames on one channel.

Upstream counterpart: apiserver's util/wsstream Reader.
"""

from __future__ import annotations

import base64

import aiohttp
from aiohttp import web

from navarch.apiserver.answers import LogSocket
from navarch.apiserver.http.forwarding import Sessions, check
from navarch.apiserver.http.request import Request

_PROTOCOLS = ("binary.k8s.io", "base64.binary.k8s.io")


async def handle(request: Request, sessions: Sessions, wanted: LogSocket) -> web.StreamResponse:
    """The log as frames; what the kubelet refuses is raised before the connection is upgraded."""
    socket = web.WebSocketResponse(protocols=_PROTOCOLS, compress=False)
    target = wanted.target
    ssl = target.tls if target.tls is not None else True
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
    async with sessions.session.get(target.base + wanted.path, ssl=ssl, timeout=timeout, allow_redirects=False) as answer:
        await check(answer, wanted.refusal)
        await socket.prepare(request)
        text = socket.ws_protocol == "base64.binary.k8s.io"
        async for part in answer.content.iter_any():
            if text:
                await socket.send_str(base64.b64encode(part).decode())
            else:
                await socket.send_bytes(part)
    await socket.close()
    return socket
