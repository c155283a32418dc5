"""The SQL of the store's present state and of its writer.

A batch of transactions is one statement: it begins, inserts, commits and syncs within a single call into SQLite, during which
Python's lock is free.

Compaction removes what only revisions below the floor need. It walks history once, in `id` order: each row it passes names
the row it superseded, which goes, and a deletion's row goes itself.

Nothing here knows of the event loop. Every class belongs to one thread at a time. Errors are `library.Error`s.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from navarch.store import checksum, clock, library, packing, schema
from navarch.store.ledger import FIRST_REVISION, Entry, Row, last_id, revision_of

SHRINK_PAGES = 256
SHRINK_ABOVE = 4 << 20


class Gap(NamedTuple):
    """Revisions that never were: a restore goes on well above the backup's last, so that no number means two things."""

    below: int
    above: int


class State(NamedTuple):
    """What a store must know when it opens."""

    identity: str
    revision: int
    at: int
    entries: dict[str, Entry]
    expiring: list[tuple[int, str, int]]
    """(expires, key, id) of living keys that have an end."""
    floor: int
    floor_at: int
    cleaned: int
    gaps: list[Gap]
    offsets: list[clock.Offset]


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


def load(connection: library.Connection) -> State:
    """The state at opening, from the covering index alone: values are not read."""
    meta: dict[str, Any] = dict(connection.execute("SELECT name, value FROM meta").fetchall())
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
    offsets = [clock.Offset(*offset) for offset in json.loads(meta.get("offsets", "[]"))]
    revision = max(revision_of(last[0]) if last else 0, meta["floor"], *(gap.above for gap in gaps), FIRST_REVISION)
    at = max(last[1] if last else 0, meta["floor_at"])
    return State(meta["identity"], revision, at, entries, expiring, meta["floor"], meta["floor_at"], meta["cleaned"], gaps, offsets)


def index_fault(connection: library.Connection) -> str:
    """What is wrong with the key index, going by the newest row of every key: empty when it agrees with the rows.

    Where they disagree the row's checksum tells which of them is wrong. A row that is wrong is another matter: reads find it.
    """
    wrong = connection.execute(
        """SELECT newest FROM (SELECT key AS k, max(id) AS newest, created AS c, expires AS e FROM history INDEXED BY history_key GROUP BY key)
           CROSS JOIN history h NOT INDEXED ON h.id = newest WHERE h.key <> k OR h.created <> c OR h.expires <> e"""
    ).fetchall()
    for (row_id,) in wrong:
        row = connection.execute("SELECT id, key, value, created, previous, at, expires, sum FROM history WHERE id = ?", (row_id,)).fetchone()
        if row is not None and checksum.of(*row[:7]) == row[7]:
            return f"it disagrees with the row of {row[1]} at revision {revision_of(row_id)}, which is sound"
    return ""


class Writer:
    """The writing connection, in the writer's thread."""

    def __init__(self, connection: library.Connection, cleaned: int) -> None:
        self._connection = connection
        self._cleaned = cleaned
        row = "(?,?,?,?,?,?,?,?)"
        self._inserts = ["INSERT INTO history VALUES " + ",".join([row] * n) for n in range(schema.ROWS_PER_STATEMENT + 1)]

    def insert(self, rows: Sequence[Row]) -> int:
        """Makes rows durable, all or none; about how many pages that adds to the write-ahead log."""
        if not rows:
            return 0
        if len(rows) <= schema.ROWS_PER_STATEMENT:
            self._insert(rows)
        else:
            with schema.transaction(self._connection):
                for first in range(0, len(rows), schema.ROWS_PER_STATEMENT):
                    self._insert(rows[first : first + schema.ROWS_PER_STATEMENT])
        return 4 + sum(2 + (len(row.value) >> 12 if row.value else 0) for row in rows)

    def _insert(self, rows: Sequence[Row]) -> None:
        columns: list[int | str | bytes | None] = []
        for row in rows:
            columns += row
            columns.append(checksum.of(*row))
        self._connection.execute(self._inserts[len(rows)], columns)

    def values(self, ids: Sequence[int]) -> dict[int, bytes | None]:
        """The values of rows, in one statement. Those that are not what was written are left out."""
        row = self._connection.execute(
            f"""SELECT group_concat(h.id), group_concat(h.key, char(0)), group_concat(h.created), group_concat(ifnull(length(h.value), -1)),
                       group_concat({checksum.seed_in_sql("h", "h.created")}), group_concat(h.sum), CAST(group_concat(h.value, '') AS BLOB)
                FROM json_each(?) j CROSS JOIN history h ON h.id = j.value""",
            (f"[{','.join(map(str, ids))}]",),
        ).fetchall()[0]
        heads = packing.heads_of(row[:6])
        values: list[bytes | None] = []
        packing.cut(row[6] or b"", [head.length for head in heads], values)
        return {head.id: value for head, value in zip(heads, values, strict=True) if packing.sound(head, value)}

    def clean(self, floor: int, floor_at: int, rows: int) -> int:
        """One small step of compaction; returns how far it is clean now (done at `last_id(floor)`)."""
        execute = self._connection.execute
        # Where the last step ended is known here alone: several may be asked for at once.
        cleaned, target = self._cleaned, max(last_id(floor), self._cleaned)
        with schema.transaction(self._connection):
            (upper,) = execute(
                "SELECT max(id) FROM (SELECT id FROM history WHERE id > ? AND id <= ? ORDER BY id LIMIT ?)", (cleaned, target, rows)
            ).fetchall()[0]
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
        self._cleaned = int(upper)
        return self._cleaned

    def note_offsets(self, offsets: Sequence[clock.Offset]) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE name = 'offsets'", (json.dumps(offsets),))

    def survey_and_shrink(self, limits: Limits, floor: int, high: int) -> Survey:
        """Where the floor should rise to; gives some free pages back to the file system when there are many."""
        page, pages, free = (self._number(pragma) for pragma in ("page_size", "page_count", "freelist_count"))
        used = (pages - free) * page
        target = revision_at(self._connection, limits.old, floor, high)
        if used > limits.used:
            # An eighth at a time: it is measured again before the next.
            most = revision_at(self._connection, limits.recent, floor, high)
            target = max(target, min(most, floor + max(1, (high - floor) // 8)))
        shrink = free * page > max(SHRINK_ABOVE, used // 4)
        if shrink:
            # Each row of it is a page given back.
            self._connection.execute(f"PRAGMA incremental_vacuum({SHRINK_PAGES})").fetchall()
        return Survey(target, time_of(self._connection, target), shrink)

    def _number(self, pragma: str) -> int:
        return int(self._connection.execute(f"PRAGMA {pragma}").fetchall()[0][0])

    def close(self) -> None:
        self._connection.close()


def time_of(connection: library.Connection, revision: int) -> int:
    """When the newest row of all up to a revision was written (store time), 0 if there is none."""
    row = connection.execute("SELECT at FROM history WHERE id <= ? ORDER BY id DESC LIMIT 1", (last_id(revision),)).fetchone()
    return int(row[0]) if row else 0


def revision_at(connection: library.Connection, when: int, low: int, high: int) -> int:
    """The last revision in `(low, high]` made at or before a store time, `low` if there is none.

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
