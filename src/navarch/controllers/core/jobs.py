"""The decisions about a Job, pure: which pods count, which to make, which to end, and when the Job is over.

`decide` is one pass over the job and its pods. Finished pods are counted exactly once: a pod carries the tracking finalizer until
its uid is in `status.uncountedTerminatedPods`, and is added to the counts when the finalizer is off (KEP-2307).

Upstream counterpart: pkg/controller/job (job_controller.go, indexed_job_utils.go, pod_failure_policy.go, success_policy.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.controllers.core import replicas
from navarch.lib import integers
from navarch.machinery import timestamps
from navarch.objects import meta, pods

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
_FIRST_BACKOFF, _MOST_BACKOFF = 10.0, 600.0
_MOST_UNCOUNTED = 500
_AT_ONCE = 500


def spec_of(job: batch_v1.Job) -> batch_v1.JobSpec:
    return job.spec or batch_v1.JobSpec()


def status_of(job: batch_v1.Job) -> batch_v1.JobStatus:
    return job.status or batch_v1.JobStatus()


def indexed(job: batch_v1.Job) -> bool:
    return spec_of(job).completionMode == "Indexed"


def index_of(pod: core_v1.Pod) -> int | None:
    return integers.parse((meta.of(pod).annotations or {}).get(INDEX), least=0)


def condition(job: batch_v1.Job, kind: str) -> batch_v1.JobCondition | None:
    """The condition of a type that holds now."""
    return next((c for c in status_of(job).conditions or () if c.type == kind and c.status == "True"), None)


def finished(job: batch_v1.Job) -> bool:
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def tracked(pod: core_v1.Pod) -> bool:
    return FINALIZER in (meta.of(pod).finalizers or ())


def phase(pod: core_v1.Pod) -> str:
    return (pod.status.phase if pod.status else "") or ""


def pod_failed(job: batch_v1.Job, pod: core_v1.Pod) -> bool:
    """Whether a pod counts as failed: it did, or it is being deleted and its replacement need not wait for its end."""
    if phase(pod) == "Failed":
        return True
    if spec_of(job).podReplacementPolicy == "Failed" or spec_of(job).podFailurePolicy is not None:
        return False
    return meta.of(pod).deletionTimestamp is not None and phase(pod) != "Succeeded"


# ---- index ranges -------------------------------------------------------------------------------------------------


def parse_ranges(text: str | None, completions: int) -> set[int]:
    """`0,2-4` → {0, 2, 3, 4}; indexes from `completions` on are left out."""
    found: set[int] = set()
    for part in (text or "").split(","):
        start, _, end = part.partition("-")
        first = integers.parse(start, least=0)
        last = integers.parse(end, least=0) if end else first
        if first is not None and last is not None:
            found.update(range(first, min(last + 1, completions)))
    return found


def format_ranges(indexes: Iterable[int]) -> str:
    """{0, 2, 3, 4} → `0,2-4`."""
    parts: list[list[int]] = []
    for i in sorted(indexes):
        if parts and parts[-1][-1] == i - 1:
            parts[-1] = [parts[-1][0], i]
        else:
            parts.append([i])
    return ",".join("-".join(map(str, p)) if p[0] != p[-1] else str(p[0]) for p in parts)


# ---- policies -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyMatch:
    """What the pod failure policy says of a failed pod."""

    action: str = ""
    counts: bool = True
    message: str = ""


def match_failure_policy(job: batch_v1.Job, pod: core_v1.Pod) -> PolicyMatch:
    """The first rule that matches a failed pod."""
    policy = spec_of(job).podFailurePolicy
    for i, rule in enumerate((policy.rules or ()) if policy is not None else ()):
        why = _on_exit_code(rule.onExitCodes, pod, i) if rule.onExitCodes is not None else _on_condition(rule, pod, i)
        if why:
            return PolicyMatch(rule.action or "", rule.action != "Ignore", why)
    return PolicyMatch()


def _on_exit_code(rule: batch_v1.PodFailurePolicyOnExitCodesRequirement, pod: core_v1.Pod, i: int) -> str:
    status = pod.status or core_v1.PodStatus()
    for container in (*(status.containerStatuses or ()), *(status.initContainerStatuses or ())):
        ended = container.state.terminated if container.state else None
        if ended is None or not ended.exitCode or (rule.containerName and rule.containerName != container.name):
            continue
        if (ended.exitCode in (rule.values or ())) == (rule.operator == "In"):
            where = f"{meta.of(pod).namespace}/{meta.of(pod).name}"
            return f"Container {container.name} for pod {where} failed with exit code {ended.exitCode} matching FailJob rule at index {i}"
    return ""


def _on_condition(rule: batch_v1.PodFailurePolicyRule, pod: core_v1.Pod, i: int) -> str:
    for wanted in rule.onPodConditions or ():
        held = pods.condition(pod, wanted.type or "")
        if held is not None and held.status == (wanted.status or "True"):
            return f"Pod {meta.of(pod).namespace}/{meta.of(pod).name} has condition {wanted.type} matching FailJob rule at index {i}"
    return ""


def match_success_policy(job: batch_v1.Job, succeeded: set[int]) -> str:
    """The message of the first success rule that is met, or ""."""
    policy = spec_of(job).successPolicy
    total = spec_of(job).completions or 0
    for i, rule in enumerate((policy.rules or ()) if policy is not None else ()):
        named = parse_ranges(rule.succeededIndexes, total)
        chosen = succeeded & named if rule.succeededIndexes is not None else succeeded
        enough = rule.succeededCount if rule.succeededCount is not None else len(named)
        if enough and len(chosen) >= enough:
            return f"Matched rules at index {i}"
    return ""


# ---- the pass -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """What one pass came to.

    `create`: an index per pod to make (None: no index) with its failures so far. `delete`: pods to end. `untrack`: pods whose
    finalizer comes off, once `status` is written. `final`: the condition to add when all are untracked. `again`: seconds.
    """

    status: batch_v1.JobStatus
    create: list[tuple[int | None, int]] = field(default_factory=list)
    delete: list[core_v1.Pod] = field(default_factory=list)
    untrack: list[core_v1.Pod] = field(default_factory=list)
    final: batch_v1.JobCondition | None = None
    events: list[tuple[str, str, str]] = field(default_factory=list)
    again: float | None = None


def made_condition(kind: str, status: str, reason: str, message: str, now: float) -> batch_v1.JobCondition:
    stamp = timestamps.seconds(now)
    return batch_v1.JobCondition(type=kind, status=status, reason=reason, message=message, lastProbeTime=stamp, lastTransitionTime=stamp)


class _Pass:
    """The facts of one pass, worked out once."""

    def __init__(self, job: batch_v1.Job, every: Sequence[core_v1.Pod], now: float) -> None:
        self.job, self.pods, self.now = job, every, now
        self.spec = spec_of(job)
        self.status = msgspec.structs.replace(status_of(job))
        self.status.conditions = list(self.status.conditions or ())
        held = self.status.uncountedTerminatedPods or batch_v1.UncountedTerminatedPods()
        self.uncounted_ok, self.uncounted_bad = set(held.succeeded or ()), set(held.failed or ())
        self._clean_counted()
        self.active = [p for p in every if pods.is_active(p)]
        uncounted = self.uncounted_ok | self.uncounted_bad
        fresh = [p for p in every if tracked(p) and (meta.of(p).uid or "") not in uncounted]
        self.new_ok = [p for p in fresh if phase(p) == "Succeeded"]
        self.new_bad = [p for p in fresh if pod_failed(job, p)]
        self.failed = (self.status.failed or 0) + len(self.uncounted_bad) + sum(1 for p in self.new_bad if match_failure_policy(job, p).counts)
        self.succeeded = (self.status.succeeded or 0) + len(self.uncounted_ok) + len(self.new_ok)
        self.ok_indexes: set[int] = set()
        self.bad_indexes: set[int] = set()
        if indexed(job):
            total = self.spec.completions or 0
            done = {i for p in every if phase(p) == "Succeeded" and (i := index_of(p)) is not None and i < total}
            self.ok_indexes = parse_ranges(self.status.completedIndexes, total) | done
            self.succeeded = len(self.ok_indexes)
            if self.spec.backoffLimitPerIndex is not None:
                self.bad_indexes = self._failed_indexes() - self.ok_indexes

    def _clean_counted(self) -> None:
        """Uids whose pod has lost its finalizer move into the counts."""
        held = {meta.of(p).uid or "" for p in self.pods if tracked(p)}
        done_ok, done_bad = self.uncounted_ok - held, self.uncounted_bad - held
        if done_ok:
            self.status.succeeded = (self.status.succeeded or 0) + len(done_ok)
        if done_bad:
            self.status.failed = (self.status.failed or 0) + len(done_bad)
        self.uncounted_ok -= done_ok
        self.uncounted_bad -= done_bad

    def failures_of(self, index: int) -> int:
        """How often an index failed, by the failed pods there are and what they carry on."""
        counts = [0]
        for pod in self.pods:
            if index_of(pod) != index or not pod_failed(self.job, pod):
                continue
            counts.append(_carried(pod) + (1 if match_failure_policy(self.job, pod).counts else 0))
        return max(counts)

    def _failed_indexes(self) -> set[int]:
        found = parse_ranges(self.status.failedIndexes, self.spec.completions or 0)
        limit = self.spec.backoffLimitPerIndex or 0
        for pod in self.pods:
            index = index_of(pod)
            if index is None or not pod_failed(self.job, pod):
                continue
            if match_failure_policy(self.job, pod).action == "FailIndex" or self.failures_of(index) > limit:
                found.add(index)
        return found

    # ---- is it over ----

    def verdict(self) -> batch_v1.JobCondition | None:
        """SuccessCriteriaMet or FailureTarget when the Job's end is decided."""
        for kind in ("SuccessCriteriaMet", "FailureTarget"):
            held = condition(self.job, kind)
            if held is not None:
                return held
        reason, message = self._failure()
        if reason:
            return made_condition("FailureTarget", "True", reason, message, self.now)
        if indexed(self.job) and (message := match_success_policy(self.job, self.ok_indexes)):
            return made_condition("SuccessCriteriaMet", "True", "SuccessPolicy", message, self.now)
        return None

    def _failure(self) -> tuple[str, str]:
        for pod in self.pods:
            if phase(pod) == "Failed":
                match = match_failure_policy(self.job, pod)
                if match.action == "FailJob":
                    return "PodFailurePolicy", match.message
        limit = self.spec.backoffLimit if self.spec.backoffLimit is not None else 6
        if self.failed > limit or self._restarts() > limit:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if self._past_deadline() <= 0:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        if self.spec.backoffLimitPerIndex is not None:
            most = self.spec.maxFailedIndexes
            if most is not None and len(self.bad_indexes) > most:
                return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
            if self.bad_indexes and len(self.bad_indexes) + len(self.ok_indexes) >= (self.spec.completions or 0):
                return "FailedIndexes", "Job has failed indexes"
        return "", ""

    def _restarts(self) -> int:
        """Restarts of containers, which count as failures where pods are restarted in place."""
        template = self.spec.template
        if template is None or template.spec is None or template.spec.restartPolicy != "OnFailure":
            return 0
        total = 0
        for pod in self.pods:
            if phase(pod) in ("Running", "Pending") and pod.status is not None:
                statuses = (*(pod.status.initContainerStatuses or ()), *(pod.status.containerStatuses or ()))
                total += sum(s.restartCount or 0 for s in statuses)
        limit = self.spec.backoffLimit or 0
        if limit == 0:
            return 1 if total > 0 else 0
        return limit + 1 if total >= limit else 0

    def _past_deadline(self) -> float:
        """Seconds left until activeDeadlineSeconds; a lot when there is no deadline."""
        start = self.status.startTime
        if self.spec.activeDeadlineSeconds is None or self.spec.suspend or start is None:
            return 1e9
        return timestamps.parse(start) + self.spec.activeDeadlineSeconds - self.now

    # ---- how many ----

    def missing(self) -> list[tuple[int | None, int]]:
        """The pods to make now."""
        waiting = sum(1 for p in self.pods if meta.of(p).deletionTimestamp is not None and phase(p) not in ("Succeeded", "Failed"))
        held = len(self.active) + (waiting if self.spec.podReplacementPolicy == "Failed" or self.spec.podFailurePolicy is not None else 0)
        wanted = self.wanted_active() - held
        if wanted <= 0:
            return []
        if not indexed(self.job):
            return [(None, 0)] * min(wanted, _AT_ONCE)
        busy = {index_of(p) for p in self.active}
        if self.spec.podReplacementPolicy == "Failed" or self.spec.podFailurePolicy is not None:
            busy |= {index_of(p) for p in self.pods if meta.of(p).deletionTimestamp is not None and phase(p) not in ("Succeeded", "Failed")}
        free = (i for i in range(self.spec.completions or 0) if i not in busy and i not in self.ok_indexes and i not in self.bad_indexes)
        made: list[tuple[int | None, int]] = []
        for i in free:
            if len(made) == min(wanted, _AT_ONCE):
                break
            made.append((i, self.failures_of(i) if self.spec.backoffLimitPerIndex is not None else 0))
        return made

    def wanted_active(self) -> int:
        parallelism = self.spec.parallelism if self.spec.parallelism is not None else 1
        if self.spec.completions is None:
            return min(parallelism, len(self.active)) if self.succeeded > 0 else parallelism
        return max(0, min(parallelism, self.spec.completions - self.succeeded - len(self.bad_indexes)))

    def surplus(self) -> list[core_v1.Pod]:
        """Active pods beyond what is wanted."""
        if indexed(self.job):
            total = self.spec.completions or 0
            seen: set[int | None] = set()
            extra = []
            for pod in self.active:
                index = index_of(pod)
                if index is None or index >= total or index in seen:
                    extra.append(pod)
                seen.add(index)
            rest = [p for p in self.active if p not in extra]
        else:
            extra, rest = [], list(self.active)
        over = len(rest) - self.wanted_active()
        if over > 0:
            extra += sorted(rest, key=lambda p: replicas.deletion_order(p, self.now))[:over]
        return extra

    def backoff(self) -> float:
        """Seconds until the next pod may be made, after failures."""
        ended = [_end_time(p) for p in self.pods if phase(p) == "Failed"]
        last_ok = max((_end_time(p) for p in self.pods if phase(p) == "Succeeded"), default=0.0)
        recent = [t for t in ended if t > last_ok]
        if not recent:
            return 0.0
        delay = min(_MOST_BACKOFF, _FIRST_BACKOFF * 2.0 ** (len(recent) - 1))
        return max(recent) + delay - self.now


