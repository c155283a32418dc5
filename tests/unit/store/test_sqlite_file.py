"""What the SQLite store does with its file: faults, upkeep, backup and restore, and what `check` finds."""

from __future__ import annotations

import asyncio
import pathlib
import sqlite3

import pytest

from navarch.store import backup, check, library
from navarch.store.interface import (
    END,
    Committed,
    Compacted,
    Conflict,
    Delete,
    Put,
    Record,
    StoreCorrupt,
    StoreFull,
    StoreLocked,
    StoreTooNew,
    StoreUnavailable,
)
from navarch.store.sqlite import Options, Sqlite


class Clock:
    """A wall clock, which can be set, and the time that passes."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.passed = 1000.0

    def wall(self) -> float:
        return self.now

    def steady(self) -> float:
        return self.passed

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds


def sqlite(path: pathlib.Path, options: Options | None = None, clock: Clock | None = None) -> Sqlite:
    clock = clock or Clock()
    return Sqlite(path, options, wall=clock.wall, steady=clock.steady)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "store.db"


async def filled(path: pathlib.Path, options: Options | None = None, clock: Clock | None = None) -> Sqlite:
    store = sqlite(path, options, clock)
    await store.start()
    for n in range(50):
        await store.txn(Put(f"/{n % 20}", b"value %d" % n))
    await store.txn(Delete("/3"), Delete("/4"))
    return store


async def test_what_was_written_is_there_after_opening_again(path: pathlib.Path) -> None:
    store = await filled(path)
    before = await store.range("/", END)
    old = await store.range("/", END, revision=17)
    await store.close()
    await store.start()
    assert await store.range("/", END) == before
    assert await store.range("/", END, revision=17) == old
    assert await store.txn(Put("/0", b"next", expected=0)) == Conflict("/0", Record("/0", b"value 40", 2, 42))
    outcome = await store.txn(Put("/3", b"again", expected=0))
    assert isinstance(outcome, Committed)
    assert (outcome.revision, outcome.changes[0].create_revision) == (53, 53)
    await store.close()
    assert check.check(str(path)) == []


async def test_a_second_process_is_told_that_the_store_is_in_use(path: pathlib.Path) -> None:
    store = await filled(path)
    with pytest.raises(StoreLocked, match="in use by another process"):
        await Sqlite(path).start()
    await store.close()
    again = Sqlite(path)
    await again.start()
    await again.close()


@pytest.mark.parametrize("garbage", [b"this is no database at all" * 400, b"SQLite format 3\0" + bytes(range(256)) * 40])
async def test_a_damaged_file_is_named_and_left_alone(path: pathlib.Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    with pytest.raises(StoreCorrupt, match=r"store\.db .*(damaged|not a store)"):
        await Sqlite(path).start()
    assert path.read_bytes() == garbage
    assert check.check(str(path)) != []


async def test_another_programs_database_is_refused(path: pathlib.Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreCorrupt, match="not a store"):
        await Sqlite(path).start()


async def test_a_newer_schema_is_refused(path: pathlib.Path) -> None:
    await (await filled(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=999")
    with pytest.raises(StoreTooNew, match="newer version"):
        await Sqlite(path).start()


async def test_a_full_disk_refuses_writes_loses_nothing_and_recovers(path: pathlib.Path) -> None:
    store = await filled(path)
    before = await store.range("/", END)
    await store._work(lambda writer: limit_pages(writer._connection, 0), lambda more: True)
    heard: list[object] = []
    store.subscribe(heard.append)
    big = bytes(100_000)
    outcomes = await asyncio.gather(
        store.txn(Put("/0", big)), store.txn(Put("/new", big, expected=0)), store.txn(Put("/new", b"", expected=0)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [StoreFull, StoreFull, StoreFull]
    assert await store.range("/", END) == before
    assert await store.get("/0") == Record("/0", b"value 40", 2, 42)
    assert heard == []
    await store._work(lambda writer: limit_pages(writer._connection, 1 << 30), lambda more: True)
    outcome = await store.txn(Put("/new", big, expected=0), Put("/0", b"after", expected=42))
    assert isinstance(outcome, Committed)
    assert outcome.revision == before.revision + 1
    assert outcome.changes[1].previous == b"value 40"
    assert len(heard) == 1
    await store.close()
    assert check.check(str(path)) == []


def limit_pages(connection: library.Connection, pages: int) -> None:
    connection.execute(f"PRAGMA max_page_count={pages or 1}").fetchall()


async def test_history_is_given_up_by_age(path: pathlib.Path) -> None:
    clock = Clock()
    store = sqlite(path, Options(keep_seconds=100), clock)
    await store.start()
    for n in range(400):
        clock.advance(1)
        await store.txn(Put(f"/{n % 7}", b"%d" % n))
    assert await store.oldest() == 1
    await store.maintain()
    assert await store.oldest() == 301
    with pytest.raises(Compacted):
        await store.get("/1", 300)
    assert (await store.range("/", END, revision=301)).count == 7
    await store.close()
    assert check.check(str(path)) == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM history").fetchone() == (100 + 7,)


async def test_the_file_stays_bounded_under_endless_updates(path: pathlib.Path) -> None:
    clock = Clock()
    options = Options(keep_seconds=1e9, keep_bytes=4 << 20, keep_at_least_seconds=10)
    store = sqlite(path, options, clock)
    await store.start()
    sizes = []
    for _ in range(12):
        for n in range(40):
            await asyncio.gather(*(store.txn(Put(f"/{n}/{m}", bytes(1500))) for m in range(16)))
            clock.advance(1)
        await store.maintain()
        sizes.append(path.stat().st_size)
    await store.close()
    assert max(sizes[6:]) < 14 << 20
    assert path.stat().st_size < 14 << 20
    assert not path.with_name("store.db-wal").exists() or path.with_name("store.db-wal").stat().st_size == 0
    assert check.check(str(path)) == []


async def test_free_pages_are_given_back(path: pathlib.Path) -> None:
    store = sqlite(path)
    await store.start()
    for n in range(30):
        await asyncio.gather(*(store.txn(Put(f"/{n}/{m}", bytes(4000))) for m in range(100)))
    await store._work(lambda writer: store._writing._checkpointer.copy(), lambda done: True)
    large = path.stat().st_size
    for n in range(30):
        await store.txn(*[Delete(f"/{n}/{m}") for m in range(100)])
    await store.compact(await store.revision())
    await store.maintain()
    await store.close()
    assert large > 11 << 20
    assert path.stat().st_size < 6 << 20


async def test_an_interrupted_compaction_is_finished_later(path: pathlib.Path) -> None:
    store = await filled(path)
    revision = await store.revision()
    store._raise_floor(revision, 0)
    await store._work(lambda writer: writer.clean(revision, 0, store._cleaned, 10), store._cleaned_to)
    await store.close()
    assert check.check(str(path)) == []
    await store.start()
    assert await store.oldest() == revision
    assert (await store.range("/", END)).count == 18
    await store.maintain()
    await store.close()
    assert check.check(str(path)) == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM history").fetchone() == (18,)


async def test_backup_while_writing_and_restore(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store = await filled(path)
    target = tmp_path / "copy.db"
    writes = asyncio.gather(*(store.txn(Put(f"/busy/{n}", bytes(1000))) for n in range(300)))
    await store.backup(target)
    await writes
    await store.backup(tmp_path / "second.db")
    with pytest.raises(StoreUnavailable, match="exists already"):
        await store.backup(target)
    present = await store.range("/", END)
    await store.txn(Put("/after", b"the backup"))
    after = await store.revision()
    await store.close()
    assert check.check(str(target)) == []

    begins = backup.restore(str(tmp_path / "second.db"), str(path))
    await store.start()
    assert await store.revision() == begins > after
    restored = await store.range("/", END)
    assert restored.records == present.records
    assert (await store.range("/", END, revision=present.revision)).records == present.records
    with pytest.raises(Compacted):
        await anext(store.watch("/", END, after))
    outcome = await store.txn(Put("/after", b"the restore"))
    assert isinstance(outcome, Committed)
    assert outcome.revision == begins + 1
    assert (await anext(store.watch("/", END, present.revision)))[0].revision == begins + 1
    await store.close()
    assert check.check(str(path)) == []
    assert (tmp_path / "store.db.before-restore").exists()


async def test_a_damaged_backup_is_not_restored(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    await (await filled(path)).close()
    (tmp_path / "bad.db").write_bytes(b"bad" * 1000)
    with pytest.raises(StoreCorrupt, match="cannot be restored"):
        backup.restore(str(tmp_path / "bad.db"), str(path))
    assert check.check(str(path)) == []


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("DELETE FROM history WHERE id = 30 << 10", "revisions 30 to 30 are missing"),
        ("UPDATE history SET previous = 7 << 10 WHERE id = 30 << 10", "supersedes row"),
        ("UPDATE history SET created = 12 WHERE id = 30 << 10", "created at 12"),
        ("UPDATE history SET at = 5 WHERE id = 30 << 10", "before its predecessor"),
        ("UPDATE history SET id = 99 << 10 WHERE id = 30 << 10", "are missing"),
        ("DELETE FROM history WHERE id = 52 << 10", "the first row of this revision is missing"),
        ("UPDATE history SET value = NULL WHERE id = 51 << 10", "half a deletion"),
    ],
)
async def test_check_finds(path: pathlib.Path, damage: str, found: str) -> None:
    await (await filled(path)).close()
    with sqlite3.connect(path) as connection:
        assert connection.execute(damage).rowcount == 1
    problems = check.check(str(path))
    assert any(found in problem for problem in problems), problems


async def test_reads_of_old_revisions_while_compaction_runs_are_right_or_compacted(path: pathlib.Path) -> None:
    store = sqlite(path)
    await store.start()
    for n in range(600):
        await store.txn(Put(f"/{n % 5}", b"%d" % n))
    seen = {"right": 0, "compacted": 0}

    async def read() -> None:
        for revision in range(10, 600, 3):
            try:
                records = (await store.range("/", END, revision=revision)).records
            except Compacted:
                seen["compacted"] += 1
            else:
                assert sorted(record.mod_revision for record in records) == list(range(revision - 4, revision + 1))
                seen["right"] += 1

    async def compact() -> None:
        for revision in range(1, 601, 20):
            await store.compact(revision)

    await asyncio.gather(read(), compact())
    assert seen["right"]
    await store.close()
