"""ReplicaSets and ReplicationControllers: keep as many pods as `spec.replicas` says.

What to make and remove is decided in `core.replicas`; this observes and acts. Creation is done in growing batches, so that a set whose
pods are refused does not flood the server.

Upstream counterparts: pkg/controller/replicaset, pkg/controller/replication.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.controllers.core import replicas, templates
from navarch.controllers.core.replicas import Plan, Set
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.owned import OwnedPods, in_deleted_namespace
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.lib import tasks
from navarch.machinery import codec, errors, selectors
from navarch.objects import meta, pods


def _selector(owner: Set) -> selectors.Selector:
    selector = owner.spec.selector if owner.spec else None
    if isinstance(selector, meta_v1.LabelSelector) or selector is None:
        return selectors.from_object(selector)
    return selectors.from_set(selector)


class _Replicas(Reconciler):
    """Reconciles the sets of one kind."""

    def __init__(self, context: Context, name: str, kind: type[Object], component: str) -> None:
        self.name = name
        self._context = context
        self._kind = kind
        self._sets = context.informer(kind)
        self._owned: OwnedPods[Any] = OwnedPods(context, kind, component, _selector)

    def watches(self) -> Iterable[Watch]:
        yield Watch(self._kind, lambda s: [meta.key(s)])
        yield self._owned.watch()

    async def reconcile(self, key: str) -> float | None:
        owner: Set = self._sets.by_key(key)
        if owner is None:
            self._owned.forget(key)
            return None
        now = self._context.now()
        claimed = await self._owned.claim(owner, lambda p: not pods.finished(p))
        active = [p for p in claimed if pods.is_active(p)]
        failure = ""
        if not meta.deleted(owner) and self._owned.caught_up(owner):
            failure = await self._act(owner, replicas.decide(owner.spec.replicas or 0, active, now))
        await self._write(owner, replicas.status_of(owner, active, sum(meta.deleted(p) for p in claimed), now, failure))
        if failure:
            raise errors.ServiceUnavailable(failure)
        return replicas.next_available(owner, active, now)

    async def _act(self, owner: Set, plan: Plan) -> str:
        """Carries a plan out. The message of the first failure, or ""."""
        self._owned.expect(owner, plan.create, plan.delete)
        if plan.delete:
            failures = await self._owned.delete(owner, plan.delete)
            return str(failures[0]) if failures else ""
        left, batch = plan.create, 1
        while left:
            count = min(batch, left)
            results = await tasks.gather(self._owned.create(owner, templates.pod_from(owner.spec.template, owner)) for _ in range(count))
            left -= count
            failed = next((r for r in results if isinstance(r, BaseException)), None)
            if failed is not None:
                self._owned.will_not_create(owner, left)
                return "" if in_deleted_namespace(failed) else str(failed)
            batch *= 2
        return ""

    async def _write(self, owner: Set, status: Any) -> None:
        if codec.encode(status) == codec.encode(owner.status) and meta.of(owner).generation == status.observedGeneration:
            return
        await self._context.client.update_status(msgspec.structs.replace(owner, status=status))


def replica_sets(context: Context) -> Reconciler:
    """The controller of apps/v1 ReplicaSets."""
    return _Replicas(context, "replicaset", apps_v1.ReplicaSet, "replicaset-controller")


def replication_controllers(context: Context) -> Reconciler:
    """The same for the older kind."""
    return _Replicas(context, "replicationcontroller", core_v1.ReplicationController, "replication-controller")