def _end_time(pod: core_v1.Pod) -> float:
    """When a pod's last container ended."""
    times = [
        timestamps.parse(s.state.terminated.finishedAt)
        for s in ((pod.status.containerStatuses or ()) if pod.status else ())
        if s.state and s.state.terminated and s.state.terminated.finishedAt
    ]
    if times:
        return max(times)
    return timestamps.parse(meta.of(pod).deletionTimestamp or meta.of(pod).creationTimestamp or "1970-01-01T00:00:00Z")


def decide(job: batch_v1.Job, every: Sequence[core_v1.Pod], now: float, *, caught_up: bool) -> Outcome:
    """One pass. `caught_up`: the pods show all that was created and deleted before."""
    facts = _Pass(job, every, now)
    status, spec = facts.status, facts.spec
    out = Outcome(status)
    if status.startTime is None and not spec.suspend:
        status.startTime = timestamps.seconds(now)
    verdict = facts.verdict()
    left = len(facts.active)
    ready = [p for p in facts.active if pods.is_ready(p)]
    if verdict is not None:
        out.delete = list(facts.active)
        left = 0
        ready = []
    elif caught_up and meta.of(job).deletionTimestamp is None:
        left = _manage(facts, out)
        if out.delete:
            ready = [p for p in ready if p not in out.delete]
    if verdict is None and _complete(facts, left, out):
        verdict = made_condition("SuccessCriteriaMet", "True", "CompletionsReached", "Reached expected number of succeeded pods", now)
    elif verdict is None and caught_up and meta.of(job).deletionTimestamp is None:
        _suspension(facts, out)
    _count(facts, out, verdict)
    deadline = facts._past_deadline()
    if verdict is None and deadline < 1e8:
        out.again = min(out.again, deadline + 0.1) if out.again is not None else deadline + 0.1
    terminating = sum(1 for p in every if meta.of(p).deletionTimestamp is not None and phase(p) not in ("Succeeded", "Failed"))
    terminating += len(out.delete)
    status.active, status.ready, status.terminating = left or None, len(ready), terminating
    _end(facts, out, verdict, caught_up and not out.delete and not terminating)
    return out


