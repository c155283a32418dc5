"""The SQLite this program runs with: the only module that knows which Python library brings it.

APSW, because its wheels carry a current SQLite. The one the standard library finds on a machine can be years old, and SQLite
3.7.0 to 3.51.2 can corrupt a database in WAL mode when one connection starts the log anew while another copies it into the file.

What goes in and out is plain SQL. Two habits of the library matter to callers: a statement's rows come when they are asked for,
so a pragma that works row by row is only done when its cursor was read to the end; and Python's lock is given up at every step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import apsw

Error = apsw.Error
Row = tuple[Any, ...]

FULL, IOERR, CORRUPT, NOTADB = apsw.SQLITE_FULL, apsw.SQLITE_IOERR, apsw.SQLITE_CORRUPT, apsw.SQLITE_NOTADB
CANTOPEN, READONLY, PERM, BUSY, NOMEM = apsw.SQLITE_CANTOPEN, apsw.SQLITE_READONLY, apsw.SQLITE_PERM, apsw.SQLITE_BUSY, apsw.SQLITE_NOMEM

BUSY_MILLISECONDS = 5000

Version = tuple[int, ...]


class Cursor(Protocol):
    """The rows of a statement."""

    def fetchone(self) -> Row | None: ...

    def fetchall(self) -> list[Row]: ...

    def __iter__(self) -> Iterator[Row]: ...


class Connection(Protocol):
    """What the store uses of a connection. It may go from thread to thread, but belongs to one at a time."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statement: str, bindings: Sequence[Any] = ()) -> Cursor: ...

    def executemany(self, statement: str, bindings: Sequence[Sequence[Any]]) -> Cursor: ...

    def create_scalar_function(self, name: str, callable: Callable[..., Any], numargs: int, *, deterministic: bool) -> None: ...

    def close(self) -> None: ...


def version() -> Version:
    return tuple(int(part) for part in apsw.sqlite_lib_version().split("."))


def weakness(number: Version) -> str:
    """What is wrong with a version of SQLite for a store, in words for an operator; empty when nothing is known."""
    if number < (3, 7, 0) or number >= (3, 51, 3):
        return ""
    # The branches the repair was also made in.
    if number[:2] in ((3, 50), (3, 44)) and number >= {(3, 50): (3, 50, 7), (3, 44): (3, 44, 6)}[number[0], number[1]]:
        return ""
    name = ".".join(map(str, number))
    return f"SQLite {name} can corrupt a database in WAL mode (repaired in 3.51.3, 3.50.7 and 3.44.6); install the apsw wheel, which carries its own"


def connect(path: str, *, read_only: bool = False, statements: int = 32, vfs: str | None = None) -> Connection:
    """A connection to a file, which is made when it does not exist. It never copies the write-ahead log by itself."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(os.path.abspath(path), flags, vfs, statements)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return cast(Connection, connection)


def code(error: Error) -> int:
    """SQLite's primary result code; 1 (a plain error) when the mistake was found by the library itself."""
    return int(getattr(error, "result", 1))


def copy(source: Connection, target: Connection) -> None:
    """Copies a database in one step: a single read transaction, which writers neither disturb nor wait for."""
    with cast(apsw.Connection, target).backup("main", cast(apsw.Connection, source), "main") as copying:
        copying.step(-1)
