"""Jobs: runs pods until enough have succeeded. What to do is decided in `core.jobs`; this observes and acts.

Upstream counterpart: pkg/controller/job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.controllers.core import jobs, templates
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.owned import OwnedPods
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.engine.written import Written
from navarch.lib import tasks
from navarch.machinery import codec, errors, selectors
from navarch.objects import meta, ownership

_OURS = (None, "", "kubernetes.io/job-controller")


class JobController(Reconciler):
    """Reconciles Jobs."""

    name = "job"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("job-controller")
        self._jobs = context.informer(batch_v1.Job)
        self._tracked = context.index(core_v1.Pod, "tracked by job", _tracked_by)
        self._owned: OwnedPods[batch_v1.Job] = OwnedPods(context, batch_v1.Job, "job-controller", _selector)
        self._written = Written()

    def watches(self) -> Iterable[Watch]:
        yield Watch(batch_v1.Job, lambda j: [meta.key(j)])
        yield self._owned.watch()

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.by_key(key)
        if job is None:
            self._owned.forget(key)
            self._written.forget(key)
            return await self._release_orphans(key)
        if jobs.spec_of(job).managedBy not in _OURS or self._written.behind(job):
            return None
        if jobs.finished(job):
            await self._untrack([p for p in self._owned.of(job) if jobs.tracked(p)])
            return None
        now = self._context.now()
        pods = await self._owned.claim(job)
        outcome = jobs.decide(job, pods, now, caught_up=self._owned.caught_up(job))
        failure = await self._act(job, outcome)
        await self._record(job, outcome)
        if failure is not None:
            raise failure
        return outcome.again

    async def _release_orphans(self, key: str) -> float | None:
        """Pods of a job that is gone need no tracking any more."""
        await self._untrack(self._tracked.of(key))
        return None

    # ---- acting ----

    async def _act(self, job: batch_v1.Job, outcome: jobs.Outcome) -> BaseException | None:
        """Ends and makes pods. The first failure."""
        for kind, reason, message in outcome.events:
            self._recorder.event(job, kind, reason, message)
        if not outcome.delete and not outcome.create:
            return None
        self._owned.expect(job, len(outcome.create), outcome.delete)
        failures = await self._owned.delete(job, outcome.delete)
        made = await tasks.gather(self._owned.create(job, templates.pod_of_job(job, index, failed)) for index, failed in outcome.create)
        failures += [r for r in made if isinstance(r, BaseException)]
        if failures and outcome.create:
            outcome.status.active = ((outcome.status.active or 0) - len(failures)) or None
        return failures[0] if failures else None

    async def _record(self, job: batch_v1.Job, outcome: jobs.Outcome) -> None:
        """Writes the status, takes finalizers off, and when nothing is left says how the job ended."""
        current = await self._write(job, outcome.status)
        removed = await self._untrack(outcome.untrack)
        if outcome.final is None:
            return
        tracked = {meta.of(p).uid or "" for p in self._owned.of(job) if jobs.tracked(p)} - removed
        held = current.status.uncountedTerminatedPods if current.status else None
        uncounted = {*((held.succeeded if held else None) or ()), *((held.failed if held else None) or ())}
        last = jobs.finish(jobs.status_of(current), uncounted - tracked, outcome.final, self._context.now())
        if last is None:
            return
        await self._write(current, last)
        if outcome.final.type == "Complete":
            self._recorder.event(job, "Normal", "Completed", "Job completed")
        else:
            self._recorder.event(job, "Warning", outcome.final.reason or "", outcome.final.message or "")

    async def _write(self, job: batch_v1.Job, status: batch_v1.JobStatus) -> batch_v1.Job:
        if codec.encode(status) == codec.encode(job.status):
            return job
        updated = await self._context.client.update_status(msgspec.structs.replace(job, status=status))
        self._written.note(updated)
        return updated

    async def _untrack(self, pods: Sequence[core_v1.Pod]) -> set[str]:
        """Takes the tracking finalizer off. The uids of the pods that have lost it."""
        results = await tasks.gather(self._untrack_one(p) for p in pods)
        return {meta.of(p).uid or "" for p, r in zip(pods, results, strict=True) if not isinstance(r, BaseException)}

    async def _untrack_one(self, pod: core_v1.Pod) -> None:
        m = meta.of(pod)
        patch = {"metadata": {"uid": m.uid, "$deleteFromPrimitiveList/finalizers": [jobs.FINALIZER]}}
        try:
            await self._context.client.patch(core_v1.Pod, m.name or "", patch, m.namespace or "", how="strategic")
        except (errors.NotFound, errors.Conflict, errors.Invalid):
            return


def _selector(job: batch_v1.Job) -> selectors.Selector:
    return selectors.from_object(jobs.spec_of(job).selector)


def _tracked_by(pod: core_v1.Pod) -> list[str]:
    """An index by the job whose counts still wait for a pod."""
    return _job_key(pod) if jobs.tracked(pod) else []


_job_key = ownership.controller_key(batch_v1.Job)
