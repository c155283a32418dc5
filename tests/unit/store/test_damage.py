"""Rows that are not what was written: found wherever they are read, set aside, named, and nothing else is lost."""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3

import pytest

from navarch.store import check
from navarch.store.interface import END, Change, Committed, Compacted, Damaged, Delete, Put
from navarch.store.sqlite import Options, Sqlite

HARM = {
    "value": "UPDATE history SET value = CAST(replace(value, 'x', 'y') AS BLOB) WHERE id = :id",
    "checksum": "UPDATE history SET sum = sum + 1 WHERE id = :id",
    "row": "DELETE FROM history WHERE id = :id",
}
NUMBERS = {
    "key": "UPDATE history SET key = '/someone-else' WHERE id = :id",
    "created": "UPDATE history SET created = created - 1 WHERE id = :id",
    "expires": "UPDATE history SET expires = 5 WHERE id = :id",
}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "store.db"


async def filled(path: pathlib.Path) -> int:
    """Ten keys, each written three times; the id of the newest row of /5."""
    store = Sqlite(path)
    await store.start()
    for n in range(30):
        await store.txn(Put(f"/{n % 10}", b"%dx" % n * 50))
    record = await store.get("/5")
    assert record is not None
    await store.close()
    return record.mod_revision << 10


def harm(path: pathlib.Path, statement: str, row_id: int, *, index_too: bool) -> None:
    """Changes a row behind the store's back. Without `index_too` the key index goes on saying what it said."""
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'history_key'").fetchone()
        if not index_too:
            connection.execute("PRAGMA writable_schema=ON")
            connection.execute("DELETE FROM sqlite_master WHERE name = 'history_key'")
            connection.commit()
            connection.execute("PRAGMA writable_schema=RESET")
        assert connection.execute(statement, {"id": row_id}).rowcount == 1
        connection.commit()
        if not index_too:
            connection.execute("PRAGMA writable_schema=ON")
            text = "CREATE INDEX history_key ON history (key, id, created, expires)"
            connection.execute("INSERT INTO sqlite_master VALUES ('index', 'history_key', 'history', ?, ?)", (root, text))
            connection.commit()


@pytest.mark.parametrize("what", sorted(HARM))
async def test_what_is_damaged_is_set_aside_and_named(path: pathlib.Path, what: str) -> None:
    """The index says what was written; the row, or what it is found under, does not agree."""
    row_id = await filled(path)
    harm(path, HARM[what], row_id, index_too=False)
    assert any("revision 27" in problem or "checksum" in problem or "the file" in problem for problem in check.check(str(path)))
    store = Sqlite(path)
    await store.start()
    try:
        with pytest.raises(Damaged, match="what is stored of /5 at revision 27 is damaged"):
            await store.get("/5")
        with pytest.raises(Damaged):
            await store.range("/", END)
        found = await store.range("/", END, set_aside=True)
        assert [record.key for record in found.records] == [f"/{n}" for n in range(10) if n != 5]
        assert [(damage.key, damage.revision) for damage in found.damaged] == [("/5", 27)]
        assert (found.count, found.more) == (10, False)
        assert (await store.range("/", "/5")).count == 5
        assert (await store.range("/", END, revision=20)).count == 10, "older revisions are what they were"
        if what != "row":  # a missing row was never a change
            with pytest.raises(Compacted):
                await store.changes("/", END, 20)
        with pytest.raises(Damaged):
            await store.txn(Put("/5", b"", expected=0))
        assert isinstance(await store.txn(Delete("/5")), Committed)
        assert isinstance(await store.txn(Put("/5", b"new", expected=0)), Committed)
        assert (await store.range("/", END)).count == 10
    finally:
        await store.close()


@pytest.mark.parametrize("what", sorted(NUMBERS))
async def test_of_what_a_row_and_the_index_both_hold_one_copy_is_enough(path: pathlib.Path, what: str) -> None:
    """What is served has the row's checksum, or is not served."""
    row_id = await filled(path)
    harm(path, NUMBERS[what], row_id, index_too=False)
    assert check.check(str(path)) != []
    store = Sqlite(path)
    await store.start()
    found = await store.range("/", END, set_aside=True)
    served = {record.key: record for record in found.records}
    assert served.keys() | {damage.key for damage in found.damaged} == {f"/{n}" for n in range(10)}
    if "/5" in served:
        assert served["/5"].value == b"25x" * 50
    await store.close()


