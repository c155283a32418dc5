"""batch: Jobs and CronJobs.

Upstream counterparts: pkg/apis/batch/{v1/defaults.go,validation}, pkg/registry/batch/*/strategy.go.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import Any

import msgspec

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds import checks, template_defaults, templates, workloads
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import (
    NOTHING,
    UNSET,
    Tree,
    age_of,
    containers,
    duration,
    name_of,
    selector_text,
    sheet,
    since,
    spec_of,
    status_of,
    template_spec,
)
from navarch.apiserver.kinds.strategy import Key, Selectable, Strategy, again
from navarch.lib import integers
from navarch.machinery import codec, field, selectors, timestamps

CONTROLLER_UID, OLD_CONTROLLER_UID = "batch.kubernetes.io/controller-uid", "controller-uid"
JOB_NAME, OLD_JOB_NAME = "batch.kubernetes.io/job-name", "job-name"


def default_job(obj: batch_v1.Job) -> None:
    spec = obj.spec = obj.spec or batch_v1.JobSpec()
    job_spec(spec)
    if spec.parallelism is None:
        spec.parallelism = 1
        if spec.completions is None:
            spec.completions = 1
    if spec.backoffLimit is None:
        spec.backoffLimit = 6 if spec.backoffLimitPerIndex is None else 2**31 - 1
    template = spec.template
    assert template is not None and template.metadata is not None and obj.metadata is not None
    if template.metadata.labels and not obj.metadata.labels:
        obj.metadata.labels = dict(template.metadata.labels)
    spec.completionMode = spec.completionMode or "NonIndexed"
    if spec.suspend is None:
        spec.suspend = False
    if spec.podReplacementPolicy is None:
        spec.podReplacementPolicy = "Failed" if spec.podFailurePolicy is not None else "TerminatingOrFailed"
    if spec.manualSelector is None:
        spec.manualSelector = False


def job_spec(spec: batch_v1.JobSpec) -> None:
    """Fills in the spec of a Job, or of a CronJob's template (where `whole` defaults do not apply)."""
    spec.template = template_defaults.template(spec.template)
    for rule in (spec.podFailurePolicy.rules or ()) if spec.podFailurePolicy else ():
        for pattern in rule.onPodConditions or ():
            pattern.status = pattern.status or "True"


def prepare_job(obj: batch_v1.Job, now: float) -> None:
    """A new Job gets its selector and the labels its pods are told apart by, unless it brings its own selector."""
    spec, metadata = obj.spec, obj.metadata
    assert spec is not None and metadata is not None and spec.template is not None
    obj.status = batch_v1.JobStatus()
    meta = spec.template.metadata = spec.template.metadata or meta_v1.ObjectMeta()
    if spec.manualSelector:
        return
    uid, name = metadata.uid or "", metadata.name or ""
    held = meta.labels or {}
    wanted = {OLD_CONTROLLER_UID: uid, OLD_JOB_NAME: name, CONTROLLER_UID: uid, JOB_NAME: name}
    same = metadata.labels is not None and metadata.labels == meta.labels
    meta.labels = {**held, **{k: v for k, v in wanted.items() if k not in held}}
    if same or not metadata.labels:
        metadata.labels = dict(meta.labels)
    selector = spec.selector = spec.selector or meta_v1.LabelSelector()
    selector.matchLabels = selector.matchLabels or {}
    selector.matchLabels.setdefault(CONTROLLER_UID, uid)


def prepare_job_update(new: batch_v1.Job, old: batch_v1.Job, now: float) -> None:
    assert new.spec is not None and old.spec is not None
    if new.spec.selector is None and not new.spec.manualSelector:
        new.spec.selector = old.spec.selector


def validate_job(obj: batch_v1.Job) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None and obj.metadata is not None
    _generated(found, obj, spec)
    _job_spec(found, "spec", spec)
    if spec.selector is None:
        found.append(field.required("spec.selector"))
    else:
        checks.selector(found, "spec.selector", spec.selector)
        labels = workloads.template_labels(spec.template)
        if not selectors.from_object(spec.selector).matches(labels):
            found.append(field.invalid("spec.template.metadata.labels", labels, workloads.LABELS_MISMATCH))
    return found


_JOB_NUMBERS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
    "maxFailedIndexes",
)  # fmt: skip


