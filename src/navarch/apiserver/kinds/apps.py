"""apps: ReplicaSets, Deployments, DaemonSets, StatefulSets and the revisions of the last two.

Upstream counterparts: pkg/apis/apps/{v1/defaults.go,validation}, pkg/registry/apps/*/strategy.go.
"""

from __future__ import annotations

from typing import Any

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds import checks, template_defaults, workloads
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import (
    NOTHING,
    Tree,
    age_of,
    containers,
    label_text,
    name_of,
    selector_text,
    sheet,
    spec_of,
    status_of,
    template_spec,
)
from navarch.apiserver.kinds.strategy import Key, Selectable, Strategy
from navarch.lib import integers
from navarch.machinery import codec, field


def default_replica_set(obj: apps_v1.ReplicaSet) -> None:
    spec = obj.spec = obj.spec or apps_v1.ReplicaSetSpec()
    if spec.replicas is None:
        spec.replicas = 1
    spec.template = template_defaults.template(spec.template)


def validate_replica_set(obj: apps_v1.ReplicaSet) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None
    checks.not_negative(found, "spec.replicas", spec.replicas)
    checks.not_negative(found, "spec.minReadySeconds", spec.minReadySeconds)
    workloads.check_selected(found, spec.selector, spec.template, "deployment")
    workloads.check_always(found, spec.template, "ReplicaSet")
    return found


def validate_replica_set_update(new: apps_v1.ReplicaSet, old: apps_v1.ReplicaSet) -> Found:
    found = validate_replica_set(new)
    assert new.spec is not None and old.spec is not None
    checks.same(found, "spec.selector", new.spec.selector, old.spec.selector)
    return found


def replica_set_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name_of(t, now), *counts, age_of(t, now), *containers(template_spec(t)), selector_text(spec.get("selector"))]


def default_deployment(obj: apps_v1.Deployment) -> None:
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
    spec.template = template_defaults.template(spec.template)


def validate_deployment(obj: apps_v1.Deployment) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None
    checks.not_negative(found, "spec.replicas", spec.replicas)
    workloads.check_selected(found, spec.selector, spec.template, "deployment")
    workloads.check_always(found, spec.template, "ReplicaSet")
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


def validate_deployment_update(new: apps_v1.Deployment, old: apps_v1.Deployment) -> Found:
    found = validate_deployment(new)
    assert new.spec is not None and old.spec is not None
    checks.same(found, "spec.selector", new.spec.selector, old.spec.selector)
    return found


def deployment_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [name_of(t, now), ready, *counts, age_of(t, now), *containers(template_spec(t)), selector_text(spec.get("selector"))]


def default_daemon_set(obj: apps_v1.DaemonSet) -> None:
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
    spec.template = template_defaults.template(spec.template)


TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def prepare_daemon_set_update(new: apps_v1.DaemonSet, old: apps_v1.DaemonSet, now: float) -> None:
    """The template's own count of changes, which lives in an annotation, is the server's to keep."""
    assert new.spec is not None and old.spec is not None and new.metadata is not None and old.metadata is not None
    try:
        held = integers.required((old.metadata.annotations or {}).get(TEMPLATE_GENERATION, "0"))
    except ValueError:
        held = 0
    if new.spec.template != old.spec.template:
        held += 1
    new.metadata.annotations = {**(new.metadata.annotations or {}), TEMPLATE_GENERATION: str(held)}


def validate_daemon_set(obj: apps_v1.DaemonSet) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None and spec.template is not None
    workloads.check_selected(found, spec.selector, spec.template, "daemonset", required=False)
    workloads.check_always(found, spec.template, "DaemonSet")
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


def validate_daemon_set_update(new: apps_v1.DaemonSet, old: apps_v1.DaemonSet) -> Found:
    found: Found = []
    assert new.spec is not None and old.spec is not None
    checks.same(found, "spec.selector", new.spec.selector, old.spec.selector)
    return found + validate_daemon_set(new)


_DAEMON_COUNTS = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")


def daemon_set_row(t: Tree, now: float) -> list[Any]:
    status = status_of(t)
    counts = [status.get(n, 0) for n in _DAEMON_COUNTS]
    nodes = label_text(template_spec(t).get("nodeSelector"))
    return [name_of(t, now), *counts, nodes, age_of(t, now), *containers(template_spec(t)), selector_text(spec_of(t).get("selector"))]


def default_stateful_set(obj: apps_v1.StatefulSet) -> None:
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
    spec.template = template_defaults.template(spec.template)
    for claim in spec.volumeClaimTemplates or ():
        claim.apiVersion, claim.kind = "v1", "PersistentVolumeClaim"
        claim.metadata = claim.metadata or meta_v1.ObjectMeta()
        claim.status = claim.status or core_v1.PersistentVolumeClaimStatus()
        claim.status.phase = claim.status.phase or "Pending"
        template_defaults.claim_spec(claim.spec)


