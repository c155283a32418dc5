"""Watches: bytes of a watch stream → events.

In: a path and a resourceVersion. Out: `Event`s until the server ends the stream. An ERROR event becomes the ApiError it
carries (Expired: list again). A stream that ends inside an event, or says nothing for longer than servers leave between two
bookmarks, is Unreachable. What it is not: it does not reconnect; the informer does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp
import msgspec

from navarch.api import resources
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.client.rest import Client, Request, Unreachable, _query
from navarch.machinery import codec, errors

T = TypeVar("T", bound=Object)
SILENCE = 80.0
"""Seconds. A server sends a bookmark every 60 s: where none comes, the connection is half open and would stay silent for ever."""


class _Wire(msgspec.Struct):
    type: str
    object: msgspec.Raw


_wire = msgspec.json.Decoder(_Wire)


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """ADDED, MODIFIED, DELETED, or BOOKMARK (whose object has metadata only)."""

    type: str
    object: T


async def stream(
    client: Client,
    kind: type[T],
    *,
    namespace: str = "",
    labels: str = "",
    fields: str = "",
    version: str = "",
    initial: bool = False,
    timeout: int = 0,
) -> AsyncIterator[Event[T]]:
    """Events after `version`; with `initial`, first one ADDED per object there is, then a bookmark that says so."""
    query = _query(
        watch="true",
        allowWatchBookmarks="true",
        labelSelector=labels,
        fieldSelector=fields,
        resourceVersion=version,
        timeoutSeconds=timeout or None,
        sendInitialEvents="true" if initial else None,
        resourceVersionMatch="NotOlderThan" if initial else None,
    )
    path = resources.of(kind).path(namespace=namespace)
    async with client.open(Request("GET", path, query, timeout=None, silence=SILENCE)) as response:
        async for line in lines(response):
            yield _event(kind, line)


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer, of any length. Unreachable when the connection breaks, or ends before its last line does."""
    rest = b""
    try:
        async for chunk in response.content.iter_any():
            head, *tail = chunk.split(b"\n")
            rest += head
            for part in tail:
                if rest:
                    yield rest
                rest = part
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"watch {response.url.path}: {error or type(error).__name__}") from error
    if rest:
        raise Unreachable(f"watch {response.url.path}: the stream ended inside an event, after {len(rest)} bytes of it")


def _event(kind: type[T], line: bytes) -> Event[T]:
    try:
        wire = _wire.decode(line)
    except msgspec.MsgspecError as error:
        raise codec.DecodeError(str(error)) from error
    if wire.type == "ERROR":
        raise errors.from_status(codec.decode(meta_v1.Status, bytes(wire.object)))
    return Event(wire.type, codec.decode(kind, bytes(wire.object)))
