"""What bounds work, memory and requests, as values and small loops: the thread for large work, turns, lanes, watchers, verdicts."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any, cast

import pytest

from navarch.apiserver import inflight, streams, watchers
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question, Verdict
from navarch.apiserver.background import Background
from navarch.apiserver.routes import RequestInfo
from navarch.apiserver.watch_cache import Cache, Entry, Event
from navarch.machinery import errors

MASTER, NOBODY = User("m", ("system:masters",)), User("n")


def info(verb: str, subresource: str = "") -> RequestInfo:
    return RequestInfo(verb, "/api/v1/pods", True, "", "v1", "", "pods", "p", subresource)


# ---- requests under way -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["get", "list"])
def test_reading_and_changing_have_limits_of_their_own(verb: str) -> None:
    limits = inflight.InFlight(1, 1)
    reading, mutating = limits.limit_of(verb, ""), limits.limit_of("create", "")
    assert reading is not None and mutating is not None and reading is not mutating
    assert limits.enter(reading, NOBODY.groups) and not limits.enter(reading, NOBODY.groups)
    assert limits.enter(mutating, NOBODY.groups), "writes do not wait for reads"
    assert limits.enter(reading, MASTER.groups), "system:masters is always answered"


@pytest.mark.parametrize("asked", [info("watch"), info("get", "log"), *(info("create", s) for s in ("exec", "attach", "portforward", "proxy"))])
def test_what_lasts_is_not_counted(asked: RequestInfo) -> None:
    assert inflight.InFlight().limit_of(asked.verb, asked.subresource) is None


# ---- work -----------------------------------------------------------------------------------------------------------


async def test_the_smallest_waiting_work_is_done_next_and_too_much_is_refused() -> None:
    background = Background(most_waiting=3)
    gate = threading.Event()
    order: list[int] = []
    first = asyncio.ensure_future(background.run(1, gate.wait))
    await asyncio.sleep(0)
    rest = [asyncio.ensure_future(background.run(size, order.append, size)) for size in (30, 10, 20)]
    await asyncio.sleep(0)
    with pytest.raises(errors.TooManyRequests):
        await background.run(5, order.append, 5)
    rest[1].cancel()
    gate.set()
    await asyncio.gather(first, rest[0], rest[2])
    assert order == [20, 30]


async def test_work_whose_client_went_away_hands_its_turn_on() -> None:
    background = Background()
    gate = threading.Event()
    running = asyncio.ensure_future(background.run(1, gate.wait))
    await asyncio.sleep(0)
    running.cancel()
    waiting = asyncio.ensure_future(background.run(1, int, "7"))
    await asyncio.sleep(0)
    assert not waiting.done(), "one at a time"
    gate.set()
    assert await asyncio.wait_for(waiting, 5) == 7


async def test_one_slice_runs_in_a_turn_and_a_cancelled_one_hands_on() -> None:
    turns = streams.Turns()
    slices: list[int] = []

    async def work(number: int) -> None:
        for _ in range(3):
            async with turns:
                slices.append(number)

    tasks = [asyncio.ensure_future(work(n)) for n in range(3)]
    for _ in range(4):
        await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks[1:]), 5)
    assert slices.count(1) == slices.count(2) == 3
    async with asyncio.timeout(5), turns:
        pass


async def test_a_costly_choice_leaves_the_loop_to_others() -> None:
    turns, ticks = streams.Turns(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    assert await turns.chosen(range(10_000), lambda n: n % 2 == 0, 100) == list(range(0, 10_000, 2))
    ticking.cancel()
    assert ticks >= 40


async def test_pieces_are_bounded_in_time_and_size() -> None:
    def slow() -> Any:
        for _ in range(10):
            time.sleep(0.003)
            yield b"x"

    assert len([piece async for piece in streams.pieces(slow(), streams.Turns())]) >= 4
    large = [piece async for piece in streams.pieces([b"y" * 100_000] * 10, streams.Turns())]
    assert b"".join(large) == b"y" * 1_000_000 and all(len(piece) <= streams.PIECE + 100_000 for piece in large)


# ---- watchers -----------------------------------------------------------------------------------------------------


class Silent:
    """A sink whose client reads nothing; what is waited for is taken."""

    def __init__(self) -> None:
        self.unread, self.closed, self.taken = 0, False, b""

    def write(self, data: bytes) -> int:
        self.unread += len(data)
        return self.unread

    async def send(self, data: bytes) -> None:
        self.taken += data

    def abort(self) -> None:
        self.closed = True


def event(revision: int, size: int) -> Event:
    return Event(revision, "k", Entry("k", revision, b"x" * size, "k", "", {}, {}), None)


def watcher(everyone: watchers.Watchers) -> tuple[watchers.Watcher, Silent]:
    sink = Silent()
    made = watchers.Watcher(sink, lambda kind, event: event.body(kind), everyone)
    made.live = True
    everyone.add(made)
    return made, sink


def test_silent_readers_share_what_they_hold_and_the_slowest_is_cut() -> None:
    everyone = watchers.Watchers(most_held=10_000_000)
    readers = [watcher(everyone) for _ in range(20)]
    for revision in range(200):
        happened = event(revision, 20_000)
        for reader, _ in readers:
            reader.receive([("MODIFIED", happened)])
    assert everyone.held <= 200 * 40_000, "an event is held once for all"
    assert all(transport.unread <= watchers.MOST_BUFFERED + 30_000 for _, transport in readers)
    assert not any(transport.closed for _, transport in readers)
    lagging, keeps_up = readers[0], readers[1:]
    for reader, _ in keeps_up:
        everyone.discard(reader)
    for revision in range(200, 600):
        lagging[0].receive([("MODIFIED", event(revision, 20_000))])
    assert lagging[1].closed and everyone.held == 0


async def test_what_was_held_back_is_written_in_order_when_the_client_reads_again() -> None:
    everyone = watchers.Watchers()
    reader, transport = watcher(everyone)
    transport.unread = watchers.MOST_BUFFERED
    seen = [("ADDED", event(n, 1000 + n)) for n in range(500)]
    reader.receive(seen[:1])
    reader.receive(seen[1:])
    assert len(reader.behind) == 499
    await reader.drain(streams.Turns())
    assert reader.live and not reader.behind and everyone.held == 0
    assert len(transport.taken) == sum(1000 + n for n in range(1, 500))


async def test_an_event_that_comes_while_the_last_turn_ends_is_written_too() -> None:
    everyone = watchers.Watchers()
    reader, transport = watcher(everyone)
    reader.live = False
    happened: list[bool] = []

    class LastMoment(streams.Turns):
        """Between what was found to be nothing and the end of the turn, something happens."""

        async def __aexit__(self, *left: object) -> None:
            await super().__aexit__(*left)
            if not happened:
                happened.append(True)
                reader.receive([("ADDED", event(1, 1000))])

    await reader.drain(LastMoment())
    assert reader.live and not reader.behind and len(transport.taken) == 1000


@pytest.mark.parametrize("seed", range(20))
async def test_no_event_stays_behind_whenever_it_comes(seed: int) -> None:
    """Also in the turn in which a watcher finds nothing more to write: it stayed deaf then, for as long as the watch was open."""
    chance = random.Random(seed)
    everyone, turns = watchers.Watchers(), streams.Turns()
    reader, sink = watcher(everyone)
    reader.live = False
    written: list[bytes] = []

    def write(data: bytes) -> int:
        written.append(data)
        return 0

    async def send(data: bytes) -> None:
        written.append(data)

    sink.write, sink.send = write, send  # type: ignore[method-assign]

    async def linger() -> None:
        while not reader.over:
            await reader.drain(turns)
            await reader.wake.wait()
            reader.wake.clear()

    lingering = asyncio.ensure_future(linger())
    for revision in range(200):
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if chance.random() < 0.2:
            reader.live = False
            reader.wake.set()
        reader.receive([("ADDED", event(revision, 1000 + revision))])
    for _ in range(20):
        await asyncio.sleep(0)
    assert reader.live and not reader.behind and everyone.held == 0
    assert len(b"".join(written)) == sum(1000 + n for n in range(200))
    reader.end()
    await lingering


def test_the_history_of_a_cache_is_bounded_in_bytes() -> None:
    from navarch.store.interface import Change

    cache = Cache("/registry/configmaps/")
    for revision in range(2, 402):
        value = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n"},"data":{"a":"%b"}}' % (b"x" * 500_000)
        cache.apply(Change(revision, "/registry/configmaps/n/a", value, None, 2, revision - 1))
    assert sum(e.size for e in cache.history) <= 34_000_000
    assert cache.complete_since == cache.history[0].revision - 1 and cache.since(cache.complete_since - 1) is None


# ---- what is remembered -------------------------------------------------------------------------------------------


def test_verdicts_on_long_questions_are_not_kept() -> None:
    class Asked:
        generation = 0

        def decide(self, user: User, question: Question) -> Verdict:
            return Verdict(False)

        def concerns(self, user: User) -> bool:
            return False

    authorizer = Authorizer(cast(Any, Asked()), cast(Any, Asked()))
    for n in range(100):
        authorizer.decide(NOBODY, Question("get", "", "pods", name=f"{n}" + "x" * 60_000))
        authorizer.decide(NOBODY, Question("get", path=f"/{n}" + "x" * 60_000))
    authorizer.decide(NOBODY, Question("get", "", "pods", name="p"))
    assert len(authorizer._known) == 1
