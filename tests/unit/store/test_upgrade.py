"""A file of version 1, without checksums, is brought up to date when it is opened, whenever that is interrupted."""

from __future__ import annotations

import json
import pathlib
import random
import sqlite3

import pytest

from navarch.store import backup, check, schema
from navarch.store.interface import END, Put
from navarch.store.ledger import last_id
from navarch.store.sqlite import Sqlite

VERSION_1 = (
    "CREATE TABLE history (id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, created INTEGER NOT NULL, "
    "previous INTEGER NOT NULL, at INTEGER NOT NULL, expires INTEGER NOT NULL)",
    "CREATE INDEX history_key ON history (key, id, created, expires)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
)


def version_1(path: pathlib.Path, rows: int) -> list[tuple[str, bytes, int]]:
    """A file as the first version wrote it; what it holds."""
    chance = random.Random(1)
    newest: dict[str, tuple[int, int, bytes]] = {}
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        for statement in VERSION_1:
            connection.execute(statement)
        for n in range(rows):
            revision, key, value = n + 2, f"/{chance.randrange(rows // 3)}", chance.randbytes(chance.randrange(3000))
            created, previous, _ = newest.get(key, (revision, 0, b""))
            newest[key] = (created, revision << 10, value)
            connection.execute(
                "INSERT INTO history VALUES (?,?,?,?,?,?,?)", (revision << 10, key, value, created, previous, 1_700_000_000_000 + n, 0)
            )
        meta = {"floor": 1, "floor_at": 1_600_000_000_000, "cleaned": last_id(1), "gaps": json.dumps([]), "identity": "ab" * 16}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version=1")
    return sorted((key, value, row_id >> 10) for key, (_, row_id, value) in newest.items())


async def held(path: pathlib.Path) -> list[tuple[str, bytes, int]]:
    store = Sqlite(path)
    await store.start()
    try:
        return [(record.key, record.value, record.mod_revision) for record in (await store.range("/", END)).records]
    finally:
        await store.close()


async def test_everything_is_there_and_has_its_checksum(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "store.db"
    wanted = version_1(path, 5000)
    assert check.check(str(path)) == []
    assert await held(path) == wanted
    assert check.check(str(path)) == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM history WHERE sum = 0").fetchone() == (0,)
        assert connection.execute("SELECT value FROM meta WHERE name = 'summed'").fetchone() is None
    store = Sqlite(path)
    await store.start()
    await store.txn(Put("/new", b""))
    assert await store.revision_at(1_700_000_000.9) == 902, "times of before mean what they meant"
    await store.close()


async def test_it_goes_on_where_it_was_interrupted(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    wanted = version_1(path, 5000)
    real, steps = schema.add_checksums, 0

    def interrupted(connection: object, after: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise KeyboardInterrupt
        real(connection, after)  # type: ignore[arg-type]

    monkeypatch.setattr(schema, "add_checksums", interrupted)
    with pytest.raises(KeyboardInterrupt):
        schema.open_file(str(path))
    assert check.check(str(path)) == [], "half done is no problem"
    monkeypatch.setattr(schema, "add_checksums", real)
    assert await held(path) == wanted
    assert check.check(str(path)) == []


async def test_a_backup_of_version_1_is_restored(tmp_path: pathlib.Path) -> None:
    wanted = version_1(tmp_path / "old.db", 300)
    backup.restore(str(tmp_path / "old.db"), str(tmp_path / "store.db"))
    assert await held(tmp_path / "store.db") == wanted
