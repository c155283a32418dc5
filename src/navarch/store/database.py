"""The SQLite file: its schema and every SQL statement, for the threads of `sqlite`.

One table holds the whole history, one row per key and transaction, appended in the order of `id` (see `ledger`). The newest
row of a key is its present state, so a write is one insert, and a batch of transactions is one statement: it begins, inserts,
commits and syncs within a single call into SQLite, during which Python's lock is free.

Reads of many rows come back as a few long strings made by SQL's aggregates, not row by row: the sqlite3 module gives up
Python's lock at every row, and behind a busy event loop each getting it back can take milliseconds.

Compaction removes what only revisions below the floor need. It walks history once, in `id` order: each row it passes names
the row it superseded, which goes, and a deletion's row goes itself.

Nothing here knows of the event loop. Every class belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any, NamedTuple

from navarch.store.interface import Change, Record, StoreCorrupt, StoreError, StoreFull, StoreLocked, StoreTooNew, StoreUnavailable
from navarch.store.ledger import FIRST_REVISION, ORDINAL_BITS, Entry, Row, last_id, revision_of

APPLICATION_ID = 0x4E617661  # "Nava"
SCHEMA_VERSION = 1
ROWS_PER_STATEMENT = 64
SHRINK_PAGES = 256
SHRINK_ABOVE = 4 << 20
READ_ROWS = 2048
"""Rows one read brings at once: more than a transaction can hold."""

SCHEMA = (
    """CREATE TABLE history (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, created INTEGER NOT NULL,
        previous INTEGER NOT NULL, at INTEGER NOT NULL, expires INTEGER NOT NULL)""",
    # Covers everything that is asked about a key except its value. `created` is negative in the row of a deletion.
    "CREATE INDEX history_key ON history (key, id, created, expires)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
)


class Gap(NamedTuple):
    """Revisions that never were: a restore goes on well above the backup's last, so that no number means two things."""

    below: int
    above: int


class State(NamedTuple):
    """What a store must know when it opens."""

    revision: int
    at: int
    entries: dict[str, Entry]
    expiring: list[tuple[int, str, int]]
    """(expires, key, id) of living keys that have an end."""
    floor: int
    floor_at: int
    cleaned: int
    gaps: list[Gap]


class Limits(NamedTuple):
    """History older than `old` goes; above `used` bytes in the file, what is older than `recent` goes too (milliseconds)."""

    old: int
    recent: int
    used: int


class Survey(NamedTuple):
    """Where the floor should be, when that revision was made, and whether free pages were given back."""

    floor: int
    floor_at: int
    shrunk: bool


def translate(error: sqlite3.Error, path: str) -> StoreError:
    """The store's error for one of SQLite's."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_FULL or (code & 0xFF == sqlite3.SQLITE_IOERR and not has_room(path)):
        return StoreFull(f"no room on the disk of {path}; the write was not done, everything before it is safe")
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(f"{path} is damaged or not a store ({error}); restore a backup, or move the file away to start empty")
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return StoreUnavailable(f"cannot open {path}: {error}")
    if code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreUnavailable(f"cannot write {path}: {error}")
    return StoreUnavailable(f"{path}: {error}")


def has_room(path: str) -> bool:
    """Whether the disk still has a little space: a failed write on a full one is reported in many ways."""
    try:
        disk = os.statvfs(os.path.dirname(os.path.abspath(path)))
    except OSError:
        return True
    return disk.f_bavail * disk.f_frsize > 1 << 20


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns SQLite's and the system's errors into the store's."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"no room on the disk of {path}") from error
        raise StoreUnavailable(f"{path}: {error.strerror or error}") from error


def lock_file(path: str) -> int:
    """Holds the store for this process. Raises StoreLocked."""
    with translated(path):
        pathlib.Path(path).absolute().parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreLocked(f"{path} is in use by another process" + (f" ({holder})" if holder else "")) from None
    with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()}\n".encode(), 0)
    return descriptor


def unlock_file(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def connect(path: str, cache_kib: int, *, read_only: bool = False) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{pathlib.Path(path).absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        cached_statements=2 * ROWS_PER_STATEMENT,
        check_same_thread=False,
        timeout=5,
    )
    connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    return connection


def open_file(path: str, *, cache_kib: int = 4096, created_at: int = 0) -> sqlite3.Connection:
    """The writing connection to a store's file, made if it does not exist. Raises StoreCorrupt, StoreTooNew, StoreFull."""
    with translated(path):
        connection = connect(path, cache_kib)
        try:
            prepare_file(connection, path, created_at)
        except BaseException:
            connection.close()
            raise
        return connection


