"""Bounds on what is awaited, by a clock."""

from __future__ import annotations

import asyncio

import pytest

from navarch.lib import clock
from navarch.testing.clock import ManualClock


async def test_what_takes_longer_than_its_time_ends_when_the_clock_says_so() -> None:
    manual, reached = ManualClock(), asyncio.Event()

    async def bounded() -> None:
        async with clock.timeout(manual, 5.0):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(bounded())
    await reached.wait()
    manual.advance(4.9)
    await asyncio.sleep(0)
    assert not task.done()
    manual.advance(0.1)
    with pytest.raises(TimeoutError):
        await task
    assert manual.waiting == 0


async def test_what_ends_in_time_leaves_no_timer_behind() -> None:
    manual = ManualClock()
    async with clock.timeout(manual, 5.0):
        await asyncio.sleep(0)
    assert manual.waiting == 0
    async with clock.timeout(manual, None):
        manual.advance(1e9)
        await asyncio.sleep(0)


async def test_of_two_bounds_the_outer_one_is_told_apart() -> None:
    manual, inner = ManualClock(), 0

    async def bounded() -> None:
        nonlocal inner
        async with clock.timeout(manual, 2.5):
            while True:
                try:
                    async with clock.timeout(manual, 1.0):
                        await asyncio.Event().wait()
                except TimeoutError:
                    inner += 1

    task = asyncio.create_task(bounded())
    for _ in range(5):
        for _ in range(5):
            await asyncio.sleep(0)
        manual.advance(0.5)
    with pytest.raises(TimeoutError):
        await task
    assert inner == 2


async def test_an_error_in_the_block_is_its_own() -> None:
    with pytest.raises(KeyError):
        async with clock.timeout(ManualClock(), 1.0):
            raise KeyError("x")
