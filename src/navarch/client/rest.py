"""Requests to the API server, typed by the object's class.

    client = Client(kubeconfig.load(path), user_agent="navarch-kubelet")
    pod = await client.get(core_v1.Pod, "web", "default")

Failures are `machinery.errors.ApiError`; a server that cannot be reached is `Unreachable`. Connections are kept and
shared; the client has no state of its own and can be used from any number of tasks.

Upstream counterpart: client-go's rest and typed clients.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from navarch.api import resources
from navarch.api.autoscaling import v1 as autoscaling_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.client.kubeconfig import Config
from navarch.lib import integers
from navarch.lib.clock import SYSTEM, Clock
from navarch.machinery import codec, errors

T = TypeVar("T", bound=Object)
PatchKind = Literal["merge", "strategic", "json", "apply"]
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


_MOST_TRIES = 10
"""How often a server that says it is busy is asked, the first time included."""
_LONGEST_PAUSE = 30.0


class Unreachable(ConnectionError):
    """The API server could not be asked; trying again may help."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a value."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str = "application/json"
    timeout: float | None = 60.0
    """Seconds the whole answer may take."""
    silence: float | None = None
    """Seconds without a byte after which the connection is taken for dead: for answers that have no end."""
    accept: str = "application/json"
    if_none_match: str = ""
    """The ETag of what is known already: the answer may be that it still holds (304)."""

    @property
    def target(self) -> str:
        path = quote(self.path, safe="/:@!$&'()*+,;=~-._%")
        return f"{path}?{urlencode(self.query)}" if self.query else path


def _query(**options: str | int | bool | None) -> tuple[tuple[str, str], ...]:
    return tuple((k, str(v).lower() if isinstance(v, bool) else str(v)) for k, v in options.items() if v not in (None, ""))


class Client:
    """An API client. Use as an async context manager, or call `close`."""

    def __init__(self, config: Config, user_agent: str = "navarch", connections: int = 64, clock: Clock = SYSTEM) -> None:
        self.config = config
        self.clock = clock
        self.user_agent = user_agent
        self._connections = connections
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all connections."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        """The session, made within the running loop when first needed."""
        if self._opened is None:
            context = self.config.ssl_context()
            connector = aiohttp.TCPConnector(
                ssl=context if context is not None else True, limit=self._connections, keepalive_timeout=90, ttl_dns_cache=10
            )
            self._opened = aiohttp.ClientSession(
                connector=connector,
                headers={"User-Agent": self.user_agent},
                auto_decompress=True,
                skip_auto_headers=("Accept-Encoding",),
            )
        return self._opened

    def _headers(self, request: Request) -> dict[str, str]:
        headers: dict[str, str] = {"Accept-Encoding": "identity", "Accept": request.accept}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if request.if_none_match:
            headers["If-None-Match"] = request.if_none_match
        if token := self.config.bearer():
            headers["Authorization"] = f"Bearer {token}"
        return headers

    @contextlib.asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Sends a request and hands out the answer as it arrives: for watches and logs. Raises as `send` does.

        A server that is too busy and says for how long is asked again then, as client-go does.
        """
        timeout = aiohttp.ClientTimeout(total=request.timeout, sock_connect=5, sock_read=request.silence)
        try:
            for left in range(_MOST_TRIES - 1, -1, -1):
                async with self._session.request(
                    request.method,
                    self.config.server + request.target,
                    data=request.body,
                    headers=self._headers(request),
                    timeout=timeout,
                    server_hostname=self.config.server_name or None,
                ) as response:
                    if response.status < 400:
                        yield response
                        return
                    refusal = _failure(response.status, await response.read())
                    pause = _asked_to_wait(response)
                if pause is None or not left:
                    raise refusal
                await self.clock.sleep(pause)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{request.method} {self.config.server}{request.path}: {error or type(error).__name__}") from error

    async def send(self, request: Request) -> bytes:
        """The body of the answer. ApiError when the server refuses, Unreachable when it cannot be asked."""
        async with self.open(request) as response:
            return await response.read()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Any request by its path."""
        return await self.send(Request(method, path, tuple((query or {}).items()), body, content_type))

    # ---- by type ----

    async def get(self, kind: type[T], name: str, namespace: str = "") -> T:
        data = await self.send(Request("GET", resources.of(kind).path(name, namespace)))
        return codec.decode(kind, data)

    async def list(
        self, kind: type[T], namespace: str = "", labels: str = "", fields: str = "", limit: int = 0, revision: int = 0
    ) -> tuple[builtins.list[T], str]:
        """Items and the resourceVersion of the list. A limit is the size of the chunks; all of them are read. With a revision, the items
        are those of then; Expired when it is not kept any more."""
        found: builtins.list[T] = []
        page = ""
        while True:
            query = {"labelSelector": labels, "fieldSelector": fields, "limit": str(limit or ""), "continue": page}
            if revision and not page:
                query |= {"resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
            request = Request("GET", resources.of(kind).path(namespace=namespace), _query(**query))
            listed = items_of(kind, await self.send(request))
            found += listed
            page = listed.metadata.continue_ or ""
            if not page:
                return found, listed.version

    async def create(self, obj: T, namespace: str | None = None) -> T:
        """Creates an object in its own namespace, or the one given."""
        kind = type(obj)
        path = resources.of(kind).path(namespace=_namespace(obj) if namespace is None else namespace)
        return codec.decode(kind, await self.send(Request("POST", path, body=_stamped(obj))))

    async def update(self, obj: T, subresource: str = "") -> T:
        """Replaces an object; with a resourceVersion in its metadata, only that version of it."""
        kind = type(obj)
        path = resources.of(kind).path(_name(obj), _namespace(obj), subresource)
        return codec.decode(kind, await self.send(Request("PUT", path, body=_stamped(obj))))

    async def update_status(self, obj: T) -> T:
        return await self.update(obj, "status")

    async def patch(
        self,
        kind: type[T],
        name: str,
        patch: Object | dict[str, Any] | builtins.list[dict[str, Any]],
        namespace: str = "",
        *,
        how: PatchKind = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> T:
        """Changes an object by a merge, strategic, JSON or server-side-apply patch."""
        path = resources.of(kind).path(name, namespace, subresource)
        query = _query(fieldManager=field_manager, force=force or None)
        request = Request("PATCH", path, query, codec.encode(patch), PATCH_TYPES[how])
        return codec.decode(kind, await self.send(request))

    async def delete(
        self,
        kind: type[Object],
        name: str,
        namespace: str = "",
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace: int | None = None,
        propagation: str | None = None,
    ) -> None:
        """Asks for an object to be deleted; `uid` and `resource_version` make sure it is the one that was seen."""
        preconditions = meta_v1.Preconditions(uid=uid, resourceVersion=resource_version) if uid or resource_version else None
        options = meta_v1.DeleteOptions(
            apiVersion="v1", kind="DeleteOptions", gracePeriodSeconds=grace, propagationPolicy=propagation, preconditions=preconditions
        )
        await self.send(Request("DELETE", resources.of(kind).path(name, namespace), body=codec.encode(options)))

    async def create_subresource(self, kind: type[Object], name: str, subresource: str, body: T, namespace: str = "") -> T:
        """POSTs to a subresource: bindings, evictions, token requests. The answer has the body's type."""
        path = resources.of(kind).path(name, namespace, subresource)
        data = await self.send(Request("POST", path, body=codec.encode(body)))
        return codec.decode(type(body), data)

    async def create_action(self, kind: type[Object], name: str, subresource: str, body: Object, namespace: str = "") -> None:
        """POSTs to a subresource that answers with a Status (binding, eviction)."""
        await self.send(Request("POST", resources.of(kind).path(name, namespace, subresource), body=codec.encode(body)))

    async def scale(self, kind: type[Object], name: str, namespace: str, replicas: int) -> None:
        """Sets the replicas of anything that has a scale subresource."""
        scale = autoscaling_v1.Scale(
            apiVersion="autoscaling/v1",
            kind="Scale",
            metadata=meta_v1.ObjectMeta(name=name, namespace=namespace),
            spec=autoscaling_v1.ScaleSpec(replicas=replicas),
        )
        await self.send(Request("PUT", resources.of(kind).path(name, namespace, "scale"), body=codec.encode(scale)))