def _manage(facts: _Pass, out: Outcome) -> int:
    """Makes and ends pods; the number active afterwards."""
    spec = facts.spec
    if spec.suspend:
        out.delete = list(facts.active)
        return 0
    out.delete = facts.surplus()
    if out.delete:
        return len(facts.active) - len(out.delete)
    out.create = facts.missing()
    if out.create and (wait := facts.backoff()) > 0:
        out.create, out.again = [], wait + 0.05
    return len(facts.active) + len(out.create)


def _complete(facts: _Pass, left: int, out: Outcome) -> bool:
    if facts.spec.completions is None:
        return facts.succeeded > 0 and left == 0
    return facts.succeeded >= facts.spec.completions and left == 0 and not out.create


def _suspension(facts: _Pass, out: Outcome) -> None:
    """The Suspended condition follows spec.suspend."""
    held = next((c for c in out.status.conditions or () if c.type == "Suspended"), None)
    wanted = "True" if facts.spec.suspend else "False"
    if (held is None and wanted == "False") or (held is not None and held.status == wanted):
        return
    reason, message = ("JobSuspended", "Job suspended") if facts.spec.suspend else ("JobResumed", "Job resumed")
    made = made_condition("Suspended", wanted, reason, message, facts.now)
    out.status.conditions = [*(c for c in out.status.conditions or () if c.type != "Suspended"), made]
    out.status.startTime = None if facts.spec.suspend else timestamps.seconds(facts.now)
    out.events.append(("Normal", "Suspended" if facts.spec.suspend else "Resumed", message))


