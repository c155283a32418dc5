"""`navarch check`, `backup` and `restore`, as they are typed."""

from __future__ import annotations

import pathlib

import pytest

from navarch.cli import store as commands
from navarch.store.interface import END, Put, StoreLost
from navarch.store.sqlite import Sqlite


async def filled(folder: pathlib.Path) -> None:
    store = Sqlite(folder / "store.db")
    await store.start()
    for n in range(5):
        await store.txn(Put(f"/{n}", b"value"))
    await store.close()


async def count(folder: pathlib.Path) -> int:
    store = Sqlite(folder / "store.db")
    await store.start()
    try:
        return (await store.range("/", END)).count
    finally:
        await store.close()


async def test_backup_check_and_restore(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path)
    data, copy = f"--data-dir={tmp_path}", str(tmp_path / "copy.db")
    assert commands.check([data]) == 0
    assert "all is well" in capsys.readouterr().out
    assert commands.backup([copy, data]) == 0
    (tmp_path / "store.db").unlink()
    with pytest.raises(StoreLost, match="navarch restore --accept-loss"):
        await count(tmp_path)
    assert commands.restore([copy, data]) == 0
    assert "is restored from" in capsys.readouterr().out
    assert await count(tmp_path) == 5


async def test_going_on_without_a_backup(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path)
    (tmp_path / "store.db").unlink()
    assert commands.restore(["--accept-loss", f"--data-dir={tmp_path}"]) == 0
    assert "goes on with what it holds, at revision" in capsys.readouterr().out
    assert await count(tmp_path) == 0


@pytest.mark.parametrize("words", [[], ["a", "b"], ["a", "--accept-loss"]])
def test_a_restore_says_what_it_needs(tmp_path: pathlib.Path, words: list[str]) -> None:
    with pytest.raises(ValueError, match="from which file"):
        commands.restore([*words, f"--data-dir={tmp_path}"])