def validate_stateful_set(obj: apps_v1.StatefulSet) -> Found:
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
    workloads.check_selected(found, spec.selector, spec.template, "statefulset")
    workloads.check_always(found, _with_claims(spec), "StatefulSet")
    return found


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


_STATEFUL_MAY_CHANGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def validate_stateful_set_update(new: apps_v1.StatefulSet, old: apps_v1.StatefulSet) -> Found:
    found = validate_stateful_set(new)
    assert new.spec is not None and old.spec is not None
    for part in ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"):
        if getattr(new.spec, part) != getattr(old.spec, part):
            found.append(field.forbidden("spec", _STATEFUL_MAY_CHANGE))
            break
    return found


def stateful_set_row(t: Tree, now: float) -> list[Any]:
    ready = f"{status_of(t).get('readyReplicas', 0)}/{spec_of(t).get('replicas', 0)}"
    return [name_of(t, now), ready, age_of(t, now), *containers(template_spec(t))]


def validate_controller_revision(obj: apps_v1.ControllerRevision) -> Found:
    found: Found = []
    checks.not_negative(found, "revision", obj.revision)
    if obj.data is None:
        found.append(field.required("data", "data is mandatory"))
    return found


def validate_controller_revision_update(new: apps_v1.ControllerRevision, old: apps_v1.ControllerRevision) -> Found:
    found: Found = []
    checks.not_negative(found, "revision", new.revision)
    checks.same(found, "data", new.data, old.data)
    return found


def controller_revision_row(t: Tree, now: float) -> list[Any]:
    owner = next((o for o in t["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    controller = NOTHING
    if owner is not None:
        group = owner["apiVersion"].rpartition("/")[0]
        kind = owner["kind"].lower()
        controller = f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
    return [name_of(t, now), controller, t.get("revision", 0), age_of(t, now)]


def prepare_daemon_set(obj: apps_v1.DaemonSet, now: float) -> None:
    """A new DaemonSet counts its template's changes from one, and its pods from zero."""
    assert obj.metadata is not None
    obj.metadata.annotations = {**(obj.metadata.annotations or {}), TEMPLATE_GENERATION: "1"}
    obj.status = apps_v1.DaemonSetStatus(currentNumberScheduled=0, desiredNumberScheduled=0, numberMisscheduled=0, numberReady=0)


KINDS: dict[Key, Strategy] = {
    ("apps", "replicasets"): Strategy(
        default=default_replica_set,
        prepare_create=workloads.blank_status(lambda: apps_v1.ReplicaSetStatus(replicas=0)),
        prepare_status=workloads.keep_labels,
        validate=validate_replica_set,
        validate_update=validate_replica_set_update,
        generation=True,
        columns=sheet("Name|Desired#|Current#|Ready#|Age|Containers*|Images*|Selector*", replica_set_row),
        selectable=(Selectable("status.replicas", absent="0"),),
    ),
    ("apps", "deployments"): Strategy(
        default=default_deployment,
        prepare_create=workloads.blank_status(apps_v1.DeploymentStatus),
        prepare_status=workloads.keep_labels,
        validate=validate_deployment,
        validate_update=validate_deployment_update,
        generation=True,
        columns=sheet("Name|Ready|Up-to-date|Available|Age|Containers*|Images*|Selector*", deployment_row),
    ),
    ("apps", "daemonsets"): Strategy(
        default=default_daemon_set,
        prepare_create=prepare_daemon_set,
        prepare_update=prepare_daemon_set_update,
        validate=validate_daemon_set,
        validate_update=validate_daemon_set_update,
        generation=True,
        columns=sheet("Name|Desired#|Current#|Ready#|Up-to-date#|Available#|Node Selector|Age|Containers*|Images*|Selector*", daemon_set_row),
    ),
    ("apps", "statefulsets"): Strategy(
        default=default_stateful_set,
        prepare_create=workloads.blank_status(lambda: apps_v1.StatefulSetStatus(replicas=0, availableReplicas=0)),
        validate=validate_stateful_set,
        validate_update=validate_stateful_set_update,
        generation=True,
        columns=sheet("Name|Ready|Age|Containers*|Images*", stateful_set_row),
    ),
    ("apps", "controllerrevisions"): Strategy(
        validate=validate_controller_revision,
        validate_update=validate_controller_revision_update,
        columns=sheet("Name|Controller|Revision|Age", controller_revision_row),
    ),
}
