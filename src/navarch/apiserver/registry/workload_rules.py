"""Rules of the kinds that make pods: ReplicaSets, Deployments, StatefulSets, DaemonSets, Jobs, CronJobs, replication controllers.

Upstream counterparts: pkg/apis/{apps,batch}/validation.
"""

from __future__ import annotations

import re
import zoneinfo

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.registry import checks, pod_rules
from navarch.apiserver.registry.checks import Found
from navarch.lib import integers
from navarch.machinery import codec, field, selectors

_EMPTY = "empty selector is invalid for {}"
_MISMATCH = "`selector` does not match template `labels`"


def _template_labels(template: core_v1.PodTemplateSpec | None) -> dict[str, str] | None:
    return (template.metadata.labels if template is not None and template.metadata else None) or None


def _selected(
    found: Found, selector: meta_v1.LabelSelector | None, template: core_v1.PodTemplateSpec | None, kind: str, *, required: bool = True
) -> None:
    """The selector is there, says something, and matches the template."""
    if selector is None:
        if required:
            found.append(field.required("spec.selector"))
    else:
        checks.selector(found, "spec.selector", selector)
        if checks.empty_selector(selector):
            found.append(field.invalid("spec.selector", codec.to_tree(selector), _EMPTY.format(kind)))
    try:
        compiled = selectors.from_object(selector)
    except ValueError:
        found.append(field.invalid("spec.selector", codec.to_tree(selector) if selector else None, "invalid label selector"))
        return
    if (selector is not None and not compiled.empty and not compiled.matches(_template_labels(template))) or selector is None:
        found.append(field.invalid("spec.template.metadata.labels", _template_labels(template), _MISMATCH))


def _always(found: Found, template: core_v1.PodTemplateSpec, kind: str) -> None:
    """A template whose pods run for ever."""
    pod_rules.template(found, "spec.template", template)
    spec = template.spec
    assert spec is not None
    if spec.restartPolicy != "Always":
        found.append(field.not_supported("spec.template.spec.restartPolicy", spec.restartPolicy, ("Always",)))
    if spec.activeDeadlineSeconds is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        found.append(field.forbidden("spec.template.spec.activeDeadlineSeconds", why))


def replica_set(obj: apps_v1.ReplicaSet) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None
    checks.not_negative(found, "spec.replicas", spec.replicas)
    checks.not_negative(found, "spec.minReadySeconds", spec.minReadySeconds)
    _selected(found, spec.selector, spec.template, "deployment")
    _always(found, spec.template, "ReplicaSet")
    return found


def replica_set_update(new: apps_v1.ReplicaSet, old: apps_v1.ReplicaSet) -> Found:
    found = replica_set(new)
    assert new.spec is not None and old.spec is not None
    checks.same(found, "spec.selector", new.spec.selector, old.spec.selector)
    return found


def replication_controller(obj: core_v1.ReplicationController) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    checks.not_negative(found, "spec.minReadySeconds", spec.minReadySeconds)
    if not spec.selector:
        found.append(field.required("spec.selector"))
    checks.not_negative(found, "spec.replicas", spec.replicas)
    if spec.template is None:
        found.append(field.required("spec.template"))
        return found
    if spec.selector and not spec.selector.items() <= (_template_labels(spec.template) or {}).items():
        found.append(field.invalid("spec.template.metadata.labels", _template_labels(spec.template), _MISMATCH))
    _always(found, spec.template, "ReplicationController")
    return found


