"""Deployments: replica sets made, sized and cleaned up so that pods change over without a gap.

What to do is decided in `core.rollout`; this observes and acts.

Upstream counterpart: pkg/controller/deployment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.controllers.core import rollout
from navarch.controllers.engine import owned
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import codec, errors, selectors, timestamps
from navarch.objects import meta, ownership, pods

_deployment_key = ownership.controller_key(apps_v1.Deployment)


class DeploymentController(Reconciler):
    """Reconciles Deployments."""

    name = "deployment"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("deployment-controller")
        self._deployments = context.informer(apps_v1.Deployment)
        self._by_namespace = context.index(apps_v1.Deployment, "namespace", meta.namespace)
        self._sets = context.informer(apps_v1.ReplicaSet)
        self._sets_of = context.index(apps_v1.ReplicaSet, "controller", ownership.by_controller)
        self._pods_of = context.index(core_v1.Pod, "controller", ownership.by_controller)

    def watches(self) -> Iterable[Watch]:
        yield Watch(apps_v1.Deployment, lambda d: [meta.key(d)])
        yield Watch(apps_v1.ReplicaSet, self._set_keys)
        yield Watch(core_v1.Pod, self._pod_keys)

    def _set_keys(self, rs: apps_v1.ReplicaSet) -> list[str]:
        if ownership.controller_of(rs) is not None:
            return _deployment_key(rs)
        labels = meta.of(rs).labels
        if not labels:
            return []
        found = self._by_namespace.of(meta.of(rs).namespace or "")
        return [meta.key(d) for d in found if selectors.from_object(rollout.spec_of(d).selector).matches(labels)]

    def _pod_keys(self, pod: core_v1.Pod) -> list[str]:
        """Only a Recreate deployment waits for pods: for the old ones to be gone."""
        owner = ownership.controller_of(pod)
        if owner is None or owner.kind != "ReplicaSet":
            return []
        rs = self._sets.get(owner.name or "", meta.of(pod).namespace or "")
        if rs is None:
            return []
        keys = _deployment_key(rs)
        found = self._deployments.by_key(keys[0]) if keys else None
        return keys if found is not None and not rollout.rolling(found) else []

    async def reconcile(self, key: str) -> float | None:
        shared = self._deployments.by_key(key)
        if shared is None or shared.spec is None:
            return None
        deployment = msgspec.structs.replace(shared)  # ours: takes what our own writes come back with
        m = meta.of(deployment)
        now = self._context.now()
        candidates = self._sets_of.of(m.uid or "") + self._sets_of.of(ownership.orphans_of(m.namespace))
        selector = selectors.from_object(rollout.spec_of(deployment).selector)
        sets = await owned.claim(self._context.client, deployment, candidates, selector)
        if m.deletionTimestamp is not None:
            await self._write_status(deployment, rollout.counts(deployment, rollout.find_new(deployment, sets), sets))
            return None
        if rollout.spec_of(deployment).paused:
            return await self._paused(deployment, sets, now)
        await self._resumed(deployment, now)
        if rollout.scaling(deployment, sets):
            return await self._scaled(deployment, sets, now)
        return await self._rollout(deployment, sets, now)

    # ---- the three ways ----

    async def _paused(self, deployment: apps_v1.Deployment, sets: Sequence[apps_v1.ReplicaSet], now: float) -> float | None:
        new = rollout.find_new(deployment, sets)
        old = [rs for rs in sets if rs is not new]
        await self._resize(deployment, sets, rollout.scale(deployment, new, old))
        status = rollout.counts(deployment, new, sets)
        held = next((c for c in status.conditions or () if c.type == "Progressing"), None)
        if rollout.has_deadline(deployment) and (held is None or held.reason not in ("DeploymentPaused", "ProgressDeadlineExceeded")):
            rollout.set_condition(status, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
        await self._write_status(deployment, status)
        await self._clean(deployment, old)
        return None

    async def _resumed(self, deployment: apps_v1.Deployment, now: float) -> None:
        held = rollout.condition(deployment, "Progressing")
        if held is not None and held.reason == "DeploymentPaused" and deployment.status is not None:
            status = msgspec.structs.replace(deployment.status)
            rollout.set_condition(status, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
            updated = await self._context.client.update_status(msgspec.structs.replace(deployment, status=status))
            deployment.metadata, deployment.status = updated.metadata, updated.status

    async def _scaled(self, deployment: apps_v1.Deployment, sets: Sequence[apps_v1.ReplicaSet], now: float) -> float | None:
        new = rollout.find_new(deployment, sets)
        old = [rs for rs in sets if rs is not new]
        await self._resize(deployment, sets, rollout.scale(deployment, new, old), annotate=True)
        await self._write_status(deployment, rollout.progress_status(deployment, new, sets, now))
        return None

    async def _rollout(self, deployment: apps_v1.Deployment, sets: Sequence[apps_v1.ReplicaSet], now: float) -> float | None:
        found = rollout.find_new(deployment, sets)
        old = [rs for rs in sets if rs is not found]
        old_pods = self._has_pods(old)
        new = found
        if new is not None or rollout.rolling(deployment) or not (any(rollout.wanted(rs) for rs in old) or old_pods):
            new = await self._ensure_new(deployment, found, old, now)
            if new is None:
                return 0.05
        every = ([new] if new is not None else []) + old
        if rollout.rolling(deployment):
            assert new is not None
            sizes = rollout.roll(deployment, new, old)
        else:
            sizes = rollout.recreate(deployment, new, old, old_pods)
        await self._resize(deployment, every, sizes)
        if not sizes.replicas:
            status = rollout.counts(deployment, new, every)
            if rollout.complete(deployment, status):
                await self._clean(deployment, old)
        await self._write_status(deployment, rollout.progress_status(deployment, new, every, now))
        return self._deadline(deployment, now)

    def _has_pods(self, sets: Sequence[apps_v1.ReplicaSet]) -> bool:
        """Whether pods of these sets still run."""
        return any(not pods.finished(p) for rs in sets for p in self._pods_of.of(meta.of(rs).uid or ""))

    def _deadline(self, deployment: apps_v1.Deployment, now: float) -> float | None:
        held = rollout.condition(deployment, "Progressing")
        if held is None or not rollout.has_deadline(deployment) or held.reason in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
            return None
        since = timestamps.parse(held.lastUpdateTime or timestamps.seconds(now))
        deadline = rollout.spec_of(deployment).progressDeadlineSeconds or 0
        return max(1.0, since + deadline - now + 1.0)

    # ---- acts ----

    async def _ensure_new(
        self, deployment: apps_v1.Deployment, found: apps_v1.ReplicaSet | None, old: Sequence[apps_v1.ReplicaSet], now: float
    ) -> apps_v1.ReplicaSet | None:
        """The set of the current template, made when there is none. None when the cache is behind: try again."""
        number = max((rollout.revision(rs) for rs in old), default=0) + 1
        if found is not None:
            found = await self._bring_up_to_date(deployment, found, number)
            await self._note_revision(deployment, rollout.revision(found))
            return found
        collisions = (deployment.status.collisionCount if deployment.status else 0) or 0
        made = rollout.new_set(deployment, number, rollout.new_replicas(deployment, old, None), collisions)
        try:
            created = await self._context.client.create(made)
        except errors.AlreadyExists:
            return await self._collided(deployment, made, collisions)
        except errors.ApiError as error:
            if not owned.in_deleted_namespace(error):
                await self._failed(deployment, made, error, now)
            raise
        size = rollout.wanted(created)
        if size:
            self._scaled_event(deployment, created, 0, size)
        await self._note_revision(deployment, number)
        if rollout.has_deadline(deployment):
            status = rollout.counts(deployment, created, [created, *old])
            message = f'Created new replica set "{meta.of(created).name}"'
            rollout.set_condition(status, "Progressing", "True", "NewReplicaSetCreated", message, now)
            await self._write_status(deployment, status)
        return created

    async def _collided(self, deployment: apps_v1.Deployment, made: apps_v1.ReplicaSet, collisions: int) -> apps_v1.ReplicaSet | None:
        """The name is taken: by our own set that the cache does not show yet, or by another template with the same hash."""
        assert made.spec is not None
        live = await self._context.client.get(apps_v1.ReplicaSet, meta.of(made).name or "", meta.of(made).namespace or "")
        owner = ownership.controller_of(live)
        same = live.spec is not None and rollout.template_key(live.spec.template) == rollout.template_key(made.spec.template)
        if owner is not None and owner.uid == meta.of(deployment).uid and same:
            return live
        status = msgspec.structs.replace(deployment.status or apps_v1.DeploymentStatus(), collisionCount=collisions + 1)
        await self._write_status(deployment, status)
        return None

    async def _failed(self, deployment: apps_v1.Deployment, made: apps_v1.ReplicaSet, error: errors.ApiError, now: float) -> None:
        message = f'Failed to create new replica set "{meta.of(made).name}": {error}'
        if rollout.has_deadline(deployment):
            status = msgspec.structs.replace(deployment.status or apps_v1.DeploymentStatus())
            rollout.set_condition(status, "Progressing", "False", "FailedCreate", message, now)
            await self._write_status(deployment, status)
        self._recorder.event(deployment, "Warning", "ReplicaSetCreateError", message)

    async def _bring_up_to_date(self, deployment: apps_v1.Deployment, rs: apps_v1.ReplicaSet, number: int) -> apps_v1.ReplicaSet:
        held = meta.of(rs).annotations or {}
        annotations = rollout.set_annotations(deployment, held, max(number, rollout.revision(rs)))
        annotations |= {k: held[k] for k in (rollout.DESIRED, rollout.MOST) if k in held}
        minimum = rollout.spec_of(deployment).minReadySeconds
        if annotations == held and (rs.spec is None or rs.spec.minReadySeconds == minimum):
            return rs
        patch = {"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": minimum or 0}}
        return await self._context.client.patch(apps_v1.ReplicaSet, meta.of(rs).name or "", patch, meta.of(rs).namespace or "")

    async def _note_revision(self, deployment: apps_v1.Deployment, number: int) -> None:
        if rollout.revision(deployment) == number:
            return
        m = meta.of(deployment)
        patch = {"metadata": {"annotations": {rollout.REVISION: str(number)}}}
        updated = await self._context.client.patch(apps_v1.Deployment, m.name or "", patch, m.namespace or "")
        deployment.metadata = updated.metadata

    async def _resize(
        self, deployment: apps_v1.Deployment, sets: Sequence[apps_v1.ReplicaSet], sizes: rollout.Sizes, *, annotate: bool = False
    ) -> None:
        annotations = rollout.size_annotations(deployment)
        for rs in sets:
            m = meta.of(rs)
            target = sizes.replicas.get(m.name or "")
            stale = any((m.annotations or {}).get(k) != v for k, v in annotations.items())
            if target is None and not (annotate and rollout.wanted(rs) and stale):
                continue
            before = rollout.wanted(rs)
            patch = {"metadata": {"annotations": annotations}, "spec": {"replicas": before if target is None else target}}
            updated = await self._context.client.patch(apps_v1.ReplicaSet, m.name or "", patch, m.namespace or "")
            if target is not None:
                self._scaled_event(deployment, updated, before, target)

    def _scaled_event(self, deployment: apps_v1.Deployment, rs: apps_v1.ReplicaSet, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {meta.of(rs).name} from {before} to {after}"
        self._recorder.event(deployment, "Normal", "ScalingReplicaSet", message)

    async def _clean(self, deployment: apps_v1.Deployment, old: Sequence[apps_v1.ReplicaSet]) -> None:
        """Deletes the oldest empty sets past `revisionHistoryLimit`."""
        limit = rollout.spec_of(deployment).revisionHistoryLimit
        if limit is None or limit == 2**31 - 1:
            return
        removable = [rs for rs in old if meta.of(rs).deletionTimestamp is None]
        for rs in sorted(removable, key=rollout.revision)[: max(0, len(removable) - limit)]:
            if rollout.actual(rs) or rollout.wanted(rs) or ((rs.status.observedGeneration if rs.status else 0) or 0) < (meta.of(rs).generation or 0):
                continue
            try:
                await self._context.client.delete(apps_v1.ReplicaSet, meta.of(rs).name or "", meta.of(rs).namespace or "", uid=meta.of(rs).uid)
            except (errors.NotFound, errors.Conflict):
                continue

    async def _write_status(self, deployment: apps_v1.Deployment, status: apps_v1.DeploymentStatus) -> None:
        if codec.encode(status) == codec.encode(deployment.status):
            return
        updated = await self._context.client.update_status(msgspec.structs.replace(deployment, status=status))
        deployment.metadata, deployment.status = updated.metadata, updated.status
