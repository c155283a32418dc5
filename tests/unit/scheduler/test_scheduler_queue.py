"""The queue: order, backoff, hints, floods."""

from __future__ import annotations

from navarch.scheduler.queue import Event, Queue, Waiting

FIT, SPREAD = frozenset({"NodeResourcesFit"}), frozenset({"PodTopologySpread"})


def pod(name: str, priority: int = 0, since: float = 0.0) -> Waiting:
    return Waiting(name, f"default/{name}", priority, since)


def drained(queue: Queue) -> list[str]:
    found = []
    while (waiting := queue.pop()) is not None:
        found.append(waiting.uid)
    return found


def test_priority_then_age() -> None:
    queue = Queue()
    for waiting in (pod("young", since=2), pod("old", since=1), pod("high", 10, 3)):
        queue.add(waiting)
    assert drained(queue) == ["high", "old", "young"]


def test_an_event_wakes_only_whom_it_can_help_and_not_before_the_backoff() -> None:
    queue = Queue()
    a, b = pod("a"), pod("b")
    for waiting, plugins in ((a, FIT), (b, SPREAD)):
        queue.add(waiting)
        assert queue.pop() is waiting
        queue.failed(waiting, 100.0, plugins)
    queue.happened(Event.POD_PLACED, 100.1)
    assert queue.due(100.5) == 0.5
    assert drained(queue) == []
    queue.due(101.0)
    assert drained(queue) == ["b"]
    queue.happened(Event.NODE_RESOURCES, 101.5)
    assert drained(queue) == ["a"]


def test_backoff_doubles_to_ten_seconds() -> None:
    queue, waiting, now = Queue(), pod("a"), 0.0
    queue.add(waiting)
    waits = []
    for _ in range(6):
        assert queue.pop() is waiting
        queue.failed(waiting, now, FIT)
        queue.happened(Event.NODE_ADDED, now)
        wait = queue.due(now)
        assert wait is not None
        waits.append(wait)
        now += wait
        queue.due(now)
    assert waits == [1, 2, 4, 8, 10, 10]


def test_whatever_happens_a_pod_is_tried_again_after_five_minutes() -> None:
    queue, waiting = Queue(), pod("a")
    queue.add(waiting)
    queue.pop()
    queue.failed(waiting, 0.0, FIT)
    queue.due(299.0)
    assert drained(queue) == []
    queue.due(300.0)
    assert drained(queue) == ["a"]


def test_who_failed_comes_after_who_was_not_tried_yet() -> None:
    queue = Queue()
    for number in range(1000):
        queue.add(pod(f"flood{number}", since=0.0))
    while (waiting := queue.pop()) is not None:
        queue.failed(waiting, 0.0, FIT)
    queue.happened(Event.NODE_ADDED, 5.0)
    queue.add(pod("new", since=9.0))
    first = queue.pop()
    assert first is not None and first.uid == "new"


def test_a_removed_pod_never_comes() -> None:
    queue = Queue()
    for name in ("ready", "failed", "backing"):
        queue.add(pod(name))
    taken = [queue.pop(), queue.pop()]
    for waiting in taken:
        assert waiting is not None
        queue.failed(waiting, 0.0, FIT)
    queue.happened(Event.ANY, 0.0)
    for name in ("ready", "failed", "backing"):
        queue.remove(name)
    queue.due(1000.0)
    assert drained(queue) == [] and len(queue) == 0


def test_a_changed_pod_is_tried_at_once() -> None:
    queue, waiting = Queue(), pod("a")
    queue.add(waiting)
    queue.pop()
    queue.failed(waiting, 0.0, FIT)
    queue.changed("a", 5)
    assert drained(queue) == ["a"]