def deployment(obj: apps_v1.Deployment) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None
    checks.not_negative(found, "spec.replicas", spec.replicas)
    _selected(found, spec.selector, spec.template, "deployment")
    _always(found, spec.template, "ReplicaSet")
    assert spec.strategy is not None
    _strategy(found, spec.strategy)
    checks.not_negative(found, "spec.minReadySeconds", spec.minReadySeconds)
    checks.not_negative(found, "spec.revisionHistoryLimit", spec.revisionHistoryLimit)
    deadline = spec.progressDeadlineSeconds
    if deadline is not None:
        checks.not_negative(found, "spec.progressDeadlineSeconds", deadline)
        if deadline <= (spec.minReadySeconds or 0):
            found.append(field.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return found


def _strategy(found: Found, strategy: apps_v1.DeploymentStrategy) -> None:
    rolling = strategy.rollingUpdate
    if strategy.type == "Recreate":
        if rolling is not None:
            why = "may not be specified when strategy `type` is 'Recreate'"
            found.append(field.forbidden("spec.strategy.rollingUpdate", why))
    elif strategy.type == "RollingUpdate":
        assert rolling is not None
        at = "spec.strategy.rollingUpdate"
        checks.percent_or_count(found, f"{at}.maxUnavailable", rolling.maxUnavailable)
        checks.percent_or_count(found, f"{at}.maxSurge", rolling.maxSurge)
        if not checks.rounded(rolling.maxUnavailable) and not checks.rounded(rolling.maxSurge):
            why = "may not be 0 when `maxSurge` is 0"
            found.append(field.invalid(f"{at}.maxUnavailable", rolling.maxUnavailable, why))
        checks.at_most_hundred(found, f"{at}.maxUnavailable", rolling.maxUnavailable)
    else:
        found.append(field.not_supported("spec.strategy", codec.to_tree(strategy), ("Recreate", "RollingUpdate")))


def deployment_update(new: apps_v1.Deployment, old: apps_v1.Deployment) -> Found:
    found = deployment(new)
    assert new.spec is not None and old.spec is not None
    checks.same(found, "spec.selector", new.spec.selector, old.spec.selector)
    return found


def daemon_set(obj: apps_v1.DaemonSet) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None
    _selected(found, spec.selector, spec.template, "daemonset", required=False)
    _always(found, spec.template, "DaemonSet")
    checks.not_negative(found, "spec.minReadySeconds", spec.minReadySeconds)
    strategy = spec.updateStrategy
    assert strategy is not None
    rolling = strategy.rollingUpdate
    if strategy.type == "RollingUpdate":
        at = "spec.updateStrategy.rollingUpdate"
        assert rolling is not None
        checks.percent_or_count(found, f"{at}.maxUnavailable", rolling.maxUnavailable)
        checks.percent_or_count(found, f"{at}.maxSurge", rolling.maxSurge)
        checks.at_most_hundred(found, f"{at}.maxUnavailable", rolling.maxUnavailable)
        checks.at_most_hundred(found, f"{at}.maxSurge", rolling.maxSurge)
        unavailable, surge = checks.rounded(rolling.maxUnavailable), checks.rounded(rolling.maxSurge)
        if unavailable and surge:
            found.append(field.invalid(f"{at}.maxSurge", rolling.maxSurge, "may not be set when maxUnavailable is non-zero"))
        elif not unavailable and not surge:
            found.append(field.required(f"{at}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif strategy.type != "OnDelete":
        found.append(field.not_supported("spec.updateStrategy", codec.to_tree(strategy), ("RollingUpdate", "OnDelete")))
    checks.not_negative(found, "spec.revisionHistoryLimit", spec.revisionHistoryLimit)
    return found


def daemon_set_update(new: apps_v1.DaemonSet, old: apps_v1.DaemonSet) -> Found:
    found: Found = []
    assert new.spec is not None and old.spec is not None
    checks.same(found, "spec.selector", new.spec.selector, old.spec.selector)
    return found + daemon_set(new)


def stateful_set(obj: apps_v1.StatefulSet) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None and spec.template.spec is not None
    if spec.podManagementPolicy not in ("OrderedReady", "Parallel"):
        found.append(field.invalid("spec.podManagementPolicy", spec.podManagementPolicy, "must be 'OrderedReady' or 'Parallel'"))
    _stateful_strategy(found, spec)
    retention = spec.persistentVolumeClaimRetentionPolicy
    if retention is not None:
        for part in ("whenDeleted", "whenScaled"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{part}"
            checks.one_of(found, path, getattr(retention, part), ("Retain", "Delete"))
    checks.not_negative(found, "spec.replicas", spec.replicas)
    checks.not_negative(found, "spec.minReadySeconds", spec.minReadySeconds)
    if spec.ordinals is not None:
        checks.not_negative(found, "spec.ordinals.start", spec.ordinals.start)
    if spec.serviceName:
        checks.label(found, "spec.serviceName", spec.serviceName)
    _selected(found, spec.selector, spec.template, "statefulset")
    _always(found, _with_claims(spec), "StatefulSet")
    return found


def _stateful_strategy(found: Found, spec: apps_v1.StatefulSetSpec) -> None:
    strategy = spec.updateStrategy
    assert strategy is not None
    at = "spec.updateStrategy"
    if strategy.type == "OnDelete":
        if strategy.rollingUpdate is not None:
            shown = codec.to_tree(strategy.rollingUpdate)
            found.append(field.invalid(f"{at}.rollingUpdate", shown, "only allowed for updateStrategy 'RollingUpdate'"))
    elif strategy.type == "RollingUpdate":
        rolling = strategy.rollingUpdate
        if rolling is not None:
            checks.not_negative(found, f"{at}.rollingUpdate.partition", rolling.partition)
            checks.percent_or_count(found, f"{at}.rollingUpdate.maxUnavailable", rolling.maxUnavailable)
    else:
        found.append(field.invalid(at, codec.to_tree(strategy), "must be 'RollingUpdate' or 'OnDelete'"))


def _with_claims(spec: apps_v1.StatefulSetSpec) -> core_v1.PodTemplateSpec:
    """The template with the volumes its claims will bring."""
    template = spec.template
    assert template is not None and template.spec is not None
    if not spec.volumeClaimTemplates:
        return template
    claims = {c.metadata.name: c for c in spec.volumeClaimTemplates if c.metadata and c.metadata.name}
    source = core_v1.PersistentVolumeClaimVolumeSource(claimName="claim")
    volumes = [core_v1.Volume(name=name, persistentVolumeClaim=source) for name in claims]
    volumes += [v for v in template.spec.volumes or () if v.name not in claims]
    made = msgspec.structs.replace(template.spec, volumes=volumes, subdomain=None, hostname=None)
    return msgspec.structs.replace(template, spec=made)


_STATEFUL_MAY_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def stateful_set_update(new: apps_v1.StatefulSet, old: apps_v1.StatefulSet) -> Found:
    found = stateful_set(new)
    assert new.spec is not None and old.spec is not None
    for part in ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"):
        if getattr(new.spec, part) != getattr(old.spec, part):
            found.append(field.forbidden("spec", _STATEFUL_MAY_CHANGE))
            break
    return found


# ---- jobs ----

_JOB_NUMBERS = (
    "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished", "backoffLimitPerIndex",
    "maxFailedIndexes",
)  # fmt: skip
_MOST_INDEXED = 100_000


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
    pod_rules.template(found, f"{at}.template", spec.template)
    policy = spec.template.spec.restartPolicy
    path = f"{at}.template.spec.restartPolicy"
    if policy in ("Always", "", None):
        found.append(field.required(path, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        found.append(field.not_supported(path, policy, ("OnFailure", "Never")))
    elif spec.podFailurePolicy is not None and policy != "Never":
        found.append(field.invalid(path, policy, 'only "Never" is supported when podFailurePolicy is specified'))


def _indexed(found: Found, at: str, spec: batch_v1.JobSpec) -> None:
    if spec.completions is None:
        found.append(field.required(f"{at}.completions", "when completion mode is Indexed"))
    if (spec.parallelism or 0) > _MOST_INDEXED:
        why = f"must be less than or equal to {_MOST_INDEXED} when completion mode is Indexed"
        found.append(field.invalid(f"{at}.parallelism", spec.parallelism, why))
    most = spec.maxFailedIndexes
    if most is not None and spec.completions is not None and most > spec.completions:
        found.append(field.invalid(f"{at}.maxFailedIndexes", most, "must be less than or equal to completions"))


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


def job(obj: batch_v1.Job) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None and obj.metadata is not None
    _generated(found, obj, spec)
    _job_spec(found, "spec", spec)
    if spec.selector is None:
        found.append(field.required("spec.selector"))
    else:
        checks.selector(found, "spec.selector", spec.selector)
        labels = _template_labels(spec.template)
        if not selectors.from_object(spec.selector).matches(labels):
            found.append(field.invalid("spec.template.metadata.labels", labels, _MISMATCH))
    return found


def _generated(found: Found, obj: batch_v1.Job, spec: batch_v1.JobSpec) -> None:
    """A selector the server made must be the server's."""
    assert obj.metadata is not None
    if spec.manualSelector or obj.metadata.uid is None:
        return
    labels = _template_labels(spec.template) or {}
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


def job_update(new: batch_v1.Job, old: batch_v1.Job) -> Found:
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


def cron_job(obj: batch_v1.CronJob) -> Found:
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


_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
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
