"""WATCH: events of a scope, each encoded once and written to every watcher.

Events are written straight to the connection from the place where the store's commit is applied: no task wakes, no queue
fills, as long as the client keeps up (`watchers` has the rest). What was before comes first: all there is, or what happened since.

Upstream counterpart: apiserver's endpoints/handlers/watch.go and storage/cacher (initial events: KEP-3157).
"""

from __future__ import annotations

import asyncio
import contextlib
import random

from aiohttp import web

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, streams, tables, watchers
from navarch.apiserver.answers import Accepted
from navarch.apiserver.context import Context
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import list as listing
from navarch.apiserver.watch_cache import Entry, Event, Scope
from navarch.apiserver.watchers import Frame
from navarch.apiserver.writing import version_number
from navarch.machinery import codec, errors, field

_BOOKMARK_SECONDS = 60.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


def framer(context: Context, served: Served, form: Accepted) -> Frame:
    """How an event becomes bytes for this watcher. The plain form is shared by all watchers of a version."""
    if not form.shape:
        return watchers.plain_frame
    if form.shape == "Table":
        rows = tables.Rows(context, served, headers=True)

        def table(kind: str, event: Event) -> bytes:
            return _line(kind, rows.document(event.body(kind), event.revision))

        return table
    return lambda kind, event: _line(kind, answers.partial(event.body(kind)))


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    scope = listing.scope_of(context, served)
    timeout = listing.timeout_seconds(context)
    form = answers.accepted(context, "Table", "PartialObjectMetadata", "PartialObjectMetadataList")
    initial, version, bookmarks = _start(context)
    if not context.query.get("resourceVersion"):
        await server.storage.fresh()
    if version > server.storage.revision:
        raise listing.too_large(version, server.storage.revision)
    reached = version or server.storage.revision
    past: list[Event] = []
    try:
        if not initial:
            past, reached = await _past(served, server, reached)
    except errors.Expired as error:
        return await _expired(context, error)
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    answers.warn(context, response)
    await response.prepare(context.request)
    watcher = watchers.Watcher(context.request, framer(context, served, form), server.watchers, None if form.shape else watchers.plain_chunk)
    try:
        while not initial and (late := served.cache.since(reached)) is None:
            more, reached = await _past(served, server, reached)
            past += more
    except errors.Expired as error:
        await response.write(_line("ERROR", codec.encode(error.status)))
        return response
    # From here to `join` nothing waits, so that no event falls between what was read and what is followed.
    revision = server.storage.revision
    entries = served.cache.candidates(scope) if initial and served.view is None else []
    past += () if initial else late or ()
    if served.view is None:
        watcher.hold((kind, event) for event in past if (kind := scope.kind_of(event)))
        leave = served.cache.join(scope, watcher.receive)
    else:
        entries = served.view.candidates(scope) if initial else []
        leave = served.view.join(scope, watcher, revision)
    server.watchers.add(watcher)
    try:
        if served.view is not None:
            entries = await served.view.initial(scope, entries, server.turns)
            past = await served.view.events(past, server.turns)
            watcher.hold_first([(kind, event) for event in past if (kind := scope.kind_of(event))])
        del past
        if initial:
            await _write_initial(response, server, scope, entries, framer(context, served, form))
            del entries
        if context.query.get("sendInitialEvents") == "true" and bookmarks:
            await response.write(_bookmark(served, revision, form, _INITIAL_END))
        await _linger(served, server, watcher, response, form, bookmarks, timeout)
    except errors.ApiError as error:
        watcher.fail(error)
    finally:
        leave()
        server.watchers.discard(watcher)
    if not watcher.closed:
        if watcher.error is not None:
            await response.write(_line("ERROR", codec.encode(watcher.error.status)))
        await response.write_eof()
    return response


async def _past(served: Served, server: Server, revision: int) -> tuple[list[Event], int]:
    """The events after a revision that the cache has forgotten, and up to which they are. Expired when they are not kept."""
    if served.cache.since(revision) is not None:
        return [], revision
    return await server.pasts.of(served.cache).since(revision)


async def _write_initial(response: web.StreamResponse, server: Server, scope: Scope, entries: list[Entry], frame: Frame) -> None:
    """What there is, as ADDED events, as fast as the client takes them."""
    matching = entries if not scope.cost else (entry for entry in entries if scope.matches(entry))
    parts = (frame("ADDED", Event(entry.version, entry.key, entry, None)) for entry in matching)
    async for piece in streams.pieces(parts, server.turns):
        async with asyncio.timeout(watchers.STUCK_SECONDS):
            await response.write(piece)


async def _linger(
    served: Served, server: Server, watcher: watchers.Watcher, response: web.StreamResponse, form: Accepted, bookmarks: bool, timeout: int
) -> None:
    """Keeps the watch open until its time is over, its client gone or the server stopping."""
    loop = asyncio.get_running_loop()
    end = loop.time() + (timeout or random.randint(1800, 3600))
    bookmark = loop.time() + _BOOKMARK_SECONDS
    while not watcher.over and (now := loop.time()) < end:
        await watcher.drain(response, server.turns)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(end, bookmark) - now):
                await watcher.wake.wait()
        watcher.wake.clear()
        if served.view is not None:
            await served.view.advance(server.turns)
        if loop.time() >= min(bookmark, end):
            bookmark = loop.time() + _BOOKMARK_SECONDS
            if bookmarks and watcher.live and not watcher.closed:
                watcher.write(_bookmark(served, server.storage.revision, form))


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
