"""Jobs: runs pods until enough have succeeded. What to do is decided in `jobs`; this observes and acts.

Upstream counterparts: pkg/controller/job, pkg/controller/ttlafterfinished.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.client.informer import Added, Deleted, Modified
from navarch.controllers import jobs, owners
from navarch.controllers.engine import Context, Expectations, Reconciler, Watch, gather
from navarch.controllers.owners import meta
from navarch.machinery import codec, errors, selectors, timestamps

_OURS = (None, "", "kubernetes.io/job-controller")


class JobController(Reconciler):
    """Reconciles Jobs."""

    name = "job"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("job-controller")
        context.index(core_v1.Pod, "controller", owners.by_controller)
        self._jobs = context.informer(batch_v1.Job)
        self._pods = context.informer(core_v1.Pod)
        self._expected = Expectations()
        self._written: dict[str, str] = {}
        self._pods.subscribe(self._seen)

    def watches(self) -> Iterable[Watch]:
        yield Watch(batch_v1.Job, lambda j: [owners.key_of(j)])
        yield Watch(core_v1.Pod, self._pod_keys)

    def _pod_keys(self, pod: core_v1.Pod) -> list[str]:
        if owners.controller_of(pod) is not None:
            return owners.controller_key("Job")(pod)
        labels = meta(pod).labels
        if not labels:
            return []
        return [
            owners.key_of(j)
            for j in self._jobs.list()
            if meta(j).namespace == meta(pod).namespace and selectors.from_object(jobs.spec_of(j).selector).matches(labels)
        ]

    def _seen(self, change: Any) -> None:
        match change:
            case Added(pod):
                for key in owners.controller_key("Job")(pod):
                    self._expected.created(key)
            case Deleted(pod):
                self._gone(pod)
            case Modified(_, pod):
                if meta(pod).deletionTimestamp is not None:
                    self._gone(pod)

    def _gone(self, pod: core_v1.Pod) -> None:
        for key in owners.controller_key("Job")(pod):
            self._expected.deleted(key, meta(pod).uid or "")

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.by_key(key)
        if job is None:
            self._expected.forget(key)
            self._written.pop(key, None)
            return await self._release_orphans(key)
        if jobs.spec_of(job).managedBy not in _OURS or self._behind(key, job):
            return None
        if jobs.finished(job):
            await self._untrack([p for p in self._mine(job) if jobs.tracked(p)])
            return None
        now = self._context.now()
        selector = selectors.from_object(jobs.spec_of(job).selector)
        candidates = self._mine(job) + self._pods.by_index("controller", f"orphan/{meta(job).namespace}")
        pods = await owners.claim(self._context.client, job, candidates, selector, lambda: self._still(job))
        outcome = jobs.decide(job, pods, now, caught_up=self._expected.fulfilled(key, self._context.monotonic()))
        failure = await self._act(key, job, outcome)
        await self._record(key, job, outcome)
        if failure is not None:
            raise failure
        return outcome.again

    def _behind(self, key: str, job: batch_v1.Job) -> bool:
        """Whether the cache does not show our last write yet; its event brings the key back."""
        written = self._written.get(key)
        return written is not None and int(meta(job).resourceVersion or 0) < int(written)

    def _mine(self, job: batch_v1.Job) -> list[core_v1.Pod]:
        return self._pods.by_index("controller", meta(job).uid or "")

    async def _still(self, job: batch_v1.Job) -> bool:
        m = meta(job)
        live = await self._context.client.get(batch_v1.Job, m.name or "", m.namespace or "")
        return meta(live).uid == m.uid and meta(live).deletionTimestamp is None

    async def _release_orphans(self, key: str) -> float | None:
        """Pods of a job that is gone need no tracking any more."""
        namespace, name = owners.split(key)
        left = [
            p
            for p in self._pods.list()
            if meta(p).namespace == namespace and jobs.tracked(p) and (o := owners.controller_of(p)) is not None and (o.kind, o.name) == ("Job", name)
        ]
        await self._untrack(left)
        return None

    # ---- acting ----

    async def _act(self, key: str, job: batch_v1.Job, outcome: jobs.Outcome) -> BaseException | None:
        """Ends and makes pods. The first failure."""
        for kind, reason, message in outcome.events:
            self._recorder.event(job, kind, reason, message)
        if not outcome.delete and not outcome.create:
            return None
        self._expected.expect(key, len(outcome.create), (meta(p).uid or "" for p in outcome.delete), self._context.monotonic())
        results = await gather(self._remove(key, job, p) for p in outcome.delete)
        results += await gather(self._create(key, job, index, failures) for index, failures in outcome.create)
        failures = [r for r in results if isinstance(r, BaseException)]
        if failures and outcome.create:
            outcome.status.active = ((outcome.status.active or 0) - len(failures)) or None
        return failures[0] if failures else None

    async def _create(self, key: str, job: batch_v1.Job, index: int | None, failures: int) -> None:
        pod = pod_of(job, index, failures)
        recorder = self._recorder
        try:
            made = await self._context.client.create(pod)
        except errors.ApiError as error:
            self._expected.created(key)
            recorder.event(job, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        recorder.event(job, "Normal", "SuccessfulCreate", f"Created pod: {meta(made).name}")

    async def _remove(self, key: str, job: batch_v1.Job, pod: core_v1.Pod) -> None:
        m = meta(pod)
        try:
            await self._context.client.delete(core_v1.Pod, m.name or "", m.namespace or "", uid=m.uid)
        except (errors.NotFound, errors.Conflict):
            self._expected.deleted(key, m.uid or "")
        else:
            self._recorder.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {m.name}")

    async def _record(self, key: str, job: batch_v1.Job, outcome: jobs.Outcome) -> None:
        """Writes the status, takes finalizers off, and when nothing is left says how the job ended."""
        current = await self._write(key, job, outcome.status)
        removed = await self._untrack(outcome.untrack)
        if outcome.final is None:
            return
        tracked = {meta(p).uid or "" for p in self._mine(job) if jobs.tracked(p)} - removed
        held = current.status.uncountedTerminatedPods if current.status else None
        uncounted = {*((held.succeeded if held else None) or ()), *((held.failed if held else None) or ())}
        last = jobs.finish(jobs.status_of(current), uncounted - tracked, outcome.final, self._context.now())
        if last is None:
            return
        await self._write(key, current, last)
        if outcome.final.type == "Complete":
            self._recorder.event(job, "Normal", "Completed", "Job completed")
        else:
            self._recorder.event(job, "Warning", outcome.final.reason or "", outcome.final.message or "")

    async def _write(self, key: str, job: batch_v1.Job, status: batch_v1.JobStatus) -> batch_v1.Job:
        if codec.encode(status) == codec.encode(job.status):
            return job
        updated = await self._context.client.update_status(msgspec.structs.replace(job, status=status))
        self._written[key] = meta(updated).resourceVersion or "0"
        return updated

    async def _untrack(self, pods: Sequence[core_v1.Pod]) -> set[str]:
        """Takes the tracking finalizer off. The uids of the pods that have lost it."""
        results = await gather(self._untrack_one(p) for p in pods)
        return {meta(p).uid or "" for p, r in zip(pods, results, strict=True) if not isinstance(r, BaseException)}

    async def _untrack_one(self, pod: core_v1.Pod) -> None:
        m = meta(pod)
        patch = {"metadata": {"uid": m.uid, "$deleteFromPrimitiveList/finalizers": [jobs.FINALIZER]}}
        try:
            await self._context.client.patch(core_v1.Pod, m.name or "", patch, m.namespace or "", how="strategic")
        except (errors.NotFound, errors.Conflict, errors.Invalid):
            return


def pod_of(job: batch_v1.Job, index: int | None, failures: int) -> core_v1.Pod:
    """A pod of a job, with its index where it has one."""
    template = jobs.spec_of(job).template or core_v1.PodTemplateSpec()
    pod = owners.pod_from(template, job)
    m = meta(pod)
    m.finalizers = [*(m.finalizers or ()), jobs.FINALIZER]
    if index is None:
        return pod
    m.annotations = {**(m.annotations or {}), jobs.INDEX: str(index)}
    if jobs.spec_of(job).backoffLimitPerIndex is not None:
        m.annotations[jobs.INDEX_FAILURES] = str(failures)
    m.labels = {**(m.labels or {}), jobs.INDEX: str(index)}
    m.generateName = f"{meta(job).name}-{index}-"
    pod.spec = _with_index(template, f"{meta(job).name}-{index}")
    return pod


def _with_index(template: core_v1.PodTemplateSpec, hostname: str) -> core_v1.PodSpec:
    """The template's spec with the hostname and the environment variable of an index."""
    spec = msgspec.structs.replace(template.spec or core_v1.PodSpec())
    if not spec.hostname:
        spec.hostname = hostname[:63]
    source = core_v1.EnvVarSource(fieldRef=core_v1.ObjectFieldSelector(fieldPath=f"metadata.labels['{jobs.INDEX}']"))
    variable = core_v1.EnvVar(name="JOB_COMPLETION_INDEX", valueFrom=source)

    def added(containers: Sequence[core_v1.Container] | None) -> list[core_v1.Container] | None:
        if containers is None:
            return None
        return [
            c if any(e.name == variable.name for e in c.env or ()) else msgspec.structs.replace(c, env=[*(c.env or ()), variable]) for c in containers
        ]

    spec.containers, spec.initContainers = added(spec.containers), added(spec.initContainers)
    return spec


class TtlController(Reconciler):
    """Deletes finished Jobs whose time is over."""

    name = "ttl-after-finished"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._jobs = context.informer(batch_v1.Job)

    def watches(self) -> Iterable[Watch]:
        yield Watch(batch_v1.Job, lambda j: [owners.key_of(j)] if jobs.spec_of(j).ttlSecondsAfterFinished is not None else [])

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.by_key(key)
        if job is None or meta(job).deletionTimestamp is not None:
            return None
        ttl = jobs.spec_of(job).ttlSecondsAfterFinished
        end = jobs.condition(job, "Complete") or jobs.condition(job, "Failed")
        if ttl is None or end is None or not end.lastTransitionTime:
            return None
        left = timestamps.parse(end.lastTransitionTime) + ttl - self._context.now()
        if left > 0:
            return left + 0.05
        m = meta(job)
        try:
            await self._context.client.delete(batch_v1.Job, m.name or "", m.namespace or "", uid=m.uid, propagation="Foreground")
        except (errors.NotFound, errors.Conflict):
            return None
        return None