@pytest.mark.parametrize("what", sorted(NUMBERS))
async def test_an_index_that_disagrees_with_a_sound_row_is_made_anew(path: pathlib.Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    row_id = await filled(path)
    before = "SELECT key, created, expires FROM history WHERE id = ?"
    with sqlite3.connect(path) as connection:
        key, created, expires = connection.execute(before, (row_id,)).fetchone()
        # The index goes along with this, and not with what takes it back.
        connection.execute(NUMBERS[what], {"id": row_id})
    back = f"UPDATE history SET key = '{key}', created = {created}, expires = {expires} WHERE id = :id"
    harm(path, back, row_id, index_too=False)
    store = Sqlite(path)
    await store.start()
    assert "it disagrees with the row of /5 at revision 27, which is sound" in caplog.text
    assert (await store.range("/", END)).count == 10
    record = await store.get("/5")
    assert record is not None
    assert record.value == b"25x" * 50
    await store.close()
    assert check.check(str(path)) == []


async def test_history_goes_on_behind_a_damaged_row(path: pathlib.Path) -> None:
    row_id = await filled(path)
    harm(path, HARM["value"], row_id, index_too=True)
    store = Sqlite(path, Options(value_cache_bytes=0))
    await store.start()
    piece = await store.changes("/", END, 27)
    assert [change.key for change in piece.changes] == ["/6", "/7", "/8", "/9"]
    with pytest.raises(Compacted) as caught:
        await anext(store.watch("/", END, 26))
    assert caught.value.oldest == 27
    heard: list[Change] = []
    store.subscribe(heard.extend)
    await store.txn(Put("/5", b"new"))
    assert (heard[0].previous, heard[0].previous_revision) == (None, 27), "what is damaged is not told as what was"
    await store.close()


async def test_a_damaged_index_is_made_anew_from_the_rows(path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path)
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'history_key'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    data[(root - 1) * size : (root - 1) * size + 8] = b"\xff" * 8
    path.write_bytes(bytes(data))
    assert check.check(str(path)) != []
    store = Sqlite(path)
    await store.start()
    assert (await store.range("/", END)).count == 10
    assert "key index" in caplog.text
    await store.close()
    assert check.check(str(path)) == []


async def test_a_page_of_rows_that_cannot_be_read_takes_only_those(path: pathlib.Path) -> None:
    store = Sqlite(path)
    await store.start()
    await asyncio.gather(*(store.txn(Put(f"/{n:03}", bytes(600))) for n in range(200)))
    await store.close()
    if not has_dbstat():
        pytest.skip("this Python's SQLite cannot tell where the rows are")
    with sqlite3.connect(path) as connection:
        leaves = connection.execute("SELECT pageno FROM dbstat WHERE name = 'history' AND pagetype = 'leaf'").fetchall()
    data = bytearray(path.read_bytes())
    at = (leaves[len(leaves) // 2][0] - 1) * 4096
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(bytes(data))
    store = Sqlite(path)
    await store.start()
    found = await store.range("/", END, set_aside=True)
    assert 180 < len(found.records) < 200
    assert len(found.records) + len(found.damaged) == 200
    assert check.check(str(path)) != []
    await store.close()


def has_dbstat() -> bool:
    return any(option == "ENABLE_DBSTAT_VTAB" for (option,) in sqlite3.connect(":memory:").execute("PRAGMA compile_options"))


async def test_ranges_of_large_values_come_in_portions(path: pathlib.Path) -> None:
    store = Sqlite(path, Options(value_cache_bytes=0))
    await store.start()
    for n in range(30):
        await store.txn(Put(f"/{n:02}", bytes([n]) * 1_500_000))
    found = await store.range("/", END)
    assert [record.value[0] for record in found.records] == list(range(30))
    piece = await store.changes("/", END, 1)
    assert 10 <= len(piece.changes) < 30
    assert piece.until == piece.changes[-1].revision
    await store.close()
