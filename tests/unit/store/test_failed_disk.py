"""A disk that fails: nothing is promised that is not known, and what was acknowledged is there when the store is opened again."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Iterator

import apsw
import pytest

from navarch.store import check
from navarch.store.interface import END, Committed, Put, StoreFailed
from navarch.store.sqlite import Sqlite
from navarch.testing.disk import Disk, Operation


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk()
    yield made
    made.close()


def failing(what: str, suffix: str) -> object:
    def fail(operation: Operation) -> None:
        if operation.what == what and operation.file.endswith(suffix):
            raise apsw.IOError("the disk is broken")

    return fail


@pytest.mark.parametrize("what", ["sync", "write"])
async def test_after_a_failed_commit_the_store_ends(tmp_path: pathlib.Path, disk: Disk, what: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Sqlite(tmp_path / "store.db", vfs=disk.name)
    await store.start()
    for n in range(10):
        assert isinstance(await store.txn(Put(f"/{n}", b"before")), Committed)
    watching = asyncio.ensure_future(anext(store.watch("/", END, await store.revision())))
    await asyncio.sleep(0)
    disk.fail = failing(what, "-wal")  # type: ignore[assignment]
    outcomes = await asyncio.gather(*(store.txn(Put(f"/{n}", b"unknown")) for n in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreFailed] * 5
    assert store.failed.done()
    disk.fail = None  # it may look healthy again: what it dropped stays dropped
    with pytest.raises(StoreFailed, match="known when the store is opened again"):
        await store.txn(Put("/0", b"after"))
    for read in (store.get("/0"), store.range("/", END), store.revision(), watching):
        with pytest.raises(StoreFailed):
            await read
    assert "writing" in caplog.text
    await store.close()
    assert check.check(str(tmp_path / "store.db")) == []
    again = Sqlite(tmp_path / "store.db")
    await again.start()
    found = (await again.range("/", END)).records
    assert [record.key for record in found] == [f"/{n}" for n in range(10)]
    assert {record.value for record in found} <= {b"before", b"unknown"}
    await again.close()


async def test_a_failed_copy_of_the_log_ends_it_too(tmp_path: pathlib.Path, disk: Disk) -> None:
    store = Sqlite(tmp_path / "store.db", vfs=disk.name)
    await store.start()
    disk.fail = failing("sync", "store.db")  # type: ignore[assignment]
    written = 0
    with pytest.raises(StoreFailed):
        while True:
            await asyncio.gather(*(store.txn(Put(f"/{written}/{n}", bytes(5000))) for n in range(100)))
            written += 1
            await asyncio.sleep(0.06)
    assert (await asyncio.wait_for(asyncio.shield(store.failed), 5)).args
    disk.fail = None
    await store.close()
    again = Sqlite(tmp_path / "store.db")
    await again.start()
    assert (await again.range("/", END)).count >= written * 100
    await again.close()
    assert check.check(str(tmp_path / "store.db")) == []
