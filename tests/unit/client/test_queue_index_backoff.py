"""The work queue, the index of objects, and how long to wait."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.index import Index
from navarch.lib import backoff
from navarch.lib.queue import WorkQueue


async def test_a_key_comes_once_however_often_it_was_added() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abacab":
        queue.add(key)
    assert [await queue.get(), await queue.get(), await queue.get()] == ["a", "b", "c"]
    assert len(queue) == 0


async def test_a_key_that_is_worked_on_waits_for_its_worker() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_an_earlier_time_stands_and_a_later_one_gives_way() -> None:
    loop = asyncio.get_running_loop()
    queue: WorkQueue[str] = WorkQueue()
    start = loop.time()
    queue.add_after("a", 60.0)
    queue.add_after("a", 0.02)
    queue.add_after("a", 60.0)
    async with asyncio.timeout(20):
        assert await queue.get() == "a"
    assert loop.time() - start >= 0.02
    queue.add_after("b", 0)
    assert await queue.get() == "b"


async def test_failures_wait_longer_each_time_until_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue(backoff.Policy(first=0.001, most=0.002))
    for n in range(1, 5):
        queue.add_rate_limited("a")
        assert queue.failures("a") == n
        async with asyncio.timeout(20):
            assert await queue.get() == "a"
        queue.done("a")
    queue.forget("a")
    assert queue.failures("a") == 0


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_no_key_is_lost_and_none_has_two_workers(added: list[str], workers: int) -> None:
    async def play() -> None:
        queue: WorkQueue[str] = WorkQueue()
        working: set[str] = set()
        last: dict[str, int] = {}
        seen: dict[str, int] = {}

        async def work() -> None:
            while True:
                key = await queue.get()
                assert key not in working
                working.add(key)
                seen[key] = last[key]
                await asyncio.sleep(0)
                working.discard(key)
                queue.done(key)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for _ in range(workers)]
            for number, key in enumerate(added):
                last[key] = number
                queue.add(key)
                if number % 3 == 0:
                    await asyncio.sleep(0)
            for _ in range(200):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
        assert seen == last

    asyncio.run(play())


def pod(name: str, node: str, version: int) -> core_v1.Pod:
    metadata = meta_v1.ObjectMeta(name=name, namespace="x", resourceVersion=str(version))
    return core_v1.Pod(metadata=metadata, spec=core_v1.PodSpec(nodeName=node or None))


def by_node(obj: core_v1.Pod) -> list[str]:
    return [obj.spec.nodeName] if obj.spec is not None and obj.spec.nodeName else []


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "n1", "n2", None])), max_size=30))
def test_an_index_is_a_filter_made_before(steps: list[tuple[str, str | None]]) -> None:
    index: Index[core_v1.Pod] = Index({"node": by_node})
    model: dict[str, core_v1.Pod] = {}
    for version, (name, node) in enumerate(steps):
        key = f"x/{name}"
        if node is None:
            assert index.remove(key) == model.pop(key, None)
        else:
            made = pod(name, node, version)
            assert index.put(made) == model.get(key)
            model[key] = made
        for value in ("n1", "n2", "n3"):
            assert {id(p) for p in index.by("node", value)} == {id(p) for p in model.values() if value in by_node(p)}
        assert set(index.values("node")) == {n for p in model.values() for n in by_node(p)}
    assert {id(p) for p in index} == {id(p) for p in model.values()} and len(index) == len(model)
    index.add("all", lambda _: ["*"])
    assert len(index.by("all", "*")) == len(model)


def test_waits_grow_up_to_the_most() -> None:
    policy = backoff.Policy(first=0.1, most=1.0)
    assert [policy.delay(n) for n in range(6)] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert policy.delay(10_000) == 1.0
    tries = backoff.Backoff(policy)
    assert [tries.next(), tries.next()] == [0.1, 0.2]
    tries.reset()
    assert tries.next() == 0.1
