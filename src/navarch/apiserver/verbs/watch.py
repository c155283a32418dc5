"""WATCH: events of a scope, each encoded once and written to every watcher.

Events are written straight to the connection from the place where the store's commit is applied: no task wakes, no queue
fills, as long as the client keeps up (`watchers` has the rest). What was before comes first: all there is, or what happened since.

Upstream counterpart: apiserver's endpoints/handlers/watch.go and storage/cacher (initial events: KEP-3157).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from navarch.apiserver import documents, negotiation, streams, tables, watchers
from navarch.apiserver.answers import Answer, Document, Sink, Stream
from navarch.apiserver.call import Call
from navarch.apiserver.history import Pasts
from navarch.apiserver.negotiation import Accepted
from navarch.apiserver.served import Served
from navarch.apiserver.storage import Storage
from navarch.apiserver.verbs import list as listing
from navarch.apiserver.watch_cache import Entry, Event, Scope
from navarch.apiserver.watchers import Frame
from navarch.apiserver.writing import version_number
from navarch.machinery import codec, errors, field

_BOOKMARK_SECONDS = 60.0
_INITIAL_END = {"k8s.io/initial-events-end": "true"}


@dataclass(frozen=True, slots=True)
class Watches:
    """What watches follow, and who follows."""

    storage: Storage
    turns: streams.Turns
    pasts: Pasts
    watchers: watchers.Watchers


def framer(call: Call, served: Served, form: Accepted) -> Frame:
    """How an event becomes bytes for this watcher. The plain form is shared by all watchers of a version."""
    if not form.shape:
        return lambda kind, event: event.frame(kind)
    if form.shape == "Table":
        rows = tables.Rows(call, served, headers=True)

        def table(kind: str, event: Event) -> bytes:
            return _line(kind, rows.document(event.body(kind), event.revision))

        return table
    return lambda kind, event: _line(kind, documents.partial(event.body(kind)))


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), body)


async def handle(watches: Watches, call: Call, served: Served) -> Answer:
    scope = listing.scope_of(call, served)
    timeout = listing.timeout_seconds(call)
    form = negotiation.accepted(call, "Table", "PartialObjectMetadata", "PartialObjectMetadataList")
    initial, version, bookmarks = _start(call)
    if not call.query.get("resourceVersion"):
        await watches.storage.fresh()
    if version > watches.storage.revision:
        raise listing.too_large(version, watches.storage.revision)
    reached = version or watches.storage.revision
    past: list[Event] = []
    try:
        if not initial:
            past, reached = await _past(served, watches, reached)
    except errors.Expired as error:
        return Document(_expired(error))
    ends = call.query.get("sendInitialEvents") == "true" and bookmarks
    return Stream(_Watch(served, watches, scope, form, framer(call, served, form), initial, past, reached, ends, bookmarks, timeout).run)


@dataclass(slots=True)
class _Watch:
    """One watch. It begins with what there is (`initial`), or with the events of the past up to the revision `reached`."""

    served: Served
    watches: Watches
    scope: Scope
    form: Accepted
    frame: Frame
    initial: bool
    past: list[Event]
    reached: int
    ends: bool
    """A bookmark tells the end of what there is."""

    bookmarks: bool
    timeout: int

    async def run(self, sink: Sink) -> None:
        served, watches = self.served, self.watches
        watcher = watchers.Watcher(sink, self.frame, watches.watchers, served.cache)
        try:
            while not self.initial and (late := served.cache.since(self.reached)) is None:
                more, self.reached = await _past(served, watches, self.reached)
                self.past += more
        except errors.Expired as error:
            await sink.send(_expired(error))
            return
        # From here to `join` nothing waits, so that no event falls between what was read and what is followed.
        revision = watches.storage.revision
        past, self.past = [*self.past, *(() if self.initial else late or ())], []
        view = served.view
        entries = served.cache.candidates(self.scope) if self.initial else []
        if view is None:
            watcher.hold(self._selected(past))
            leave = served.cache.join(self.scope, watcher.receive)
        else:
            leave = view.join(self.scope, watcher)
        watches.watchers.add(watcher)
        try:
            if view is not None:
                entries = await view.entries([entry for entry in entries if self.scope.matches(entry)], watches.turns)
                watcher.hold_first(self._selected(await view.events(past, watches.turns)))
            del past
            if self.initial:
                await self._write_initial(sink, entries)
                del entries
            if self.ends:
                await sink.send(_bookmark(served, revision, self.form, _INITIAL_END))
            await self._linger(watcher, sink)
        finally:
            leave()
            watches.watchers.discard(watcher)

    def _selected(self, events: Sequence[Event]) -> list[tuple[str, Event]]:
        """What of events this watch is told."""
        return [(kind, event) for event in events if (kind := self.scope.kind_of(event))]

    async def _write_initial(self, sink: Sink, entries: list[Entry]) -> None:
        """What there is, as ADDED events, as fast as the client takes them."""
        scope = self.scope
        matching = entries if not scope.cost else (entry for entry in entries if scope.matches(entry))
        parts = (self.frame("ADDED", Event(entry.version, entry.key, entry, None)) for entry in matching)
        async for piece in streams.pieces(parts, self.watches.turns):
            async with asyncio.timeout(watchers.STUCK_SECONDS):
                await sink.send(piece)

    async def _linger(self, watcher: watchers.Watcher, sink: Sink) -> None:
        """Keeps the watch open until its time is over, its client gone or the server stopping."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.timeout or random.randint(1800, 3600))
        bookmark = loop.time() + _BOOKMARK_SECONDS
        while not watcher.over and (now := loop.time()) < end:
            await watcher.drain(self.watches.turns)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(end, bookmark) - now):
                    await watcher.wake.wait()
            watcher.wake.clear()
            if loop.time() >= min(bookmark, end):
                bookmark = loop.time() + _BOOKMARK_SECONDS
                if self.bookmarks and watcher.live and not watcher.closed:
                    watcher.write(_bookmark(self.served, self.watches.storage.revision, self.form))


async def _past(served: Served, watches: Watches, revision: int) -> tuple[list[Event], int]:
    """The events after a revision that the cache has forgotten, and up to which they are. Expired when they are not kept."""
    if served.cache.since(revision) is not None:
        return [], revision
    return await watches.pasts.of(served.cache).since(revision)


def _start(call: Call) -> tuple[bool, int, bool]:
    """Whether to begin with what there is, the revision to go on from, and whether bookmarks are wanted."""
    query = call.query
    asked, match = query.get("resourceVersion"), query.get("resourceVersionMatch")
    initial = query.get("sendInitialEvents") if "sendInitialEvents" in query else None
    bookmarks = call.query.flag("allowWatchBookmarks")
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


def _expired(error: errors.Expired) -> bytes:
    """What tells a watch that cannot go on from where it was asked to: one ERROR event, as upstream answers."""
    return _line("ERROR", codec.encode(error.status))
