"""ReplicaSets (and ReplicationControllers): keep as many pods as `spec.replicas` says.

`decide` is pure: from the set and its pods to how many to create and which to delete. Creation is done in growing batches,
so that a set whose pods are refused does not flood the server.

Upstream counterpart: pkg/controller/replicaset.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers import owners
from navarch.controllers.engine import Context, Expectations, Reconciler, Watch, gather
from navarch.controllers.owners import meta
from navarch.machinery import codec, errors, selectors, timestamps

_log = logging.getLogger(__name__)
_BURST = 500
Set = Any
"""A ReplicaSet or a ReplicationController: their specs and statuses have the same fields."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: pods to create, pods to delete."""

    create: int = 0
    delete: tuple[core_v1.Pod, ...] = ()


def decide(wanted: int, pods: Sequence[core_v1.Pod], now: float, related: Sequence[core_v1.Pod] = ()) -> Plan:
    """Creates what is missing or deletes what is too much, the least missed first."""
    difference = len(pods) - wanted
    if difference < 0:
        return Plan(create=min(-difference, _BURST))
    if difference == 0:
        return Plan()
    crowd: dict[str, int] = {}
    for pod in related or pods:
        node = (pod.spec.nodeName if pod.spec else None) or ""
        crowd[node] = crowd.get(node, 0) + 1
    order = sorted(pods, key=lambda p: owners.deletion_order(p, now, crowd.get((p.spec.nodeName if p.spec else None) or "", 0)))
    return Plan(delete=tuple(order[: min(difference, _BURST)]))


def status_of(owner: Set, pods: Sequence[core_v1.Pod], terminating: int, now: float, failure: str = "") -> Any:
    """The status that the set's pods make."""
    spec = owner.spec
    template_labels = (spec.template.metadata.labels if spec.template and spec.template.metadata else None) or {}
    labelled = sum(1 for p in pods if all((meta(p).labels or {}).get(k) == v for k, v in template_labels.items()))
    minimum = spec.minReadySeconds or 0
    old = owner.status
    made = type(old)() if old is not None else _status_type(owner)()
    made.replicas = len(pods)
    made.fullyLabeledReplicas = labelled or None
    made.readyReplicas = sum(1 for p in pods if owners.is_ready(p)) or None
    made.availableReplicas = sum(1 for p in pods if owners.is_available(p, minimum, now)) or None
    made.observedGeneration = meta(owner).generation
    if isinstance(made, apps_v1.ReplicaSetStatus):
        made.terminatingReplicas = terminating
    made.conditions = _conditions(owner, (old.conditions if old else None) or [], failure, now)
    return made


def _status_type(owner: Set) -> Any:
    return apps_v1.ReplicaSetStatus if isinstance(owner, apps_v1.ReplicaSet) else core_v1.ReplicationControllerStatus


def _conditions(owner: Set, held: Sequence[Any], failure: str, now: float) -> list[Any] | None:
    """ReplicaFailure while pods cannot be made. It keeps the message of the first failure: each names a pod that nobody will see."""
    rest = [c for c in held if c.type != "ReplicaFailure"]
    if failure:
        before = next((c for c in held if c.type == "ReplicaFailure"), None)
        rest.append(before if before is not None else _failure(owner, failure, now))
    return rest or None


def _failure(owner: Set, message: str, now: float) -> Any:
    kind = apps_v1.ReplicaSetCondition if isinstance(owner, apps_v1.ReplicaSet) else core_v1.ReplicationControllerCondition
    return kind(type="ReplicaFailure", status="True", reason="FailedCreate", message=message, lastTransitionTime=timestamps.seconds(now))


