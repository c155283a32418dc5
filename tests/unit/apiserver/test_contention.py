"""Writers of one object take turns."""

from __future__ import annotations

import asyncio

import pytest

from navarch.apiserver import contention
from navarch.apiserver.contention import KeyMutex, until_written
from navarch.machinery import errors


async def test_a_key_goes_round_in_the_order_of_asking_and_others_do_not_wait() -> None:
    mutex, order = KeyMutex(), []

    async def work(number: int) -> None:
        assert await mutex.acquire("a", 10)
        order.append(number)
        await asyncio.sleep(0)
        mutex.release("a")

    assert await mutex.acquire("a", 1)
    waiting = [asyncio.ensure_future(work(n)) for n in range(20)]
    await asyncio.sleep(0)
    assert await mutex.acquire("b", 0.01)
    mutex.release("b")
    mutex.release("a")
    await asyncio.gather(*waiting)
    assert order == list(range(20))
    assert not mutex.held("a")
    assert not mutex._waiting


async def test_who_gives_up_or_is_cancelled_leaves_no_gap() -> None:
    mutex = KeyMutex()
    assert await mutex.acquire("a", 1)
    impatient = asyncio.ensure_future(mutex.acquire("a", 0.01))
    cancelled = asyncio.ensure_future(mutex.acquire("a", 10))
    given = asyncio.ensure_future(mutex.acquire("a", 10))
    patient = asyncio.ensure_future(mutex.acquire("a", 10))
    assert await impatient is False
    cancelled.cancel()
    await asyncio.sleep(0)
    mutex.release("a")
    given.cancel()  # at the very moment when it is handed the key
    assert await patient is True
    mutex.release("a")
    assert not mutex._waiting


async def test_a_change_that_never_gets_through_ends_with_the_requests_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And yields meanwhile: the loop stays free."""
    monkeypatch.setattr(contention, "REQUEST_SECONDS", 0.05)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    async def beaten() -> int | None:
        return None

    ticking = asyncio.ensure_future(tick())
    mutex = KeyMutex()
    with pytest.raises(errors.Timeout, match="request did not complete within requested timeout"):
        await until_written(mutex, "a", beaten, patient=True)
    ticking.cancel()
    assert ticks > 50
    assert not mutex.held("a")


async def test_many_at_once_make_their_change_about_once() -> None:
    mutex, version, made = KeyMutex(), 0, 0

    async def change() -> int:
        async def once() -> int | None:
            nonlocal version, made
            seen = version
            made += 1
            await asyncio.sleep(0)
            if version != seen:
                return None
            version += 1
            return version

        return await until_written(mutex, "a", once, patient=True)

    done = await asyncio.gather(*(change() for _ in range(300)))
    assert sorted(done) == list(range(1, 301))
    assert made <= 2 * 300