def prepare_file(connection: sqlite3.Connection, path: str, created_at: int) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    else:
        check_identity(connection, path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA journal_size_limit=67108864")
    if not tables:
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            connection.execute(statement)
        first = {"floor": FIRST_REVISION, "floor_at": created_at, "cleaned": last_id(FIRST_REVISION), "gaps": "[]"}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [*first.items(), ("identity", secrets.token_hex(16))])
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute("COMMIT")


def check_identity(connection: sqlite3.Connection, path: str) -> None:
    """Raises unless the file is a store of a version that can be read."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreCorrupt(f"{path} is an SQLite database, but not a store")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise StoreTooNew(f"{path} was written by a newer version (schema {version}; this program knows {SCHEMA_VERSION})")


def load(connection: sqlite3.Connection) -> State:
    """The state at opening, from the covering index alone: values are not read."""
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    entries: dict[str, Entry] = {}
    expiring: list[tuple[int, str, int]] = []
    newest = "SELECT key, max(id), created, expires FROM history INDEXED BY history_key GROUP BY key"
    for key, row_id, created, expires in connection.execute(newest):
        if created > 0:
            entries[key] = Entry(created, row_id)
            if expires:
                expiring.append((expires, key, row_id))
    last = connection.execute("SELECT id, at FROM history ORDER BY id DESC LIMIT 1").fetchone()
    gaps = [Gap(*gap) for gap in json.loads(meta["gaps"])]
    revision = max(revision_of(last[0]) if last else 0, meta["floor"], *(gap.above for gap in gaps), FIRST_REVISION)
    at = max(last[1] if last else 0, meta["floor_at"])
    return State(revision, at, entries, expiring, meta["floor"], meta["floor_at"], meta["cleaned"], gaps)


class Writer:
    """The writing connection, in the writer's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._inserts = [""] + ["INSERT INTO history VALUES " + ",".join(["(?,?,?,?,?,?,?)"] * n) for n in range(1, ROWS_PER_STATEMENT + 1)]
        self.unsaved_pages = 0
        """About how many pages the write-ahead log holds that are not yet in the file."""

    def insert(self, rows: Sequence[Row]) -> None:
        """Makes rows durable, all or none. Raises sqlite3.Error."""
        if not rows:
            return
        if len(rows) <= ROWS_PER_STATEMENT:
            self._connection.execute(self._inserts[len(rows)], tuple(chain.from_iterable(rows)))
        else:
            self._insert_many(rows)
        self.unsaved_pages += 4 + sum(2 + (len(row.value) >> 12 if row.value else 0) for row in rows)

    def _insert_many(self, rows: Sequence[Row]) -> None:
        with self._transaction():
            for first in range(0, len(rows), ROWS_PER_STATEMENT):
                part = rows[first : first + ROWS_PER_STATEMENT]
                self._connection.execute(self._inserts[len(part)], tuple(chain.from_iterable(part)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # Some errors (a full disk) have rolled back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def value(self, row_id: int) -> bytes | None:
        row = self._connection.execute("SELECT value FROM history WHERE id = ?", (row_id,)).fetchone()
        return None if row is None else row[0]

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Copies the write-ahead log into the file; False when some of it is left: a reader needs it, or a `Copier` is at it."""
        mode = "TRUNCATE" if truncate else "PASSIVE"
        busy, logged, copied = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        if logged >= 0:  # -1: another connection is copying, nothing was looked at
            self.unsaved_pages = logged - copied
        return not busy and logged == copied

    def clean(self, floor: int, floor_at: int, cleaned: int, rows: int) -> int:
        """One small step of compaction; returns how far it is clean now (done at `last_id(floor)`)."""
        execute = self._connection.execute
        target = last_id(floor)
        with self._transaction():
            (upper,) = execute(
                "SELECT max(id) FROM (SELECT id FROM history WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)", (cleaned, target, rows)
            ).fetchone()
            if upper is None:
                upper = target
            else:
                execute(
                    "DELETE FROM history WHERE id IN (SELECT previous FROM history WHERE id > ? AND id <= ? AND previous > 0)",
                    (cleaned, upper),
                )
                execute("DELETE FROM history WHERE id > ? AND id <= ? AND value IS NULL", (cleaned, upper))
            for name, value in (("floor", floor), ("floor_at", floor_at), ("cleaned", upper)):
                execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
        self.unsaved_pages += rows // 4 + 4
        return int(upper)

    def survey_and_shrink(self, limits: Limits, floor: int, high: int) -> Survey:
        """Where the floor should rise to; gives some free pages back to the file system when there are many."""
        execute = self._connection.execute
        (page,), (pages,), (free,) = (execute(f"PRAGMA {p}").fetchone() for p in ("page_size", "page_count", "freelist_count"))
        used = (pages - free) * page
        target = revision_at(self._connection, limits.old, floor, high)
        if used > limits.used:
            # An eighth at a time: it is measured again before the next.
            most = revision_at(self._connection, limits.recent, floor, high)
            target = max(target, min(most, floor + max(1, (high - floor) // 8)))
        shrink = free * page > max(SHRINK_ABOVE, used // 4)
        if shrink:
            execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})").fetchall()
            self.unsaved_pages += SHRINK_PAGES
        return Survey(target, time_of(self._connection, target), shrink)

    def close(self) -> None:
        self._connection.close()


class Copier:
    """Copies the write-ahead log into the file beside the writer, so that commits do not wait for it: most of it, most of
    the time. What is left when it ends is little, and the writer's own checkpoint finishes it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-copier")
        self._connection: sqlite3.Connection | None = None
        self._running: Future[None] | None = None
        self._not_before = 0.0

    def copy_soon(self) -> None:
        """Starts copying unless that is being done, or was just done."""
        if (self._running is None or self._running.done()) and time.monotonic() >= self._not_before:
            self._running = self._thread.submit(self._copy)

    def _copy(self) -> None:
        try:
            if self._connection is None:
                self._connection = connect(self._path, 256)
                self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            pass  # the writer's own checkpoint reports what is wrong
        self._not_before = time.monotonic() + 0.1

    def close(self) -> None:
        self._thread.shutdown()
        if self._connection is not None:
            self._connection.close()


class Reader:
    """A reading connection. Every call is one read transaction, so it sees one state of the file."""

    def __init__(self, path: str, cache_kib: int = 1024) -> None:
        self._path = path
        self._connection = connect(path, cache_kib, read_only=True)

    def close(self) -> None:
        self._connection.close()

    def record(self, key: str, revision: int) -> Record | None:
        """The key as it was at a revision."""
        with translated(self._path):
            row = self._connection.execute(
                "SELECT value, created, id FROM history WHERE key = ? AND id <= ? ORDER BY id DESC LIMIT 1", (key, last_id(revision))
            ).fetchone()
        return None if row is None or row[0] is None else Record(key, row[0], row[1], revision_of(row[2]))

    def time_of(self, revision: int) -> int:
        with translated(self._path):
            return time_of(self._connection, revision)

    def revision_at(self, when: int, low: int, high: int) -> int:
        with translated(self._path):
            return revision_at(self._connection, when, low, high)

    def records(self, start: str, end: str, revision: int, limit: int, counted: bool) -> tuple[list[Record], int]:
        """The records of a range at a revision, and how many it holds. With `limit` at most one more than that is read, and
        not `counted`, that is how many are told."""
        most = limit + 1 if limit else 0
        with translated(self._path):
            self._connection.execute("BEGIN")
            try:
                records: list[Record] = []
                while not most or len(records) < most:
                    wanted = READ_ROWS if not most else min(READ_ROWS, most - len(records))
                    piece = self._piece(start if not records else records[-1].key + "\0", end, revision, wanted)
                    records += piece
                    if len(piece) < wanted:
                        return records, len(records)
                return records, self._count(start, end, revision) if counted else len(records)
            finally:
                self._connection.execute("ROLLBACK")

    def _piece(self, start: str, end: str, revision: int, rows: int) -> list[Record]:
        row = self._connection.execute(
            """SELECT group_concat(h.key, char(0)), group_concat(h.created), group_concat(h.id), group_concat(length(h.value)),
                      CAST(group_concat(h.value, '') AS BLOB)
               FROM (SELECT max(id) AS newest, created AS living FROM history INDEXED BY history_key
                     WHERE key >= ? AND key < ? AND id <= ? GROUP BY key HAVING living > 0 ORDER BY key LIMIT ?)
               CROSS JOIN history h ON h.id = newest""",
            (start, end, last_id(revision), rows),
        ).fetchone()
        if row[0] is None:
            return []
        keys, created, ids, lengths, values = row[0].split("\0"), numbers(row[1]), numbers(row[2]), numbers(row[3]), row[4] or b""
        records, offset = [], 0
        for key, birth, row_id, length in zip(keys, created, ids, lengths, strict=True):
            records.append(Record(key, values[offset : offset + length], birth, row_id >> ORDINAL_BITS))
            offset += length
        return records

    def _count(self, start: str, end: str, revision: int) -> int:
        row = self._connection.execute(
            """SELECT count(*) FROM (SELECT max(id), created AS living FROM history INDEXED BY history_key
               WHERE key >= ? AND key < ? AND id <= ? GROUP BY key HAVING living > 0)""",
            (start, end, last_id(revision)),
        ).fetchone()
        return int(row[0])

    def changes(self, start: str, end: str, after: int, until: int) -> tuple[list[Change], int]:
        """Changes in a range above revision `after`, up to `until` or as far as one piece goes; and up to where they are all."""
        with translated(self._path):
            row = self._connection.execute(
                """SELECT group_concat(id), group_concat(key, char(0)), group_concat(created), group_concat(previous),
                          group_concat(ifnull(length(value), -1)), CAST(group_concat(value, '') AS BLOB),
                          group_concat(ifnull(length(before), -1)), CAST(group_concat(before, '') AS BLOB)
                   FROM (SELECT h.id, h.key, abs(h.created) AS created, h.previous, h.value, p.value AS before
                         FROM history h LEFT JOIN history p ON p.id = h.previous
                         WHERE h.id > ? AND h.id <= ? AND h.key >= ? AND h.key < ? ORDER BY h.id LIMIT ?)""",
                (last_id(after), last_id(until), start, end, READ_ROWS),
            ).fetchone()
        if row[0] is None:
            return [], until
        changes = list(unpack_changes(row))
        if len(changes) < READ_ROWS:
            return changes, until
        # The piece may have cut the last transaction.
        whole = changes[-1].revision - 1
        return [c for c in changes if c.revision <= whole], whole


def time_of(connection: sqlite3.Connection, revision: int) -> int:
    """When the newest row of all up to a revision was written (milliseconds), 0 if there is none."""
    row = connection.execute("SELECT at FROM history WHERE id <= ? ORDER BY id DESC LIMIT 1", (last_id(revision),)).fetchone()
    return int(row[0]) if row else 0


def revision_at(connection: sqlite3.Connection, when: int, low: int, high: int) -> int:
    """The last revision in `(low, high]` made at or before a time (milliseconds), `low` if there is none.

    Times grow with ids, so this halves the ids; all rows above the floor are there.
    """
    after, until = last_id(low), last_id(high)
    found = after
    while after < until:
        middle = (after + until + 1) // 2
        row = connection.execute("SELECT id, at FROM history WHERE id > ? AND id <= ? ORDER BY id DESC LIMIT 1", (after, middle)).fetchone()
        if row is None:
            after = middle
        elif row[1] <= when:
            found = row[0]
            after = middle
        else:
            until = row[0] - 1
    return revision_of(found)


def unpack_changes(row: Sequence[Any]) -> Iterator[Change]:
    """Changes from the packed columns of `Reader.changes`."""
    ids, created, previous, lengths, before_lengths = (numbers(row[n]) for n in (0, 2, 3, 4, 6))
    values, befores = row[5] or b"", row[7] or b""
    at = before_at = 0
    for row_id, key, birth, prior, length, before_length in zip(ids, row[1].split("\0"), created, previous, lengths, before_lengths, strict=True):
        value = before = None
        if length >= 0:
            value = values[at : at + length]
            at += length
        if before_length >= 0:
            before = befores[before_at : before_at + before_length]
            before_at += before_length
        yield Change(row_id >> ORDINAL_BITS, key, value, before, birth, prior >> ORDINAL_BITS)


def numbers(packed: str) -> list[int]:
    return list(map(int, packed.split(",")))