class ReplicaSetController(Reconciler):
    """Reconciles the sets of one kind."""

    name = "replicaset"
    kind: type[Any] = apps_v1.ReplicaSet
    kind_name = "ReplicaSet"
    component = "replicaset-controller"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named(self.component)
        context.index(core_v1.Pod, "controller", owners.by_controller)
        self._sets = context.informer(self.kind)
        self._pods = context.informer(core_v1.Pod)
        self._expected = Expectations()
        self._pods.subscribe(self._seen)

    def _seen(self, change: Any) -> None:
        """Counts what was awaited."""
        from navarch.client.informer import Added, Deleted, Modified

        match change:
            case Added(pod):
                for key in owners.controller_key(self.kind_name)(pod):
                    self._expected.created(key)
            case Deleted(pod):
                self._gone(pod)
            case Modified(_, pod):
                if meta(pod).deletionTimestamp is not None:
                    self._gone(pod)

    def _gone(self, pod: core_v1.Pod) -> None:
        for key in owners.controller_key(self.kind_name)(pod):
            self._expected.deleted(key, meta(pod).uid or "")

    def watches(self) -> Iterable[Watch]:
        yield Watch(self.kind, lambda s: [owners.key_of(s)])
        yield Watch(core_v1.Pod, self._pod_keys)

    def _pod_keys(self, pod: core_v1.Pod) -> list[str]:
        if owners.controller_of(pod) is not None:
            return owners.controller_key(self.kind_name)(pod)
        labels = meta(pod).labels
        if not labels:
            return []
        return [owners.key_of(s) for s in self._sets.list() if meta(s).namespace == meta(pod).namespace and self._selector(s).matches(labels)]

    def _selector(self, owner: Set) -> selectors.Selector:
        selector = owner.spec.selector if owner.spec else None
        if isinstance(selector, meta_v1.LabelSelector) or selector is None:
            return selectors.from_object(selector)
        return selectors.from_set(selector)

    async def reconcile(self, key: str) -> float | None:
        owner = self._sets.by_key(key)
        if owner is None:
            self._expected.forget(key)
            return None
        now = self._context.now()
        m = meta(owner)
        candidates = self._pods.by_index("controller", m.uid or "") + self._pods.by_index("controller", f"orphan/{m.namespace}")
        candidates = [p for p in candidates if not _finished(p)]
        claimed = await owners.claim(self._context.client, owner, candidates, self._selector(owner), lambda: self._still(owner))
        pods = [p for p in claimed if owners.is_active(p)]
        terminating = sum(1 for p in claimed if meta(p).deletionTimestamp is not None)
        failure = ""
        if m.deletionTimestamp is None and self._expected.fulfilled(key, self._context.monotonic()):
            failure = await self._act(key, owner, decide(owner.spec.replicas or 0, pods, now))
        await self._write(owner, status_of(owner, pods, terminating, now, failure))
        if failure:
            raise errors.ServiceUnavailable(failure)
        return self._next_check(owner, pods, now)

    async def _still(self, owner: Set) -> bool:
        m = meta(owner)
        live = await self._context.client.get(self.kind, m.name or "", m.namespace or "")
        return meta(live).uid == m.uid and meta(live).deletionTimestamp is None

    async def _act(self, key: str, owner: Set, plan: Plan) -> str:
        """Carries a plan out. The message of the first failure, or ""."""
        self._expected.expect(key, plan.create, (meta(p).uid or "" for p in plan.delete), self._context.monotonic())
        if plan.delete:
            return await self._delete(key, owner, plan.delete)
        left, batch, failure = plan.create, 1, ""
        while left and not failure:
            count = min(batch, left)
            results = await gather(self._create(owner) for _ in range(count))
            failures = [r for r in results if isinstance(r, BaseException)]
            for _ in failures:
                self._expected.created(key)
            if failures:
                failure = str(failures[0])
                for _ in range(left - count):
                    self._expected.created(key)
                if isinstance(failures[0], errors.Forbidden) and "being terminated" in failure:
                    failure = ""
                    break
            left -= count
            batch *= 2
        return failure

    async def _create(self, owner: Set) -> None:
        recorder = self._recorder
        try:
            made = await self._context.client.create(owners.pod_from(owner.spec.template, owner))
        except errors.ApiError as error:
            recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {meta(made).name}")

    async def _delete(self, key: str, owner: Set, pods: Sequence[core_v1.Pod]) -> str:
        results = await gather(self._remove(key, owner, p) for p in pods)
        failures = [r for r in results if isinstance(r, BaseException)]
        return str(failures[0]) if failures else ""

    async def _remove(self, key: str, owner: Set, pod: core_v1.Pod) -> None:
        m = meta(pod)
        try:
            await self._context.client.delete(core_v1.Pod, m.name or "", m.namespace or "", uid=m.uid)
        except (errors.NotFound, errors.Conflict):
            self._expected.deleted(key, m.uid or "")
        except errors.ApiError as error:
            self._expected.deleted(key, m.uid or "")
            self._recorder.event(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        else:
            self._recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {m.name}")

    async def _write(self, owner: Set, status: Any) -> None:
        if codec.encode(status) == codec.encode(owner.status) and meta(owner).generation == status.observedGeneration:
            return
        await self._context.client.update_status(msgspec.structs.replace(owner, status=status))

    def _next_check(self, owner: Set, pods: Sequence[core_v1.Pod], now: float) -> float | None:
        """When the next pod becomes available by the passing of time."""
        minimum = owner.spec.minReadySeconds or 0
        if not minimum:
            return None
        waits = [
            timestamps.parse(c.lastTransitionTime) + minimum - now
            for p in pods
            if (c := owners.condition(p, "Ready")) is not None and c.status == "True" and c.lastTransitionTime
        ]
        due = [w for w in waits if w > 0]
        return min(due) + 0.05 if due else None


def _finished(pod: core_v1.Pod) -> bool:
    return pod.status is not None and pod.status.phase in ("Succeeded", "Failed")


class ReplicationControllerController(ReplicaSetController):
    """The same for the older kind."""

    name = "replicationcontroller"
    kind = core_v1.ReplicationController
    kind_name = "ReplicationController"
    component = "replication-controller"
