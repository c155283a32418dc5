"""One request on its way through the server: what was asked, by whom, and what has been found out so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web
from multidict import MultiMapping

from navarch.apiserver.inflight import Limit


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as authentication found it."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.name, self.groups))

    @property
    def node(self) -> str | None:
        """The name of the node this user is, which may be ""; None for everybody else."""
        if not self.name.startswith("system:node:") or "system:nodes" not in self.groups:
            return None
        return self.name.removeprefix("system:node:")


AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


def authenticated(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """The groups of a user who said who they are: `system:authenticated` is one, unless they are said to be nobody."""
    if name == ANONYMOUS.name or AUTHENTICATED in groups or UNAUTHENTICATED in groups:
        return groups
    return (*groups, AUTHENTICATED)


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a path and method ask for. `verb` is the API's (get, list, create, ...) for resources, the method in lower case else.

    `name` is the path's, or the one a list or watch confines itself to by `fieldSelector=metadata.name=...`. The selectors are as
    the client wrote them, of lists, watches and deletions of collections alone. `nested`: `namespaces` below a namespace.
    """

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    namespace: str = ""
    plural: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    nested: bool = False
    field_selector: str = ""
    label_selector: str = ""

    @property
    def resource(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


@dataclass(slots=True)
class Context:
    """A request and what the chain has added to it."""

    request: web.BaseRequest
    info: RequestInfo
    user: User = ANONYMOUS
    warnings: list[str] = field(default_factory=list)
    impersonator: User | None = None
    limit: Limit | None = None
    """Where the request counts as under way; None for one that lasts as long as it is wanted."""
    size: int = 0
    """Bytes of the body, once it was read: what decides where work on it is done (`background`)."""

    @property
    def query(self) -> MultiMapping[str]:
        return self.request.rel_url.query

    def flag(self, name: str) -> bool:
        """A boolean query parameter, as Go reads it."""
        value = self.query.get(name, "")
        return value.lower() not in ("", "0", "false", "f")

    @property
    def dry_run(self) -> bool:
        return "All" in self.query.getall("dryRun", ())

    @property
    def user_agent(self) -> str:
        return self.request.headers.get("User-Agent", "unknown")

    @property
    def field_manager(self) -> str:
        """Who is said to own the fields this request sets: the parameter, or the client's name."""
        return self.query.get("fieldManager") or self.user_agent.split("/")[0][:128]
