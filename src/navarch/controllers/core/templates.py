"""Pods made from the template of what owns them.

Upstream counterpart: pkg/controller/controller_utils.go (GetPodFromTemplate), pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.controllers.core import jobs
from navarch.objects import meta, ownership


def pod_from(template: core_v1.PodTemplateSpec, owner: Object, *, name: str = "") -> core_v1.Pod:
    """A pod of a template, owned by `owner`, with a generated name unless one is given."""
    t = template.metadata or meta_v1.ObjectMeta()
    m = meta.of(owner)
    metadata = meta_v1.ObjectMeta(
        namespace=m.namespace,
        labels=dict(t.labels) if t.labels else None,
        annotations=dict(t.annotations) if t.annotations else None,
        finalizers=list(t.finalizers) if t.finalizers else None,
        ownerReferences=[ownership.reference(owner)],
    )
    if name:
        metadata.name = name
    else:
        metadata.generateName = f"{m.name}-"
    return core_v1.Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=template.spec)


def pod_of_job(job: batch_v1.Job, index: int | None, failures: int) -> core_v1.Pod:
    """A pod of a job, with its index where it has one."""
    template = jobs.spec_of(job).template or core_v1.PodTemplateSpec()
    pod = pod_from(template, job)
    m = meta.of(pod)
    m.finalizers = [*(m.finalizers or ()), jobs.FINALIZER]
    if index is None:
        return pod
    m.annotations = {**(m.annotations or {}), jobs.INDEX: str(index)}
    if jobs.spec_of(job).backoffLimitPerIndex is not None:
        m.annotations[jobs.INDEX_FAILURES] = str(failures)
    m.labels = {**(m.labels or {}), jobs.INDEX: str(index)}
    m.generateName = f"{meta.of(job).name}-{index}-"
    pod.spec = _with_index(template, f"{meta.of(job).name}-{index}")
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
