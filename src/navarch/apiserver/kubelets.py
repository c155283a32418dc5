"""Connections to kubelets, and to pods and services by the proxy subresources.

What a proxy may reach is checked on the address that is dialed, after its name has been resolved. Headers that say who the client is
go no further than here, and no redirect is followed.

Upstream counterparts: pkg/kubelet/client, apimachinery's util/proxy (UpgradeAwareHandler).
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import aiohttp
from aiohttp import web
from yarl import URL

from navarch.api.core import v1 as core_v1
from navarch.apiserver import links
from navarch.apiserver.authn import authenticator
from navarch.apiserver.served import Catalog
from navarch.lib import inet
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
    """The name or address the certificate must be for, when it is not `host`."""

    @property
    def authority(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}"


_RESOLVE_SECONDS = 10.0


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Kubelets:
    """Finds and calls the kubelet of a node."""

    def __init__(self, catalog: Catalog, certificate: str, key: str, authority: str) -> None:
        self._nodes = catalog.of("", "nodes")
        self._certificate, self._key, self._authority = certificate, key, authority
        self._session: aiohttp.ClientSession | None = None
        self.may_proxy_to: Callable[[inet.Address], bool] = inet.is_global_unicast
        self.insecure = _unverified()

    @functools.cached_property
    def _verified(self) -> ssl.SSLContext:
        """TLS towards kubelets: our client certificate; theirs is checked, by name, when an authority is given."""
        if not self._authority:
            return self._unverified
        made = ssl.create_default_context(cafile=self._authority)
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return self._introduced(made)

    @functools.cached_property
    def _unverified(self) -> ssl.SSLContext:
        return self._introduced(_unverified())

    def _introduced(self, context: ssl.SSLContext) -> ssl.SSLContext:
        if self._certificate:
            context.load_cert_chain(self._certificate, self._key)
        return context

    def target(self, node: str, *, verify: bool = True) -> Target:
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
        return Target(host, port or 10250, self._verified if verify else self._unverified)

    async def proxied(self, target: Target) -> Target:
        """A target by its address, of which this answers for. BadRequest when it leads to this machine, its link, or nowhere."""
        address = inet.parse(target.host)
        if address is None:
            try:
                async with asyncio.timeout(_RESOLVE_SECONDS):
                    found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError, TimeoutError) as error:
                raise errors.BadRequest(f"lookup {target.host}: {error or 'timed out'}") from None
            resolved = [inet.parse(str(f[4][0])) for f in found]
            address = resolved[0] if resolved else None
        else:
            resolved = [address]
        if address is None or any(a is None or not self.may_proxy_to(a) for a in resolved):
            raise errors.BadRequest("address not allowed")
        return replace(target, host=str(address), server_name=target.server_name or target.host)

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


_IDENTITY = ("impersonate-", "x-remote-")


def forwarded(request: web.BaseRequest, drop: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """A request's headers that go on to the next hop, and the client's address. Nobody but us may act on who the client is."""
    named = {h.strip().lower() for h in request.headers.get("Connection", "").split(",")}
    found: list[tuple[str, str]] = []
    passed: list[str] = []
    for name, value in request.headers.items():
        lower = name.lower()
        if lower in _HOP or lower in drop or lower in named or lower == "authorization" or lower.startswith(_IDENTITY):
            continue
        if lower == "x-forwarded-for":
            passed.append(value)
        elif lower != "sec-websocket-protocol":
            found.append((name, value))
        elif offered := authenticator.without_token(value):
            found.append((name, offered))
    if request.remote:
        found.append(("X-Forwarded-For", ", ".join([*passed, request.remote])))
    return found


def answered(headers: Mapping[str, str], drop: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """An answer's headers that go back to the client."""
    return [(k, v) for k, v in headers.items() if k.lower() not in _HOP and k.lower() not in drop]


_DROPPED = frozenset({"host"})


Refusal = Callable[[int, str], errors.ApiError]
"""The error to raise for an answer that is none of success, from its code and words."""
REFUSAL_LIMIT = 50_000


async def check(answer: aiohttp.ClientResponse, refusal: Refusal) -> None:
    """Raises for an answer that tells of a failure: its words are for a client that expects a Status."""
    if 300 <= answer.status < 400 and (location := answer.headers.get("Location")):
        raise errors.Unknown(f'Get "{location}": redirects forbidden')
    if not 200 <= answer.status <= 206:
        text = b""
        while len(text) < REFUSAL_LIMIT and (more := await answer.content.read(REFUSAL_LIMIT - len(text))):
            text += more
        raise refusal(answer.status, text.decode("utf-8", "replace"))


async def forward(
    request: web.BaseRequest,
    kubelets: Kubelets,
    target: Target,
    path: str,
    *,
    drop: frozenset[str] = _DROPPED,
    prefix: str = "",
    refusal: Refusal | None = None,
) -> web.StreamResponse:
    """Sends a request on and streams the answer back; with a prefix, links of HTML pages and redirects get it in front.

    With `refusal`, a failure is raised instead of being passed on.
    """
    body = await request.read() if request.can_read_body else None
    try:
        async with kubelets.session.request(
            request.method,
            URL(target.base + path, encoded=True),
            headers=forwarded(request, drop),
            data=body,
            ssl=target.tls if target.tls is not None else True,
            server_hostname=target.server_name or None,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
        ) as answer:
            if refusal is not None:
                await check(answer, refusal)
            if not prefix:
                return await relay(request, answer)
            hosts = frozenset({target.authority, request.headers.get("Host", "")})
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
    for name, value in answered(answer.headers, frozenset({"content-length"})):
        response.headers[name] = value
    return response


async def relay(request: web.BaseRequest, answer: aiohttp.ClientResponse, replaced: Mapping[str, str] | None = None) -> web.StreamResponse:
    """Writes another server's answer to our client as it comes."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answered(answer.headers):
        response.headers.add(name, value)
    response.headers.update(replaced or {})
    if "Content-Length" not in answer.headers and request.method != "HEAD":
        response.enable_chunked_encoding()
    await response.prepare(request)
    async for part in answer.content.iter_any():
        await response.write(part)
    await response.write_eof()
    return response
