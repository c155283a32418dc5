"""Calls to what extends the server: admission and conversion webhooks, extension servers.

    target = clients.of_service("default", "hooks", port=443, path="/validate", authorities=bundle)
    answer = await calls.post(target, body, timeout=10.0)

In: a `Target` (a Service or a URL, and whom to trust there) and a request. Out: an `Answer`, or `Failed` in the words that Go's client has for it.
Connections are kept and used again, a bounded number for each target, so that one that hangs takes nobody else's; answers are bounded, redirects
are not followed, and nothing compressed is asked for. A call is made again only where the other side asks for that (Retry-After), or where a kept
connection turned out to be closed before any answer.

How bytes are moved is the `Transport`'s (`http/outbound`). What an answer means to a client is said by `answers`.

Upstream counterparts: apiserver's util/webhook/client.go, client-go's rest.Request.
"""

from __future__ import annotations

import asyncio
import math
import posixpath
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from navarch.apiserver.extensions import services
from navarch.apiserver.extensions.services import Address, Unresolved
from navarch.apiserver.served import Catalog
from navarch.lib import integers

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of an answer, when nothing else is said."""
_TRIES = 10
_JSON = {"Accept": "application/json, */*", "Content-Type": "application/json"}


class Failed(Exception):
    """A call that brought no answer. The message is Go's: `Post "https://…": context deadline exceeded`."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe at the other end, and what to show them."""

    authorities: bytes = b""
    """PEM; none: the system's."""
    server_name: str = ""
    """What the certificate must be for, and the name that is asked for in the handshake."""
    insecure: bool = False
    certificate: str = ""
    key: str = ""
    """The files of our own certificate, where one is shown."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is called. `base` is the URL up to its query, as messages show it; a `service` (namespace, name) is looked up for each connection."""

    base: str
    host: str
    port: int
    trust: Trust
    service: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as it goes out: everything a `Transport` must know."""

    target: Target
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    most_bytes: int
    resolve: Callable[[], Address] | None
    """Where to connect; None: to the URL's host. Raises Unresolved."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Transport(Protocol):
    async def send(self, request: Outgoing) -> Answer:
        """Raises Failed, Unresolved, and TimeoutError only when it is cancelled by a time-out around it."""
        ...

    async def close(self) -> None: ...


def of_service(
    namespace: str,
    name: str,
    *,
    port: int | None = None,
    path: str = "",
    authorities: bytes = b"",
    insecure: bool = False,
    certificate: str = "",
    key: str = "",
) -> Target:
    """A target behind a Service. Its certificate must be for `name.namespace.svc`."""
    host, number = f"{name}.{namespace}.svc", port or 443
    return Target(f"https://{host}:{number}{_clean(path)}", host, number, Trust(authorities, host, insecure, certificate, key), (namespace, name))


def of_url(url: str, *, authorities: bytes = b"") -> Target:
    """A target by its URL. ValueError when that is none."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise ValueError(f"Unparsable URL: {url}")
    return Target(f"{parts.scheme}://{parts.netloc}{_clean(parts.path)}", parts.hostname, parts.port or 443, Trust(authorities, parts.hostname))


def _clean(path: str) -> str:
    return "/" + posixpath.normpath(f"/{path}").strip("/")


@dataclass(slots=True)
class Calls:
    """Calls what extends the server. Made once; `close` ends its connections."""

    catalog: Catalog
    transport: Transport
    user_agent: str = "kube-apiserver-admission"
    _headers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._headers = {**_JSON, "User-Agent": self.user_agent}

    async def post(self, target: Target, body: bytes, timeout: float, *, most_bytes: int = MOST_BYTES) -> Answer:
        """Posts JSON, telling the other side how many seconds there are. Raises Failed."""
        seconds = math.ceil(timeout - 1e-6)
        return await self.send(target, "POST", f"{target.base}?timeout={seconds}s", self._headers, body, timeout, most_bytes=most_bytes)

    async def send(
        self,
        target: Target,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,
        *,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        """Sends a request; as often as it is told to come again, within its time. Raises Failed."""
        request = Outgoing(target, method, url, headers, body, most_bytes, self._resolver(target))
        end = time.monotonic() + timeout
        shown = f'{method.capitalize()} "{url}"'
        try:
            async with asyncio.timeout(timeout):
                answer = await self.transport.send(request)
                for _ in range(_TRIES):
                    wait = retry_after(answer)
                    if wait is None or time.monotonic() + wait >= end:
                        break
                    await asyncio.sleep(wait)
                    answer = await self.transport.send(request)
                return answer
        except TimeoutError:
            raise Failed(f"{shown}: context deadline exceeded") from None
        except Unresolved as error:
            raise Failed(f"{shown}: {error}") from None
        except Failed as error:
            raise Failed(f"{shown}: {error}") from None

    async def close(self) -> None:
        await self.transport.close()

    def _resolver(self, target: Target) -> Callable[[], Address] | None:
        if target.service is None:
            return None
        namespace, name = target.service
        return lambda: services.resolve(self.catalog, namespace, name, target.port)


def retry_after(answer: Answer) -> int | None:
    """The seconds after which the other side wants to be called again; None where it does not."""
    if answer.status != 429 and not 500 <= answer.status <= 599:
        return None
    return integers.parse(answer.headers.get("retry-after", "").strip(), 0, 2**31)