def _job_spec(found: Found, at: str, spec: batch_v1.JobSpec) -> None:
    for name in _JOB_NUMBERS:
        checks.not_negative(found, f"{at}.{name}", getattr(spec, name))
    if spec.maxFailedIndexes is not None and spec.backoffLimitPerIndex is None:
        found.append(field.required(f"{at}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    mode = spec.completionMode
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        found.append(field.not_supported(f"{at}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        _indexed(found, at, spec)
    else:
        for part in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if getattr(spec, part) is not None:
                found.append(field.invalid(f"{at}.{part}", getattr(spec, part), "requires indexed completion mode"))
    if spec.podFailurePolicy is not None:
        _failure_policy(found, f"{at}.podFailurePolicy", spec.podFailurePolicy, spec)
    if spec.successPolicy is not None and mode != "Indexed":
        found.append(field.invalid(f"{at}.successPolicy", codec.to_tree(spec.successPolicy), "requires indexed completion mode"))
    if spec.podReplacementPolicy is not None:
        _replacement(found, f"{at}.podReplacementPolicy", spec)
    assert spec.template is not None and spec.template.spec is not None
    templates.template(found, f"{at}.template", spec.template)
    policy = spec.template.spec.restartPolicy
    path = f"{at}.template.spec.restartPolicy"
    if policy in ("Always", "", None):
        found.append(field.required(path, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        found.append(field.not_supported(path, policy, ("OnFailure", "Never")))
    elif spec.podFailurePolicy is not None and policy != "Never":
        found.append(field.invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified'))


def _replacement(found: Found, path: str, spec: batch_v1.JobSpec) -> None:
    policy = spec.podReplacementPolicy
    if spec.podFailurePolicy is not None:
        if policy != "Failed":
            found.append(field.not_supported(path, policy, ("Failed",)))
    else:
        checks.one_of(found, path, policy, ("Failed", "TerminatingOrFailed"))


def _failure_policy(found: Found, at: str, policy: batch_v1.PodFailurePolicy, spec: batch_v1.JobSpec) -> None:
    rules = policy.rules or []
    if len(rules) > 20:
        found.append(field.too_many(f"{at}.rules", len(rules), 20))
    pod = spec.template.spec if spec.template else None
    containers = {c.name for c in (*((pod.containers or ()) if pod else ()), *((pod.initContainers or ()) if pod else ()))}
    for i, rule in enumerate(rules):
        path = f"{at}.rules[{i}]"
        checks.one_of(found, f"{path}.action", rule.action, ("Count", "FailIndex", "FailJob", "Ignore"))
        if rule.onExitCodes is not None:
            codes = rule.onExitCodes
            checks.one_of(found, f"{path}.onExitCodes.operator", codes.operator, ("In", "NotIn"))
            if codes.containerName is not None and codes.containerName not in containers:
                why = "must be one of the container or initContainer names in the pod template"
                found.append(field.invalid(f"{path}.onExitCodes.containerName", codes.containerName, why))
            values = codes.values or []
            if not values:
                found.append(field.invalid(f"{path}.onExitCodes.values", values, "at least one value is required"))
            for j, value in enumerate(values):
                if codes.operator == "In" and value == 0:
                    found.append(field.invalid(f"{path}.onExitCodes.values[{j}]", value, "must not be 0 for the In operator"))
        given = (rule.onExitCodes is not None) + bool(rule.onPodConditions)
        if given > 1:
            shown = "specifying both OnExitCodes and OnPodConditions is not supported"
            found.append(field.invalid(path, None, shown))
        elif not given:
            found.append(field.invalid(path, None, "specifying one of OnExitCodes and OnPodConditions is required"))


_MOST_INDEXED = 100_000


def _indexed(found: Found, at: str, spec: batch_v1.JobSpec) -> None:
    if spec.completions is None:
        found.append(field.required(f"{at}.completions", "when completion mode is Indexed"))
    if (spec.parallelism or 0) > _MOST_INDEXED:
        why = f"must be less than or equal to {_MOST_INDEXED} when completion mode is Indexed"
        found.append(field.invalid(f"{at}.parallelism", spec.parallelism, why))
    most = spec.maxFailedIndexes
    if most is not None and spec.completions is not None and most > spec.completions:
        found.append(field.invalid(f"{at}.maxFailedIndexes", most, "must be less than or equal to completions"))


def _generated(found: Found, obj: batch_v1.Job, spec: batch_v1.JobSpec) -> None:
    """A selector the server made must be the server's."""
    assert obj.metadata is not None
    if spec.manualSelector or obj.metadata.uid is None:
        return
    labels = workloads.template_labels(spec.template) or {}
    wanted = {
        "controller-uid": obj.metadata.uid,
        "job-name": obj.metadata.name or "",
        "batch.kubernetes.io/controller-uid": obj.metadata.uid,
        "batch.kubernetes.io/job-name": obj.metadata.name or "",
    }
    for key in ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"):
        if labels.get(key, "") != wanted[key]:
            if not labels.get(key):
                found.append(field.required(f"spec.template.metadata.labels[{key}]", f"must be '{wanted[key]}'"))
            else:
                found.append(field.invalid("spec.template.metadata.labels", labels, f"must be '{wanted[key]}'"))
    selector = spec.selector
    mine = selectors.from_set({"batch.kubernetes.io/controller-uid": obj.metadata.uid})
    old = selectors.from_set({"controller-uid": obj.metadata.uid})
    if selector is not None and selectors.from_object(selector) not in (mine, old):
        found.append(field.invalid("spec.selector", codec.to_tree(selector), "`selector` not auto-generated"))


def validate_job_update(new: batch_v1.Job, old: batch_v1.Job) -> Found:
    found: Found = []
    spec, before = new.spec, old.spec
    assert spec is not None and before is not None and spec.template is not None and before.template is not None
    _job_spec(found, "spec", spec)
    if spec.completions != before.completions:
        indexed = spec.completionMode == "Indexed"
        if not indexed:
            checks.same(found, "spec.completions", spec.completions, before.completions)
        elif spec.completions != spec.parallelism:
            why = "can only be modified in tandem with spec.parallelism"
            found.append(field.invalid("spec.completions", spec.completions, why))
    checks.same(found, "spec.selector", spec.selector, before.selector)
    if _fixed_part(spec.template, before) != _fixed_part(before.template, before):
        checks.same(found, "spec.template", spec.template, before.template)
    for part in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        checks.same(found, f"spec.{part}", getattr(spec, part), getattr(before, part))
    return found


def _fixed_part(template: core_v1.PodTemplateSpec, before: batch_v1.JobSpec) -> core_v1.PodTemplateSpec:
    """A template without what may change while a Job is suspended."""
    if not before.suspend or template.spec is None:
        return template
    spec = msgspec.structs.replace(template.spec, affinity=None, nodeSelector=None, tolerations=None, schedulingGates=None)
    spec.containers = [msgspec.structs.replace(c, resources=None) for c in spec.containers or ()]
    return core_v1.PodTemplateSpec(spec=spec)


def job_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    done = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        parallelism = spec.get("parallelism") or 0
        completions = f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"
    took, start, end = "", status.get("startTime"), status.get("completionTime")
    if start:
        took = duration((timestamps.parse(end) if end else now) - timestamps.parse(start))
    head = [name_of(t, now), _job_word(t, status), completions, took, age_of(t, now)]
    return [*head, *containers(template_spec(t)), selector_text(spec.get("selector"))]


def _job_word(t: Tree, status: Tree) -> str:
    if _has(status, "Complete"):
        return "Complete"
    if _has(status, "Failed"):
        return "Failed"
    if t["metadata"].get("deletionTimestamp"):
        return "Terminating"
    words = (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"))
    return next((word for kind, word in words if _has(status, kind)), "Running")


def _has(status: Tree, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def default_cron_job(obj: batch_v1.CronJob) -> None:
    spec = obj.spec = obj.spec or batch_v1.CronJobSpec()
    spec.concurrencyPolicy = spec.concurrencyPolicy or "Allow"
    if spec.suspend is None:
        spec.suspend = False
    if spec.successfulJobsHistoryLimit is None:
        spec.successfulJobsHistoryLimit = 3
    if spec.failedJobsHistoryLimit is None:
        spec.failedJobsHistoryLimit = 1
    template = spec.jobTemplate = spec.jobTemplate or batch_v1.JobTemplateSpec()
    template.metadata = template.metadata or meta_v1.ObjectMeta()
    template.metadata.creationTimestamp = None
    template.spec = template.spec or batch_v1.JobSpec()
    job_spec(template.spec)


def validate_cron_job(obj: batch_v1.CronJob) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.jobTemplate is not None and spec.jobTemplate.spec is not None
    if not spec.schedule:
        found.append(field.required("spec.schedule"))
    else:
        _schedule(found, spec)
    checks.not_negative(found, "spec.startingDeadlineSeconds", spec.startingDeadlineSeconds)
    if spec.timeZone is not None:
        _time_zone(found, spec.timeZone)
    checks.one_of(found, "spec.concurrencyPolicy", spec.concurrencyPolicy, ("Allow", "Forbid", "Replace"))
    inner = spec.jobTemplate.spec
    if inner.selector is not None:
        found.append(field.invalid("spec.jobTemplate.spec.selector", codec.to_tree(inner.selector), "`selector` will be auto-generated"))
    if inner.manualSelector:
        found.append(field.not_supported("spec.jobTemplate.spec.manualSelector", inner.manualSelector, ("nil", "false")))
    _job_spec(found, "spec.jobTemplate.spec", inner)
    checks.not_negative(found, "spec.successfulJobsHistoryLimit", spec.successfulJobsHistoryLimit)
    checks.not_negative(found, "spec.failedJobsHistoryLimit", spec.failedJobsHistoryLimit)
    if obj.metadata is not None and len(obj.metadata.name or "") > 52:
        found.append(field.invalid("metadata.name", obj.metadata.name, "must be no more than 52 characters"))
    return found


def _time_zone(found: Found, zone: str) -> None:
    if not zone:
        found.append(field.invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string"))
        return
    if zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        found.append(field.invalid("spec.timeZone", zone, why))
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        found.append(field.invalid("spec.timeZone", zone, f"unknown time zone {zone}"))


_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = {m: i + 1 for i, m in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])}
_DAYS = {d: i for i, d in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}


def _schedule(found: Found, spec: batch_v1.CronJobSpec) -> None:
    text = spec.schedule or ""
    if "TZ" in text:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        found.append(field.invalid("spec.schedule", text, why))
        return
    if text.startswith("@"):
        if text not in _MACROS and not re.fullmatch(r"@every ([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+", text):
            found.append(field.invalid("spec.schedule", text, f"unrecognized descriptor: {text}"))
        return
    parts = text.split()
    if len(parts) != 5:
        found.append(field.invalid("spec.schedule", text, f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"))
        return
    for part, (low, high), words in zip(parts, _FIELDS, ({}, {}, {}, _MONTHS, _DAYS), strict=True):
        why = _field_problem(part, low, high if high != 7 else 6, words)
        if why:
            found.append(field.invalid("spec.schedule", text, why))
            return


def _field_problem(part: str, low: int, high: int, words: dict[str, int]) -> str:
    """What is wrong with one field of a schedule, in the words of upstream's parser."""
    for item in part.split(","):
        span, _, step = item.partition("/")
        if step and not _is_short_number(step):
            return f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax'
        if step == "0":
            return f"step of range should be a positive number: {item}"
        if span in ("*", "?"):
            continue
        ends = []
        for end in span.split("-"):
            number = words.get(end.lower(), int(end) if _is_short_number(end) else -1)
            if number < 0:
                return f'failed to parse int from {end}: strconv.Atoi: parsing "{end}": invalid syntax'
            ends.append(number)
        if ends[0] < low:
            return f"beginning of range ({ends[0]}) below minimum ({low}): {item}"
        if ends[-1] > high:
            return f"end of range ({ends[-1]}) above maximum ({high}): {item}"
        if ends[0] > ends[-1]:
            return f"beginning of range ({ends[0]}) beyond end of range ({ends[-1]}): {item}"
    return ""


def _is_short_number(text: str) -> bool:
    return integers.is_digits(text) and len(text) < 19


def cron_job_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    last = status.get("lastScheduleTime")
    suspended = spec.get("suspend")
    inner = ((spec.get("jobTemplate") or {}).get("spec")) or {}
    head = [
        name_of(t, now),
        spec.get("schedule", ""),
        spec.get("timeZone") or NOTHING,
        UNSET if suspended is None else "True" if suspended else "False",
        len(status.get("active") or ()),
        since(last, now) if last else NOTHING,
        age_of(t, now),
    ]
    return [*head, *containers((inner.get("template") or {}).get("spec") or {}), selector_text(inner.get("selector"))]


KINDS: dict[Key, Strategy] = {
    ("batch", "jobs"): Strategy(
        default=default_job,
        prepare_create=prepare_job,
        prepare_update=prepare_job_update,
        validate=validate_job,
        validate_update=validate_job_update,
        orphans=True,
        generation=True,
        columns=sheet("Name|Status|Completions|Duration|Age|Containers*|Images*|Selector*", job_row),
        selectable=(Selectable("status.successful", "status.succeeded", "0"),),
    ),
    ("batch", "cronjobs"): Strategy(
        default=default_cron_job,
        prepare_create=workloads.blank_status(batch_v1.CronJobStatus),
        validate=validate_cron_job,
        validate_update=again(validate_cron_job),
        generation=True,
        columns=sheet("Name|Schedule|Timezone|Suspend?|Active#|Last Schedule|Age|Containers*|Images*|Selector*", cron_job_row),
    ),
}
