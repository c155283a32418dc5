"""apps and batch: defaults, and what the server keeps of ReplicaSets, Deployments, StatefulSets, DaemonSets, Jobs and CronJobs.

Upstream counterparts: pkg/apis/{apps,batch}/v1/defaults.go and pkg/registry/{apps,batch}/*/strategy.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.api.apps import v1 as apps_v1
from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.registry import pod_defaults
from navarch.lib import integers

CONTROLLER_UID, OLD_CONTROLLER_UID = "batch.kubernetes.io/controller-uid", "controller-uid"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
JOB_NAME, OLD_JOB_NAME = "batch.kubernetes.io/job-name", "job-name"


def replica_set(obj: apps_v1.ReplicaSet) -> None:
    spec = obj.spec = obj.spec or apps_v1.ReplicaSetSpec()
    if spec.replicas is None:
        spec.replicas = 1
    spec.template = pod_defaults.template(spec.template)


def replication_controller(obj: core_v1.ReplicationController) -> None:
    spec = obj.spec = obj.spec or core_v1.ReplicationControllerSpec()
    if spec.replicas is None:
        spec.replicas = 1
    if spec.template is None:
        return
    spec.template = pod_defaults.template(spec.template)
    labels = spec.template.metadata.labels if spec.template.metadata else None
    if labels:
        spec.selector = spec.selector or dict(labels)
        if obj.metadata is not None:
            obj.metadata.labels = obj.metadata.labels or dict(labels)


def pod_template(obj: core_v1.PodTemplate) -> None:
    obj.template = pod_defaults.template(obj.template)


def deployment(obj: apps_v1.Deployment) -> None:
    spec = obj.spec = obj.spec or apps_v1.DeploymentSpec()
    if spec.replicas is None:
        spec.replicas = 1
    strategy = spec.strategy = spec.strategy or apps_v1.DeploymentStrategy()
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        rolling = strategy.rollingUpdate = strategy.rollingUpdate or apps_v1.RollingUpdateDeployment()
        if rolling.maxUnavailable is None:
            rolling.maxUnavailable = "25%"
        if rolling.maxSurge is None:
            rolling.maxSurge = "25%"
    if spec.revisionHistoryLimit is None:
        spec.revisionHistoryLimit = 10
    if spec.progressDeadlineSeconds is None:
        spec.progressDeadlineSeconds = 600
    spec.template = pod_defaults.template(spec.template)


def daemon_set(obj: apps_v1.DaemonSet) -> None:
    spec = obj.spec = obj.spec or apps_v1.DaemonSetSpec()
    strategy = spec.updateStrategy = spec.updateStrategy or apps_v1.DaemonSetUpdateStrategy()
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        rolling = strategy.rollingUpdate = strategy.rollingUpdate or apps_v1.RollingUpdateDaemonSet()
        if rolling.maxUnavailable is None:
            rolling.maxUnavailable = 1
        if rolling.maxSurge is None:
            rolling.maxSurge = 0
    if spec.revisionHistoryLimit is None:
        spec.revisionHistoryLimit = 10
    spec.template = pod_defaults.template(spec.template)


def stateful_set(obj: apps_v1.StatefulSet) -> None:
    spec = obj.spec = obj.spec or apps_v1.StatefulSetSpec()
    spec.podManagementPolicy = spec.podManagementPolicy or "OrderedReady"
    strategy = spec.updateStrategy = spec.updateStrategy or apps_v1.StatefulSetUpdateStrategy()
    if not strategy.type:
        strategy.type = "RollingUpdate"
        strategy.rollingUpdate = strategy.rollingUpdate or apps_v1.RollingUpdateStatefulSetStrategy()
    if strategy.type == "RollingUpdate" and strategy.rollingUpdate is not None and strategy.rollingUpdate.partition is None:
        strategy.rollingUpdate.partition = 0
    retention = apps_v1.StatefulSetPersistentVolumeClaimRetentionPolicy()
    retention = spec.persistentVolumeClaimRetentionPolicy = spec.persistentVolumeClaimRetentionPolicy or retention
    retention.whenDeleted, retention.whenScaled = retention.whenDeleted or "Retain", retention.whenScaled or "Retain"
    if spec.replicas is None:
        spec.replicas = 1
    if spec.revisionHistoryLimit is None:
        spec.revisionHistoryLimit = 10
    spec.template = pod_defaults.template(spec.template)
    for claim in spec.volumeClaimTemplates or ():
        claim.apiVersion, claim.kind = "v1", "PersistentVolumeClaim"
        claim.metadata = claim.metadata or meta_v1.ObjectMeta()
        claim.status = claim.status or core_v1.PersistentVolumeClaimStatus()
        claim.status.phase = claim.status.phase or "Pending"
        pod_defaults.claim_spec(claim.spec)


def job_spec(spec: batch_v1.JobSpec) -> None:
    """Fills in the spec of a Job, or of a CronJob's template (where `whole` defaults do not apply)."""
    spec.template = pod_defaults.template(spec.template)
    for rule in (spec.podFailurePolicy.rules or ()) if spec.podFailurePolicy else ():
        for pattern in rule.onPodConditions or ():
            pattern.status = pattern.status or "True"


def job(obj: batch_v1.Job) -> None:
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


def cron_job(obj: batch_v1.CronJob) -> None:
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


# ---- what the server sets ----


def job_create(obj: batch_v1.Job) -> None:
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


def job_update(new: batch_v1.Job, old: batch_v1.Job) -> None:
    assert new.spec is not None and old.spec is not None
    if new.spec.selector is None and not new.spec.manualSelector:
        new.spec.selector = old.spec.selector


def blank_status(status: Callable[[], Any]) -> Callable[[Any], None]:
    """A hook that gives a new object an empty status."""

    def prepare(obj: Any) -> None:
        obj.status = status()

    return prepare


def set_status_create(obj: Any) -> None:
    """ReplicaSets, StatefulSets and DaemonSets count from zero: their status shows it."""
    if isinstance(obj, apps_v1.DaemonSet):
        assert obj.metadata is not None
        obj.metadata.annotations = {**(obj.metadata.annotations or {}), TEMPLATE_GENERATION: "1"}
        obj.status = apps_v1.DaemonSetStatus(currentNumberScheduled=0, desiredNumberScheduled=0, numberMisscheduled=0, numberReady=0)
    elif isinstance(obj, apps_v1.StatefulSet):
        obj.status = apps_v1.StatefulSetStatus(replicas=0, availableReplicas=0)
    elif isinstance(obj, apps_v1.ReplicaSet):
        obj.status = apps_v1.ReplicaSetStatus(replicas=0)
    else:
        obj.status = core_v1.ReplicationControllerStatus(replicas=0)


def daemon_set_update(new: apps_v1.DaemonSet, old: apps_v1.DaemonSet) -> None:
    """The template's own count of changes, which lives in an annotation, is the server's to keep."""
    assert new.spec is not None and old.spec is not None and new.metadata is not None and old.metadata is not None
    try:
        held = integers.required((old.metadata.annotations or {}).get(TEMPLATE_GENERATION, "0"))
    except ValueError:
        held = 0
    if new.spec.template != old.spec.template:
        held += 1
    new.metadata.annotations = {**(new.metadata.annotations or {}), TEMPLATE_GENERATION: str(held)}


def keep_labels(new: Any, old: Any) -> None:
    """A status update leaves the labels alone."""
    new.metadata.labels = old.metadata.labels
