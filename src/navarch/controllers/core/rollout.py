"""The arithmetic of a Deployment's rollout, pure: from the deployment and its replica sets to the sizes they should have.

Upstream counterpart: pkg/controller/deployment/util and rolling.go, recreate.go, sync.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import shares
from navarch.lib import integers
from navarch.machinery import codec, names, timestamps
from navarch.objects import meta

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MOST, "deprecated.deployment.rollback.to"}
)


def spec_of(deployment: apps_v1.Deployment) -> apps_v1.DeploymentSpec:
    assert deployment.spec is not None
    return deployment.spec


def wanted(rs: apps_v1.ReplicaSet) -> int:
    return (rs.spec.replicas if rs.spec else 0) or 0


def available(rs: apps_v1.ReplicaSet) -> int:
    return (rs.status.availableReplicas if rs.status else 0) or 0


def actual(rs: apps_v1.ReplicaSet) -> int:
    return (rs.status.replicas if rs.status else 0) or 0


def bounds(deployment: apps_v1.Deployment) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers; both zero would stand still, so then one may be unavailable."""
    spec = spec_of(deployment)
    strategy = spec.strategy
    if strategy is None or strategy.type != "RollingUpdate" or strategy.rollingUpdate is None:
        return 0, 0
    total = spec.replicas or 0
    surge = shares.of(strategy.rollingUpdate.maxSurge, total, up=True)
    unavailable = shares.of(strategy.rollingUpdate.maxUnavailable, total, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, total)


def rolling(deployment: apps_v1.Deployment) -> bool:
    strategy = spec_of(deployment).strategy
    return strategy is None or strategy.type != "Recreate"


def template_key(template: core_v1.PodTemplateSpec | None) -> bytes:
    """A template's identity: everything but the hash label."""
    assert template is not None
    metadata = template.metadata or meta_v1.ObjectMeta()
    labels = {k: v for k, v in (metadata.labels or {}).items() if k != HASH_LABEL}
    bare = msgspec.structs.replace(template, metadata=msgspec.structs.replace(metadata, labels=labels or None))
    return codec.encode(bare)


def template_hash(template: core_v1.PodTemplateSpec, collisions: int) -> str:
    """A short name for a template, from the alphabet of generated names."""
    digest = hashlib.sha256(template_key(template) + (b"%d" % collisions if collisions else b"")).digest()
    number = int.from_bytes(digest[:4], "big")
    return "".join(names.ALPHABET[int(c) % len(names.ALPHABET)] for c in str(number))


def find_new(deployment: apps_v1.Deployment, sets: Sequence[apps_v1.ReplicaSet]) -> apps_v1.ReplicaSet | None:
    """The set that has the deployment's template; the oldest, should there be several."""
    key = template_key(spec_of(deployment).template)
    same = [rs for rs in sets if rs.spec is not None and template_key(rs.spec.template) == key]
    return min(same, key=lambda rs: (meta.of(rs).creationTimestamp or "", meta.of(rs).name or ""), default=None)


def revision(obj: apps_v1.Deployment | apps_v1.ReplicaSet) -> int:
    return integers.parse((meta.of(obj).annotations or {}).get(REVISION)) or 0


def copied_annotations(deployment: apps_v1.Deployment) -> dict[str, str]:
    """The deployment's annotations that its replica sets carry too."""
    return {k: v for k, v in (meta.of(deployment).annotations or {}).items() if k not in _NOT_COPIED}


def set_annotations(deployment: apps_v1.Deployment, held: Mapping[str, str], number: int) -> dict[str, str]:
    """The annotations of the new set: copied ones, its revision (with those it had before), and the sizes it was made for."""
    made = {**held, **copied_annotations(deployment)}
    old = integers.parse(held.get(REVISION))
    if old is not None and old < number:
        history = held.get(REVISION_HISTORY, "")
        made[REVISION_HISTORY] = f"{history},{old}" if history else str(old)
    if old is None or old < number:
        made[REVISION] = str(number)
    return made | size_annotations(deployment)


def size_annotations(deployment: apps_v1.Deployment) -> dict[str, str]:
    total = spec_of(deployment).replicas or 0
    return {DESIRED: str(total), MOST: str(total + bounds(deployment)[0])}


