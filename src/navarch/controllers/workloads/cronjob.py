"""CronJobs: Jobs at scheduled times. What to do is decided in `core.cronjobs`; this observes and acts.

A schedule without a time zone is read in UTC.

Upstream counterpart: pkg/controller/cronjob.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Sequence

import msgspec

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.client import events
from navarch.controllers.core import cronjobs, schedules
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.owned import in_deleted_namespace
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.engine.written import Written
from navarch.machinery import codec, errors
from navarch.objects import meta, ownership


class CronJobController(Reconciler):
    """Reconciles CronJobs."""

    name = "cronjob"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("cronjob-controller")
        self._crons = context.informer(batch_v1.CronJob)
        self._jobs = context.index(batch_v1.Job, "controller", ownership.by_controller)
        self._schedules: dict[str, tuple[str, str, float]] = {}
        self._written = Written()

    def watches(self) -> Iterable[Watch]:
        yield Watch(batch_v1.CronJob, lambda c: [meta.key(c)])
        yield Watch(batch_v1.Job, ownership.controller_key(batch_v1.CronJob))

    async def reconcile(self, key: str) -> float | None:
        cron = self._crons.by_key(key)
        if cron is None:
            self._schedules.pop(key, None)
            self._written.forget(key)
            return None
        if self._written.behind(cron):
            return None
        now = self._context.now()
        jobs = self._jobs.of(meta.of(cron).uid or "")
        plan = cronjobs.observe(cron, jobs, await self._existing(cron, jobs))
        zone = None if meta.deleted(cron) else self._schedule(cron, plan, now)
        failure: errors.ApiError | None = None
        for job in plan.remove:
            await self._remove(cron, events.reference(job))
        if zone is not None and plan.start is not None:
            failure = await self._start(cron, plan, plan.start, zone)
        for kind, reason, message in plan.events:
            self._recorder.event(cron, kind, reason, message)
        if codec.encode(plan.status) != codec.encode(cron.status or batch_v1.CronJobStatus()):
            self._written.note(await self._context.client.update_status(msgspec.structs.replace(cron, status=plan.status)))
        if failure is not None and not in_deleted_namespace(failure):
            raise failure
        return plan.again

    async def _existing(self, cron: batch_v1.CronJob, jobs: Sequence[batch_v1.Job]) -> set[str]:
        """The uids of active Jobs that the cache does not show and the API server has."""
        found = set()
        for reference in cronjobs.unseen(cron, jobs):
            try:
                live = await self._context.client.get(batch_v1.Job, reference.name or "", reference.namespace or "")
            except errors.NotFound:
                continue
            found.add(meta.of(live).uid or "")
        return found

    def _schedule(self, cron: batch_v1.CronJob, plan: cronjobs.Plan, now: float) -> datetime.tzinfo | None:
        """Plans the next start, and returns the time zone; None when nothing is to be started."""
        spec = cronjobs.spec_of(cron)
        text, name = spec.schedule or "", spec.timeZone or ""
        if "TZ" in text:
            message = f'CRON_TZ or TZ used in schedule "{text}" is not officially supported, '
            message += "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            plan.events.append(("Warning", "UnsupportedSchedule", message))
        zone = _zone(name)
        if zone is None:
            plan.events.append(("Warning", "UnknownTimeZone", f'invalid timeZone: "{name}": unknown time zone {name}'))
            return None
        if spec.suspend:
            return None
        try:
            schedule = schedules.parse(text, zone)
        except ValueError as error:
            plan.events.append(("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}'))
            return None
        cronjobs.plan_start(cron, plan, schedule, now, self._changed(cron, text, name, now))
        return zone

    def _changed(self, cron: batch_v1.CronJob, text: str, zone: str, now: float) -> float:
        """When the schedule was last seen to change; 0 for one that was there from the start."""
        key = meta.key(cron)
        held = self._schedules.get(key)
        if held is None or held[:2] != (text, zone):
            held = self._schedules[key] = (text, zone, 0.0 if held is None else now)
        return held[2]

    # ---- acting ----

    async def _start(self, cron: batch_v1.CronJob, plan: cronjobs.Plan, scheduled: float, zone: datetime.tzinfo) -> errors.ApiError | None:
        """Ends the Jobs that are to be replaced, makes the next one and notes it in the status. What went wrong."""
        for reference in plan.replace:
            if (failure := await self._remove(cron, reference)) is not None:
                return failure
            plan.status.active = [a for a in plan.status.active or () if a.uid != reference.uid] or None
        wanted = cronjobs.made(cron, scheduled, zone)
        try:
            job = await self._context.client.create(wanted)
        except errors.AlreadyExists:
            job = await self._context.client.get(batch_v1.Job, meta.of(wanted).name or "", meta.of(wanted).namespace or "")
            holder = ownership.controller_of(job)
            if holder is None or holder.uid != meta.of(cron).uid:
                return None
        except errors.ApiError as error:
            if not in_deleted_namespace(error):
                self._recorder.event(cron, "Warning", "FailedCreate", f"Error creating job: {error}")
            return error
        else:
            self._recorder.event(cron, "Normal", "SuccessfulCreate", f"Created job {meta.of(job).name}")
        plan.status = cronjobs.started(plan.status, events.reference(job), scheduled)
        return None

    async def _remove(self, cron: batch_v1.CronJob, job: core_v1.ObjectReference) -> errors.ApiError | None:
        try:
            await self._context.client.delete(batch_v1.Job, job.name or "", job.namespace or "", uid=job.uid, propagation="Background")
        except (errors.NotFound, errors.Conflict):
            return None
        except errors.ApiError as error:
            self._recorder.event(cron, "Warning", "FailedDelete", f"Deleted job: {error}")
            return error
        self._recorder.event(cron, "Normal", "SuccessfulDelete", f"Deleted job {job.name}")
        return None


def _zone(name: str) -> datetime.tzinfo | None:
    """A time zone by its name; UTC for none, None for one that is not known."""
    try:
        return zoneinfo.ZoneInfo(name) if name else datetime.UTC
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None
