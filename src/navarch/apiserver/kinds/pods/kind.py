"""Pods: what the server fills in and keeps, by operation, how long a deleted one is given, and the table of the kind.

Upstream counterparts: pkg/registry/core/pod/strategy.go, pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds import template_defaults
from navarch.apiserver.kinds.columns import sheet
from navarch.apiserver.kinds.pods import row, validation
from navarch.apiserver.kinds.strategy import Key, Part, Selectable, Strategy, selectable
from navarch.machinery import pod_resources


def default_pod(obj: core_v1.Pod) -> None:
    """Fills in a pod."""
    spec = obj.spec
    if spec is None:
        spec = obj.spec = core_v1.PodSpec()
    template_defaults.pod_spec(spec)
    for containers in (spec.containers, spec.initContainers):
        for container in containers or ():
            held = container.resources
            if held is not None and held.limits:
                held.requests = {**held.limits, **held.requests} if held.requests else dict(held.limits)
    if spec.resources is not None:
        pod_resources.default_pod_level(spec)
    if spec.enableServiceLinks is None:
        spec.enableServiceLinks = True
    if spec.hostNetwork:
        _host_ports(spec.containers)
        _host_ports(spec.initContainers)


def _host_ports(containers: list[core_v1.Container] | None) -> None:
    for container in containers or ():
        for port in container.ports or ():
            port.hostPort = port.hostPort or port.containerPort


def prepare_pod(pod: core_v1.Pod, now: float) -> None:
    """A new pod is Pending, has its quality of service, and its label keys merged into the selectors that ask for it."""
    spec = pod.spec
    assert spec is not None and pod.metadata is not None
    pod.status = core_v1.PodStatus(phase="Pending", qosClass=pod_resources.quality(spec))
    spec.ephemeralContainers = spec.ephemeralContainers or None
    if spec.schedulingGates:
        pod.status.conditions = [
            core_v1.PodCondition(
                type="PodScheduled",
                status="False",
                reason="SchedulingGated",
                message="Scheduling is blocked due to non-empty scheduling gates",
            )
        ]
    labels = pod.metadata.labels or {}
    if spec.affinity is not None:
        for part in (spec.affinity.podAffinity, spec.affinity.podAntiAffinity):
            if part is not None:
                _merge_affinity(part, labels)
    for constraint in spec.topologySpreadConstraints or ():
        if constraint.matchLabelKeys and constraint.labelSelector is not None:
            _merge_keys(constraint.labelSelector, constraint.matchLabelKeys, "In", labels)


def _merge_keys(selector: meta_v1.LabelSelector, keys: Sequence[str] | None, operator: str, labels: dict[str, str]) -> None:
    added = [meta_v1.LabelSelectorRequirement(key=k, operator=operator, values=[labels[k]]) for k in keys or () if k in labels]
    if added:
        selector.matchExpressions = [*(selector.matchExpressions or ()), *added]


def _merge_affinity(part: core_v1.PodAffinity | core_v1.PodAntiAffinity, labels: dict[str, str]) -> None:
    terms = list(part.requiredDuringSchedulingIgnoredDuringExecution or ())
    terms += [w.podAffinityTerm for w in part.preferredDuringSchedulingIgnoredDuringExecution or () if w.podAffinityTerm is not None]
    for term in terms:
        if term.labelSelector is not None and (term.matchLabelKeys or term.mismatchLabelKeys):
            _merge_keys(term.labelSelector, term.matchLabelKeys, "In", labels)
            _merge_keys(term.labelSelector, term.mismatchLabelKeys, "NotIn", labels)


def prepare_pod_status(new: core_v1.Pod, old: core_v1.Pod, now: float) -> None:
    """Owners, quality of service and generations already observed stay."""
    assert new.metadata is not None and old.metadata is not None
    new.metadata.ownerReferences = old.metadata.ownerReferences
    status, before = new.status, old.status
    if status is None:
        status = new.status = core_v1.PodStatus()
    if before is None:
        return
    status.qosClass = status.qosClass or before.qosClass
    status.observedGeneration = status.observedGeneration or before.observedGeneration
    held: dict[str | None, list[int | None]] = {}
    for condition in before.conditions or ():
        held.setdefault(condition.type, []).append(condition.observedGeneration)
    for condition in status.conditions or ():
        earlier = held.get(condition.type)
        generation = earlier.pop(0) if earlier else None
        condition.observedGeneration = condition.observedGeneration or generation
    _sync_addresses(status)


def _sync_addresses(status: core_v1.PodStatus) -> None:
    """podIP and hostIP are the first of podIPs and hostIPs, whichever of the two was given."""
    if status.podIP and not status.podIPs:
        status.podIPs = [core_v1.PodIP(ip=status.podIP)]
    elif status.podIPs and status.podIP != status.podIPs[0].ip:
        if status.podIP:
            status.podIPs = [core_v1.PodIP(ip=status.podIP)]
        else:
            status.podIP = status.podIPs[0].ip
    if status.hostIP and not status.hostIPs:
        status.hostIPs = [core_v1.HostIP(ip=status.hostIP)]


def prepare_ephemeral_containers(new: core_v1.Pod, old: core_v1.Pod, now: float) -> None:
    """The subresource changes the list of ephemeral containers alone."""
    assert new.spec is not None and old.spec is not None
    wanted = new.spec.ephemeralContainers
    _keep_all_but(new, old)
    new.spec = msgspec.structs.replace(old.spec, ephemeralContainers=wanted)


def _keep_all_but(new: core_v1.Pod, old: core_v1.Pod) -> None:
    assert new.metadata is not None and old.metadata is not None
    new.status = old.status
    for name in ("labels", "annotations", "ownerReferences", "finalizers", "deletionTimestamp", "deletionGracePeriodSeconds"):
        setattr(new.metadata, name, getattr(old.metadata, name))


def prepare_resize(new: core_v1.Pod, old: core_v1.Pod, now: float) -> None:
    """The subresource changes the containers' resources and resize policies alone."""
    assert new.spec is not None and old.spec is not None
    containers = _resized(new.spec.containers, old.spec.containers)
    starters = _resized(new.spec.initContainers, old.spec.initContainers)
    if containers is None or starters is None:
        return
    _keep_all_but(new, old)
    new.spec = msgspec.structs.replace(
        old.spec, containers=containers or old.spec.containers, initContainers=starters or None, resources=new.spec.resources
    )


