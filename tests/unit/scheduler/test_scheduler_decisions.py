"""What is kept of decisions: numbers, what counted for a decision, and reading it back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.scheduler.core import journal, replay
from navarch.scheduler.core.decide import Chosen, Unschedulable
from navarch.scheduler.core.journal import Journal, Record

PODS = ("a", "b", "c")


def record(journal: Journal, uid: str, node: str) -> Record:
    outcome = Chosen(node, 5, 1) if node else Unschedulable((), (), 0)
    return journal.record(outcome, None, uid=uid, profile="p", seed=1, at=2.0, seen={"pods": 3})


@given(st.lists(st.tuples(st.sampled_from(("decide", "refuse", "confirm", "undo")), st.sampled_from(PODS)), max_size=25))
def test_what_counted_is_what_was_chosen_and_neither_confirmed_nor_undone(steps: list[tuple[str, str]]) -> None:
    journal = Journal("run")
    made: list[tuple[str, Record]] = []
    open_: dict[str, str] = {}
    for step, uid in steps:
        match step:
            case "decide" | "refuse":
                kept = record(journal, uid, f"n-{uid}" if step == "decide" else "")
                counted, missing = replay.counted(kept, made)
                assert missing == 0
                # Confirmed ones may be among them: what the API showed tells that they count already.
                assert {u for u in open_ if u in counted} == set(open_)
                assert all(counted[u].node == node for u, node in open_.items())
                made.append((uid, kept))
                open_.pop(uid, None)
                if kept.node:
                    open_[uid] = kept.node
            case "confirm":
                journal.confirmed(uid)
                open_.pop(uid, None)
            case "undo":
                journal.undone(uid)
                open_.pop(uid, None)


def test_one_that_was_taken_back_does_not_count() -> None:
    journal = Journal("run")
    first, second = record(journal, "a", "n1"), record(journal, "b", "n2")
    journal.undone("b")
    third = record(journal, "c", "n3")
    assert replay.counted(third, [("a", first), ("b", second)]) == ({"a": first}, 0)


def test_missing_ones_are_counted() -> None:
    journal = Journal("run")
    first, _, third = (record(journal, uid, "n") for uid in PODS)
    assert replay.counted(third, [("a", first)]) == ({"a": first}, 1)
    assert replay.counted(third, [("a", first), ("b", record(Journal("other"), "b", "n"))]) == ({"a": first}, 1)


def test_records_are_read_back() -> None:
    kept = record(Journal("run"), "a", "n1")
    assert journal.decode(journal.encode(kept)) == kept
    for text in ("", "{}", '{"run":1}', "nothing"):
        with pytest.raises(ValueError, match="not a scheduling decision"):
            journal.decode(text)
