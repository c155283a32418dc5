"""Backup and restore of a store's file.

A backup is a complete store in one file, consistent as of one revision, made while the store works. A restore puts it back
when the store is closed, and leaves a gap in the revisions: clients may still hold revisions that happened after the backup,
so what comes next is numbered far above them, and the numbers between answer Compacted. What the backup knew of history stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3

from navarch.store import check, database
from navarch.store.interface import StoreCorrupt, StoreUnavailable

REVISION_GAP = 1_000_000_000
"""Revisions left out by a restore: more than a store makes in days between two backups."""


def copy(source: str, target: str) -> None:
    """Writes a copy of a store to a new file `target`. Raises StoreUnavailable (target exists, cannot be written), StoreFull."""
    if os.path.exists(target):
        raise StoreUnavailable(f"{target} exists already")
    part = target + ".part"
    with database.translated(target):
        remove(part)
        origin = database.connect(source, 1024, read_only=True)
        try:
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as destination:
                # All pages in one step: a single read transaction, which writers neither disturb nor wait for.
                origin.backup(destination, pages=-1)
                destination.execute("PRAGMA journal_mode=DELETE")
        except BaseException:
            remove(part)
            raise
        finally:
            origin.close()
        sync(part)
        os.rename(part, target)
        sync(os.path.dirname(os.path.abspath(target)))


def restore(source: str, target: str, *, gap: int = REVISION_GAP) -> int:
    """Puts a backup in the place of the store at `target`, which must be closed; returns the revision it starts at.

    The backup is checked first. What was at `target` is kept beside it under the name `target.before-restore`.
    Raises StoreCorrupt (the backup is not sound), StoreLocked (the store is open), StoreUnavailable, StoreFull.
    """
    problems = check.check(source)
    if problems:
        raise StoreCorrupt(f"{source} cannot be restored: {problems[0]}")
    lock = database.lock_file(target)
    try:
        with database.translated(target):
            return replace(source, target, gap)
    finally:
        database.unlock_file(lock)


def replace(source: str, target: str, gap: int) -> int:
    part = target + ".part"
    remove(part)
    copy(source, part)
    revision = leave_gap(part, gap)
    sync(part)
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(target + suffix):
            os.replace(target + suffix, f"{target}.before-restore{suffix}")
    os.rename(part, target)
    sync(os.path.dirname(os.path.abspath(target)))
    return revision


def leave_gap(path: str, gap: int) -> int:
    connection = database.open_file(path)
    try:
        state = database.load(connection)
        above = state.revision + gap
        gaps = [*state.gaps, database.Gap(state.revision, above)]
        connection.execute("UPDATE meta SET value = ? WHERE name = 'gaps'", (json.dumps(gaps),))
        connection.execute("PRAGMA journal_mode=DELETE")
        return above
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