def new_set(deployment: apps_v1.Deployment, number: int, replicas: int, collisions: int) -> apps_v1.ReplicaSet:
    """A replica set for the deployment's template."""
    spec = spec_of(deployment)
    assert spec.template is not None
    digest = template_hash(spec.template, collisions)
    template_meta = spec.template.metadata or meta_v1.ObjectMeta()
    labels = {**(template_meta.labels or {}), HASH_LABEL: digest}
    selector = spec.selector or meta_v1.LabelSelector()
    m = meta.of(deployment)
    owner = meta_v1.OwnerReference(apiVersion="apps/v1", kind="Deployment", name=m.name, uid=m.uid, controller=True, blockOwnerDeletion=True)
    return apps_v1.ReplicaSet(
        apiVersion="apps/v1",
        kind="ReplicaSet",
        metadata=meta_v1.ObjectMeta(
            name=f"{m.name}-{digest}",
            namespace=m.namespace,
            labels=labels,
            annotations=set_annotations(deployment, {}, number),
            ownerReferences=[owner],
        ),
        spec=apps_v1.ReplicaSetSpec(
            replicas=replicas,
            minReadySeconds=spec.minReadySeconds,
            selector=msgspec.structs.replace(selector, matchLabels={**(selector.matchLabels or {}), HASH_LABEL: digest}),
            template=msgspec.structs.replace(spec.template, metadata=msgspec.structs.replace(template_meta, labels=labels)),
        ),
    )


def new_replicas(deployment: apps_v1.Deployment, sets: Sequence[apps_v1.ReplicaSet], new: apps_v1.ReplicaSet | None) -> int:
    """How large the new set may be now."""
    total = spec_of(deployment).replicas or 0
    held = wanted(new) if new is not None else 0
    if not rolling(deployment):
        return total
    current = sum(wanted(rs) for rs in sets) + (held if new is not None and new not in sets else 0)
    room = total + bounds(deployment)[0] - current
    if room <= 0:
        return held
    return held + min(room, total - held) if total > held else held


@dataclass(slots=True)
class Sizes:
    """The sizes sets should get: set name → replicas."""

    replicas: dict[str, int] = field(default_factory=dict)

    def put(self, rs: apps_v1.ReplicaSet, count: int) -> None:
        if count != wanted(rs):
            self.replicas[meta.of(rs).name or ""] = count


def roll(deployment: apps_v1.Deployment, new: apps_v1.ReplicaSet, old: Sequence[apps_v1.ReplicaSet]) -> Sizes:
    """One step of a rolling update: first the new set up, and when it is as large as it may be, the old ones down."""
    sizes = Sizes()
    total = spec_of(deployment).replicas or 0
    every = [new, *old]
    target = total if wanted(new) > total else new_replicas(deployment, every, new)
    sizes.put(new, target)
    if sizes.replicas:
        return sizes
    _shrink_old(deployment, new, [rs for rs in old if wanted(rs)], every, sizes)
    return sizes


def _shrink_old(
    deployment: apps_v1.Deployment,
    new: apps_v1.ReplicaSet,
    old: Sequence[apps_v1.ReplicaSet],
    every: Sequence[apps_v1.ReplicaSet],
    sizes: Sizes,
) -> None:
    """Old sets give up first what is unhealthy, then what is not needed to stay available."""
    total = spec_of(deployment).replicas or 0
    least = total - bounds(deployment)[1]
    new_unavailable = wanted(new) - available(new)
    spare = sum(wanted(rs) for rs in every) - least - new_unavailable
    if spare <= 0:
        return
    order = sorted(old, key=lambda rs: (meta.of(rs).creationTimestamp or "", meta.of(rs).name or ""))
    left = {meta.of(rs).name or "": wanted(rs) for rs in order}
    cleaned = 0
    for rs in order:
        name = meta.of(rs).name or ""
        drop = min(spare - cleaned, left[name] - min(available(rs), left[name]))
        if drop > 0:
            left[name] -= drop
            cleaned += drop
    room = sum(available(rs) for rs in every) - least
    for rs in order:
        name = meta.of(rs).name or ""
        drop = min(room, left[name])
        if drop > 0:
            left[name] -= drop
            room -= drop
    for rs in order:
        sizes.put(rs, left[meta.of(rs).name or ""])


def recreate(deployment: apps_v1.Deployment, new: apps_v1.ReplicaSet | None, old: Sequence[apps_v1.ReplicaSet], old_pods: bool) -> Sizes:
    """Recreate: all old ones down; the new one up when their pods are gone."""
    sizes = Sizes()
    for rs in old:
        sizes.put(rs, 0)
    if not sizes.replicas and not old_pods and new is not None:
        sizes.put(new, spec_of(deployment).replicas or 0)
    return sizes


