"""How fast the store alone is: `python bench/store_bench.py [--seconds 3] [--writers 16] [--value 1500]`.

Prints, for creates, updates and mixed reads: transactions per second, percentiles of a transaction's time, and the CPU that the
event loop's thread and all threads together spent on each. The API server shares that thread, so its figure counts most.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop

from navarch.store.interface import Committed, Put
from navarch.store.sqlite import Sqlite

Work = Callable[[int, int], Awaitable[object]]


async def measure(name: str, work: Work, writers: int, seconds: float) -> None:
    """Runs `work(writer, turn)` in each of the writers for a while."""
    times: list[float] = []
    stop = time.perf_counter() + seconds

    async def run(writer: int) -> None:
        turn = 0
        while (begin := time.perf_counter()) < stop:
            await work(writer, turn)
            times.append(time.perf_counter() - begin)
            turn += 1

    loop_cpu, all_cpu, begin = time.thread_time(), time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for writer in range(writers):
            group.create_task(run(writer))
    wall = time.perf_counter() - begin
    count = len(times)
    times.sort()
    print(
        f"{name:28} {count / wall:9,.0f}/s   p50 {times[count // 2] * 1e3:6.2f}  p99 {times[count * 99 // 100] * 1e3:6.2f}"
        f"  max {times[-1] * 1e3:6.1f} ms   loop {(time.thread_time() - loop_cpu) / count * 1e6:5.1f}"
        f"  all {(time.process_time() - all_cpu) / count * 1e6:5.1f} µs/op",
        flush=True,
    )


async def bench(directory: str, seconds: float, writers: int, size: int) -> None:
    path = pathlib.Path(directory) / "bench.db"
    store = Sqlite(path)
    await store.start()
    value = os.urandom(size)
    heard = 0

    def hear(changes: object) -> None:
        nonlocal heard
        heard += 1

    store.subscribe(hear)

    async def create(writer: int, turn: int) -> None:
        outcome = await store.txn(Put(f"/registry/configmaps/bench/{writer}-{turn}-{create_round}", value, 0))
        assert isinstance(outcome, Committed)

    revisions: dict[int, int] = {}

    async def update(writer: int, turn: int) -> None:
        outcome = await store.txn(Put(f"/registry/pods/bench/{writer}", value, revisions.get(writer, 0)))
        assert isinstance(outcome, Committed)
        revisions[writer] = outcome.revision

    async def read(writer: int, turn: int) -> None:
        await store.get(f"/registry/configmaps/bench/{writer}-{turn % 100}-1")

    create_round = 1
    await measure("create, 1 writer", create, 1, seconds)
    create_round = 2
    await measure(f"create, {writers} writers", create, writers, seconds)
    await measure(f"update, {writers} writers", update, writers, seconds)
    create_round = 3
    await measure(f"create, {8 * writers} writers", create, 8 * writers, seconds)
    await measure(f"get from the file, {writers}", read, writers, seconds)
    begin = time.perf_counter()
    answer = await store.range("/registry/configmaps/", "/registry/configmaps0", limit=500)
    print(f"range, 500 of {answer.count:,}: {(time.perf_counter() - begin) * 1e3:.1f} ms")
    begin = time.perf_counter()
    await store.compact(await store.revision())
    print(f"compaction of everything: {time.perf_counter() - begin:.2f} s; commits heard {heard:,}")
    await store.close()
    begin = time.perf_counter()
    await store.start()
    print(f"open again: {(time.perf_counter() - begin) * 1e3:.0f} ms, file {path.stat().st_size >> 20} MiB")
    await store.close()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--value", type=int, default=1500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(bench(directory, options.seconds, options.writers, options.value))


if __name__ == "__main__":
    main()