class _Answer(msgspec.Struct):
    metadata: meta_v1.ListMeta = msgspec.field(default_factory=meta_v1.ListMeta)
    items: builtins.list[msgspec.Raw] | None = None


class _Names(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Named(msgspec.Struct):
    metadata: _Names


_answer = msgspec.json.Decoder(_Answer)
_named = msgspec.json.Decoder(_Named)


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """A list answer. Items are decoded one by one, each with its apiVersion and kind, so that who keeps little of each needs little."""

    kind: type[T]
    metadata: meta_v1.ListMeta
    raw: builtins.list[msgspec.Raw]

    @property
    def version(self) -> str:
        return self.metadata.resourceVersion or ""

    def keys(self) -> Iterator[str]:
        """`namespace/name` of each item, or its name."""
        for item in self.raw:
            found = _named.decode(item).metadata
            yield f"{found.namespace}/{found.name}" if found.namespace else found.name

    def item(self, number: int) -> T:
        """One of the items. codec.DecodeError when it cannot be read."""
        made: Any = codec.decode(self.kind, bytes(self.raw[number]))
        made.apiVersion, made.kind = resources.group_version_kind(self.kind)
        return made  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[T]:
        return (self.item(number) for number in range(len(self.raw)))


def items_of(kind: type[T], data: bytes) -> Items[T]:
    """The items of a list answer. codec.DecodeError when it is none."""
    try:
        answer = _answer.decode(data)
    except msgspec.MsgspecError as error:
        raise codec.DecodeError(str(error)) from error
    return Items(kind, answer.metadata, answer.items or [])


def _asked_to_wait(response: aiohttp.ClientResponse) -> float | None:
    """Seconds after which a busy server wants to be asked again; None where it refuses for another reason."""
    if response.status != 429 and response.status < 500:
        return None
    asked = integers.parse(response.headers.get("Retry-After"), least=0)
    return None if asked is None else min(float(asked), _LONGEST_PAUSE)


def _failure(status: int, body: bytes) -> errors.ApiError:
    try:
        found = codec.decode(meta_v1.Status, body)
    except (codec.DecodeError, msgspec.MsgspecError):
        found = meta_v1.Status()
    if found.kind != "Status":
        text = body[:512].decode("utf-8", "replace").strip()
        return errors.from_status(meta_v1.Status(kind="Status", message=text or f"HTTP status {status}", code=status))
    return errors.from_status(found)


def _metadata(obj: Object) -> meta_v1.ObjectMeta:
    metadata: meta_v1.ObjectMeta | None = getattr(obj, "metadata", None)
    return metadata if metadata is not None else meta_v1.ObjectMeta()


def _name(obj: Object) -> str:
    return _metadata(obj).name or ""


def _namespace(obj: Object) -> str:
    return _metadata(obj).namespace or ""


def _stamped(obj: Object) -> bytes:
    """The object as JSON, with the apiVersion and kind of its type."""
    envelope: Any = obj
    if not envelope.kind:
        version, kind = resources.group_version_kind(type(obj))
        return codec.encode(msgspec.structs.replace(envelope, apiVersion=version, kind=kind))
    return codec.encode(obj)
