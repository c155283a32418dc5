"""The store's file: its tables, its versions, and how it is made, recognised and brought up to date.

One table holds the whole history, one row per key and transaction, appended in the order of `id` (see `ledger`). The newest
row of a key is its present state, so a write is one insert. `sum` is the row's checksum.

Version 2 added the checksums and store time. A file of version 1 is brought up to date when it is opened: rows get their
checksums some thousand at a time, each step durable, so that it can be interrupted at any point and goes on at the next opening.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import secrets
from collections.abc import Iterator

from navarch.store import checksum, library
from navarch.store.interface import StoreCorrupt, StoreLost, StoreTooNew
from navarch.store.ledger import FIRST_REVISION, last_id

APPLICATION_ID = 0x4E617661  # "Nava"
VERSION = 2
_SUM_ROWS = 2000
_MODE = 0o600
ROWS_PER_STATEMENT = 64

_INDEX = "CREATE INDEX history_key ON history (key, id, created, expires)"
TABLES = (
    """CREATE TABLE history (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, created INTEGER NOT NULL,
        previous INTEGER NOT NULL, at INTEGER NOT NULL, expires INTEGER NOT NULL, sum INTEGER NOT NULL DEFAULT 0)""",
    # Covers everything that is asked about a key except its value. `created` is negative in the row of a deletion.
    _INDEX,
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
)

log = logging.getLogger(__name__)


def connect(path: str, cache_kib: int, *, read_only: bool = False, vfs: str | None = None) -> library.Connection:
    connection = library.connect(path, read_only=read_only, statements=2 * ROWS_PER_STATEMENT, vfs=vfs)
    connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    return connection


def open_file(path: str, *, create: bool = True, created_at: int = 0, cache_kib: int = 4096, vfs: str | None = None) -> library.Connection:
    """The writing connection to a store's file. Without `create` it must be there.

    Raises library.Error, OSError, StoreCorrupt, StoreTooNew, StoreLost (there are no tables).
    """
    keep_private(path)
    connection = connect(path, cache_kib, vfs=vfs)
    try:
        prepare(connection, path, create, created_at)
    except BaseException:
        connection.close()
        raise
    return connection


def keep_private(path: str) -> None:
    """Sees to it that nobody else can read a store's files. SQLite gives those it makes beside a database its mode."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, _MODE))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path(path + suffix).chmod(_MODE)


def prepare(connection: library.Connection, path: str, create: bool, created_at: int) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables and not create:
        raise StoreLost(f"{path} is empty")
    if not tables:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    else:
        check_identity(connection, path)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0", "journal_size_limit=67108864"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if not tables:
        make_tables(connection, created_at)
    else:
        upgrade(connection, path)


def make_tables(connection: library.Connection, created_at: int) -> None:
    first = {
        "floor": FIRST_REVISION,
        "floor_at": created_at,
        "cleaned": last_id(FIRST_REVISION),
        "gaps": "[]",
        "offsets": "[[0, 0]]",
        "identity": secrets.token_hex(16),
    }
    with transaction(connection):
        for statement in TABLES:
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", list(first.items()))
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")


def check_identity(connection: library.Connection, path: str) -> None:
    """Raises unless the file is a store of a version that can be read."""
    if connection.execute("PRAGMA application_id").fetchall()[0][0] != APPLICATION_ID:
        raise StoreCorrupt(f"{path} is an SQLite database, but not a store")
    version = version_of(connection)
    if version > VERSION:
        raise StoreTooNew(f"{path} was written by a newer version (schema {version}; this program knows {VERSION})")


def version_of(connection: library.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchall()[0][0])


def upgrade(connection: library.Connection, path: str) -> None:
    """Brings a file of an older version up to date, or goes on with that."""
    if version_of(connection) < VERSION:
        with transaction(connection):
            connection.execute("ALTER TABLE history ADD COLUMN sum INTEGER NOT NULL DEFAULT 0")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", [("offsets", "[[0, 0]]"), ("summed", 0)])
            connection.execute(f"PRAGMA user_version={VERSION}")
        log.info("%s is brought up to date: its rows get checksums", path)
    while (found := connection.execute("SELECT value FROM meta WHERE name = 'summed'").fetchone()) is not None:
        add_checksums(connection, int(found[0]))


def add_checksums(connection: library.Connection, after: int) -> None:
    """Gives the next rows their checksums and notes how far that is; forgets about it at the end."""
    connection.create_scalar_function("row_sum", checksum.of, 7, deterministic=True)
    (upper,) = connection.execute("SELECT max(id) FROM (SELECT id FROM history WHERE id > ? ORDER BY id LIMIT ?)", (after, _SUM_ROWS)).fetchall()[0]
    with transaction(connection):
        if upper is None:
            connection.execute("DELETE FROM meta WHERE name = 'summed'")
            return
        columns = "id, key, value, created, previous, at, expires"
        connection.execute(f"UPDATE history SET sum = row_sum({columns}) WHERE id > ? AND id <= ?", (after, upper))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'summed'", (upper,))
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def rebuild_index(connection: library.Connection) -> None:
    """Makes the key index anew from the rows, also when the pages of the old one cannot be read."""
    connection.execute("PRAGMA writable_schema=ON").fetchall()
    with transaction(connection):
        # REINDEX and DROP would read the old one. Its pages stay behind, until everything is written anew.
        connection.execute("DELETE FROM sqlite_master WHERE name = 'history_key'")
    connection.execute("PRAGMA writable_schema=RESET").fetchall()
    connection.execute(_INDEX)
    connection.execute("VACUUM")


@contextlib.contextmanager
def transaction(connection: library.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors (a full disk) have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
