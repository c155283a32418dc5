"""Requests that are sent on: what a kubelet, a pod or a service answers becomes the client's answer as it comes.

Headers that say who the client is go no further than here, and no redirect is followed.

Upstream counterpart: apimachinery's util/proxy (UpgradeAwareHandler).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import web
from yarl import URL

from navarch.apiserver.answers import Forward
from navarch.apiserver.authn import authenticator
from navarch.apiserver.extensions.services import Address
from navarch.apiserver.http import links
from navarch.apiserver.http.outbound import words
from navarch.apiserver.http.request import Request
from navarch.apiserver.targets import Refusal
from navarch.machinery import errors

_HOP = frozenset(
    h.lower() for h in ("Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade")
)
_IDENTITY = ("impersonate-", "x-remote-")


def forwarded(request: Request, drop: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
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
_OF_PAGES = frozenset({"host", "accept-encoding"})
"""Where links are rewritten, nothing compressed is asked for."""
_AUTOMATIC = ("Accept-Encoding", "Content-Type", "User-Agent")
"""Headers of the web library's own, which the client did not send."""
REFUSAL_LIMIT = 50_000
_UNLIMITED = aiohttp.ClientTimeout(total=None, sock_connect=30)
_TOO_LATE = "Timeout: request did not complete within the allotted timeout"


async def check(answer: aiohttp.ClientResponse, refusal: Refusal) -> None:
    """Raises for an answer that tells of a failure: its words are for a client that expects a Status."""
    if 300 <= answer.status < 400 and (location := answer.headers.get("Location")):
        raise errors.Unknown(f'Get "{location}": redirects forbidden')
    if not 200 <= answer.status <= 206:
        text = b""
        while len(text) < REFUSAL_LIMIT and (more := await answer.content.read(REFUSAL_LIMIT - len(text))):
            text += more
        raise refusal(answer.status, text.decode("utf-8", "replace"))


class Sessions:
    """The connections on which requests are sent on."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
            cookies = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, skip_auto_headers=_AUTOMATIC, cookie_jar=cookies)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def forward(self, request: Request, wanted: Forward) -> web.StreamResponse:
        """Sends a request on, as its body comes, and streams the answer back. ServiceUnavailable when nobody answers, Timeout when it takes
        too long."""
        try:
            async with self._sent(request, wanted) as answer:
                if wanted.refusal is not None:
                    await check(answer, wanted.refusal)
                if not wanted.prefix:
                    return await relay(request, answer)
                hosts = frozenset({wanted.target.authority, request.headers.get("Host", "")})
                return await _rewritten(request, answer, links.rewriter(wanted.prefix, hosts))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if request.begun:
                raise ConnectionResetError("the target's answer broke off") from error
            target = wanted.target
            why = f"error trying to reach service: {words(error, Address(target.host, target.port), target.server_name)}"
            if not wanted.plain:
                raise errors.ServiceUnavailable(why) from None
            return web.Response(status=503, text=f"{why}\n")

    @contextlib.asynccontextmanager
    async def _sent(self, request: Request, wanted: Forward) -> AsyncIterator[aiohttp.ClientResponse]:
        """The beginning of a target's answer to a request."""
        target = wanted.target
        drop = _OF_PAGES if wanted.prefix else _DROPPED
        sending = self.session.request(
            request.method,
            URL(target.base + (wanted.path or request.target), encoded=True),
            headers=[*forwarded(request, drop), *wanted.headers],
            data=request.content if request.can_read_body else None,
            ssl=target.tls if target.tls is not None else True,
            server_hostname=target.server_name or None,
            allow_redirects=False,
            timeout=_UNLIMITED,
        )
        try:
            async with asyncio.timeout(wanted.seconds):
                answer = await sending
        except TimeoutError:
            if wanted.seconds is None:
                raise
            raise errors.Timeout(_TOO_LATE) from None
        async with answer:
            yield answer


async def _rewritten(request: Request, answer: aiohttp.ClientResponse, rewrite: links.Rewrite) -> web.StreamResponse:
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


async def relay(request: Request, answer: aiohttp.ClientResponse, replaced: Mapping[str, str] | None = None) -> web.StreamResponse:
    """Writes another server's answer to our client as it comes."""
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for name, value in answered(answer.headers):
        response.headers.add(name, value)
    response.headers.update(replaced or {})
    if "Content-Length" not in answer.headers and request.method != "HEAD":
        response.enable_chunked_encoding()
    await response.prepare(request)
    request.begun = True
    async for part in answer.content.iter_any():
        await response.write(part)
    await response.write_eof()
    return response
