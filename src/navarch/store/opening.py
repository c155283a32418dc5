"""Opens a store's file: makes it or checks that it is what it should be, and loads the state.

What SQLite finds is held against the mark beside the file (see `mark`). A file that lacks acknowledged writes, is another store or
is gone is refused, with what to do; `navarch restore` is the way out. A key index that cannot be read is made anew from the rows.
"""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

from navarch.store import database, library, mark, schema
from navarch.store.faults import translated
from navarch.store.interface import StoreLost

log = logging.getLogger(__name__)

WAYS_OUT = "Put the files back, restore a backup (navarch restore FILE), or go on with what is there (navarch restore --accept-loss)"


class Opened(NamedTuple):
    connection: library.Connection
    state: database.State
    marker: mark.Marker


def open_and_load(path: str, created_at: int, vfs: str | None = None) -> Opened:
    """The store's file, open for writing. Raises StoreLost, StoreCorrupt, StoreTooNew, StoreFull, StoreUnavailable."""
    if weakness := library.weakness(library.version()):
        log.warning("%s", weakness)
    with translated(path):
        expected = mark.read(path)
        check_present(path, expected)
        try:
            connection = schema.open_file(path, create=expected is None, created_at=created_at, vfs=vfs)
        except StoreLost as error:
            raise StoreLost(f"{error}: its write-ahead log ({path}-wal) was removed, cut or damaged. {WAYS_OUT}") from None
        try:
            state = load(connection, path)
            check_expected(path, state, expected)
            if expected is None:
                mark.sync_folder(path)
            mark.put(path, mark.Mark(state.identity, state.revision))
            return Opened(connection, state, mark.Marker(path, state.identity))
        except BaseException:
            connection.close()
            raise


def check_present(path: str, expected: mark.Mark | None) -> None:
    """Raises StoreLost when there should be a store and is none."""
    if expected is None or (os.path.exists(path) and os.path.getsize(path)):
        return
    raise StoreLost(f"{path} is {'empty' if os.path.exists(path) else 'missing'}, but {mark.path_of(path)} tells of a store. {WAYS_OUT}")


def check_expected(path: str, state: database.State, expected: mark.Mark | None) -> None:
    """Raises StoreLost when the store is not the one that was acknowledged."""
    if expected is None:
        return
    if expected == mark.UNREADABLE:
        log.warning("%s cannot be read and is made anew; whether %s lacks writes is not known", mark.path_of(path), path)
    elif expected.identity != state.identity:
        raise StoreLost(f"{path} is not the store that {mark.path_of(path)} tells of. {WAYS_OUT}")
    elif expected.revision > state.revision:
        raise StoreLost(
            f"{path} ends at revision {state.revision}, but writes up to {expected.revision} were acknowledged: "
            f"the file is an older one, or its write-ahead log ({path}-wal) was removed, cut or damaged. {WAYS_OUT}"
        )


def load(connection: library.Connection, path: str) -> database.State:
    """The state, from a key index that was held against the rows; if need be it is made anew from them."""
    try:
        state = database.load(connection)
    except library.Error as error:
        if library.code(error) != library.CORRUPT:
            raise
        why = str(error)
    else:
        why = index_fault(connection)
        if not why:
            return state
    log.error("the key index of %s is damaged (%s); it is made anew from the rows", path, why)
    schema.rebuild_index(connection)
    return database.load(connection)


def index_fault(connection: library.Connection) -> str:
    try:
        return database.index_fault(connection)
    except library.Error as error:
        if library.code(error) != library.CORRUPT:
            raise
        # It is rows that cannot be read. They are set aside when they are asked for.
        return ""
