"""What must hold in a store's file: `check(path)` lists what does not.

It works on a closed store, on a backup, and on an open one (as a reader, of one consistent state).

- SQLite itself finds the file sound, which holds the key index against the rows.
- Every row has its checksum.
- Ids grow by whole revisions: nothing above the last, ordinals within a revision count from 0.
- Each row supersedes the row that was its key's newest; a row without predecessor creates its key at its own revision; a
  later one keeps the create revision; only existing keys are deleted. So replaying history gives the present state.
- Below what is cleaned, only rows are left that were their key's newest there.
- Times never go backwards.
- The file is the store that the mark beside it tells of, with everything that was acknowledged.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from navarch.store import checksum, database, library, mark, opening, schema
from navarch.store.faults import translated
from navarch.store.interface import StoreError, StoreLost
from navarch.store.ledger import ORDINAL_BITS, last_id, revision_of

MAX_PROBLEMS = 100


def check(path: str) -> list[str]:
    """The problems of a store's file, in words for an operator; empty when it is sound. Stops at the first hundred."""
    if not os.path.exists(path):
        return [f"{path} does not exist"]
    problems: list[str] = []
    try:
        # Read before the file is looked at: in an open store both go on, and the mark must not be the newer one.
        expected = mark.read(path)
        with translated(path), contextlib.closing(schema.connect(path, 4096, read_only=True)) as connection:
            # One read transaction, so that compaction does not move what is being looked at.
            connection.execute("BEGIN")
            schema.check_identity(connection, path)
            for problem in findings(connection, path, expected):
                problems.append(problem)
                if len(problems) >= MAX_PROBLEMS:
                    problems.append("and possibly more")
                    break
    except StoreError as error:
        problems.append(str(error))
    return problems


def findings(connection: library.Connection, path: str, expected: mark.Mark | None) -> Iterator[str]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield f"the file: {line}"
    state = database.load(connection)
    try:
        opening.check_expected(path, state, expected)
    except StoreLost as error:
        yield str(error)
    summed = schema.version_of(connection) >= schema.VERSION
    if summed and not connection.execute("SELECT 1 FROM meta WHERE name = 'summed'").fetchall():
        yield from checksum_findings(connection)
    yield from history_findings(connection, state)


def checksum_findings(connection: library.Connection) -> Iterator[str]:
    for row in connection.execute("SELECT id, key, value, created, previous, at, expires, sum FROM history ORDER BY id"):
        if not isinstance(row[1], str) or checksum.of(*row[:7]) != row[7]:
            yield f"revision {revision_of(row[0])}, key {row[1]!r}: the checksum does not match"


def history_findings(connection: library.Connection, state: database.State) -> Iterator[str]:
    """Replays history, and compares with what the store would open with."""
    living: dict[str, tuple[int, int]] = {}
    before = at_before = 0
    for row_id, key, created, previous, at, deleted in connection.execute(
        "SELECT id, key, created, previous, at, value IS NULL FROM history ORDER BY id"
    ):
        revision = revision_of(row_id)
        where = f"revision {revision}, key {key!r}"
        above = row_id > state.cleaned
        if above:
            yield from sequence_findings(state, where, row_id, before)
        if at < at_before:
            yield f"{where}: was written before its predecessor"
        yield from row_findings(where, living.get(key), (created, previous, bool(deleted)), revision, above)
        if deleted:
            living.pop(key, None)
            if not above:
                yield f"{where}: a deletion below the compacted revision was not removed"
        else:
            living[key] = (created, row_id)
        before, at_before = row_id, at
    if before > last_id(state.revision):
        yield f"revision {revision_of(before)} is above the store's last, {state.revision}"
    if living != {key: (entry.created, entry.id) for key, entry in state.entries.items()}:
        yield "the present state is not what replaying history gives"


def sequence_findings(state: database.State, where: str, row_id: int, before: int) -> Iterator[str]:
    """Whether rows are missing between two neighbours, of which compaction, which ends anywhere in a revision, took none."""
    revision, ordinal = revision_of(row_id), row_id & ((1 << ORDINAL_BITS) - 1)
    if ordinal and before != row_id - 1 and row_id - 1 > state.cleaned:
        if revision_of(before) == revision:
            yield f"{where}: a row of this revision is missing"
        else:
            yield f"{where}: the first row of this revision is missing"
    last = revision_of(max(before, state.cleaned))
    if revision > last + 1 and not in_gap(state, last, revision):
        yield f"revisions {last + 1} to {revision - 1} are missing"


def in_gap(state: database.State, low: int, high: int) -> bool:
    """Whether a restore left out the revisions between two neighbours."""
    return any(low == gap.below and gap.above + 1 == high for gap in state.gaps)


def row_findings(where: str, newest: tuple[int, int] | None, row: tuple[int, int, bool], revision: int, above: bool) -> Iterator[str]:
    created, previous, deleted = abs(row[0]), row[1], row[2]
    if deleted != (row[0] < 0):
        yield f"{where}: is half a deletion"
    if not above:
        # Its predecessors are gone; it must be alone.
        if newest is not None:
            yield f"{where}: an older row of this key was not removed by compaction"
        if not deleted and created > revision:
            yield f"{where}: created at {created}, after it was written"
        return
    if previous != (newest[1] if newest else 0):
        yield f"{where}: supersedes row {previous}, but the key's newest was {newest[1] if newest else 'none'}"
    elif deleted and newest is None:
        yield f"{where}: deletes a key that does not exist"
    elif created != (newest[0] if newest else revision):
        yield f"{where}: created at {created}, but the key exists since {newest[0] if newest else revision}"
