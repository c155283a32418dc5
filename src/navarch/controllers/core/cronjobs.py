"""When a CronJob starts a Job, and which of its Jobs it forgets and removes. Pure.

In: the CronJob, its Jobs, its schedule, which active Jobs exist though the cache does not show them, the time. Out: a `Plan`.

Upstream counterpart: pkg/controller/cronjob.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import schedules
from navarch.machinery import timestamps
from navarch.objects import meta, ownership

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_LATER = 0.1
"""Seconds after a scheduled time at which it is looked at."""
_MANY = 100
Event = tuple[str, str, str]
"""(type, reason, message)"""


@dataclass(slots=True)
class Plan:
    status: batch_v1.CronJobStatus
    remove: list[batch_v1.Job] = field(default_factory=list)
    """Ended Jobs beyond the history limits."""
    replace: list[core_v1.ObjectReference] = field(default_factory=list)
    """Jobs that run and go before the next starts."""
    start: float | None = None
    """The scheduled time for which a Job is to be made."""
    events: list[Event] = field(default_factory=list)
    again: float | None = None


def spec_of(cron: batch_v1.CronJob) -> batch_v1.CronJobSpec:
    assert cron.spec is not None
    return cron.spec


def ended(job: batch_v1.Job) -> str:
    """ "Complete", "Failed", or "" while a Job runs."""
    conditions = (job.status.conditions or ()) if job.status else ()
    return next((c.type for c in conditions if c.type in ("Complete", "Failed") and c.status == "True"), "")


def unseen(cron: batch_v1.CronJob, jobs: Sequence[batch_v1.Job]) -> list[core_v1.ObjectReference]:
    """Active Jobs that the cache does not show: the API server has to be asked for them."""
    known = {meta.of(j).uid for j in jobs}
    return [a for a in (cron.status.active if cron.status else None) or () if a.uid not in known]


def name_of(cron: batch_v1.CronJob, scheduled: float) -> str:
    """The name of the Job of a scheduled time: the same time never makes two."""
    return f"{meta.of(cron).name}-{int(scheduled) // 60}"


def made(cron: batch_v1.CronJob, scheduled: float, zone: datetime.tzinfo) -> batch_v1.Job:
    """The Job of a scheduled time."""
    template = spec_of(cron).jobTemplate or batch_v1.JobTemplateSpec()
    held = template.metadata or meta_v1.ObjectMeta()
    stamp = datetime.datetime.fromtimestamp(int(scheduled), zone).isoformat()
    metadata = meta_v1.ObjectMeta(
        name=name_of(cron, scheduled),
        namespace=meta.of(cron).namespace,
        labels=dict(held.labels) if held.labels else None,
        annotations={**(held.annotations or {}), SCHEDULED: stamp.removesuffix("+00:00") + "Z" if stamp.endswith("+00:00") else stamp},
        ownerReferences=[ownership.reference(cron)],
    )
    return batch_v1.Job(apiVersion="batch/v1", kind="Job", metadata=metadata, spec=template.spec)


def started(status: batch_v1.CronJobStatus, job: core_v1.ObjectReference, scheduled: float) -> batch_v1.CronJobStatus:
    """The status after a Job was made."""
    return msgspec.structs.replace(status, active=[*(status.active or ()), job], lastScheduleTime=timestamps.seconds(scheduled))


# ---- deciding -----------------------------------------------------------------------------------------------------


def observe(cron: batch_v1.CronJob, jobs: Sequence[batch_v1.Job], existing: Collection[str]) -> Plan:
    """What the Jobs say: ended ones leave the list of active ones, those beyond the limits go. `existing`: uids of unseen Jobs there are."""
    plan = Plan(msgspec.structs.replace(cron.status) if cron.status else batch_v1.CronJobStatus())
    _history(cron, jobs, plan)
    active = {a.uid: a for a in plan.status.active or ()}
    removed = {meta.of(j).uid for j in plan.remove}
    for job in jobs:
        m = meta.of(job)
        how = ended(job)
        if not how and m.uid not in active:
            plan.events.append(("Warning", "UnexpectedJob", f"Saw a job that the controller did not create or forgot: {m.name}"))
        if how and active.pop(m.uid, None) is not None and m.uid not in removed:
            plan.events.append(("Normal", "SawCompletedJob", f"Saw completed job: {m.name}, condition: {how}"))
        time = job.status.completionTime if job.status and how == "Complete" else None
        if time is not None and time > (plan.status.lastSuccessfulTime or ""):
            plan.status.lastSuccessfulTime = time
    for reference in unseen(cron, jobs):
        if reference.uid not in existing and active.pop(reference.uid, None) is not None:
            plan.events.append(("Normal", "MissingJob", f"Active job went missing: {reference.name}"))
    plan.status.active = list(active.values()) or None
    return plan


def _history(cron: batch_v1.CronJob, jobs: Sequence[batch_v1.Job], plan: Plan) -> None:
    spec = spec_of(cron)
    for how, limit in (("Complete", spec.successfulJobsHistoryLimit), ("Failed", spec.failedJobsHistoryLimit)):
        if limit is None:
            continue
        found = sorted((j for j in jobs if ended(j) == how and not meta.deleted(j)), key=_start)
        plan.remove += found[: max(0, len(found) - limit)]


def _start(job: batch_v1.Job) -> tuple[bool, str, str]:
    start = job.status.startTime if job.status else None
    return start is None, start or "", meta.of(job).name or ""


def plan_start(cron: batch_v1.CronJob, plan: Plan, schedule: schedules.Schedule, now: float, changed: float = 0.0) -> None:
    """Whether a Job is to be made now, and when to look again. `changed`: times up to then belong to a schedule that is no more."""
    spec = spec_of(cron)
    earliest = _since(cron)
    deadline = spec.startingDeadlineSeconds
    scheduled, many = _unmet(schedule, earliest if deadline is None else max(earliest, now - deadline), now)
    coming = _coming(schedule, earliest, now)
    if coming is None:
        why = "time difference between two schedules is less than 1 second"
        plan.events.append(("Warning", "InvalidSchedule", f"invalid schedule: {spec.schedule} : {why}"))
        return
    plan.again = coming - now + _LATER
    if scheduled is None or scheduled <= changed:
        return
    if many:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        plan.events.append(("Warning", "TooManyMissedTimes", message))
    if deadline is not None and scheduled + deadline < now:
        plan.events.append(("Warning", "MissSchedule", f"Missed scheduled time to start a job: {_rfc1123(scheduled)}"))
        return
    active = plan.status.active or []
    if any(a.name == name_of(cron, scheduled) for a in active) or plan.status.lastScheduleTime == timestamps.seconds(scheduled):
        return
    if spec.concurrencyPolicy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        plan.events.append(("Normal", "JobAlreadyActive", message))
        return
    if spec.concurrencyPolicy == "Replace":
        plan.replace = list(active)
    plan.start = scheduled


def _since(cron: batch_v1.CronJob) -> float:
    """The last scheduled time that was met, or when the CronJob was made."""
    last = cron.status.lastScheduleTime if cron.status else None
    return timestamps.parse(last or meta.of(cron).creationTimestamp or timestamps.seconds(0.0))


def _coming(schedule: schedules.Schedule, earliest: float, now: float) -> float | None:
    """The next time, counted from the last one there was; None for a schedule that never comes."""
    last = schedule.last(earliest, now)
    coming = schedule.after(earliest if last is None else last)
    return coming if coming is None or coming > now else schedule.after(now)


def _unmet(schedule: schedules.Schedule, earliest: float, now: float) -> tuple[float | None, bool]:
    """The last scheduled time that was not met, and whether more than a hundred were missed, by the distance of the first two."""
    last = schedule.last(earliest, now)
    if last is None:
        return None, False
    first = schedule.after(earliest)
    second = schedule.after(first) if first is not None else None
    if first is None or second is None:
        return last, False
    return last, int(now - first) // max(1, round(second - first)) + 1 > _MANY


def _rfc1123(moment: float) -> str:
    return datetime.datetime.fromtimestamp(int(moment), datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
