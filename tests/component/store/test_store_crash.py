"""kill -9 in the middle of group commits: no acknowledged write is lost, and the file is sound."""

from __future__ import annotations

import asyncio
import pathlib
import random
import signal
import sys

import pytest

from navarch.store import check
from navarch.store.interface import END
from navarch.store.sqlite import Sqlite

WRITER = """
import asyncio, sys
from navarch.store.interface import Committed, Delete, Put
from navarch.store.sqlite import Sqlite

async def main(path, start):
    store = Sqlite(path)
    await store.start()
    async def write(writer):
        turn = 0
        while True:
            turn += 1
            key = f"/{start}/{writer}/{turn}"
            outcome = await store.txn(Put(key, bytes(800), expected=0), Put(f"/last/{writer}", key.encode()))
            assert isinstance(outcome, Committed)
            sys.stdout.write(f"{outcome.revision} {key}\\n")
            sys.stdout.flush()
            if turn % 50 == 0 and writer == 0:
                asyncio.ensure_future(store.compact(outcome.revision))
    await asyncio.gather(*(write(n) for n in range(16)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("seed", range(3))
async def test_a_killed_store_keeps_every_acknowledged_write(tmp_path: pathlib.Path, seed: int) -> None:
    path = tmp_path / "store.db"
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    for start in range(3):
        lines = await write_until_killed(path, start, chance.uniform(0.1, 0.6))
        assert lines
        for line in lines:
            revision, key = line.split()
            acknowledged[key] = int(revision)
        assert check.check(str(path)) == []
    store = Sqlite(path)
    await store.start()
    present = {record.key: record.mod_revision for record in (await store.range("/0", "/9")).records}
    assert {key: revision for key, revision in acknowledged.items() if present.get(key) != revision} == {}
    assert (await store.range("/", END)).count == len(present) + 16
    await store.close()


async def write_until_killed(path: pathlib.Path, start: int, seconds: float) -> list[str]:
    """The lines that a writing process got out before it was killed, some time after its first."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(path), str(start), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    lines = [await asyncio.wait_for(process.stdout.readline(), 20)]
    reading = asyncio.create_task(process.stdout.read())
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    lines += (await reading).splitlines(keepends=True)
    assert await process.wait() == -signal.SIGKILL
    return [line.decode() for line in lines if line.endswith(b"\n")]