def scaling(deployment: apps_v1.Deployment, sets: Sequence[apps_v1.ReplicaSet]) -> bool:
    """Whether the deployment was scaled since its sets were last sized."""
    total = spec_of(deployment).replicas or 0
    for rs in sets:
        made_for = integers.parse((meta.of(rs).annotations or {}).get(DESIRED))
        if wanted(rs) and made_for is not None and made_for != total:
            return True
    return False


def scale(deployment: apps_v1.Deployment, new: apps_v1.ReplicaSet | None, old: Sequence[apps_v1.ReplicaSet]) -> Sizes:
    """Sizes after the deployment itself was scaled: one active set takes all; several share in proportion."""
    sizes = Sizes()
    total = spec_of(deployment).replicas or 0
    active = [rs for rs in ([new] if new is not None else []) + list(old) if wanted(rs)]
    if len(active) <= 1:
        only = active[0] if active else (new or max(old, key=lambda rs: meta.of(rs).creationTimestamp or "", default=None))
        if only is not None:
            sizes.put(only, total)
        return sizes
    if new is not None and wanted(new) == total and available(new) == total:
        for rs in old:
            sizes.put(rs, 0)
        return sizes
    if rolling(deployment):
        _proportional(deployment, active, total, sizes)
    return sizes


def _proportional(deployment: apps_v1.Deployment, active: Sequence[apps_v1.ReplicaSet], total: int, sizes: Sizes) -> None:
    allowed = total + bounds(deployment)[0] if total else 0
    current = sum(wanted(rs) for rs in active)
    add = allowed - current
    by_age = sorted(active, key=lambda rs: meta.of(rs).creationTimestamp or "", reverse=add > 0)  # up: the newer first; down: the older
    order = sorted(by_age, key=lambda rs: -wanted(rs))
    given = 0
    result: list[tuple[apps_v1.ReplicaSet, int]] = []
    for rs in order:
        before = integers.parse((meta.of(rs).annotations or {}).get(MOST), least=1) or current
        fraction = _round(wanted(rs) * allowed / before) - wanted(rs) if add else 0
        left = add - given
        share = min(fraction, left) if add > 0 else max(fraction, left)
        given += share
        result.append((rs, wanted(rs) + share))
    for i, (rs, count) in enumerate(result):
        if i == 0:
            count = max(0, count + add - given)
        sizes.put(rs, max(0, count))


def _round(value: float) -> int:
    return int(value + 0.5) if value >= 0 else -int(-value + 0.5)


# ---- status -------------------------------------------------------------------------------------------------------


def condition(deployment: apps_v1.Deployment, kind: str) -> apps_v1.DeploymentCondition | None:
    return next((c for c in (deployment.status.conditions or ()) if c.type == kind), None) if deployment.status else None


def counts(deployment: apps_v1.Deployment, new: apps_v1.ReplicaSet | None, every: Sequence[apps_v1.ReplicaSet]) -> apps_v1.DeploymentStatus:
    """The counting part of the status."""
    old = deployment.status
    total = sum(actual(rs) for rs in every)
    there = sum(available(rs) for rs in every)
    terminating = sum((rs.status.terminatingReplicas or 0) if rs.status else 0 for rs in every)
    return apps_v1.DeploymentStatus(
        observedGeneration=meta.of(deployment).generation,
        replicas=total or None,
        updatedReplicas=(actual(new) if new is not None else 0) or None,
        readyReplicas=sum((rs.status.readyReplicas or 0) if rs.status else 0 for rs in every) or None,
        availableReplicas=there or None,
        unavailableReplicas=max(0, sum(wanted(rs) for rs in every) - there) or None,
        terminatingReplicas=terminating,
        collisionCount=old.collisionCount if old else None,
        conditions=list(old.conditions or ()) if old else [],
    )


def set_condition(status: apps_v1.DeploymentStatus, kind: str, value: str, reason: str, message: str, now: float) -> None:
    """Sets a condition; its transition time moves only with its value.

    One that says the same for the same reason stays as it is, message included: messages name what was tried last, and a status that
    differs at every try would wake its own controller each time.
    """
    stamp = timestamps.seconds(now)
    held = next((c for c in status.conditions or () if c.type == kind), None)
    if held is not None and (held.status, held.reason) == (value, reason):
        return
    since = held.lastTransitionTime if held is not None and held.status == value else stamp
    made = apps_v1.DeploymentCondition(type=kind, status=value, reason=reason, message=message, lastTransitionTime=since, lastUpdateTime=stamp)
    status.conditions = [*(c for c in status.conditions or () if c.type != kind), made]


