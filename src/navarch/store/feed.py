"""Watches and subscriptions: committed changes, fanned out on the event loop.

A watch is a cursor. While it is behind, it reads history in pieces; once it has caught up it takes what `publish` gives it.
The buffer between the two is bounded: a watcher that falls too far behind loses the buffer, not its place, and goes back to
reading history. So a slow reader costs no memory, and nothing is left out or told twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from navarch.store.interface import Change, FutureRevision, Piece, Subscriber

LIVE_CHANGES = 4096
"""Changes a watch may have waiting before it goes back to reading history."""

log = logging.getLogger(__name__)


History = Callable[[str, str, int], Awaitable[Piece]]
"""`history(start, end, after)` reads the next piece of changes above revision `after`; raises Compacted."""


class Feed:
    """Everything that wants to hear of commits. `revision` is the last one published."""

    def __init__(self, revision: int = 0) -> None:
        self.revision = revision
        self._subscribers: list[Subscriber] = []
        self._live: set[_Live] = set()

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        # A new list each time, so that ending a subscription while publishing disturbs nobody.
        self._subscribers = [*self._subscribers, fn]

        def end() -> None:
            self._subscribers = [s for s in self._subscribers if s is not fn]

        return end

    def publish(self, changes: tuple[Change, ...]) -> None:
        """Tells of whole transactions, in order."""
        self.revision = changes[-1].revision
        for fn in self._subscribers:
            try:
                fn(changes)
            except Exception:
                log.exception("a store subscriber failed; it has missed changes up to revision %d", self.revision)
        for live in self._live:
            live.offer(changes)

    def close(self, error: Exception) -> None:
        for live in self._live:
            live.fail(error)

    async def watch(self, start: str, end: str, after: int, history: History) -> AsyncIterator[tuple[Change, ...]]:
        if after > self.revision:
            raise FutureRevision(after, self.revision)
        live = _Live(start, end)
        try:
            while True:
                # Between this comparison and joining the live set nothing can be published: there is no await.
                while after < self.revision:
                    piece = await history(start, end, after)
                    after = piece.until
                    if piece.changes:
                        yield piece.changes
                live.open(after)
                self._live.add(live)
                while not live.lost:
                    changes = await live.take()
                    if changes:
                        after = changes[-1].revision
                        yield changes
                self._live.discard(live)
                after = max(after, live.covered)
        finally:
            self._live.discard(live)


class _Live:
    """One caught-up watch's buffer. It ends `lost` when the reader lets it run over.

    Nothing that the reader has not been given happened in its range up to revision `covered`.
    """

    __slots__ = ("_buffer", "_end", "_error", "_size", "_start", "_wake", "covered", "lost")

    def __init__(self, start: str, end: str) -> None:
        self._start = start
        self._end = end or start + "\0"
        self._buffer: deque[tuple[Change, ...]] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._error: Exception | None = None
        self.lost = False
        self.covered = 0

    def open(self, after: int) -> None:
        self.lost = False
        self.covered = after

    def offer(self, changes: tuple[Change, ...]) -> None:
        if self.lost:
            return
        start, end = self._start, self._end
        mine = tuple(c for c in changes if start <= c.key < end)
        if not mine:
            if not self._buffer:
                self.covered = changes[-1].revision
            return
        self._size += len(mine)
        if self._size > LIVE_CHANGES:
            self._buffer.clear()
            self._size = 0
            self.lost = True
        else:
            self._buffer.append(mine)
        self._wake.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._wake.set()

    async def take(self) -> tuple[Change, ...]:
        """The next buffered changes; empty when the buffer was lost."""
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self.lost:
                return ()
            self._wake.clear()
            await self._wake.wait()
        changes = self._buffer.popleft()
        self._size -= len(changes)
        return changes