def _count(facts: _Pass, out: Outcome, verdict: batch_v1.JobCondition | None) -> None:
    """Puts finished pods into the uncounted lists, and says which may lose their finalizer."""
    job, status = facts.job, facts.status
    over = verdict is not None or meta.of(job).deletionTimestamp is not None
    for pod in facts.pods:
        if len(facts.uncounted_ok) + len(facts.uncounted_bad) >= _MOST_UNCOUNTED:
            break
        if not tracked(pod) or not (over or phase(pod) == "Succeeded" or pod_failed(job, pod)):
            continue
        uid = meta.of(pod).uid or ""
        out.untrack.append(pod)
        if phase(pod) == "Succeeded":
            if not indexed(job) and uid not in facts.uncounted_bad:
                facts.uncounted_ok.add(uid)
        elif (pod_failed(job, pod) or (verdict is not None and verdict.type == "FailureTarget")) and match_failure_policy(job, pod).counts:
            facts.uncounted_bad.add(uid)
    if spec_of(job).backoffLimitPerIndex is not None and not over:
        out.untrack = [p for p in out.untrack if not _waits_for_replacement(facts, p)]
        facts.uncounted_bad -= {meta.of(p).uid or "" for p in facts.pods if tracked(p) and _waits_for_replacement(facts, p)}
    if indexed(job):
        status.completedIndexes = format_ranges(facts.ok_indexes) or None
        status.succeeded = len(facts.ok_indexes) or None
        if spec_of(job).backoffLimitPerIndex is not None:
            status.failedIndexes = format_ranges(facts.bad_indexes)
    uncounted = batch_v1.UncountedTerminatedPods(succeeded=sorted(facts.uncounted_ok) or None, failed=sorted(facts.uncounted_bad) or None)
    status.uncountedTerminatedPods = uncounted


