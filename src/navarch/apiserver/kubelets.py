"""Connections to kubelets (and to pods and services by the proxy subresources), and the tunnel for upgraded ones.

Upstream counterparts: pkg/kubelet/client, apimachinery's util/proxy (UpgradeAwareHandler).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import aiohttp
from aiohttp import web
from yarl import URL

from navarch.api.core import v1 as core_v1
from navarch.apiserver import links
from navarch.apiserver.served import Catalog
from navarch.machinery import codec, errors

_ADDRESSES = ("InternalIP", "ExternalIP", "Hostname")
_HOP = frozenset(
    h.lower() for h in ("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade")
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    server_name: str = ""

    @property
    def base(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


class Kubelets:
    """Finds and calls the kubelet of a node."""

    def __init__(self, catalog: Catalog, certificate: str, key: str, authority: str) -> None:
        self._nodes = catalog.of("", "nodes")
        self._certificate, self._key, self._authority = certificate, key, authority
        self._context: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None
        self.insecure = ssl.create_default_context()
        self.insecure.check_hostname = False
        self.insecure.verify_mode = ssl.CERT_NONE

    def context(self) -> ssl.SSLContext:
        """TLS towards kubelets: our client certificate; theirs is checked when an authority is given."""
        if self._context is None:
            made = ssl.create_default_context(cafile=self._authority or None)
            made.check_hostname = False
            made.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if not self._authority:
                made.verify_mode = ssl.CERT_NONE
            if self._certificate:
                made.load_cert_chain(self._certificate, self._key)
            self._context = made
        return self._context

    def target(self, node: str) -> Target:
        """The address of a node's kubelet. NotFound, or ServiceUnavailable when it has none yet."""
        entry = self._nodes.cache.get(node)
        if entry is None:
            raise errors.not_found("", "nodes", node)
        status = codec.decode(core_v1.Node, entry.body).status or core_v1.NodeStatus()
        by_type = {a.type: a.address for a in reversed(status.addresses or ())}
        host = next((by_type[t] for t in _ADDRESSES if by_type.get(t)), None)
        if host is None:
            raise errors.ServiceUnavailable(f"node {node} has no address yet")
        endpoints = status.daemonEndpoints
        port = endpoints.kubeletEndpoint.Port if endpoints and endpoints.kubeletEndpoint else None
        return Target(host, port or 10250, self.context())

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def forwarded(headers: Iterable[tuple[str, str]], drop: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """Headers that go on to the next hop."""
    return [(k, v) for k, v in headers if k.lower() not in _HOP and k.lower() not in drop]


class _Far(asyncio.Protocol):
    """The far end of a tunnel."""

    def __init__(self) -> None:
        self.near: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self.held = bytearray()
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        if self.near is None:
            self.held += data
        else:
            self.near.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        if self.near is not None:
            self.near.close()

    def pause_writing(self) -> None:
        if self.near is not None:
            self.near.pause_reading()

    def resume_writing(self) -> None:
        if self.near is not None:
            self.near.resume_reading()


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


def upgrade_wanted(request: web.BaseRequest) -> bool:
    return "upgrade" in request.headers.get("Connection", "").lower() and "Upgrade" in request.headers


async def tunnel(request: web.BaseRequest, target: Target, path: str) -> web.StreamResponse:
    """Hands a connection that wants to be upgraded over to the target: bytes go both ways until one side ends."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(30):
            _, far = await loop.create_connection(
                _Far, target.host, target.port, ssl=target.tls, server_hostname=(target.server_name or target.host) if target.tls else None
            )
    except (OSError, TimeoutError) as error:
        raise errors.internal(f"error dialing backend: {error}") from None
    near = cast(asyncio.Transport, request.transport)
    assert far.transport is not None
    drop = frozenset({"authorization", "host", "content-length"})
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {target.host}:{target.port}"]
    lines += [f"{k}: {v}" for k, v in forwarded(request.headers.items(), drop)]
    lines += ["Connection: Upgrade", f"Upgrade: {request.headers['Upgrade']}"]
    if request.method == "POST":
        lines.append("Content-Length: 0")
    far.transport.write("\r\n".join([*lines, "", ""]).encode())
    protocol = _Near(far.transport, near.get_protocol())
    near.set_protocol(protocol)
    if far.held:
        near.write(bytes(far.held))
    far.near = near
    if far.closed.is_set():
        near.close()
    await protocol.closed.wait()
    return web.Response()


_DROPPED = frozenset({"authorization", "host"})


async def forward(
    request: web.BaseRequest, kubelets: Kubelets, target: Target, path: str, *, drop: frozenset[str] = _DROPPED, prefix: str = ""
) -> web.StreamResponse:
    """Sends a request on and streams the answer back; with a prefix, links of HTML pages and redirects get it in front."""
    body = await request.read() if request.can_read_body else None
    try:
        async with kubelets.session.request(
            request.method,
            URL(target.base + path, encoded=True),
            headers=forwarded(request.headers.items(), drop),
            data=body,
            ssl=target.tls if target.tls is not None else True,
            server_hostname=target.server_name or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
        ) as answer:
            if not prefix:
                return await relay(request, answer)
            hosts = frozenset({f"{target.host}:{target.port}", request.headers.get("Host", "")})
            return await _rewritten(request, answer, links.rewriter(prefix, hosts))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.ServiceUnavailable(f"error trying to reach service: {error}") from None


async def _rewritten(request: web.BaseRequest, answer: aiohttp.ClientResponse, rewrite: links.Rewrite) -> web.StreamResponse:
    """Relays an answer with its links rewritten."""
    if location := answer.headers.get("Location"):
        return await relay(request, answer, {"Location": rewrite(location)})
    if answer.content_type != "text/html" or answer.headers.get("Content-Encoding") or request.method == "HEAD":
        return await relay(request, answer)
    page = links.page((await answer.read()).decode("utf-8", "surrogateescape"), rewrite).encode("utf-8", "surrogateescape")
    response = web.Response(status=answer.status, reason=answer.reason, body=page)
    for name, value in forwarded(answer.headers.items(), frozenset({"content-length"})):
        response.headers[name] = value
    return response


async def relay(request: web.BaseRequest, answer: aiohttp.ClientResponse, replaced: Mapping[str, str] | None = None) -> web.StreamResponse:
    """Writes another server's answer to our client as it comes."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in forwarded(answer.headers.items()):
        response.headers.add(name, value)
    response.headers.update(replaced or {})
    if "Content-Length" not in answer.headers and request.method != "HEAD":
        response.enable_chunked_encoding()
    await response.prepare(request)
    async for part in answer.content.iter_any():
        await response.write(part)
    await response.write_eof()
    return response
