"""Jobs played pass by pass: pods end as they like, and every end is counted exactly once."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import jobs
from navarch.machinery import timestamps
from navarch.objects import meta

START = 1_800_000_000.0


def job(**spec: Any) -> batch_v1.Job:
    template = core_v1.PodTemplateSpec(spec=core_v1.PodSpec(restartPolicy="Never"))
    made = batch_v1.JobSpec(**{"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template, **spec})
    return batch_v1.Job(metadata=meta_v1.ObjectMeta(name="j", namespace="x", uid="j"), spec=made, status=batch_v1.JobStatus())


def pod(number: int, now: float, index: int | None = None, phase: str = "Pending", exit_code: int = 1) -> core_v1.Pod:
    annotations = {jobs.INDEX: str(index)} if index is not None else None
    metadata = meta_v1.ObjectMeta(
        name=f"p{number}",
        namespace="x",
        uid=f"u{number}",
        annotations=annotations,
        finalizers=[jobs.FINALIZER],
        creationTimestamp=timestamps.seconds(now),
    )
    made = core_v1.Pod(metadata=metadata, status=core_v1.PodStatus(phase="Pending"))
    return made if phase == "Pending" else end(made, phase, now, exit_code)


def end(held: core_v1.Pod, phase: str, now: float, exit_code: int = 1) -> core_v1.Pod:
    code = exit_code if phase == "Failed" else 0
    ended = core_v1.ContainerStateTerminated(exitCode=code, finishedAt=timestamps.seconds(now))
    status = core_v1.ContainerStatus(name="c", state=core_v1.ContainerState(terminated=ended))
    return msgspec.structs.replace(held, status=core_v1.PodStatus(phase=phase, containerStatuses=[status]))


def uid(held: core_v1.Pod) -> str:
    return meta.of(held).uid or ""


class Play:
    """The controller and the cluster around a job: what `decide` asks for is done, pods end by chance."""

    def __init__(self, made: batch_v1.Job, chance: random.Random, failing: float) -> None:
        self.job, self.chance, self.failing = made, chance, failing
        self.pods: list[core_v1.Pod] = []
        self.made = 0
        self.ends = {"Succeeded": 0, "Failed": 0}
        self.most_active = 0
        self.now = START

    @property
    def status(self) -> batch_v1.JobStatus:
        assert self.job.status is not None
        return self.job.status

    def turn(self) -> None:
        out = jobs.decide(self.job, self.pods, self.now, caught_up=True)
        gone, loose = {uid(p) for p in out.delete}, {uid(p) for p in out.untrack}
        self.job = msgspec.structs.replace(self.job, status=out.status)
        for i, held in enumerate(self.pods):
            if uid(held) in gone:
                self.ends["Failed"] += 1
                self.pods[i] = end(held, "Failed", self.now)
            if uid(held) in loose:
                self.pods[i] = msgspec.structs.replace(self.pods[i], metadata=msgspec.structs.replace(meta.of(held), finalizers=None))
        for index, _ in out.create:
            self.made += 1
            self.pods.append(pod(self.made, self.now, index))
        if out.final is not None:
            last = jobs.finish(self.status, {uid(p) for p in self.pods if not jobs.tracked(p)}, out.final, self.now)
            if last is not None:
                self.job = msgspec.structs.replace(self.job, status=last)
        active = [i for i, p in enumerate(self.pods) if jobs.phase(p) == "Pending"]
        self.most_active = max(self.most_active, len(active))
        for i in self.chance.sample(active, self.chance.randint(0, len(active))):
            phase = "Failed" if self.chance.random() < self.failing else "Succeeded"
            self.pods[i] = end(self.pods[i], phase, self.now)
            self.ends[phase] += 1
        self.now += self.chance.choice([1.0, 700.0])

    def run(self) -> None:
        for _ in range(600):
            if jobs.finished(self.job):
                return
            self.turn()
        raise AssertionError(f"the job does not end: {self.status}")


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 4), st.sampled_from([0.0, 0.2, 0.9]), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_job_ends_and_counts_every_pod_once(completions: int, parallelism: int, limit: int, failing: float, indexed: bool, seed: int) -> None:
    mode = "Indexed" if indexed else "NonIndexed"
    play = Play(job(completions=completions, parallelism=parallelism, backoffLimit=limit, completionMode=mode), random.Random(seed), failing)
    play.run()
    assert play.most_active <= min(parallelism, completions)
    assert (play.status.failed or 0) == play.ends["Failed"]
    held = play.status.uncountedTerminatedPods
    assert held is None or not (held.succeeded or held.failed)
    if jobs.condition(play.job, "Complete"):
        assert play.status.succeeded == completions
        assert play.status.completionTime
        if indexed:
            assert jobs.parse_ranges(play.status.completedIndexes, completions) == set(range(completions))
    else:
        assert play.ends["Failed"] > limit
        assert not play.status.completionTime
    if not indexed:
        assert (play.status.succeeded or 0) == play.ends["Succeeded"]


def test_a_suspended_job_has_no_pods() -> None:
    made = job(suspend=True, parallelism=3)
    out = jobs.decide(made, [], START, caught_up=True)
    assert not out.create and out.status.startTime is None
    assert [(c.type, c.status, c.reason) for c in out.status.conditions or ()] == [("Suspended", "True", "JobSuspended")]
    running = [pod(1, START), pod(2, START)]
    assert len(jobs.decide(made, running, START, caught_up=True).delete) == 2


def test_a_job_past_its_deadline_ends() -> None:
    made = job(activeDeadlineSeconds=30)
    made.status = batch_v1.JobStatus(startTime=timestamps.seconds(START))
    early = jobs.decide(made, [pod(1, START)], START + 29, caught_up=True)
    assert not early.delete and early.again is not None and 1 <= early.again <= 2
    late = jobs.decide(made, [pod(1, START)], START + 31, caught_up=True)
    assert len(late.delete) == 1
    verdict = [(c.type, c.reason) for c in late.status.conditions or ()]
    assert verdict == [("FailureTarget", "DeadlineExceeded")]


def test_failures_wait_before_the_next_try() -> None:
    failed = [pod(1, START, phase="Failed")]
    soon = jobs.decide(job(), failed, START + 1, caught_up=True)
    assert not soon.create and soon.again is not None and 8 <= soon.again <= 9.2
    assert len(jobs.decide(job(), failed, START + 11, caught_up=True).create) == 1


def test_nothing_is_made_while_the_cache_is_behind() -> None:
    assert not jobs.decide(job(parallelism=3, completions=3), [], START, caught_up=False).create
    assert len(jobs.decide(job(parallelism=3, completions=3), [], START, caught_up=True).create) == 3


@pytest.mark.parametrize(("code", "action", "fails"), [(42, "FailJob", True), (1, "FailJob", False), (42, "Ignore", False)])
def test_the_failure_policy_decides_by_exit_code(code: int, action: str, fails: bool) -> None:
    on = batch_v1.PodFailurePolicyOnExitCodesRequirement(operator="In", values=[42])
    policy = batch_v1.PodFailurePolicy(rules=[batch_v1.PodFailurePolicyRule(action=action, onExitCodes=on)])
    out = jobs.decide(job(podFailurePolicy=policy), [pod(1, START, phase="Failed", exit_code=code)], START + 60, caught_up=True)
    reasons = [c.reason for c in out.status.conditions or () if c.type == "FailureTarget"]
    assert reasons == (["PodFailurePolicy"] if fails else [])


@given(st.sets(st.integers(0, 60)))
def test_index_ranges_are_read_as_they_are_written(indexes: set[int]) -> None:
    text = jobs.format_ranges(indexes)
    assert jobs.parse_ranges(text, 61) == indexes
    assert jobs.format_ranges({0, 2, 3, 4, 9}) == "0,2-4,9"


@pytest.mark.parametrize("text", ["0-99999999999999999999", "0-9223372036854775807", "²-3,0-1", "0-1,-7,x-y", "0-1,5-4,1-"])
def test_index_ranges_of_a_stranger_cost_no_more_than_the_completions(text: str) -> None:
    assert jobs.parse_ranges(text, 4) <= {0, 1, 2, 3}