def _resized(new: list[core_v1.Container] | None, old: list[core_v1.Container] | None) -> list[core_v1.Container] | None:
    """The old containers with the new resources; None when containers came, went or moved: validation then says so."""
    wanted, held = new or [], old or []
    if [c.name for c in wanted] != [c.name for c in held]:
        return None
    return [msgspec.structs.replace(o, resources=n.resources, resizePolicy=n.resizePolicy) for n, o in zip(wanted, held, strict=True)]


def grace_of_pod(pod: core_v1.Pod, requested: int | None) -> int:
    """Seconds a pod is given: as asked, else its own; none when no kubelet has it or it has finished."""
    assert pod.spec is not None
    if not pod.spec.nodeName or (pod.status is not None and pod.status.phase in ("Failed", "Succeeded")):
        return 0
    seconds = requested if requested is not None else pod.spec.terminationGracePeriodSeconds or 0
    return 1 if seconds < 0 else seconds


KINDS: dict[Key, Strategy] = {
    ("", "pods"): Strategy(
        default=default_pod,
        prepare_create=prepare_pod,
        prepare_status=prepare_pod_status,
        validate=validation.create,
        validate_update=validation.update,
        validate_status=validation.status,
        subresources={
            "ephemeralcontainers": Part(prepare_ephemeral_containers, validation.ephemeral),
            "resize": Part(prepare_resize, validation.resize),
        },
        grace=grace_of_pod,
        generation=True,
        returns_deleted=True,
        columns=sheet("Name|Ready|Status|Restarts|Age|IP*|Node*|Nominated Node*|Readiness Gates*", row.row),
        row_conditions=row.conditions,
        selectable=(
            *selectable("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase", "status.podIP"),
            Selectable("spec.hostNetwork", absent="false"),
            Selectable("status.nominatedNodeName"),
        ),
        indexed=("spec.nodeName",),
    )
}
