"""Reads of the store's file, on a connection of their own.

Reads of many rows come back packed (see `packing`), in two steps: first everything but the values, with their lengths, then the
values of as many rows as `PIECE_BYTES` allows.

Whatever is read is held against its row's checksum, with the key and the create revision taken from the key index where it was used:
so an index that disagrees with the rows is found too. When something does not fit, the piece is read again row by row, and what is
damaged is set aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from navarch.store import checksum, database, library, schema
from navarch.store.faults import translated
from navarch.store.interface import Change, Compacted, Damaged, Record
from navarch.store.ledger import ORDINAL_BITS, last_id, revision_of
from navarch.store.packing import Head, cut, heads_of, sound

PIECE_ROWS = 2048
"""Rows one piece brings at most: more than a transaction can hold."""
PIECE_BYTES = 16 << 20
"""Bytes of values one statement brings at most, unless one transaction has more."""

_ROW = "id, key, value, created, previous, at, expires, sum"


class Found(NamedTuple):
    """The records of a range, those set aside, and how many the range holds."""

    records: list[Record]
    damaged: list[Damaged]
    total: int


class Reader:
    """A reading connection. Every call is one read transaction, so it sees one state of the file."""

    def __init__(self, path: str, cache_kib: int = 1024, vfs: str | None = None) -> None:
        self._path = path
        self._connection = schema.connect(path, cache_kib, read_only=True, vfs=vfs)

    def close(self) -> None:
        self._connection.close()

    def time_of(self, revision: int) -> int:
        with translated(self._path):
            return database.time_of(self._connection, revision)

    def revision_at(self, when: int, low: int, high: int) -> int:
        with translated(self._path):
            return database.revision_at(self._connection, when, low, high)

    def record(self, key: str, revision: int) -> Record | None:
        """The key as it was at a revision. Raises Damaged."""
        with translated(self._path):
            try:
                # What the index holds is taken from it, the rest from the row: so the checksum is of both.
                row = self._connection.execute(
                    f"SELECT {_ROW} FROM history INDEXED BY history_key WHERE key = ? AND id <= ? ORDER BY id DESC LIMIT 1",
                    (key, last_id(revision)),
                ).fetchone()
                if row is None or row[3] < 0:
                    return None
                if checksum.of(*row[:7]) == row[7]:
                    return Record(key, row[2], row[3], row[0] >> ORDINAL_BITS)
            except library.Error as error:
                if library.code(error) != library.CORRUPT:
                    raise
            head = self._connection.execute(
                "SELECT id, created FROM history INDEXED BY history_key WHERE key = ? AND id <= ? ORDER BY id DESC LIMIT 1", (key, last_id(revision))
            ).fetchone()
            return None if head is None or head[1] < 0 else self._row(key, head[0], head[1])

    def _row(self, key: str, row_id: int, created: int) -> Record:
        """One row, as the index describes it. Raises Damaged."""
        try:
            row = self._connection.execute(f"SELECT {_ROW} FROM history WHERE id = ?", (row_id,)).fetchone()
        except library.Error as error:
            if library.code(error) != library.CORRUPT:
                raise
            raise Damaged(key, revision_of(row_id), str(error)) from error
        if row is None:
            raise Damaged(key, revision_of(row_id), "the key index names a row that is not there")
        if row[1] != key or row[3] != created:
            raise Damaged(key, revision_of(row_id), "the key index and the row do not agree")
        if checksum.of(*row[:7]) != row[7]:
            raise Damaged(key, revision_of(row_id), "its checksum does not match")
        return Record(key, row[2], created, revision_of(row_id))

    def records(self, start: str, end: str, revision: int, limit: int, counted: bool) -> Found:
        """The records of a range at a revision. With `limit` at most one more than that is read, and not `counted`, that is how
        many are told."""
        most, first = limit + 1 if limit else 0, start
        with translated(self._path):
            self._connection.execute("BEGIN")
            try:
                records: list[Record] = []
                damaged: list[Damaged] = []
                while True:
                    wanted = PIECE_ROWS if not most else min(PIECE_ROWS, most - len(records))
                    last, passed = self._piece(start, end, revision, wanted, records, damaged)
                    if passed < wanted:
                        return Found(records, damaged, len(records) + len(damaged))
                    if most and len(records) >= most:
                        return Found(records, damaged, self._count(first, end, revision) if counted else len(records) + len(damaged))
                    start = last + "\0"
            finally:
                self._connection.execute("ROLLBACK")

    def _piece(self, start: str, end: str, revision: int, rows: int, records: list[Record], damaged: list[Damaged]) -> tuple[str, int]:
        """Adds the next rows of a range; the last key passed, and how many rows that were."""
        try:
            heads = self._heads(start, end, revision, rows)
            if not heads:
                return start, 0
            values = self._values([head.id for head in heads], [head.length for head in heads])
        except library.Error as error:
            if library.code(error) != library.CORRUPT:
                raise
        else:
            if all(map(sound, heads, values)):
                records += [Record(h.key, v or b"", h.created, h.id >> ORDINAL_BITS) for h, v in zip(heads, values, strict=True)]
                return heads[-1].key, len(heads)
        return self._piece_slowly(start, end, revision, rows, records, damaged)

    def _heads(self, start: str, end: str, revision: int, rows: int) -> list[Head]:
        row = self._connection.execute(
            f"""SELECT group_concat(newest), group_concat(k, char(0)), group_concat(living), group_concat(ifnull(length(h.value), -1)),
                       group_concat(ifnull({checksum.seed_in_sql("h", "living")}, 0)), group_concat(ifnull(h.sum, -1))
               FROM (SELECT key AS k, max(id) AS newest, created AS living FROM history INDEXED BY history_key
                     WHERE key >= ? AND key < ? AND id <= ? GROUP BY key HAVING living > 0 ORDER BY key LIMIT ?) g
               LEFT JOIN history h ON h.id = newest""",
            (start, end, last_id(revision), rows),
        ).fetchall()[0]
        return heads_of(row)

    def _piece_slowly(self, start: str, end: str, revision: int, rows: int, records: list[Record], damaged: list[Damaged]) -> tuple[str, int]:
        names = self._connection.execute(
            """SELECT key, max(id), created AS living FROM history INDEXED BY history_key
               WHERE key >= ? AND key < ? AND id <= ? GROUP BY key HAVING living > 0 ORDER BY key LIMIT ?""",
            (start, end, last_id(revision), rows),
        ).fetchall()
        for key, row_id, created in names:
            try:
                records.append(self._row(key, row_id, created))
            except Damaged as error:
                damaged.append(error)
        return (names[-1][0] if names else start), len(names)

    def _values(self, ids: Sequence[int], lengths: Sequence[int]) -> list[bytes | None]:
        """The values of rows whose lengths are known (-1: there is none), some megabytes at a time."""
        found: list[bytes | None] = []
        for first, last in portions(lengths):
            row = self._connection.execute(
                "SELECT CAST(group_concat(h.value, '') AS BLOB) FROM json_each(?) j CROSS JOIN history h ON h.id = j.value",
                (f"[{','.join(map(str, ids[first:last]))}]",),
            ).fetchall()[0]
            cut(row[0] or b"", lengths[first:last], found)
        return found

    def _count(self, start: str, end: str, revision: int) -> int:
        (count,) = self._connection.execute(
            """SELECT count(*) FROM (SELECT max(id), created AS living FROM history INDEXED BY history_key
               WHERE key >= ? AND key < ? AND id <= ? GROUP BY key HAVING living > 0)""",
            (start, end, last_id(revision)),
        ).fetchall()[0]
        return int(count)

    def changes(self, start: str, end: str, after: int, until: int) -> tuple[list[Change], int]:
        """Changes in a range above revision `after`, up to `until` or as far as one piece goes; and up to where they are all.
        Raises Compacted when one of them is damaged."""
        with translated(self._path):
            self._connection.execute("BEGIN")
            try:
                return self._changes(start, end, after, until)
            finally:
                self._connection.execute("ROLLBACK")

    def _changes(self, start: str, end: str, after: int, until: int) -> tuple[list[Change], int]:
        try:
            rows, befores = self._change_heads(start, end, after, until)
            size = whole_transactions(rows, befores)
            if size < len(rows):
                until = revision_of(rows[size].id) - 1
                rows, befores = rows[:size], befores[:size]
            values = self._values([row.id for row in rows], [row.length for row in rows])
            previous = self._values([before.id for before in befores], [before.length for before in befores])
        except library.Error as error:
            if library.code(error) != library.CORRUPT:
                raise
            raise Compacted(after, until) from error
        changes: list[Change] = []
        broken = 0
        for row, value, before, held in zip(rows, values, befores, previous, strict=True):
            if not (sound(row, value) and (before.checksum < 0 or sound(before, held))):
                broken = row.id
            changes.append(Change(row.id >> ORDINAL_BITS, row.key, value, held, abs(row.created), before.id >> ORDINAL_BITS))
        if broken:
            raise Compacted(after, revision_of(broken))
        return changes, until

    def _change_heads(self, start: str, end: str, after: int, until: int) -> tuple[list[Head], list[Head]]:
        """The rows of the next changes, and the rows they superseded."""
        row = self._connection.execute(
            f"""SELECT group_concat(id), group_concat(key, char(0)), group_concat(created), group_concat(length), group_concat(seed),
                       group_concat(sum), group_concat(previous), group_concat(old_length), group_concat(old_seed), group_concat(old_sum)
                FROM (SELECT h.id, h.key, h.created, ifnull(length(h.value), -1) AS length, {checksum.seed_in_sql("h", "h.created")} AS seed,
                             h.sum, h.previous, ifnull(length(p.value), -1) AS old_length,
                             ifnull({checksum.seed_in_sql("p", "p.created")}, 0) AS old_seed,
                             ifnull(p.sum, -1) AS old_sum
                      FROM history h LEFT JOIN history p ON p.id = h.previous
                      WHERE h.id > ? AND h.id <= ? AND h.key >= ? AND h.key < ? ORDER BY h.id LIMIT ?)""",
            (last_id(after), last_id(until), start, end, PIECE_ROWS),
        ).fetchall()[0]
        return heads_of(row[:6]), heads_of((row[6], row[1], row[2], *row[7:]))


def portions(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches of rows whose values are together about `PIECE_BYTES`."""
    first = size = 0
    for n, length in enumerate(lengths):
        size += max(length, 0)
        if size >= PIECE_BYTES or n == len(lengths) - 1:
            yield first, n + 1
            first, size = n + 1, 0


def whole_transactions(rows: Sequence[Head], befores: Sequence[Head]) -> int:
    """How many of the rows to take: whole transactions, of about `PIECE_BYTES`, at least one."""
    size = sum(max(head.length, 0) for heads in (rows, befores) for head in heads)
    if len(rows) < PIECE_ROWS and size <= PIECE_BYTES:
        return len(rows)
    taken = size = 0
    for n, (row, before) in enumerate(zip(rows, befores, strict=True)):
        if n and revision_of(row.id) != revision_of(rows[n - 1].id):
            taken = n
            if size > PIECE_BYTES:
                return taken
        size += max(row.length, 0) + max(before.length, 0)
    # The last transaction may be cut by the query; when there is only one, it is whole: it has fewer rows than a piece.
    return len(rows) if not taken or len(rows) < PIECE_ROWS else taken
