"""The power goes at any moment: what was acknowledged is there, the store opens, and its file is sound.

The store runs on a disk that notes what is written and synced (`navarch.testing.disk`); then what the disk may hold at random moments
is laid out and opened. `NAVARCH_SOAK=1` does it 2,500 times.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import random

import pytest

from navarch.store import check, checkpointing, mark, sqlite
from navarch.store.interface import END, Committed, Delete, Put
from navarch.store.sqlite import Options, Sqlite
from navarch.testing.disk import Disk, PowerLoss, lay_out

RUNS, LOSSES = (25, 100) if os.environ.get("NAVARCH_SOAK") else (4, 20)
WRITERS = 6
SECONDS = 0.5

Acknowledged = tuple[int, int, str, bytes | None]
"""After how many operations of the disk, at which revision, which key, and its value."""


async def work(path: pathlib.Path, disk: Disk, chance: random.Random) -> list[Acknowledged]:
    """A busy store; everything it acknowledged, in order."""
    acknowledged: list[Acknowledged] = []
    store = Sqlite(path, Options(upkeep_seconds=0.02), vfs=disk.name)
    await store.start()
    end = asyncio.get_running_loop().time() + SECONDS

    async def write(writer: int) -> None:
        turn = 0
        while asyncio.get_running_loop().time() < end:
            turn += 1
            keys = {f"/{writer}/{chance.randrange(8)}" for _ in range(chance.randint(1, 3))}
            value = bytes([writer, turn & 255]) * chance.choice([10, 300, 4000])
            outcome = await store.txn(*(Delete(key) if chance.random() < 0.3 else Put(key, value) for key in sorted(keys)))
            assert isinstance(outcome, Committed)
            at = len(disk.operations)
            acknowledged.extend((at, change.revision, change.key, change.value) for change in outcome.changes)
            if chance.random() < 0.02:
                await store.compact(max(1, outcome.revision - 20))

    await asyncio.gather(*(write(n) for n in range(WRITERS)))
    if chance.random() < 0.5:
        await store.close()
        return acknowledged
    # It is left as it is: the moments that matter are before this.
    lasting = len(disk.operations)
    await store.close()
    del disk.operations[lasting:]
    return acknowledged


async def held(path: pathlib.Path) -> tuple[int, dict[str, tuple[int, bytes]]]:
    store = Sqlite(path)
    await store.start()
    try:
        found = await store.range("/", END)
        return found.revision, {record.key: (record.mod_revision, record.value) for record in found.records}
    finally:
        await store.close()


def compare(revision: int, present: dict[str, tuple[int, bytes]], acknowledged: list[Acknowledged]) -> None:
    """Everything acknowledged is there, or has been followed by something newer that was not acknowledged yet."""
    newest: dict[str, tuple[int, bytes | None]] = {}
    for _, at, key, value in acknowledged:
        assert at <= revision, f"revision {at} was acknowledged, the store ends at {revision}"
        newest[key] = max(newest.get(key, (0, None)), (at, value), key=lambda found: found[0])
    last = max((at for _, at, _, _ in acknowledged), default=0)
    for key, (at, value) in newest.items():
        found = present.get(key)
        if value is None:
            assert found is None or found[0] > last, f"{key} was deleted at {at} and is there"
        elif found is None:
            assert revision > last, f"{key} was written at {at} and is not there"
        else:
            assert found == (at, value) or found[0] > last, f"{key} was written at {at}, and is there as of {found[0]}"


@pytest.mark.parametrize("seed", range(RUNS))
async def test_what_was_acknowledged_survives(tmp_path: pathlib.Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    # Small, so that the log is copied and begun anew many times.
    monkeypatch.setattr(checkpointing, "UNSAVED_BUSY", chance.choice([40, 200]))
    monkeypatch.setattr(checkpointing, "UNSAVED_IDLE", 20)
    monkeypatch.setattr(checkpointing, "LONGEST", chance.choice([300, 16384]))
    monkeypatch.setattr(sqlite, "CLEAN_ROWS", 7)
    running = tmp_path / "running"
    running.mkdir()
    disk = Disk()
    try:
        with disk.with_mark():
            acknowledged = await work(running / "store.db", disk, chance)
    finally:
        disk.close()
    assert len(acknowledged) > 50
    power = PowerLoss(disk.operations)
    for number, moment in enumerate(sorted(chance.sample(range(len(disk.operations) + 1), LOSSES))):
        power.advance(moment)
        place = tmp_path / f"after-{number}"
        place.mkdir()
        lay_out(power.files(chance), running, place)
        revision, present = await held(place / "store.db")
        compare(revision, present, [a for a in acknowledged if a[0] <= moment])
        assert check.check(str(place / "store.db")) == []
        assert mark.read(str(place / "store.db")) not in (None, mark.UNREADABLE)
        for file in place.iterdir():
            file.unlink()
