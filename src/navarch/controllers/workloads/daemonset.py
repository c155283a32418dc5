"""DaemonSets: a pod on every node that should have one. What to do is decided in `core.daemonsets`; this observes and acts.

Upstream counterpart: pkg/controller/daemon.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.client.informer import Change, Modified
from navarch.controllers.core import daemonsets, replicas, revisions
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.owned import OwnedPods, in_deleted_namespace
from navarch.controllers.engine.revisions import OwnedRevisions
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.engine.written import Written
from navarch.lib import backoff, tasks
from navarch.machinery import codec, selectors
from navarch.objects import meta

_FAILED = backoff.Policy(first=1.0, most=15 * 60.0)
_MOST_KNOWN = 4096


class FailedPods:
    """For how long failed pods are left alone, per set, generation and node: twice as long each time, forgotten when all went well a while."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, str], tuple[int, float]] = OrderedDict()

    def wait(self, owner: apps_v1.DaemonSet, node: str, now: float) -> float:
        """Seconds until a failed pod may go; 0 is now. Times are monotonic."""
        count, last = self._known.get(_failed_key(owner, node), (0, 0.0))
        return max(0.0, last + _FAILED.delay(count) - now) if count else 0.0

    def failed(self, owner: apps_v1.DaemonSet, node: str, now: float) -> None:
        """A failed pod goes now."""
        key = _failed_key(owner, node)
        count, last = self._known.pop(key, (0, now))
        self._known[key] = (1 if now - last > 2 * _FAILED.most else count + 1, now)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def _failed_key(owner: apps_v1.DaemonSet, node: str) -> tuple[str, int, str]:
    return meta.of(owner).uid or "", (owner.status.observedGeneration if owner.status else 0) or 0, node


class DaemonSetController(Reconciler):
    """Reconciles DaemonSets."""

    name = "daemonset"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("daemonset-controller")
        self._sets = context.informer(apps_v1.DaemonSet)
        self._nodes = context.informer(core_v1.Node)
        self._owned: OwnedPods[apps_v1.DaemonSet] = OwnedPods(context, apps_v1.DaemonSet, "daemonset-controller", _selector)
        self._revisions: OwnedRevisions[apps_v1.DaemonSet] = OwnedRevisions(context, apps_v1.DaemonSet, _selector, revisions.HASH_LABEL)
        self._failed = FailedPods()
        self._written = Written()

    def watches(self) -> Iterable[Watch]:
        yield Watch(apps_v1.DaemonSet, lambda s: [meta.key(s)])
        yield self._owned.watch()
        yield self._revisions.watch()
        yield Watch(core_v1.Node, lambda node: [meta.key(s) for s in self._sets.list()], when=_matters)

    async def reconcile(self, key: str) -> float | None:
        owner = self._sets.by_key(key)
        if owner is None:
            self._owned.forget(key)
            self._revisions.forget(key)
            self._written.forget(key)
            return None
        if not _selects(owner):
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._recorder.event(owner, "Warning", "SelectingAll", message)
            return None
        if meta.deleted(owner) or self._written.behind(owner):
            return None
        spec = daemonsets.spec_of(owner)
        held = await self._revisions.of(owner)
        collisions = (owner.status.collisionCount if owner.status else 0) or 0
        current, collisions = await self._revisions.ensure(owner, held, spec.template or core_v1.PodTemplateSpec(), collisions)
        revision = daemonsets.revision_of(owner, current)
        pods = await self._owned.claim(owner)
        now = self._context.now()
        nodes = self._nodes.list()
        observed = self._owned.caught_up(owner)
        plan = daemonsets.Plan()
        failure: BaseException | None = None
        if observed:
            plan = daemonsets.decide(owner, nodes, pods, revision, now, lambda node: self._failed.wait(owner, node, self._context.monotonic()))
            failure = await self._act(owner, plan, revision)
        status = daemonsets.status_of(owner, nodes, pods, revision, now, observed=observed)
        status.collisionCount = collisions or status.collisionCount
        await self._write(owner, status)
        if failure is not None:
            raise failure
        if observed:
            hashes = {daemonsets.hash_of(p) for p in (current, *pods)}
            live = {meta.of(r).name or "" for r in held if daemonsets.hash_of(r) in hashes}
            await self._revisions.clean(owner, held, live, spec.revisionHistoryLimit)
        waits = [w for w in (plan.again, replicas.next_available(owner, pods, now)) if w is not None]
        return min(waits) if waits else None

    async def _act(self, owner: apps_v1.DaemonSet, plan: daemonsets.Plan, revision: daemonsets.Revision) -> BaseException | None:
        """Carries a plan out: pods are made in growing batches, then pods removed. The first failure."""
        for node in plan.failed:
            self._failed.failed(owner, node, self._context.monotonic())
        for kind, reason, message in plan.events:
            self._recorder.event(owner, kind, reason, message)
        if not plan.create and not plan.delete:
            return None
        self._owned.expect(owner, len(plan.create), plan.delete)
        failures: list[BaseException] = []
        left, batch = list(plan.create), 1
        while left and not failures:
            now, left = left[:batch], left[batch:]
            results = await tasks.gather(self._owned.create(owner, daemonsets.made(owner, node, revision)) for node in now)
            failures = [r for r in results if isinstance(r, BaseException)]
            batch *= 2
        self._owned.will_not_create(owner, len(left))
        failures += await self._owned.delete(owner, plan.delete)
        return next((f for f in failures if not in_deleted_namespace(f)), None)

    async def _write(self, owner: apps_v1.DaemonSet, status: apps_v1.DaemonSetStatus) -> None:
        if codec.encode(status) != codec.encode(owner.status):
            self._written.note(await self._context.client.update_status(msgspec.structs.replace(owner, status=status)))


def _matters(change: Change[core_v1.Node]) -> bool:
    """Nodes that come and go, and changes of what decides whether a pod belongs on one."""
    if not isinstance(change, Modified):
        return True
    before, after = change.old, change.new
    taints = [(n.spec.taints if n.spec else None) or [] for n in (before, after)]
    return meta.of(before).labels != meta.of(after).labels or taints[0] != taints[1]


def _selects(owner: apps_v1.DaemonSet) -> bool:
    selector = daemonsets.spec_of(owner).selector
    return selector is not None and bool(selector.matchLabels or selector.matchExpressions)


def _selector(owner: apps_v1.DaemonSet) -> selectors.Selector:
    return selectors.from_object(daemonsets.spec_of(owner).selector)
