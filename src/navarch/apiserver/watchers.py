"""The connections of those who watch, and how much they may leave unread.

An event is written straight to the connection as long as the client keeps up. When it does not, events are held back by reference: what
is encoded once for all is held once for all, and the connection's buffer stays small. What all of them together hold has one budget;
past it, whoever is farthest behind is cut off. It comes back and goes on from where it was.

Upstream counterpart: apiserver's storage/cacher (cacheWatcher), which ends a watch that does not keep up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from navarch.apiserver.answers import Sink
from navarch.apiserver.streams import PIECE, Turns
from navarch.apiserver.watch_cache import Cache, Event

_log = logging.getLogger(__name__)
Frame = Callable[[str, Event], bytes]

MOST_BUFFERED = 128 * 1024
"""Bytes in a connection's own buffer from where on events are held back."""
MOST_HELD = 48 * 1024 * 1024
"""Bytes of events that are held back for anybody, each event counted once."""
MOST_BEHIND = 50_000
"""Events that one watcher may be behind."""
STUCK_SECONDS = 60.0
"""How long a client may take nothing while there is something for it."""


class Watchers:
    """All of them, and what they hold back together."""

    def __init__(self, most_held: int = MOST_HELD) -> None:
        self._most_held = most_held
        self._all: set[Watcher] = set()
        self.held = 0

    def add(self, watcher: Watcher) -> None:
        self._all.add(watcher)

    def discard(self, watcher: Watcher) -> None:
        """Takes a watcher away, with what it held."""
        self._all.discard(watcher)
        while watcher.behind:
            self.release(watcher.behind.popleft()[1])

    def end(self) -> None:
        """Ends all watches: the server stops."""
        for watcher in self._all:
            watcher.end()

    def end_of(self, cache: Cache) -> None:
        """Ends all watches of a cache: it follows nothing any more, and who watches must begin again."""
        for watcher in self._all:
            if watcher.cache is cache:
                watcher.end()

    def take(self, event: Event) -> None:
        """Counts one more who holds an event."""
        if not event.holders:
            self.held += event.size
        event.holders += 1

    def release(self, event: Event) -> None:
        event.holders -= 1
        if not event.holders:
            self.held -= event.size

    def relieve(self) -> None:
        """Cuts off whoever is farthest behind, until the rest is within the budget."""
        while self.held > self._most_held:
            slowest = max(self._all, key=lambda watcher: len(watcher.behind), default=None)
            if slowest is None or not slowest.behind:
                return
            slowest.cut()


class Watcher:
    """One watch's client. `receive` takes events as they happen; `drain` writes what was held back."""

    __slots__ = ("_frame", "_sink", "_watchers", "behind", "cache", "live", "over", "wake")

    def __init__(self, sink: Sink, frame: Frame, watchers: Watchers, cache: Cache | None = None) -> None:
        self.cache = cache
        self._sink = sink
        self._frame = frame
        self._watchers = watchers
        self.behind: deque[tuple[str, Event]] = deque()
        self.live = False
        """Whether everything from before was written, so that events may be written as they come."""
        self.over = False
        """What the watch ends with."""

        self.wake = asyncio.Event()
        """Set when there is something to drain, or the watch is over."""

    @property
    def closed(self) -> bool:
        """Whether the client is gone."""
        return self._sink.closed

    def end(self) -> None:
        """Nothing more is to come."""
        self.over = True
        self.wake.set()

    def cut(self) -> None:
        """Ends the connection: the client does not keep up."""
        _log.warning("a watch is cut off: its client is %d events behind", len(self.behind))
        self._watchers.discard(self)
        self._sink.abort()
        self.end()

    def receive(self, seen: Sequence[tuple[str, Event]]) -> None:
        """Events as they happen."""
        if self._sink.closed:
            self.end()
            return
        if not self.live or self.behind:
            self.hold(seen)
        elif len(seen) == 1:
            self.write(self._frame(*seen[0]))
        else:
            self._write_all(seen)

    def _write_all(self, seen: Sequence[tuple[str, Event]]) -> None:
        held: list[bytes] = []
        size = 0
        for n, (kind, event) in enumerate(seen):
            part = self._frame(kind, event)
            held.append(part)
            size += len(part)
            if size >= PIECE:
                self.write(b"".join(held))
                held, size = [], 0
                if not self.live:
                    self.hold(seen[n + 1 :])
                    return
        if held:
            self.write(b"".join(held))

    def write(self, data: bytes) -> None:
        """Writes to a client that keeps up."""
        if self._sink.write(data) > MOST_BUFFERED:
            self.live = False
            self.wake.set()

    def hold(self, seen: Iterable[tuple[str, Event]]) -> None:
        """Keeps events for later."""
        for item in seen:
            self._watchers.take(item[1])
            self.behind.append(item)
        self._check_budget()

    def hold_first(self, seen: Sequence[tuple[str, Event]]) -> None:
        """Keeps events that came before those that are held already."""
        for item in reversed(seen):
            self._watchers.take(item[1])
            self.behind.appendleft(item)
        self._check_budget()

    def _check_budget(self) -> None:
        self.wake.set()
        if len(self.behind) > MOST_BEHIND:
            self.cut()
        else:
            self._watchers.relieve()

    async def drain(self, turns: Turns) -> None:
        """Writes what was held back, as fast as the client takes it, a piece in a turn of its own: many watchers may be behind at once.

        ConnectionResetError when the client takes nothing for too long.
        """
        while not self.live and not self.over:
            async with turns:
                piece = self._next_piece()
            if not piece:
                # What comes while the turn ends is held back; a watcher is live only with nothing behind.
                self.live = not self.behind
                continue
            try:
                async with asyncio.timeout(STUCK_SECONDS):
                    await self._sink.send(piece)
            except TimeoutError:
                self.cut()
                raise ConnectionResetError("the client did not read for too long") from None

    def _next_piece(self) -> bytes:
        held: list[bytes] = []
        size = 0
        while self.behind and size < PIECE:
            kind, event = self.behind.popleft()
            self._watchers.release(event)
            part = self._frame(kind, event)
            held.append(part)
            size += len(part)
        return b"".join(held)
