"""Copies the write-ahead log into the file: the only connection that ever does, on a thread of its own.

Most of it happens beside the writer, so that commits do not wait. The log begins anew only when all of it was copied and nobody
appends meanwhile; so when it has grown long, or copying cannot keep up, the writer waits for one more copy, which finds little left.
With an SQLite that can corrupt its file when a commit begins the log anew during a copy (see `library`), the writer always waits.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from navarch.store import library, schema

UNSAVED_IDLE, UNSAVED_BUSY, UNSAVED_MOST, LONGEST = 256, 1024, 8192, 16384
"""Pages in the log that are not yet in the file: to copy when nobody waits; beside the writer; in its way. And how long the log may
grow, copied or not."""
_PAUSE = 0.1
_PAUSE_LONG = 0.5

log = logging.getLogger(__name__)


def log_pages(path: str) -> int:
    """About how many pages a store's write-ahead log holds."""
    try:
        return os.path.getsize(path + "-wal") // 4096
    except OSError:
        return 0


class Checkpointer:
    """`copied` is called on this thread after each copy. All else is for the writer's thread."""

    def __init__(self, path: str, copied: Callable[[], None], vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._copied = copied
        self._beside_writer = not library.weakness(library.version())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-checkpointer")
        self._connection: library.Connection | None = None
        self._running: Future[None] | None = None
        self._not_before = 0.0
        # A killed store leaves its log behind, and a store that is killed often would never copy it.
        self._length = self._unsaved = log_pages(path)

    def appended(self, pages: int) -> None:
        """Tells of about so many pages that went into the log."""
        self._length += pages
        self._unsaved += pages

    @property
    def due_when_idle(self) -> bool:
        return self._unsaved > UNSAVED_IDLE

    def keep_up(self) -> None:
        """Between two commits: copies if it is time to. Raises what a copy, this or the last, failed with."""
        self._collect()
        if self._unsaved <= UNSAVED_BUSY and self._length <= LONGEST:
            return
        now = time.monotonic()
        if now < self._not_before:
            return
        if self._unsaved > UNSAVED_MOST or self._length > LONGEST or not self._beside_writer:
            # A reader may hold on to the log, so that copying it all does not help yet.
            self._not_before = now + _PAUSE_LONG
            self.copy()
        elif self._running is None:
            self._not_before = now + _PAUSE
            self._running = self._thread.submit(self._copy)

    def copy(self) -> None:
        """Copies what there is, and waits for it. Raises library.Error, OSError."""
        if self._running is not None:
            running, self._running = self._running, None
            running.result()
        self._thread.submit(self._copy).result()

    def _collect(self) -> None:
        if self._running is not None and self._running.done():
            running, self._running = self._running, None
            running.result()

    def _copy(self, mode: str = "PASSIVE") -> None:
        if self._connection is None:
            self._connection = schema.connect(self._path, 256, vfs=self._vfs)
            for pragma in ("synchronous=FULL", "journal_size_limit=67108864"):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
        ((_, length, copied),) = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        if length >= 0:
            self._unsaved = length - copied
            # Once all is copied the next commit begins it anew.
            self._length = length if self._unsaved else 0
        self._copied()

    def close(self) -> None:
        """Copies everything, empties the log, and closes. Raises library.Error, OSError."""
        try:
            if self._running is not None:
                self._running.result()
            self._thread.submit(self._copy, "TRUNCATE").result()
        finally:
            self._thread.submit(self._close).result()
            self._thread.shutdown()

    def abandon(self) -> None:
        """Closes without copying: the disk has failed."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
