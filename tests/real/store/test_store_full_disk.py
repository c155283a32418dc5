"""A disk that is really full (a small tmpfs): writes say so, nothing is lost, and there is service again with room."""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from navarch.store import check
from navarch.store.interface import END, Committed, Put, StoreFull
from navarch.store.sqlite import Sqlite

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk(small_disk: pathlib.Path) -> None:
    store = Sqlite(small_disk / "store.db")
    await store.start()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    written = 0
    with pytest.raises(StoreFull, match="no room"):
        while True:
            outcome = await store.txn(Put(f"/{written}", bytes(20_000), expected=0))
            assert isinstance(outcome, Committed)
            written += 1
    with pytest.raises(StoreFull):
        await store.txn(Put("/more", bytes(20_000)))
    assert (await store.range("/", END)).count == written
    ballast.unlink()
    assert isinstance(await store.txn(Put("/more", bytes(20_000))), Committed)
    await store.close()
    assert check.check(str(small_disk / "store.db")) == []
    with pytest.raises(StoreFull):
        ballast.write_bytes(b"")
        fill(ballast)
        await Sqlite(small_disk / "new.db").start()


def fill(path: pathlib.Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
