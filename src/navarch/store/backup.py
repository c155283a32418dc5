"""Backup and restore of a store's file.

A backup is a complete store in one file, consistent as of one revision, made while the store works. A restore puts it back
when the store is closed, and leaves a gap in the revisions: clients may still hold revisions that happened after the backup,
so what comes next is numbered far above them, and the numbers between answer Compacted. What the backup knew of history stays.

`accept_loss` is for a store that does not open because acknowledged writes are missing and there is no backup: it goes on with what
there is, with the same gap.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from navarch.store import check, database, library, locking, mark, opening, schema
from navarch.store.faults import translated
from navarch.store.interface import StoreCorrupt, StoreUnavailable

REVISION_GAP = 1_000_000_000
"""Revisions left out by a restore: more than a store makes in days between two backups."""


def copy(source: str, target: str) -> None:
    """Writes a copy of a store to a new file `target`. Raises StoreUnavailable (target exists, cannot be written), StoreFull."""
    if os.path.exists(target):
        raise StoreUnavailable(f"{target} exists already")
    part = target + ".part"
    with translated(target):
        remove(part)
        origin = schema.connect(source, 1024, read_only=True)
        try:
            schema.keep_private(part)
            with contextlib.closing(library.connect(part)) as destination:
                library.copy(origin, destination)
                destination.execute("PRAGMA journal_mode=DELETE").fetchall()
        except BaseException:
            remove(part)
            raise
        finally:
            origin.close()
        sync(part)
        os.rename(part, target)
        mark.sync_folder(target)


def restore(source: str, target: str, *, gap: int = REVISION_GAP) -> int:
    """Puts a backup in the place of the store at `target`, which must be closed; returns the revision it starts at.

    The backup is checked first. What was at `target` is kept beside it under the name `target.before-restore`.
    Raises StoreCorrupt (the backup is not sound), StoreLocked (the store is open), StoreUnavailable, StoreFull.
    """
    problems = check.check(source)
    if problems:
        raise StoreCorrupt(f"{source} cannot be restored: {problems[0]}")
    lock = locking.lock(target)
    try:
        with translated(target):
            return replace(source, target, gap)
    finally:
        locking.unlock(lock)


def replace(source: str, target: str, gap: int) -> int:
    part = target + ".part"
    remove(part)
    copy(source, part)
    expected = leave_gap(part, mark.read(target), gap)
    sync(part)
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(target + suffix):
            os.replace(target + suffix, f"{target}.before-restore{suffix}")
    os.rename(part, target)
    mark.put(target, expected)
    return expected.revision


def accept_loss(target: str, *, gap: int = REVISION_GAP) -> int:
    """Lets the store at `target`, which must be closed, go on with what it holds; returns the revision it starts at.

    When there is nothing it begins empty. What revisions were acknowledged and lost stays in the gap.
    Raises StoreLocked, StoreCorrupt, StoreTooNew, StoreUnavailable, StoreFull.
    """
    lock = locking.lock(target)
    try:
        with translated(target):
            schema.open_file(target, created_at=int(time.time() * 1000)).close()
            expected = leave_gap(target, mark.read(target), gap)
            mark.put(target, expected)
            return expected.revision
    finally:
        locking.unlock(lock)


def leave_gap(path: str, acknowledged: mark.Mark | None, gap: int) -> mark.Mark:
    """Numbers what comes next above everything that a client may have seen; the mark that fits."""
    connection = schema.open_file(path)
    try:
        state = opening.load(connection, path)
        above = max(state.revision, acknowledged.revision if acknowledged else 0) + gap
        gaps = [*state.gaps, database.Gap(state.revision, above)]
        connection.execute("UPDATE meta SET value = ? WHERE name = 'gaps'", (json.dumps(gaps),))
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        return mark.Mark(state.identity, above)
    finally:
        connection.close()


def sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
