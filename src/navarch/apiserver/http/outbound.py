"""Requests to other servers, over kept connections: the transport below `extensions/clients`.

Every target has its own pool of connections, bounded, and made when it is first called; targets that nobody called for long lose theirs. Names
are looked up in threads of their own. Whoever waits for a target waits for nobody else's connections, threads or handshakes.

Upstream counterpart: net/http's Transport.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from navarch.apiserver.extensions.clients import Answer, Failed, Outgoing, Target
from navarch.apiserver.extensions.services import Address
from navarch.apiserver.extensions.trusting import context_of
from navarch.lib import inet

MOST_CONNECTIONS = 64
"""To one target. Who comes later waits, in its own time."""
MOST_TARGETS = 256
"""Whose connections are kept."""
_KEEP_SECONDS = 60.0
_LOOKUP_THREADS = 4
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_SIGNED_BY_UNKNOWN = frozenset({2, 18, 19, 20, 21})
_NOT_NOW = frozenset({9, 10})
_WRONG_NAME = frozenset({62, 64})
"""OpenSSL's codes of what is wrong with a certificate."""


class Outbound:
    """Pools of connections. `close` ends them all."""

    def __init__(self) -> None:
        self._pools: OrderedDict[Target, _Pool] = OrderedDict()
        self._lookups: ThreadPoolExecutor | None = None

    async def send(self, request: Outgoing) -> Answer:
        """One request and its answer. Raises Failed, Unresolved; whoever waits says for how long."""
        pool = await self._pool(request)
        pool.busy += 1
        try:
            try:
                return await pool.send(request)
            except _Stale:
                return await pool.send(request)
        except _Stale:
            raise Failed("EOF") from None
        finally:
            pool.busy -= 1

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.session.close()
        self._pools.clear()
        if self._lookups is not None:
            self._lookups.shutdown(wait=False, cancel_futures=True)
            self._lookups = None

    async def _pool(self, request: Outgoing) -> _Pool:
        target = request.target
        pool = self._pools.get(target)
        if pool is not None:
            self._pools.move_to_end(target)
            return pool
        pool = self._pools[target] = _Pool(self._resolver(request.resolve), context_of(target.trust))
        if len(self._pools) > MOST_TARGETS:
            idle = next((t for t, p in self._pools.items() if not p.busy and t != target), None)
            if idle is not None:
                await self._pools.pop(idle).session.close()
        return pool

    def _resolver(self, resolve: Callable[[], Address] | None) -> _Resolver:
        if self._lookups is None:
            self._lookups = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookups")
        return _Resolver(resolve, self._lookups)


class _Stale(Exception):
    """A kept connection was closed before it had answered anything."""


@dataclass(slots=True, eq=False)
class _Pool:
    """The connections to one target."""

    resolver: _Resolver
    tls: ssl.SSLContext
    busy: int = 0
    session: aiohttp.ClientSession = field(init=False)

    def __post_init__(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MOST_CONNECTIONS, ssl=self.tls, keepalive_timeout=_KEEP_SECONDS, resolver=self.resolver, use_dns_cache=False
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            timeout=_NO_TIMEOUT,
            trace_configs=[trace],
        )

    async def send(self, request: Outgoing) -> Answer:
        history = _History()
        try:
            async with self.session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body or None,
                server_hostname=request.target.trust.server_name or None,
                allow_redirects=False,
                trace_request_ctx=history,
            ) as answer:
                body = await _body(answer, request.most_bytes)
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, body)
        except aiohttp.ServerDisconnectedError:
            if history.reused:
                raise _Stale from None
            raise Failed("EOF") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            target = request.target
            raise Failed(words(error, self.resolver.last or Address(target.host, target.port), target.trust.server_name)) from None


@dataclass(slots=True)
class _History:
    reused: bool = False


async def _note_reuse(session: object, context: object, parameters: object) -> None:
    del session, parameters
    history = getattr(context, "trace_request_ctx", None)
    if isinstance(history, _History):
        history.reused = True


async def _body(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """The answer's body. Failed when there is more of it, or less than was said."""
    parts: list[bytes] = []
    size = 0
    try:
        while part := await answer.content.readany():
            size += len(part)
            if size > most:
                raise Failed(f"http: the answer is larger than {most} bytes")
            parts.append(part)
    except aiohttp.ClientPayloadError:
        why = "unexpected error when reading response body. Please retry. Original error: unexpected EOF"
        raise Failed(why) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Resolver(AbstractResolver):
    """Names to addresses: a Service's by what the cluster knows, all others by the machine's resolver. `last` is what was found last."""

    def __init__(self, known: Callable[[], Address] | None, threads: ThreadPoolExecutor) -> None:
        self._known = known
        self._threads = threads
        self.last: Address | None = None

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        if self._known is not None:
            host, port = self._known()
            if (literal := inet.parse(host)) is not None:
                self.last = Address(host, port)
                return [_result(host, host, port, socket.AF_INET6 if literal.version == 6 else socket.AF_INET)]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from None
        results = [_result(host, str(address[0]), port, family) for family, _, _, _, address in found]
        self.last = Address(results[0]["host"], port)
        return results

    async def close(self) -> None: ...


def _result(name: str, host: str, port: int, family: int) -> ResolveResult:
    return ResolveResult(hostname=name, host=host, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


def words(error: Exception, address: Address, name: str) -> str:
    """What went wrong with a connection, as Go's client says it. `name`: whom the certificate had to be for."""
    at = f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
    match error:
        case aiohttp.ServerDisconnectedError():
            return "EOF"
        case aiohttp.ClientConnectorCertificateError():
            return _certificate(error.certificate_error, name)
        case aiohttp.ClientConnectorSSLError():
            return _handshake(error)
        case aiohttp.ClientConnectorDNSError():
            return f"dial tcp: lookup {error.host}: {_lookup(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return f"dial tcp {at}: {_system(error.os_error, 'connect')}"
        case aiohttp.ClientOSError():
            return f"read tcp {at}: {_system(error, 'read')}"
        case aiohttp.ClientResponseError():
            return f"net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error.message}"
        case _:
            return str(error) or type(error).__name__


def _system(error: OSError, call: str) -> str:
    number = error.errno
    if number is None:
        return str(error) or "EOF"
    if number == errno.ETIMEDOUT:
        return "i/o timeout"
    return f"{call}: {os.strerror(number).lower()}"


def _lookup(error: OSError) -> str:
    return "no such host" if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA) else (error.strerror or str(error)).lower()


def _certificate(error: Exception, name: str) -> str:
    code = getattr(error, "verify_code", 0)
    said = getattr(error, "verify_message", "") or str(error)
    if code in _SIGNED_BY_UNKNOWN:
        said = "certificate signed by unknown authority"
    elif code in _NOT_NOW:
        said = f"certificate has expired or is not yet valid: {said}"
    elif code in _WRONG_NAME or isinstance(error, ssl.CertificateError):
        said = f"certificate is not valid for {name}"
    return f"tls: failed to verify certificate: x509: {said}"


def _handshake(error: aiohttp.ClientConnectorSSLError) -> str:
    cause = error.os_error
    reason = str(getattr(cause, "reason", "") or "")
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return "http: server gave HTTP response to HTTPS client"
    said = reason.replace("TLSV1_ALERT_", "").replace("SSLV3_ALERT_", "").replace("_", " ").lower()
    return f"remote error: tls: {said or cause}"
