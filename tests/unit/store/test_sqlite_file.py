"""What the SQLite store does with its file: faults, upkeep, backup and restore, and what `check` finds."""

from __future__ import annotations

import asyncio
import os
import pathlib
import random
import sqlite3
import threading

import pytest

from navarch.store import backup, check, database, library
from navarch.store import sqlite as sqlite_store
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
from navarch.store.ledger import last_id
from navarch.store.sqlite import Options, Sqlite
from navarch.testing.disk import Disk, Operation


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
    await store._work(lambda writer: writer.clean(revision, 0, 10), store._cleaned_to)
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


@pytest.mark.parametrize("seed", range(4))
async def test_check_is_clean_in_the_middle_of_a_compaction(path: pathlib.Path, seed: int) -> None:
    """It may end anywhere in a revision, and takes deletions out of the middle of one."""
    chance = random.Random(seed)
    store = sqlite(path)
    await store.start()
    for n in range(60):
        keys = chance.sample(range(12), chance.randint(1, 6))
        await store.txn(*[Delete(f"/{key}") if chance.random() < 0.4 else Put(f"/{key}", b"%d" % n) for key in keys])
    floor = await store.revision() - 5
    store._raise_floor(floor, 0)
    while store._cleaned < last_id(floor):
        await store._work(lambda writer: writer.clean(floor, 0, 1), store._cleaned_to)
        assert check.check(str(path)) == []
    await store.close()


async def test_compactions_asked_for_at_once_do_not_get_in_each_others_way(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "CLEAN_ROWS", 3)
    store = await filled(path)
    await asyncio.gather(*(store.compact(revision) for revision in range(2, 50, 3)))
    assert check.check(str(path)) == []
    await store.close()
    assert check.check(str(path)) == []


async def test_an_idle_store_gives_its_free_pages_back_at_once_and_then_writes_nothing(path: pathlib.Path) -> None:
    disk = Disk()
    clock = Clock()
    store = Sqlite(path, Options(upkeep_seconds=0.01), wall=clock.wall, steady=clock.steady, vfs=disk.name)
    await store.start()
    try:
        for n in range(30):
            await asyncio.gather(*(store.txn(Put(f"/{n}/{m}", bytes(4000))) for m in range(100)))
        for n in range(30):
            await store.txn(*[Delete(f"/{n}/{m}") for m in range(100)])
        await store.compact(await store.revision())
        await store.maintain()
        free = await store._work(lambda writer: writer._number("freelist_count"), lambda pages: pages * 4096 > database.SHRINK_ABOVE + (1 << 20))
        assert not free
        await store._work(lambda writer: store._writing._checkpointer.copy(), lambda done: False)
        await asyncio.sleep(0.2)
        before = len(disk.operations)
        await asyncio.sleep(0.5)  # fifty times the upkeep
        assert disk.operations[before:] == []
    finally:
        await store.close()
        disk.close()


@pytest.mark.parametrize("hours", [26, -26])
async def test_a_clock_that_jumps_and_comes_back_takes_no_history_and_no_key(path: pathlib.Path, hours: int) -> None:
    clock = Clock()
    store = sqlite(path, Options(keep_seconds=3600), clock)
    await store.start()
    for n in range(20):
        clock.advance(10)
        await store.txn(Put(f"/events/{n}", b"", ttl=1000))
    first = clock.now
    for jump in (hours, -hours):
        clock.now += jump * 3600
        await store.maintain()
        store._note_time()
        store._expire()
        clock.advance(10)
        await store.txn(Put("/other", b"%d" % jump))
        await store.close()  # also over a restart
        await store.start()
    assert await store.oldest() == 1
    assert (await store.range("/events/", "/events0")).count == 20
    assert await store.revision_at(first) == 21
    assert await store.revision_at(clock.now) == 23
    # And time passes all the same.
    clock.advance(900)
    store._expire()
    await store.txn(Put("/last", b""))
    assert (await store.range("/events/", "/events0")).count < 20
    clock.advance(4000)
    await store.maintain()
    assert await store.oldest() > 21
    await store.close()
    assert check.check(str(path)) == []


async def test_only_one_connection_ever_copies_the_log(path: pathlib.Path) -> None:
    """Writes to the database itself come from the checkpointer's thread alone, also under load, and the log stays bounded."""
    disk = Disk()
    threads: set[str] = set()

    def watch(operation: Operation) -> None:
        if operation.what == "write" and operation.file.endswith("store.db"):
            threads.add(threading.current_thread().name)

    store = Sqlite(path, vfs=disk.name)
    await store.start()
    disk.fail = watch
    try:
        longest = 0
        for n in range(25):
            await asyncio.gather(*(store.txn(Put(f"/{n % 3}/{m}", bytes(8000))) for m in range(400)))
            longest = max(longest, path.with_name("store.db-wal").stat().st_size)
            if n == 10:
                await store.backup(path.with_name("copy.db"))
        await store.close()
    finally:
        disk.close()
    assert {name.split("_")[0] for name in threads} == {"store-checkpointer"}
    assert longest < 100 << 20


async def test_the_log_that_a_killed_store_left_is_copied(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Also by a store that writes little before it is killed again."""
    store = sqlite(path)
    await store.start()
    for n in range(3):
        await asyncio.gather(*(store.txn(Put(f"/{n}/{m}", bytes(2600))) for m in range(150)))
    left = tmp_path / "left"
    left.mkdir()
    for name in ("store.db", "store.db-wal"):
        (left / name).write_bytes(path.with_name(name).read_bytes())
    await store.close()
    small = (left / "store.db").stat().st_size
    assert (left / "store.db-wal").stat().st_size > 256 * 4200
    store = sqlite(left / "store.db")
    await store.start()
    await asyncio.sleep(0.5)
    assert (left / "store.db").stat().st_size > small + (512 << 10)
    await store.close()


async def test_the_files_are_nobody_elses_business(path: pathlib.Path) -> None:
    old = os.umask(0o022)
    try:
        store = await filled(path)
        await store.backup(path.with_name("copy.db"))
        for name in ("store.db", "store.db-wal", "store.db-shm", "store.mark", "store.db.lock", "copy.db"):
            assert path.with_name(name).stat().st_mode & 0o777 == 0o600, name
        await store.close()
        backup.restore(str(path.with_name("copy.db")), str(path))
        path.chmod(0o644)
        await store.start()
        assert path.stat().st_mode & 0o777 == 0o600
        await store.close()
    finally:
        os.umask(old)
