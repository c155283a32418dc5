"""Which transaction gets which revision: the pure part of a store.

In: operations, in the order in which they were asked for. Out: rows to make durable, or the key whose expectation did not
hold. The ledger knows of every key only where its newest row is, so that deciding needs no I/O: the writer behind it
persists rows and never has to think, and a whole batch of transactions is one SQL statement.

A decision takes effect at once: the next one builds on it although it is not durable yet. If the write fails, `undo` takes
back what was decided, newest first.

A row's id is its revision and its place within the transaction (`revision << ORDINAL_BITS | ordinal`), so ids grow with
history and name it completely.

What it is not: it holds no values, knows no time of its own and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from navarch.store.interface import MAX_OPERATIONS, Delete, Put

ORDINAL_BITS = 10
LAST_ORDINAL = (1 << ORDINAL_BITS) - 1
FIRST_REVISION = 1


def last_id(revision: int) -> int:
    """The largest id a row of this revision can have."""
    return revision << ORDINAL_BITS | LAST_ORDINAL


def revision_of(row_id: int) -> int:
    return row_id >> ORDINAL_BITS


class Row(NamedTuple):
    """One key in one transaction, as it is stored.

    `created` is the revision that created the key, negative in the row of a deletion (whose `value` is None). `previous` is the
    id of the row this one supersedes, 0 if the key did not exist. `at` and `expires` are milliseconds since 1970;
    `expires` 0 means never.
    """

    id: int
    key: str
    value: bytes | None
    created: int
    previous: int
    at: int
    expires: int


class Entry(NamedTuple):
    """Where a living key is: the revision that created it and the id of its newest row."""

    created: int
    id: int


class Ledger:
    """The newest row of every key, and the revision counter."""

    __slots__ = ("at", "entries", "revision")

    def __init__(self, revision: int = FIRST_REVISION, at: int = 0, entries: dict[str, Entry] | None = None) -> None:
        self.revision = revision
        self.at = at
        self.entries: dict[str, Entry] = {} if entries is None else entries

    def decide(self, ops: Sequence[Put | Delete], now: int) -> list[Row] | str:
        """The rows of a transaction at `now` (milliseconds), or the first key whose expectation fails.

        An empty list means that nothing changes. Times never go backwards, even when the clock does.
        """
        entries = self.entries
        if len(ops) != 1:
            check_distinct(ops)
        for op in ops:
            if op.expected is not None:
                entry = entries.get(op.key)
                if op.expected != (0 if entry is None else entry.id >> ORDINAL_BITS):
                    return op.key
        for op in ops:
            check_storable(op)
        if now < self.at:
            now = self.at
        revision = self.revision + 1
        row_id = revision << ORDINAL_BITS
        rows: list[Row] = []
        for op in ops:
            key = op.key
            entry = entries.get(key)
            if type(op) is Put:
                created, previous = (revision, 0) if entry is None else entry
                expires = 0 if op.ttl is None else now + int(op.ttl * 1000)
                rows.append(Row(row_id, key, op.value, created, previous, now, expires))
                entries[key] = Entry(created, row_id)
            elif entry is not None:
                rows.append(Row(row_id, key, None, -entry.created, entry.id, now, 0))
                del entries[key]
            else:
                continue
            row_id += 1
        if rows:
            self.revision = revision
            self.at = now
        return rows

    def undo(self, rows: Iterable[Row], revision: int) -> None:
        """Takes decisions back down to `revision`. `rows` are theirs, newest first."""
        for row in rows:
            if row.previous:
                self.entries[row.key] = Entry(abs(row.created), row.previous)
            else:
                self.entries.pop(row.key, None)
        self.revision = revision


def check_distinct(ops: Sequence[Put | Delete]) -> None:
    if not ops or len(ops) > MAX_OPERATIONS:
        raise ValueError(f"a transaction holds 1 to {MAX_OPERATIONS} operations, not {len(ops)}")
    if len({op.key for op in ops}) != len(ops):
        raise ValueError("a transaction may name each key only once")


def check_storable(op: Put | Delete) -> None:
    """Raises before anything is done what would otherwise fail in the middle of somebody else's batch."""
    if not op.key or "\0" in op.key:
        raise ValueError(f"a key must not be empty or hold NUL: {op.key!r}")
    if not op.key.isascii():
        op.key.encode()
    if type(op) is Put and type(op.value) is not bytes:
        raise TypeError(f"a value must be bytes, not {type(op.value).__name__}")