def complete(deployment: apps_v1.Deployment, status: apps_v1.DeploymentStatus) -> bool:
    total = spec_of(deployment).replicas or 0
    updated, there, every = status.updatedReplicas or 0, status.availableReplicas or 0, status.replicas or 0
    return updated == total and every == total and there == total and (status.observedGeneration or 0) >= (meta.of(deployment).generation or 0)


def progressing(deployment: apps_v1.Deployment, status: apps_v1.DeploymentStatus) -> bool:
    old = deployment.status or apps_v1.DeploymentStatus()
    new_updated, old_updated = status.updatedReplicas or 0, old.updatedReplicas or 0
    return (
        new_updated > old_updated
        or (status.replicas or 0) - new_updated < (old.replicas or 0) - old_updated
        or (status.readyReplicas or 0) > (old.readyReplicas or 0)
        or (status.availableReplicas or 0) > (old.availableReplicas or 0)
    )


def has_deadline(deployment: apps_v1.Deployment) -> bool:
    return (spec_of(deployment).progressDeadlineSeconds or 2**31 - 1) != 2**31 - 1


def timed_out(deployment: apps_v1.Deployment, status: apps_v1.DeploymentStatus, now: float) -> bool:
    """Whether no progress was seen for the deadline."""
    held = next((c for c in status.conditions or () if c.type == "Progressing"), None)
    if held is None or held.reason == "NewReplicaSetAvailable":
        return False
    if held.reason == "ProgressDeadlineExceeded":
        return True
    since = timestamps.parse(held.lastUpdateTime or timestamps.seconds(now))
    return since + (spec_of(deployment).progressDeadlineSeconds or 0) < now


def progress_status(
    deployment: apps_v1.Deployment, new: apps_v1.ReplicaSet | None, every: Sequence[apps_v1.ReplicaSet], now: float
) -> apps_v1.DeploymentStatus:
    """The whole status: counts, Available, Progressing."""
    status = counts(deployment, new, every)
    least = (spec_of(deployment).replicas or 0) - bounds(deployment)[1]
    if (status.availableReplicas or 0) >= least:
        set_condition(status, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    else:
        set_condition(status, "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
    if has_deadline(deployment):
        _progress(deployment, new, status, now)
    failures = [c for rs in every for c in ((rs.status.conditions or ()) if rs.status else ()) if c.type == "ReplicaFailure"]
    if failures:
        set_condition(status, "ReplicaFailure", failures[0].status or "", failures[0].reason or "", failures[0].message or "", now)
    else:
        status.conditions = [c for c in status.conditions or () if c.type != "ReplicaFailure"]
    return status


def _progress(deployment: apps_v1.Deployment, new: apps_v1.ReplicaSet | None, status: apps_v1.DeploymentStatus, now: float) -> None:
    held = next((c for c in status.conditions or () if c.type == "Progressing"), None)
    what = f'ReplicaSet "{meta.of(new).name}"' if new is not None else f'Deployment "{meta.of(deployment).name}"'
    done = held is not None and held.reason == "NewReplicaSetAvailable" and (status.replicas or 0) == (status.updatedReplicas or 0)
    if done:
        return
    if complete(deployment, status):
        set_condition(status, "Progressing", "True", "NewReplicaSetAvailable", f"{what} has successfully progressed.", now)
    elif progressing(deployment, status):
        _touch(status, "ReplicaSetUpdated", f"{what} is progressing.", now)
    elif timed_out(deployment, status, now):
        set_condition(status, "Progressing", "False", "ProgressDeadlineExceeded", f"{what} has timed out progressing.", now)


def _touch(status: apps_v1.DeploymentStatus, reason: str, message: str, now: float) -> None:
    """Progress was made: the update time moves even when nothing else of the condition does."""
    stamp = timestamps.seconds(now)
    held = next((c for c in status.conditions or () if c.type == "Progressing"), None)
    since = held.lastTransitionTime if held is not None and held.status == "True" else stamp
    made = apps_v1.DeploymentCondition(
        type="Progressing", status="True", reason=reason, message=message, lastTransitionTime=since, lastUpdateTime=stamp
    )
    status.conditions = [*(c for c in status.conditions or () if c.type != "Progressing"), made]
