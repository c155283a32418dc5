"""CronJobs in a world of values: policies, deadlines, missed times and history; writes fail at random and no time is run twice."""

from __future__ import annotations

import random
import zoneinfo
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import events
from navarch.controllers.core import cronjobs, schedules
from navarch.machinery import timestamps
from navarch.objects import meta

UTC = zoneinfo.ZoneInfo("UTC")
START = timestamps.parse("2026-11-26T10:00:00Z")


def cron(last: float | None = None, active: list[core_v1.ObjectReference] | None = None, **spec: Any) -> batch_v1.CronJob:
    template = batch_v1.JobTemplateSpec(metadata=meta_v1.ObjectMeta(labels={"a": "b"}), spec=batch_v1.JobSpec())
    return batch_v1.CronJob(
        metadata=meta_v1.ObjectMeta(name="c", namespace="n", uid="cron", creationTimestamp=timestamps.seconds(START)),
        spec=batch_v1.CronJobSpec(schedule="*/10 * * * *", jobTemplate=template, **spec),
        status=batch_v1.CronJobStatus(active=active, lastScheduleTime=None if last is None else timestamps.seconds(last)),
    )


def job(name: str, how: str = "", at: float = START) -> batch_v1.Job:
    stamp = timestamps.seconds(at)
    conditions = [batch_v1.JobCondition(type=how, status="True")] if how else None
    status = batch_v1.JobStatus(startTime=stamp, completionTime=stamp if how == "Complete" else None, conditions=conditions)
    return batch_v1.Job(metadata=meta_v1.ObjectMeta(name=name, namespace="n", uid=name), status=status)


def planned(owner: batch_v1.CronJob, now: float, *jobs: batch_v1.Job, changed: float = 0.0) -> cronjobs.Plan:
    plan = cronjobs.observe(owner, jobs, set())
    cronjobs.plan_start(owner, plan, schedules.parse(cronjobs.spec_of(owner).schedule or "", UTC), now, changed)
    return plan


def reasons(plan: cronjobs.Plan) -> list[str]:
    return [e[1] for e in plan.events]


def test_nothing_starts_before_its_time_and_one_job_at_it() -> None:
    plan = planned(cron(), START + 599)
    assert plan.start is None and plan.again == pytest.approx(1.1)
    plan = planned(cron(), START + 600.1)
    assert plan.start == START + 600
    made = cronjobs.made(cron(), START + 600, zoneinfo.ZoneInfo("Europe/Berlin"))
    m = meta.of(made)
    assert m.name == f"c-{int(START + 600) // 60}" and m.labels == {"a": "b"}
    assert m.annotations == {cronjobs.SCHEDULED: "2026-11-26T11:10:00+01:00"}
    assert meta.of(cronjobs.made(cron(), START + 600, UTC)).annotations == {cronjobs.SCHEDULED: "2026-11-26T10:10:00Z"}


def test_of_missed_times_the_last_is_met_and_many_are_told_of() -> None:
    plan = planned(cron(), START + 3 * 600 + 5)
    assert plan.start == START + 3 * 600 and not plan.events
    plan = planned(cron(), START + 102 * 600 + 5)
    assert plan.start == START + 102 * 600 and reasons(plan) == ["TooManyMissedTimes"]
    plan = planned(cron(startingDeadlineSeconds=700), START + 102 * 600 + 5)
    assert plan.start is not None and not plan.events


def test_a_deadline_that_is_over_is_a_miss() -> None:
    plan = planned(cron(startingDeadlineSeconds=30), START + 640)
    assert plan.start is None and plan.again == pytest.approx(560.1)
    plan = planned(cron(startingDeadlineSeconds=30), START + 620)
    assert plan.start == START + 600


def test_concurrency_policies() -> None:
    running = job("c-1")
    active = [events.reference(running)]
    now = START + 600
    assert planned(cron(active=active, concurrencyPolicy="Allow"), now, running).start == now
    plan = planned(cron(active=active, concurrencyPolicy="Forbid"), now, running)
    assert plan.start is None and reasons(plan) == ["JobAlreadyActive"]
    plan = planned(cron(active=active, concurrencyPolicy="Replace"), now, running)
    assert plan.start == now and [r.name for r in plan.replace] == ["c-1"]


def test_jobs_that_ended_or_went_leave_the_list_of_active_ones() -> None:
    done = job("c-1", "Complete", START + 60)
    owner = cron(active=[events.reference(done), events.reference(job("lost"))])
    plan = cronjobs.observe(owner, [done, job("stray")], set())
    assert plan.status.active is None and plan.status.lastSuccessfulTime == timestamps.seconds(START + 60)
    assert reasons(plan) == ["SawCompletedJob", "UnexpectedJob", "MissingJob"]
    plan = cronjobs.observe(owner, [done], {"lost"})
    assert [a.name for a in plan.status.active or ()] == ["lost"], "what the cache does not show, and is there, stays"


def test_history_keeps_the_newest_of_each_kind() -> None:
    jobs = [job(f"ok-{i}", "Complete", START + i) for i in range(5)] + [job(f"bad-{i}", "Failed", START + i) for i in range(3)]
    plan = cronjobs.observe(cron(successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1), jobs, set())
    assert [meta.of(j).name for j in plan.remove] == ["ok-0", "ok-1", "bad-0", "bad-1"]


def test_times_before_a_change_of_the_schedule_are_not_made_up_for() -> None:
    assert planned(cron(), START + 605, changed=START + 604).start is None
    assert planned(cron(), START + 1200, changed=START + 604).start == START + 1200


def test_a_schedule_that_never_comes_is_told_of() -> None:
    owner = cron()
    cronjobs.spec_of(owner).schedule = "59 23 31 2 *"
    plan = planned(owner, START)
    assert plan.again is None and reasons(plan) == ["InvalidSchedule"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["Allow", "Forbid", "Replace"]), st.integers(0, 2**32))
def test_no_time_runs_twice_and_policies_hold_whatever_fails(policy: str, seed: int) -> None:
    chance = random.Random(seed)
    owner = cron(concurrencyPolicy=policy, successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1)
    jobs: dict[str, batch_v1.Job] = {}
    ever: list[str] = []
    now = START
    for _ in range(80):
        now += chance.choice([1, 30, 300, 601])
        plan = planned(owner, now, *jobs.values())
        for old in plan.remove:
            jobs.pop(meta.of(old).name or "", None)
        for reference in plan.replace:
            jobs.pop(reference.name or "", None)
            plan.status.active = [a for a in plan.status.active or () if a.uid != reference.uid] or None
        if plan.start is not None and chance.random() < 0.8:
            name = cronjobs.name_of(owner, plan.start)
            if name not in jobs:
                assert name not in ever, "a time was run twice"
                ever.append(name)
                jobs[name] = job(name, at=now)
            plan.status = cronjobs.started(plan.status, events.reference(jobs[name]), plan.start)
        running = [j for j in jobs.values() if not cronjobs.ended(j)]
        assert policy == "Allow" or len(running) <= 1
        if chance.random() < 0.8 or plan.start is not None:
            owner = msgspec.structs.replace(owner, status=plan.status)
        for name in [n for n, held in jobs.items() if not cronjobs.ended(held) and chance.random() < 0.3]:
            jobs[name] = job(name, chance.choice(["Complete", "Failed"]), now)
    again = planned(owner, now, *jobs.values())
    settled = msgspec.structs.replace(owner, status=again.status)
    left = [j for j in jobs.values() if j not in again.remove]
    plan = cronjobs.observe(settled, left, set())
    assert plan.status == again.status and not plan.remove and not [e for e in plan.events if e[1] != "UnexpectedJob"]
