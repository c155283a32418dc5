"""The contract of `navarch.store.interface`, over every implementation.

Hypothesis makes histories of transactions; a plain list of dicts, one per revision, says what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.store.interface import (
    END,
    Change,
    Committed,
    Compacted,
    Complete,
    Conflict,
    Delete,
    FutureRevision,
    Piece,
    Put,
    Record,
    StoreClosed,
)
from navarch.store.memory import Memory
from navarch.store.sqlite import Options, Sqlite

KEYS = ["/a", "/a/b", "/a/c", "/b", "/b/é", "/c/\U0001f40b"]
State = dict[str, tuple[bytes, int, int]]


class Clock:
    """A wall clock, which can be set, and the time that passes."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.passed = 1000.0

    def wall(self) -> float:
        return self.now

    def steady(self) -> float:
        return self.passed

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds


@contextlib.asynccontextmanager
async def opened(kind: str, directory: str, clock: Clock | None = None) -> AsyncIterator[Complete]:
    clock = clock or Clock()
    store: Complete
    if kind == "memory":
        store = Memory(wall=clock.wall, steady=clock.steady)
    else:
        # A tiny value cache, so that both ways to a value are taken.
        cache = 16 if kind == "sqlite-small-cache" else 1 << 20
        store = Sqlite(pathlib.Path(directory) / "store.db", Options(value_cache_bytes=cache), wall=clock.wall, steady=clock.steady)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


KINDS = ["memory", "sqlite", "sqlite-small-cache"]


def run(kind: str, body: Callable[[Complete, Clock], Awaitable[None]]) -> None:
    async def inner() -> None:
        clock = Clock()
        with tempfile.TemporaryDirectory() as directory:
            async with opened(kind, directory, clock) as store:
                async with asyncio.timeout(60):
                    await body(store, clock)

    asyncio.run(inner())


class Model:
    """One dict per revision: key -> (value, create revision, modification revision)."""

    def __init__(self) -> None:
        self.states: list[State] = [{}, {}]
        self.changes: list[list[Change]] = [[], []]

    @property
    def now(self) -> State:
        return self.states[-1]

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def txn(self, ops: list[Put | Delete]) -> Committed | Conflict:
        for op in ops:
            held = self.now.get(op.key)
            if op.expected is not None and op.expected != (held[2] if held else 0):
                return Conflict(op.key, record(op.key, held))
        revision, state, changes = self.revision + 1, dict(self.now), []
        for op in ops:
            held = state.get(op.key)
            if isinstance(op, Put):
                state[op.key] = (op.value, held[1] if held else revision, revision)
                changes.append(Change(revision, op.key, op.value, held and held[0], held[1] if held else revision, held[2] if held else 0))
            elif held is not None:
                del state[op.key]
                changes.append(Change(revision, op.key, None, held[0], held[1], held[2]))
        if not changes:
            return Committed(self.revision, ())
        self.states.append(state)
        self.changes.append(changes)
        return Committed(revision, tuple(changes))


def record(key: str, held: tuple[bytes, int, int] | None) -> Record | None:
    return None if held is None else Record(key, *held)


keys = st.sampled_from(KEYS)
# Expectations by distance from the truth: None, right, "must not exist", a stale number.
expectations = st.sampled_from(["any", "right", "absent", "stale"])
values = st.binary(max_size=12)
puts = st.tuples(st.just("put"), keys, values, expectations)
deletes = st.tuples(st.just("delete"), keys, st.just(b""), expectations)
transactions = st.lists(st.one_of(puts, deletes), min_size=1, max_size=3, unique_by=lambda op: op[1])
histories = st.lists(transactions, max_size=25)


def concrete(model: Model, planned: list[tuple[str, str, bytes, str]]) -> list[Put | Delete]:
    ops: list[Put | Delete] = []
    for what, key, value, expectation in planned:
        held = model.now.get(key)
        right = held[2] if held else 0
        expected = {"any": None, "right": right, "absent": 0, "stale": max(0, right - 1)}[expectation]
        ops.append(Put(key, value, expected) if what == "put" else Delete(key, expected))
    return ops


SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("kind", KINDS)
@SETTINGS
@given(history=histories, compact_at=st.integers(0, 25), watch_from=st.integers(1, 25))
def test_a_history_means_what_the_model_says(kind: str, history: list[list[tuple[str, str, bytes, str]]], compact_at: int, watch_from: int) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        model = Model()
        heard: list[Change] = []
        store.subscribe(heard.extend)
        watching = asyncio.create_task(collect(store, "/a", END, 1, lambda c: c.key == "/the end"))
        for planned in history:
            ops = concrete(model, planned)
            outcome = await store.txn(*ops)
            assert outcome == model.txn(ops)
            if isinstance(outcome, Committed):
                assert heard[len(heard) - len(outcome.changes) :] == list(outcome.changes)
        ops = [Put("/the end", b"")]
        assert await store.txn(*ops) == model.txn(ops)
        everything = [change for changes in model.changes for change in changes]
        assert heard == everything
        assert await watching == everything
        await check_reads(store, model, 1)
        await check_watch(store, model, min(watch_from, model.revision))
        floor = min(compact_at, model.revision)
        await store.compact(floor)
        await check_reads(store, model, max(1, floor))
        await check_watch(store, model, max(floor, min(watch_from, model.revision)))

    run(kind, body)


async def collect(store: Complete, start: str, end: str, after: int, last: Callable[[Change], bool]) -> list[Change]:
    found: list[Change] = []
    async for changes in store.watch(start, end, after):
        found += changes
        if last(changes[-1]):
            break
    return found


async def pieces(store: Complete, start: str, end: str, after: int) -> list[Change]:
    """All changes after a revision, as `changes` brings them."""
    found: list[Change] = []
    while after < await store.revision():
        piece = await store.changes(start, end, after)
        assert piece.until > after
        assert all(after < change.revision <= piece.until for change in piece.changes)
        found += piece.changes
        after = piece.until
    assert await store.changes(start, end, after) == Piece((), after)
    return found


async def check_reads(store: Complete, model: Model, oldest: int) -> None:
    assert await store.oldest() == oldest
    assert await store.revision() == model.revision
    for revision in range(oldest, model.revision + 1):
        state = model.states[revision]
        for key in KEYS:
            assert await store.get(key, revision) == record(key, state.get(key))
        for start, end, limit in (("/", END, 0), ("/a", "/b", 0), ("/a/b", "", 0), ("/a", END, 2)):
            answer = await store.range(start, end, revision=revision, limit=limit)
            inside = sorted(key for key in state if (start <= key < end if end else key == start))
            kept = inside[:limit] if limit else inside
            assert list(answer.records) == [record(key, state[key]) for key in kept]
            assert (answer.more, answer.count, answer.revision) == (len(kept) < len(inside), len(inside), revision)
            uncounted = await store.range(start, end, revision=revision, limit=limit, counted=False)
            assert (uncounted.records, uncounted.more, uncounted.count) == (answer.records, answer.more, -1)
    for key in KEYS:
        assert await store.get(key) == record(key, model.now.get(key))
    for too_old in range(1, oldest):
        with pytest.raises(Compacted) as caught:
            await store.range("/", END, revision=too_old)
        assert caught.value.oldest == oldest
    with pytest.raises(FutureRevision):
        await store.get("/a", model.revision + 1)


async def check_watch(store: Complete, model: Model, after: int) -> None:
    wanted = [change for changes in model.changes[after + 1 :] for change in changes if "/b" <= change.key < "/u"]
    if wanted:
        assert await collect(store, "/b", "/u", after, lambda change: change == wanted[-1]) == wanted
    assert await pieces(store, "/b", "/u", after) == wanted
    for too_old in range(await store.oldest()):
        with pytest.raises(Compacted):
            await anext(store.watch("/", END, too_old))
        with pytest.raises(Compacted):
            await store.changes("/", END, too_old)
    with pytest.raises(FutureRevision):
        await store.changes("/", END, model.revision + 1)
    with pytest.raises(FutureRevision):
        await anext(store.watch("/", END, model.revision + 1))


