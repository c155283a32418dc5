"""CronJobs against the real API server, with pods that a script brings to life. Schedules of seconds (`@every 1s`) keep it short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.testing import control_plane, waiting
from navarch.testing.control_plane import ControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async for made in control_plane.running(tmp_path_factory.mktemp("controllers")):
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ns(cluster: ControlPlane) -> str:
    return await cluster.namespace()


def cron_job(ns: str, **spec: Any) -> batch_v1.CronJob:
    pod = core_v1.PodSpec(restartPolicy="Never", containers=[core_v1.Container(name="c", image="one")])
    template = batch_v1.JobTemplateSpec(spec=batch_v1.JobSpec(template=core_v1.PodTemplateSpec(spec=pod)))
    spec.setdefault("schedule", "@every 1s")
    return batch_v1.CronJob(metadata=meta_v1.ObjectMeta(name="c", namespace=ns), spec=batch_v1.CronJobSpec(jobTemplate=template, **spec))


async def jobs(cluster: ControlPlane, ns: str) -> list[batch_v1.Job]:
    return (await cluster.client.list(batch_v1.Job, ns))[0]


async def status(cluster: ControlPlane, ns: str) -> batch_v1.CronJobStatus:
    return (await cluster.client.get(batch_v1.CronJob, "c", ns)).status or batch_v1.CronJobStatus()


async def test_a_job_is_made_at_its_time_and_noted_when_it_ends(cluster: ControlPlane, ns: str) -> None:
    cluster.lives[ns] = lambda pod: "Succeeded"
    await cluster.client.create(cron_job(ns))

    async def done() -> bool:
        held = await status(cluster, ns)
        return bool(held.lastScheduleTime and held.lastSuccessfulTime and not held.active)

    await waiting.until(done)
    (made,) = await jobs(cluster, ns)
    assert made.metadata is not None and made.metadata.annotations is not None
    assert made.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"].endswith("Z")

    async def told() -> bool:
        events, _ = await cluster.client.list(core_v1.Event, ns)
        return {"SuccessfulCreate", "SawCompletedJob"} <= {e.reason for e in events if e.involvedObject and e.involvedObject.kind == "CronJob"}

    await waiting.until(told)


async def test_forbid_waits_and_suspend_stops(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(cron_job(ns, concurrencyPolicy="Forbid"))

    async def running() -> bool:
        return len((await status(cluster, ns)).active or ()) == 1

    await waiting.until(running)
    await asyncio.sleep(2.5)
    assert len(await jobs(cluster, ns)) == 1
    await cluster.client.patch(batch_v1.CronJob, "c", {"spec": {"suspend": True}}, ns)
    (job,) = await jobs(cluster, ns)
    assert job.metadata is not None
    await cluster.client.delete(batch_v1.Job, job.metadata.name or "", ns, propagation="Background")

    async def gone() -> bool:
        return not (await status(cluster, ns)).active

    await waiting.until(gone)
    await asyncio.sleep(1.5)
    assert not await jobs(cluster, ns)


async def test_a_job_that_was_made_and_not_noted_is_found_again(cluster: ControlPlane, ns: str) -> None:
    await cluster.client.create(cron_job(ns, schedule="* * * * *"))
    await cluster.client.patch(batch_v1.CronJob, "c", {"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}}, ns, subresource="status")

    async def first() -> str:
        held = (await status(cluster, ns)).active or []
        return (held[0].uid or "") if len(held) == 1 else ""

    before = await waiting.until(first)
    await cluster.client.patch(
        batch_v1.CronJob, "c", {"status": {"lastScheduleTime": "2026-01-01T00:00:00Z", "active": None}}, ns, subresource="status"
    )
    assert await waiting.until(first) == before
    assert len(await jobs(cluster, ns)) == 1


async def test_history_is_cut_at_its_limit(cluster: ControlPlane, ns: str) -> None:
    made = cron_job(ns, schedule="0 0 1 1 *", successfulJobsHistoryLimit=1)
    cluster.lives[ns] = lambda pod: "Succeeded"
    owner = await cluster.client.create(made)
    assert owner.metadata is not None and made.spec is not None and made.spec.jobTemplate is not None
    reference = meta_v1.OwnerReference(apiVersion="batch/v1", kind="CronJob", name="c", uid=owner.metadata.uid, controller=True)
    for name in ("a", "b", "c"):
        metadata = meta_v1.ObjectMeta(name=name, namespace=ns, ownerReferences=[reference])
        await cluster.client.create(batch_v1.Job(metadata=metadata, spec=made.spec.jobTemplate.spec))

    async def one_left() -> bool:
        return len(await jobs(cluster, ns)) == 1

    await waiting.until(one_left)
