"""WATCH: events of a scope, each encoded once and written to every watcher.

Events are written straight to the connection from the place where the store's commit is applied: no task wakes, no queue
fills. A client that does not read is cut off when its buffer is full; it comes back and goes on from where it was.

Upstream counterpart: apiserver's endpoints/handlers/watch.go and storage/cacher (initial events: KEP-3157).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from aiohttp import web

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, tables
from navarch.apiserver.answers import Accepted
from navarch.apiserver.context import Context
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import list as listing
from navarch.apiserver.watch_cache import Cache, Entry, Event
from navarch.apiserver.writing import version_number
from navarch.machinery import codec, errors, field
from navarch.store import interface as stores

_MOST_UNREAD = 16 * 1024 * 1024
_BOOKMARK_SECONDS = 60.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}

Frame = Callable[[str, Event], bytes]


def framer(context: Context, served: Served, form: Accepted) -> Frame:
    """How an event becomes bytes for this watcher. The plain form is shared by all watchers of a resource."""
    if not form.shape and served.convert_out is None:
        return lambda kind, event: event.frame(kind)
    if form.shape == "Table":
        rows = tables.Rows(context, served, headers=True)

        def table(kind: str, event: Event) -> bytes:
            return _line(kind, rows.document(served.convert(event.body(kind)), event.revision))

        return table

    def converted(kind: str, event: Event) -> bytes:
        body = served.convert(event.body(kind))
        return _line(kind, answers.partial(body) if form.shape else body)

    return converted


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)


class _Wire:
    """The connection of one watcher: chunks written without waiting. `ended`: nothing more is to come."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._transport = request.transport
        self.ended = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the client is gone."""
        return self._transport is None or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            self.ended.set()
            return
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        if transport.get_write_buffer_size() > _MOST_UNREAD:
            transport.abort()
            self.ended.set()


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    scope = listing.scope_of(context, served)
    timeout = listing.timeout_seconds(context)
    form = answers.accepted(context, "Table", "PartialObjectMetadata", "PartialObjectMetadataList")
    initial, version, bookmarks = _start(context)
    if version > server.storage.revision:
        raise listing.too_large(version, server.storage.revision)
    frame = framer(context, served, form)
    past = _Past(served, server, version or server.storage.revision)
    try:
        if not initial:
            await past.read()
    except errors.Expired as error:
        return await _expired(context, error)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    answers.warn(context, response)
    await response.prepare(context.request)
    wire = _Wire(context.request)

    def receive(seen: list[tuple[str, Event]]) -> None:
        wire.write(b"".join([frame(kind, event) for kind, event in seen]))

    try:
        while not initial and (late := served.cache.since(past.reached)) is None:
            await past.read()
    except errors.Expired as error:
        await response.write(_line("ERROR", codec.encode(error.status)))
        return response
    # From here to `join` nothing waits, so that no event falls between what was read and what is followed.
    if initial:
        head = [frame("ADDED", _as_event(entry)) for entry in served.cache.select(scope)]
    else:
        head = [frame(kind, event) for event in (*past.events, *(late or ())) if (kind := scope.kind_of(event))]
    if context.query.get("sendInitialEvents") == "true" and bookmarks:
        head.append(_bookmark(served, server.storage.revision, form, _INITIAL_END))
    if head:
        wire.write(b"".join(head))
    leave = served.cache.join(scope, receive)
    server.watchers.add(wire.ended)
    try:
        await _linger(served, server, wire, form, bookmarks, timeout)
    finally:
        leave()
        server.watchers.discard(wire.ended)
    if not wire.closed:
        await response.write_eof()
    return response


async def _linger(served: Served, server: Server, wire: _Wire, form: Accepted, bookmarks: bool, timeout: int) -> None:
    """Keeps the watch open until its time is over, its client gone or the server stopping."""
    loop = asyncio.get_running_loop()
    end = loop.time() + (timeout or random.randint(1800, 3600))
    while not wire.ended.is_set() and (left := end - loop.time()) > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(left, _BOOKMARK_SECONDS)):
                await wire.ended.wait()
        if bookmarks and not wire.closed:
            wire.write(_bookmark(served, server.storage.revision, form))


def _start(context: Context) -> tuple[bool, int, bool]:
    """Whether to begin with what there is, the revision to go on from, and whether bookmarks are wanted."""
    query = context.query
    asked, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    initial = query.get("sendInitialEvents")
    bookmarks = context.flag("allowWatchBookmarks")
    problem: field.Problem | None = None
    if initial is not None:
        if match != "NotOlderThan":
            problem = field.forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    elif match:
        problem = field.forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    if problem is not None:
        raise field.invalid_error("meta.k8s.io", "ListOptions", "", [problem])
    version = version_number(asked)
    wants_state = initial == "true" or (initial is None and version == 0)
    if initial is not None and initial != "true":
        wants_state = False
    return wants_state, version, bookmarks


def _as_event(entry: Entry) -> Event:
    return Event(entry.version, entry.key, entry, None)


class _Past:
    """The events after a revision that the cache has forgotten, from the store's history."""

    def __init__(self, served: Served, server: Server, version: int) -> None:
        self._cache, self._store = served.cache, server.storage.store
        self._loaded = server.storage.loaded
        self._asked = self.reached = version
        self.events: list[Event] = []

    async def read(self) -> None:
        """Reads on until the cache knows the rest. Expired when the store does not know the beginning any more."""
        cache = self._cache
        if cache.since(self.reached) is not None:
            return
        # A change of this resource ends what the cache forgot; what came before the cache was filled ends with any resource's.
        whole = cache.complete_since == self._loaded
        changes = self._store.watch("", stores.END, self.reached) if whole else self._store.watch(cache.prefix, f"{cache.prefix[:-1]}0", self.reached)
        try:
            while cache.since(self.reached) is None:
                for change in await anext(changes):
                    if change.key.startswith(cache.prefix):
                        self.events.append(_from_history(cache, change))
                    self.reached = change.revision
        except stores.Compacted as error:
            raise errors.Expired(f"too old resource version: {self._asked} ({error.oldest})") from None


def _from_history(cache: Cache, change: stores.Change) -> Event:
    key = change.key[len(cache.prefix) :]
    new = cache.entry(key, change.value, change.revision) if change.value is not None else None
    old = cache.entry(key, change.previous, change.previous_revision) if change.previous is not None else None
    return Event(change.revision, key, new, old)


def _bookmark(served: Served, revision: int, form: Accepted, annotations: dict[str, str] | None = None) -> bytes:
    metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if annotations:
        metadata["annotations"] = annotations
    version, kind = served.resource.group_version, served.resource.kind
    if form.shape:
        version, kind = "meta.k8s.io/v1", "PartialObjectMetadata"
    document: dict[str, object] = {"kind": kind, "apiVersion": version, "metadata": metadata}
    if form.shape == "Table":
        row = {"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}}
        table = {"resourceVersion": str(revision)}
        document = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": table, "columnDefinitions": None, "rows": [row]}
    return _line("BOOKMARK", codec.encode(document))


async def _expired(context: Context, error: errors.Expired) -> web.StreamResponse:
    """A watch that cannot start where it was asked to: one ERROR event, as upstream answers."""
    status: meta_v1.Status = error.status
    return answers.raw(_line("ERROR", codec.encode(status)))
