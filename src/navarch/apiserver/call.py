"""One request on its way through the server, as a value: what was asked, by whom, and what has been found out so far.

It knows nothing of how it came. What can only be had from the connection (the body, the peer's certificate) is behind `Incoming`, which
`http` implements; a test gives one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, overload

from navarch.apiserver.authn.users import ANONYMOUS, User
from navarch.apiserver.query import Query
from navarch.apiserver.routes import RequestInfo
from navarch.apiserver.served import Served


class Headers(Protocol):
    """A request's headers, whose names are found in any case."""

    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self, /) -> Iterator[str]: ...
    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, default: str, /) -> str: ...
    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]: ...
    def items(self) -> Iterable[tuple[str, str]]: ...


class Incoming(Protocol):
    """The request as it is on its connection."""

    @property
    def content_length(self) -> int | None:
        """How many bytes the body is said to have; None when nothing is said."""

    @property
    def security(self) -> object:
        """The TLS connection it came on, which knows the client's certificate; None without one."""

    async def body(self, most: int) -> bytes | None:
        """The body; None when it is larger than `most`, of which no more was read."""


@dataclass(slots=True)
class Limit:
    """Requests of one sort: `most` at a time (0: any number), `now` under way."""

    most: int
    now: int = 0

    @property
    def full(self) -> bool:
        return 0 < self.most <= self.now


@dataclass(slots=True)
class Call:
    """A request and what the chain has added to it."""

    method: str
    info: RequestInfo
    query: Query
    headers: Headers
    incoming: Incoming
    began: float = 0.0
    """By the performance counter."""

    user: User = ANONYMOUS
    impersonator: User | None = None
    """Who really asks, when `user` is whom they are taken for."""

    served: Served | None = None
    """The stored resource that the path names."""

    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """What the audit log is told of the request."""

    limit: Limit | None = None
    """Where the request counts as under way; None for one that lasts as long as it is wanted."""

    size: int = 0
    """Bytes of the body, once it was read: what decides where work on it is done (`background`)."""

    @property
    def dry_run(self) -> bool:
        return "All" in self.query.all("dryRun")

    @property
    def user_agent(self) -> str:
        return self.headers.get("User-Agent", "unknown")

    @property
    def field_manager(self) -> str:
        """Who is said to own the fields this request sets: the parameter, or the client's name."""
        return self.query.get("fieldManager") or self.user_agent.split("/")[0][:128]

    @property
    def upgrade_wanted(self) -> bool:
        """Whether the client wants another protocol on the connection."""
        return "upgrade" in self.headers.get("Connection", "").lower() and "Upgrade" in self.headers
