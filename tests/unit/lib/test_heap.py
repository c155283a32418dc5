"""Memory goes back: a process that held much holds little again."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import asyncio, ctypes, resource, sys
from navarch.lib import heap
from navarch.testing.clock import ManualClock

def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096

async def main():
    clock = ManualClock()
    task = asyncio.create_task(heap.keep_small(clock))
    await asyncio.sleep(0)
    before = resident()
    held = [bytes(60_000) for _ in range(2000)]      # 120 MB, each below the size that is mapped alone
    guard = bytes(50_000)
    keep = held[::100]
    del held
    full = resident()
    for _ in range(3):
        clock.advance(10.0)
        await asyncio.sleep(0.3)
    print(before, full, resident(), len(keep), len(guard))
    task.cancel()

asyncio.run(main())
"""


def test_what_is_free_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    before, full, after, *_ = map(int, done.stdout.split())
    assert full - before > 80_000_000, "the test makes a heap that glibc would keep"
    assert after - before < 30_000_000
