"""What a request is answered with, as values: finished bytes, pieces that are still to be made, a stream that goes on, or somebody else's answer.

Nothing is written here: whoever holds the connection (`http`) writes them. Warnings of the call go with every answer.

Upstream counterpart: apiserver's endpoints/handlers/responsewriters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from navarch.api.scalars import Object
from navarch.apiserver import background, documents, negotiation
from navarch.apiserver.call import Call
from navarch.apiserver.negotiation import JSON, YAML
from navarch.apiserver.targets import Refusal, Target
from navarch.machinery import codec, errors

PLAIN = "text/plain; charset=utf-8"


@dataclass(slots=True)
class Document:
    """Finished bytes. `headers` come besides those every answer has, or replace them."""

    body: bytes
    status: int = 200
    media: str = JSON
    headers: Mapping[str, str] | None = None


@dataclass(slots=True)
class Later:
    """A body that is made when it is written: away from the loop."""

    make: Callable[[], Awaitable[bytes]]
    status: int = 200
    media: str = JSON


@dataclass(slots=True)
class Pieces:
    """A body that comes piece by piece. `length`, where it is known, spares the client chunks."""

    parts: AsyncIterator[bytes]
    media: str = JSON
    length: int | None = None


class Sink(Protocol):
    """Where a stream goes."""

    @property
    def closed(self) -> bool:
        """Whether the client is gone."""

    def write(self, data: bytes) -> int:
        """Writes without waiting. How many bytes the client has not taken yet."""

    async def send(self, data: bytes) -> None:
        """Writes, and waits until the client has taken most of it. ConnectionResetError when it is gone."""

    def abort(self) -> None:
        """Cuts the connection: nothing more is to come."""


@dataclass(slots=True)
class Stream:
    """An answer that lasts as long as it is wanted. `produce` writes it, once its head was sent."""

    produce: Callable[[Sink], Awaitable[None]]
    media: str = JSON


@dataclass(slots=True)
class Tunnel:
    """The connection is handed over to a target that agrees to the upgrade. Without a path it is the request's own; `headers` are added to the
    request's; what fails is told as `plain` text where that is wanted."""

    target: Target
    path: str = ""
    headers: Sequence[tuple[str, str]] = ()
    plain: bool = False


@dataclass(slots=True)
class Forward:
    """What a target answers to the request. Without a path it is the request's own; `headers` are added to the request's.

    With a prefix, links of HTML pages and redirects get it in front; with `refusal`, a failure is an error of ours instead of being passed on; what
    fails before there is an answer is told as `plain` text where that is wanted; `seconds` is how long the answer may take to begin.
    """

    target: Target
    path: str = ""
    prefix: str = ""
    refusal: Refusal | None = None
    headers: Sequence[tuple[str, str]] = ()
    plain: bool = False
    seconds: float | None = None


@dataclass(slots=True)
class LogSocket:
    """What a target answers to a GET, as the frames of a WebSocket."""

    target: Target
    path: str
    refusal: Refusal


Answer = Document | Later | Pieces | Stream | Tunnel | Forward | LogSocket
KINDS = (Document, Later, Pieces, Stream, Tunnel, Forward, LogSocket)


def of_json(call: Call, body: bytes, status: int = 200) -> Answer:
    """A JSON document in the form the client asked for."""
    form = negotiation.accepted(call, "PartialObjectMetadata", "Table", "PartialObjectMetadataList")
    if form.media == YAML:
        if len(body) < background.LARGE:
            return Document(documents.as_yaml(body), status, YAML)
        return Later(lambda: background.run(len(body), documents.as_yaml, body), status, YAML)
    if negotiation.pretty(call, form):
        return Document(msgspec.json.format(body, indent=2) + b"\n", status)
    return Document(body, status)


def of_object(call: Call, obj: Object | dict[str, Any], status: int = 200) -> Answer:
    return of_json(call, codec.encode(obj), status)


def failure(error: errors.ApiError) -> Document:
    """An error as a Status."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return Document(codec.encode(error.status), error.status.code or 500, headers=headers)


def panicked() -> errors.ApiError:
    """What a client reads of a fault of ours."""
    return errors.internal("this request caused apiserver to panic. Look in the logs for details.")


_MOST_WARNED, _MOST_WARNING = 4096, 256


def warnings(noted: list[str]) -> list[str]:
    """The values of `Warning` headers (RFC 7234, code 299) for what a request made us note, as many characters of them as upstream has."""
    distinct = list(dict.fromkeys(noted))
    shortened = sum(map(len, distinct)) > _MOST_WARNED
    found: list[str] = []
    written = 0
    for text in distinct:
        if written >= _MOST_WARNED:
            break
        text = text[:_MOST_WARNING] if shortened else text
        written += len(text)
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        found.append(f'299 - "{quoted}"')
    return found