def _waits_for_replacement(facts: _Pass, pod: core_v1.Pod) -> bool:
    """A failed pod of an index keeps its finalizer until its successor is there: that carries the failure count on."""
    index = index_of(pod)
    if index is None or not pod_failed(facts.job, pod) or index in facts.bad_indexes or index in facts.ok_indexes:
        return False
    newer = [
        p
        for p in facts.pods
        if index_of(p) == index and p is not pod and (meta.of(p).creationTimestamp or "") >= (meta.of(pod).creationTimestamp or "")
    ]
    return not any(not pod_failed(facts.job, p) or facts.failures_of(index) > _carried(pod) + 1 for p in newer)


def _carried(pod: core_v1.Pod) -> int:
    return integers.parse((meta.of(pod).annotations or {}).get(INDEX_FAILURES), least=0) or 0


def _end(facts: _Pass, out: Outcome, verdict: batch_v1.JobCondition | None, settled: bool) -> None:
    """Notes the verdict; when nothing is left to wait for, what the final condition will be."""
    if verdict is None:
        return
    if condition(facts.job, verdict.type or "") is None:
        out.status.conditions = [*(out.status.conditions or ()), verdict]
    if settled:
        kind = "Failed" if verdict.type == "FailureTarget" else "Complete"
        out.final = made_condition(kind, "True", verdict.reason or "", verdict.message or "", facts.now)


def finish(status: batch_v1.JobStatus, untracked: set[str], final: batch_v1.JobCondition, now: float) -> batch_v1.JobStatus | None:
    """The last status of a Job whose pods are all untracked; None while some are still uncounted."""
    held = status.uncountedTerminatedPods or batch_v1.UncountedTerminatedPods()
    if (set(held.succeeded or ()) | set(held.failed or ())) - untracked:
        return None
    made = msgspec.structs.replace(status)
    made.succeeded = ((status.succeeded or 0) + len(held.succeeded or ())) or None
    made.failed = ((status.failed or 0) + len(held.failed or ())) or None
    made.uncountedTerminatedPods = batch_v1.UncountedTerminatedPods()
    made.conditions = [*(status.conditions or ()), final]
    if final.type == "Complete":
        made.completionTime = timestamps.seconds(now)
    return made
