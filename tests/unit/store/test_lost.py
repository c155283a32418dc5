"""What was taken from a closed store is noticed when it is opened, and refused with what to do."""

from __future__ import annotations

import asyncio
import pathlib
import re
import shutil

import pytest

from navarch.store import backup, check, mark
from navarch.store.interface import END, Committed, Compacted, Put, StoreError, StoreLost
from navarch.store.sqlite import Sqlite


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "store.db"


async def killed(path: pathlib.Path) -> int:
    """A store as it lies there after kill -9, with everything in its log; its revision."""
    elsewhere = path.with_name("running")
    elsewhere.mkdir()
    store = Sqlite(elsewhere / "store.db")
    await store.start()
    for n in range(20):  # few enough that nothing is copied into the file yet
        await store.txn(Put(f"/{n % 10}", b"%d" % n * 100))
    await asyncio.sleep(0.3)  # the mark lags by milliseconds
    for name in ("store.db", "store.db-wal", "store.mark"):
        shutil.copy(elsewhere / name, path.with_name(name))
    revision = await store.revision()
    await store.close()
    return revision


async def opens(path: pathlib.Path) -> int:
    store = Sqlite(path)
    await store.start()
    try:
        return await store.revision()
    finally:
        await store.close()


def cut(path: pathlib.Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 5000])


def flip(path: pathlib.Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


async def test_nothing_is_missing_after_a_kill(path: pathlib.Path) -> None:
    assert await killed(path) == await opens(path) == 21
    assert check.check(str(path)) == []


@pytest.mark.parametrize("harm", [pathlib.Path.unlink, cut, flip])
async def test_a_log_that_was_removed_cut_or_flipped(path: pathlib.Path, harm: object) -> None:
    await killed(path)
    harm(path.with_name("store.db-wal"))  # type: ignore[operator]
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreLost, match=r"write-ahead log .* was removed, cut or damaged\. .*navarch restore FILE.*--accept-loss"):
            await opens(path)
    assert path.read_bytes() == before


async def test_check_tells_of_it_too(path: pathlib.Path) -> None:
    await killed(path)
    await opens(path)
    mark.put(str(path), mark.Mark(mark.read(str(path)).identity, 50))  # type: ignore[union-attr]
    assert any("writes up to 50 were acknowledged" in problem for problem in check.check(str(path)))


@pytest.mark.parametrize("harm", ["emptied", "missing"])
async def test_a_file_that_is_gone(path: pathlib.Path, harm: str) -> None:
    await opens(path)
    path.unlink()
    if harm == "emptied":
        path.touch()
    for file in path.parent.glob("store.db-*"):
        file.unlink()
    with pytest.raises(StoreLost, match=r"store\.db is (missing|empty), but .*store\.mark tells of a store"):
        await opens(path)
    assert not path.exists() or path.stat().st_size == 0


async def test_another_store_in_its_place(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    await killed(path)
    other = tmp_path / "other"
    other.mkdir()
    await opens(other / "store.db")
    path.with_name("store.db-wal").unlink()
    shutil.copy(other / "store.db", path)
    with pytest.raises(StoreLost, match="is not the store that"):
        await opens(path)


async def test_an_older_file_in_its_place(path: pathlib.Path) -> None:
    await opens(path)
    old = path.read_bytes()
    store = Sqlite(path)
    await store.start()
    await store.txn(Put("/later", b""))
    await store.close()
    path.write_bytes(old)
    with pytest.raises(StoreLost, match="ends at revision 1, but writes up to 2 were acknowledged: the file is an older one"):
        await opens(path)


@pytest.mark.parametrize("what", ["log", "file", "everything"])
async def test_accepting_the_loss(path: pathlib.Path, what: str) -> None:
    revision = await killed(path)
    await opens(path)
    kept = path.read_bytes()
    store = Sqlite(path)
    await store.start()
    await store.txn(Put("/lost", b""))
    await store.close()
    path.unlink()
    if what == "log":
        path.write_bytes(kept)
    elif what == "file":
        path.touch()
    begins = backup.accept_loss(str(path), gap=1000)
    assert begins >= revision + 1 + 1000
    store = Sqlite(path)
    await store.start()
    assert (await store.range("/", END)).count == (10 if what == "log" else 0)
    with pytest.raises(Compacted):
        await anext(store.watch("/", END, revision + 1))
    outcome = await store.txn(Put("/new", b""))
    assert isinstance(outcome, Committed)
    assert outcome.revision == begins + 1
    await store.close()
    assert check.check(str(path)) == []


async def test_a_restore_into_a_lost_store(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store = Sqlite(path)
    await store.start()
    await store.txn(Put("/kept", b""))
    await store.backup(tmp_path / "copy.db")
    for _ in range(50):
        await store.txn(Put("/more", b""))
    await store.close()
    path.unlink()
    begins = backup.restore(str(tmp_path / "copy.db"), str(path), gap=10)
    assert begins == 62, "above everything that was acknowledged, not only what the backup knew"
    assert await opens(path) == begins
    assert check.check(str(path)) == []


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(64)])
async def test_a_mark_that_cannot_be_read_is_made_anew(path: pathlib.Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    await opens(path)
    path.with_name("store.mark").write_bytes(content)
    await opens(path)
    assert "cannot be read and is made anew" in caplog.text
    assert mark.read(str(path)) not in (None, mark.UNREADABLE)
    path.unlink()
    path.with_name("store.mark").write_bytes(content)
    with pytest.raises(StoreLost):
        await opens(path)


async def test_a_store_without_a_mark_gets_one(path: pathlib.Path) -> None:
    """One of an earlier version has none."""
    await opens(path)
    path.with_name("store.mark").unlink()
    await opens(path)
    held = mark.read(str(path))
    assert held is not None
    assert re.fullmatch("[0-9a-f]{32}", held.identity)


async def test_a_refused_store_is_not_held(path: pathlib.Path) -> None:
    await opens(path)
    path.unlink()
    store = Sqlite(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="is missing"):
            await store.start()
