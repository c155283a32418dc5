"""PodDisruptionBudgets as values: shares, healthy pods, evictions that did not come; never fewer left than the budget says."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.controllers.core import budgets
from navarch.machinery import timestamps
from navarch.objects import meta, pods

NOW = 1_700_000_000.0


def budget(least: int | str | None = None, most: int | str | None = None, **status: object) -> policy_v1.PodDisruptionBudget:
    spec = policy_v1.PodDisruptionBudgetSpec(minAvailable=least, maxUnavailable=most)
    return policy_v1.PodDisruptionBudget(
        metadata=meta_v1.ObjectMeta(name="b", namespace="n", generation=3),
        spec=spec,
        status=policy_v1.PodDisruptionBudgetStatus(**status),  # type: ignore[arg-type]
    )


def pod(name: str, *, ready: bool = True, deleted: bool = False) -> core_v1.Pod:
    metadata = meta_v1.ObjectMeta(name=name, namespace="n", deletionTimestamp=timestamps.seconds(NOW) if deleted else None)
    condition = core_v1.PodCondition(type="Ready", status="True" if ready else "False")
    return core_v1.Pod(metadata=metadata, status=core_v1.PodStatus(phase="Running", conditions=[condition]))


@pytest.mark.parametrize(
    ("least", "most", "total", "desired"),
    [(3, None, 10, 3), ("28%", None, 10, 3), (None, 1, 10, 9), (None, "28%", 10, 7), (None, "100%", 3, 0), (None, 5, 3, 0), (None, None, 3, 0)],
)
def test_shares_are_rounded_up(least: int | str | None, most: int | str | None, total: int, desired: int) -> None:
    assert budgets.expected(budget(least, most), total)[1] == desired


def test_only_ready_pods_that_stay_are_healthy() -> None:
    selected = [pod("a"), pod("b", ready=False), pod("c", deleted=True), pod("d"), pod("e")]
    outcome = budgets.decide(budget(2, disruptedPods={"d": timestamps.seconds(NOW - 10)}), selected, 5, NOW)
    s = outcome.status
    assert (s.currentHealthy, s.desiredHealthy, s.disruptionsAllowed, s.expectedPods, s.observedGeneration) == (2, 2, 0, 5, 3)
    assert s.disruptedPods == {"d": timestamps.seconds(NOW - 10)} and outcome.again == pytest.approx(111.0)
    assert [(c.type, c.status, c.reason) for c in s.conditions or ()] == [("DisruptionAllowed", "False", "InsufficientPods")]


def test_an_evicted_pod_that_is_not_deleted_counts_again() -> None:
    outcome = budgets.decide(budget(1, disruptedPods={"a": timestamps.seconds(NOW - 121), "gone": timestamps.seconds(NOW)}), [pod("a")], 1, NOW)
    assert [meta.of(p).name for p in outcome.undeleted] == ["a"]
    assert outcome.status.disruptedPods is None and outcome.status.currentHealthy == 1


def test_without_pods_nothing_is_allowed() -> None:
    assert budgets.decide(budget(0), [], 0, NOW).status.disruptionsAllowed == 0


def test_what_cannot_be_counted_allows_nothing_and_says_why() -> None:
    status = budgets.failed(budget(1, disruptionsAllowed=3), "found no controllers", NOW)
    assert status.disruptionsAllowed == 0
    assert [(c.reason, c.message) for c in status.conditions or ()] == [("SyncFailed", "found no controllers")]


def test_a_target_that_is_not_deleted_is_none_any_more() -> None:
    since = core_v1.PodCondition(type="DisruptionTarget", status="True", lastTransitionTime=timestamps.seconds(NOW - 60))
    held = pod("a")
    assert budgets.stale_after(held, NOW) is None
    assert held.status is not None
    held.status.conditions = [*(held.status.conditions or ()), since]
    assert budgets.stale_after(held, NOW) == 60.0 and budgets.stale_after(held, NOW + 100) == 0.0
    assert [c.status for c in budgets.not_a_target(held, NOW) if c.type == "DisruptionTarget"] == ["False"]
    since.reason = "TerminationByKubelet"
    assert budgets.stale_after(held, NOW) is None


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.one_of(st.integers(0, 8), st.integers(0, 100).map(lambda p: f"{p}%")), st.booleans(), st.integers(0, 2**32))
def test_evictions_never_leave_fewer_than_the_budget_says(count: int, share: int | str, least: bool, seed: int) -> None:
    """Evictions take from the status as it is, however old; a disrupted pod does not count before it is seen to go."""
    chance = random.Random(seed)
    owner = budget(share, None) if least else budget(None, share)
    there = {f"p{i}": pod(f"p{i}") for i in range(count)}
    _, desired = budgets.expected(owner, count)
    now, number = NOW, count
    for _ in range(60):
        now += 1
        if chance.random() < 0.5:
            status = budgets.decide(owner, list(there.values()), count, now).status
            owner = msgspec.structs.replace(owner, status=status)
            again = budgets.decide(owner, list(there.values()), count, now).status
            assert again == status, "applied, it stays"
        status = owner.status or policy_v1.PodDisruptionBudgetStatus()
        healthy = [n for n, p in there.items() if pods.is_ready(p) and not meta.deleted(p) and n not in (status.disruptedPods or {})]
        if healthy and (status.disruptionsAllowed or 0) > 0:
            name = chance.choice(healthy)
            disrupted = {**(status.disruptedPods or {}), name: timestamps.seconds(now)}
            owner = msgspec.structs.replace(
                owner, status=msgspec.structs.replace(status, disruptionsAllowed=(status.disruptionsAllowed or 0) - 1, disruptedPods=disrupted)
            )
            there[name] = pod(name, deleted=True)
        if chance.random() < 0.3:
            for name in [n for n, p in there.items() if meta.deleted(p)]:
                del there[name]
                number += 1
                there[f"p{number}"] = pod(f"p{number}", ready=False)
        elif chance.random() < 0.3:
            for name in [n for n, p in there.items() if not pods.is_ready(p)]:
                there[name] = pod(name)
        assert sum(pods.is_ready(p) and not meta.deleted(p) for p in there.values()) >= min(desired, count)
