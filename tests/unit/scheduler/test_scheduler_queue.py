"""The queue: order, backoff, hints, floods."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from navarch.scheduler.core.events import Event
from navarch.scheduler.core.queue import Queue, QueuedPod

FIT, SPREAD = frozenset({"NodeResourcesFit"}), frozenset({"PodTopologySpread"})


def pod(name: str, priority: int = 0, since: float = 0.0) -> QueuedPod:
    return QueuedPod(name, f"default/{name}", priority, since)


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


def flood(queue: Queue, number: int, priority: int, now: float) -> None:
    """Pods that were all tried once, and are all woken."""
    for i in range(number):
        queue.add(pod(f"flood{i}", priority))
    for _ in range(number):
        waiting = queue.pop()
        assert waiting is not None
        queue.failed(waiting, now, FIT)
    queue.happened(Event.NODE_ADDED, now)


@pytest.mark.parametrize("priority", [-5, 0, 1000])
def test_a_flood_that_fails_again_and_again_does_not_starve_the_others(priority: int) -> None:
    """However important the pods of the flood are, and however fast they come back."""
    queue = Queue()
    flood(queue, 1000, priority, 0.0)
    queue.due(1.0)
    for number in range(10):
        queue.add(pod(f"new{number}", since=float(number)))
    seen: list[str] = []
    for turn in range(1000):
        waiting = queue.pop()
        assert waiting is not None
        seen.append(waiting.uid)
        if waiting.uid.startswith("flood"):
            queue.failed(waiting, 1.0 + turn / 1000, FIT)
            queue.happened(Event.NODE_ADDED, 100.0 + turn)  # whoever fails is ready again at once
        else:
            queue.remove(waiting.uid)
    new = [i for i, uid in enumerate(seen) if uid.startswith("new")]
    assert [seen[i] for i in new] == [f"new{n}" for n in range(10)]
    assert max(b - a for a, b in itertools.pairwise([0, *new])) <= 65


def test_a_few_that_failed_keep_their_place_before_less_important_ones() -> None:
    queue = Queue()
    flood(queue, 3, 10, 0.0)
    queue.due(1.0)
    queue.add(pod("new"))
    assert drained(queue) == ["flood0", "flood1", "flood2", "new"]


def test_a_storm_of_events_wakes_a_pod_once() -> None:
    queue = Queue()
    flood(queue, 100, 0, 0.0)
    for _ in range(1000):
        queue.happened(Event.NODE_ADDED, 0.5)
    assert len(queue._backoff) == 100 and drained(queue) == []
    queue.due(1.0)
    assert len(drained(queue)) == 100


def test_events_during_an_attempt_count_for_it() -> None:
    queue, waiting = Queue(), pod("a")
    queue.add(waiting)
    queue.happened(Event.POD_GONE, 0.0)  # before the attempt: known to it
    queue.pop()
    queue.failed(waiting, 0.0, FIT)
    assert queue.due(1.0) == 30.0
    queue.changed("a", 0)
    queue.pop()
    queue.happened(Event.POD_PLACED, 2.0)  # does not help
    queue.happened(Event.POD_GONE, 2.0)
    queue.failed(waiting, 2.0, FIT)
    assert queue.due(2.0) == 2.0
    queue.due(4.0)
    assert drained(queue) == ["a"]


def test_backoff_is_as_long_as_it_is_said_to_be() -> None:
    queue, waiting = Queue(3.0, 5.0), pod("a")
    queue.add(waiting)
    for now, wait in ((0.0, 3.0), (10.0, 5.0), (20.0, 5.0)):
        queue.pop()
        queue.retry(waiting, now)
        assert queue.due(now) == wait
        queue.due(now + wait)


def test_a_certain_pod_is_taken_wherever_it_waits() -> None:
    queue = Queue()
    for name in ("ready", "failed", "backing", "trying"):
        queue.add(pod(name))
    taken = {waiting.uid: waiting for waiting in (queue.pop() for _ in range(4)) if waiting is not None}
    queue.again(taken["ready"])
    queue.failed(taken["failed"], 0.0, SPREAD)
    queue.failed(taken["backing"], 0.0, FIT)
    queue.happened(Event.NODE_RESOURCES, 0.0)
    for name in ("ready", "failed", "backing"):
        assert queue.take(name) is taken[name]
    assert queue.take("trying") is None and queue.take("nobody") is None
    assert drained(queue) == []
    for name in ("ready", "failed", "backing"):
        queue.failed(taken[name], 50.0, SPREAD)
    queue.due(51.0)
    assert drained(queue) == []


class Machine(RuleBasedStateMachine):
    """The queue against its own rules: nothing is lost, nothing comes twice, nobody comes before his time."""

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.now = Queue(), 0.0
        self.trying: dict[str, QueuedPod] = {}
        self.known: dict[str, QueuedPod] = {}
        self.number = 0

    @rule(priority=st.sampled_from((0, 0, 7)))
    def add(self, priority: int) -> None:
        self.number += 1
        made = self.known[f"p{self.number}"] = pod(f"p{self.number}", priority, self.now)
        self.queue.add(made)

    @rule()
    def pop(self) -> None:
        waiting = self.queue.pop()
        if waiting is not None:
            assert waiting.uid not in self.trying and self.known[waiting.uid] is waiting
            self.trying[waiting.uid] = waiting

    @rule(data=st.data(), plugins=st.sampled_from((FIT, SPREAD, frozenset[str]())))
    def fail(self, data: st.DataObject, plugins: frozenset[str]) -> None:
        if self.trying:
            waiting = self.trying.pop(data.draw(st.sampled_from(sorted(self.trying))))
            self.queue.failed(waiting, self.now, plugins)

    @rule(data=st.data())
    def retry_or_again(self, data: st.DataObject) -> None:
        if self.trying:
            waiting = self.trying.pop(data.draw(st.sampled_from(sorted(self.trying))))
            if data.draw(st.booleans()):
                self.queue.again(waiting)
            else:
                self.queue.retry(waiting, self.now)

    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        if self.known:
            name = data.draw(st.sampled_from(sorted(self.known)))
            waiting = self.queue.take(name)
            assert (waiting is None) == (name in self.trying)
            if waiting is not None:
                self.trying[name] = waiting

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.known:
            name = data.draw(st.sampled_from(sorted(self.known)))
            self.queue.remove(name)
            del self.known[name]
            self.trying.pop(name, None)

    @rule(event=st.sampled_from((Event.NODE_ADDED, Event.POD_PLACED, Event.POD_GONE)))
    def happen(self, event: Event) -> None:
        self.queue.happened(event, self.now)

    @rule(seconds=st.sampled_from((0.1, 1.0, 20.0, 301.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.queue.due(self.now)

    @invariant()
    def each_is_in_one_place(self) -> None:
        assert len(self.queue) == len(self.known) and set(self.queue._state) == set(self.known)

    def teardown(self) -> None:
        """In the end all come, once."""
        for waiting in list(self.trying.values()):
            self.queue.retry(waiting, self.now)
        self.queue.due(self.now + 1000.0)
        self.queue.due(self.now + 2000.0)
        assert sorted(drained(self.queue)) == sorted(self.known)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_events_of_storage_wake_whom_they_can_help() -> None:
    queue = Queue()
    refused = {"limits": "NodeVolumeLimits", "binding": "VolumeBinding", "zone": "VolumeZone", "other": "VolumeBinding"}
    for uid, plugin in refused.items():
        waiting = QueuedPod(uid, f"default/{uid}", 0, 0.0, claims=frozenset({f"default/{uid}"}))
        queue.add(waiting)
        queue.pop()
        queue.failed(waiting, 0.0, frozenset({plugin}))
    for event, claim, woken in (
        (Event.CLAIM, "default/binding", ["binding"]),
        (Event.CSI_NODE, "", ["limits"]),
        (Event.CLASS, "", ["zone", "other"]),
    ):
        queue.happened(event, 100.0, claim)
        queue.due(100.0)
        assert sorted(drained(queue)) == sorted(woken)