@pytest.mark.parametrize("kind", KINDS)
@SETTINGS
@given(history=histories)
def test_transactions_sent_without_waiting_take_effect_in_the_order_of_the_calls(kind: str, history: list[list[tuple[str, str, bytes, str]]]) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        model = Model()
        sent = []
        for planned in history:
            ops = concrete(model, planned)
            sent.append((store.txn(*ops), model.txn(ops)))
        for awaitable, wanted in sent:
            outcome = await awaitable
            if isinstance(wanted, Conflict):
                # What is there is told as of the answer, which may be later than the comparison.
                assert isinstance(outcome, Conflict)
                assert outcome.key == wanted.key
            elif wanted.changes:
                assert outcome == wanted
            else:
                assert isinstance(outcome, Committed)
                assert outcome.changes == ()
        await check_reads(store, model, 1)

    run(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_expired_keys_are_deleted_as_ordinary_revisions(kind: str) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        await store.txn(Put("/events/1", b"one", ttl=10), Put("/events/2", b"two", ttl=60), Put("/kept", b""))
        await store.txn(Put("/events/3", b"three", ttl=10))
        await store.txn(Put("/events/3", b"renewed", ttl=100))
        clock.now -= 100_000  # somebody sets the clock
        clock.advance(30)
        changes = await asyncio.wait_for(collect(store, "/events/", "/events0", 4, lambda change: True), 10)
        assert changes == [Change(5, "/events/1", None, b"one", 2, 2)]
        assert [r.key for r in (await store.range("/", END)).records] == ["/events/2", "/events/3", "/kept"]

    run(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_maps_to_the_revision_that_was_current(kind: str) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        start = clock.now
        for n in range(20):
            clock.advance(10)
            await store.txn(Put(f"/{n}", b""))
        clock.now -= 1000  # a clock that jumps back does not disturb the order
        await store.txn(Put("/late", b""))
        assert await store.revision_at(start) == 1
        assert await store.revision_at(start + 9.9) == 1
        assert [await store.revision_at(start + 10 * n) for n in range(1, 20)] == list(range(2, 21))
        assert await store.revision_at(start + 1000) == 22
        await store.compact(11)
        assert await store.revision_at(start + 10 * 10) == 11
        assert await store.revision_at(start + 10 * 12 + 5) == 13
        with pytest.raises(Compacted):
            await store.revision_at(start + 10 * 9)

    run(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_stored_is_refused_before_anything_is_done(kind: str) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        for ops in ([], [Put("/a", b""), Delete("/a")], [Put("", b"")], [Put("/\0", b"")], [Put("/\ud800", b"")]):
            with pytest.raises(ValueError):
                await store.txn(*ops)
        with pytest.raises(TypeError):
            await store.txn(Put("/a", "text"))  # type: ignore[arg-type]
        assert await store.revision() == 1
        assert isinstance(await store.txn(Put("/a", b"fine")), Committed)

    run(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_watcher_loses_nothing_and_a_closed_store_says_so(kind: str) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        watch = store.watch("/", END, 1)
        await store.txn(Put("/first", b""))
        assert (await anext(watch))[0].key == "/first"
        for n in range(10):
            for sent in [store.txn(Put(f"/{n}/{m}", b"x")) for m in range(600)]:
                await sent
        seen: list[int] = []
        while len(seen) < 6000:
            seen += [change.revision for change in await anext(watch)]
        assert seen == list(range(3, 6003))
        waiting = asyncio.create_task(anext(watch))  # type: ignore[arg-type, var-annotated]
        await asyncio.sleep(0.01)
        await store.close()
        with pytest.raises(StoreClosed):
            await waiting
        with pytest.raises(StoreClosed):
            await store.get("/first")

    run(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_large_ranges_and_transactions(kind: str) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        await store.txn(*[Put(f"/{n:04}", bytes([n & 255, 0]) * 50) for n in range(1000)])
        for part in range(4):
            await store.txn(*[Put(f"/more/{part}/{n:04}", b"v") for n in range(1000)])
        answer = await store.range("/", END)
        assert (len(answer.records), answer.count, answer.more) == (5000, 5000, False)
        assert answer.records[7] == Record("/0007", bytes([7, 0]) * 50, 2, 2)
        assert len(await collect(store, "/", END, 1, lambda change: change.revision == 6)) == 5000

    run(kind, body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_the_past_brings_only_itself(kind: str) -> None:
    async def body(store: Complete, clock: Clock) -> None:
        for part in range(4):
            await store.txn(*[Put(f"/pods/{n:05}", b"old") for n in range(part * 1000, part * 1000 + 1000)])
        old = await store.revision()
        for part in range(4):
            await store.txn(*[Put(f"/pods/{n:05}", b"new") for n in range(part * 1000, part * 1000 + 1000)])
        await store.txn(Delete("/pods/01234"))
        start, seen = "/pods/", []
        while True:
            page = await store.range(start, "/pods0", revision=old, limit=500, counted=False)
            assert {record.value for record in page.records} == {b"old"}
            seen += [record.key for record in page.records]
            if not page.more:
                break
            assert len(page.records) == 500
            start = seen[-1] + "\0"
        assert seen == [f"/pods/{n:05}" for n in range(4000)]

    run(kind, body)
