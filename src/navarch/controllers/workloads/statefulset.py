"""StatefulSets: pods with names, order and storage of their own. What to do is decided in `core.statefulsets`; this observes and acts.

Upstream counterpart: pkg/controller/statefulset.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Object
from navarch.client.informer import Deleted
from navarch.controllers.core import retention, statefulsets
from navarch.controllers.engine import owned
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.owned import OwnedPods
from navarch.controllers.engine.revisions import OwnedRevisions
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.engine.written import Written
from navarch.lib import tasks
from navarch.machinery import codec, errors, selectors
from navarch.objects import meta

_MOST_AT_ONCE = 500


class StatefulSetController(Reconciler):
    """Reconciles StatefulSets."""

    name = "statefulset"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("statefulset-controller")
        self._sets = context.informer(apps_v1.StatefulSet)
        self._by_namespace = context.index(apps_v1.StatefulSet, "namespace", meta.namespace)
        self._claims = context.informer(core_v1.PersistentVolumeClaim)
        self._owned: OwnedPods[apps_v1.StatefulSet] = OwnedPods(context, apps_v1.StatefulSet, "statefulset-controller", _selector, _told)
        self._revisions: OwnedRevisions[apps_v1.StatefulSet] = OwnedRevisions(
            context, apps_v1.StatefulSet, _selector, "controller.kubernetes.io/hash"
        )
        self._written = Written()

    def watches(self) -> Iterable[Watch]:
        yield Watch(apps_v1.StatefulSet, lambda s: [meta.key(s)])
        yield self._owned.watch()
        yield self._revisions.watch()
        yield Watch(core_v1.PersistentVolumeClaim, self._users, when=lambda change: isinstance(change, Deleted))

    def _users(self, claim: core_v1.PersistentVolumeClaim) -> list[str]:
        """The sets that may want a claim that is gone."""
        found = self._by_namespace.of(meta.of(claim).namespace or "")
        return [meta.key(s) for s in found if retention.may_use(s, meta.of(claim).name or "")]

    async def reconcile(self, key: str) -> float | None:
        owner = self._sets.by_key(key)
        if owner is None:
            self._owned.forget(key)
            self._revisions.forget(key)
            self._written.forget(key)
            return None
        if self._written.behind(owner):
            return None
        now = self._context.now()
        held = await self._revisions.of(owner)
        pods = await self._owned.claim(owner, lambda p: statefulsets.ordinal_of(owner, p) is not None)
        history = await self._history(owner, held)
        if history is None:
            return None
        plan = statefulsets.decide(owner, pods, self._claim_of(owner), history, now, caught_up=self._owned.caught_up(owner))
        failure = await self._act(owner, plan)
        await self._write(owner, plan.status)
        live = {history.current_name, history.update_name, *(statefulsets.revision_of(p) for p in pods)}
        if not meta.deleted(owner):
            await self._revisions.clean(owner, held, live, statefulsets.spec_of(owner).revisionHistoryLimit)
        if failure is not None:
            raise failure
        return plan.again

    def _claim_of(self, owner: apps_v1.StatefulSet) -> statefulsets.Claims:
        namespace = meta.of(owner).namespace or ""
        return lambda name: self._claims.get(name, namespace)

    async def _history(self, owner: apps_v1.StatefulSet, held: Sequence[apps_v1.ControllerRevision]) -> statefulsets.Revisions | None:
        """The revisions, the template's made where it is missing; for a set that goes nothing is made, and None says that none is left."""
        spec = statefulsets.spec_of(owner)
        collisions = (owner.status.collisionCount if owner.status else 0) or 0
        if not meta.deleted(owner):
            update, collisions = await self._revisions.ensure(owner, held, spec.template or core_v1.PodTemplateSpec(), collisions)
        elif held:
            update = held[-1]
        else:
            return None
        return statefulsets.Revisions(statefulsets.current_of(owner, held, update), update, collisions)

    # ---- acting ----

    async def _act(self, owner: apps_v1.StatefulSet, plan: statefulsets.Plan) -> BaseException | None:
        """Carries a plan out, one group after the other, each in growing batches. The first failure, after which nothing more is begun."""
        creations = sum(isinstance(s, statefulsets.CreatePod) for s in plan.steps)
        if creations or any(isinstance(s, statefulsets.DeletePod) for s in plan.steps):
            self._owned.expect(owner, creations, [s.pod for s in plan.steps if isinstance(s, statefulsets.DeletePod)])
        parallel = statefulsets.spec_of(owner).podManagementPolicy == "Parallel"
        for number, group in enumerate(plan.groups):
            left, batch = list(group), 1
            while left:
                now, left = left[:batch], left[batch:]
                results = await tasks.gather(self._do(owner, step) for step in now)
                failed = next((r for r in results if isinstance(r, BaseException)), None)
                if failed is not None:
                    self._give_up(owner, [*left, *(s for g in plan.groups[number + 1 :] for s in g)])
                    return None if owned.in_deleted_namespace(failed) else failed
                batch = min(batch * 2, _MOST_AT_ONCE) if parallel else 1
        return None

    def _give_up(self, owner: apps_v1.StatefulSet, steps: Sequence[statefulsets.Step]) -> None:
        """Steps that will not be done are awaited no more."""
        self._owned.will_not_create(owner, sum(isinstance(s, statefulsets.CreatePod) for s in steps))
        self._owned.will_not_delete(owner, [s.pod for s in steps if isinstance(s, statefulsets.DeletePod)])

    async def _do(self, owner: apps_v1.StatefulSet, step: statefulsets.Step) -> None:
        match step:
            case statefulsets.CreatePod(pod, claims):
                await self._create(owner, pod, claims)
            case statefulsets.UpdatePod(pod, claims):
                await self._update(owner, pod, claims)
            case statefulsets.DeletePod(pod):
                if failures := await self._owned.delete(owner, [pod]):
                    raise failures[0]
            case statefulsets.CreateClaims(pod, claims):
                await self._create_claims(owner, pod, claims)
            case statefulsets.UpdateClaim(claim, pod, conflict):
                await self._update_claim(owner, claim, pod, conflict)
            case statefulsets.Fail(verb, pod, message):
                error = errors.Conflict(message)
                if verb:
                    self._owned.tell(owner, verb, meta.of(pod).name or "", error)
                raise error
            case _:
                assert_never(step)

    async def _create(self, owner: apps_v1.StatefulSet, pod: core_v1.Pod, claims: Sequence[core_v1.PersistentVolumeClaim]) -> None:
        try:
            await self._create_claims(owner, pod, claims)
        except BaseException as error:
            self._owned.will_not_create(owner, 1)
            if isinstance(error, errors.ApiError) and not owned.in_deleted_namespace(error):
                self._owned.tell(owner, "Create", meta.of(pod).name or "", error)
            raise
        await self._owned.create(owner, pod)

    async def _create_claims(self, owner: apps_v1.StatefulSet, pod: core_v1.Pod, claims: Sequence[core_v1.PersistentVolumeClaim]) -> None:
        for claim in claims:
            told = f"Claim {meta.of(claim).name}"
            place = f"in StatefulSet {meta.of(owner).name}"
            try:
                await self._context.client.create(claim)
            except errors.AlreadyExists:
                continue
            except errors.ApiError as error:
                if not owned.in_deleted_namespace(error):
                    message = f"Create {told} for Pod {meta.of(pod).name} {place} failed error: {error}"
                    self._recorder.event(owner, "Warning", "FailedCreate", message)
                raise
            self._recorder.event(owner, "Normal", "SuccessfulCreate", f"Create {told} Pod {meta.of(pod).name} {place} success")

    async def _update(self, owner: apps_v1.StatefulSet, pod: core_v1.Pod, claims: Sequence[core_v1.PersistentVolumeClaim]) -> None:
        name = meta.of(pod).name or ""
        try:
            await self._create_claims(owner, pod, claims)
            await self._context.client.update(pod)
        except errors.ApiError as error:
            self._owned.tell(owner, "Update", name, error)
            raise
        self._owned.tell(owner, "Update", name)

    async def _update_claim(self, owner: apps_v1.StatefulSet, claim: core_v1.PersistentVolumeClaim, pod: core_v1.Pod, conflict: bool) -> None:
        name = meta.of(claim).name
        if conflict:
            message = f"PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a manging controller, "
            self._recorder.event(owner, "Warning", "ConflictingController", message + "the retention policy is ignored for this claim")
        try:
            await self._context.client.update(claim)
        except errors.NotFound:
            return
        except errors.Conflict:
            raise
        except errors.ApiError as error:
            why = errors.Conflict(f"could not update claim {name} for delete policy ownerRefs: {error}")
            self._owned.tell(owner, "Update", meta.of(pod).name or "", why)
            raise

    async def _write(self, owner: apps_v1.StatefulSet, status: apps_v1.StatefulSetStatus) -> None:
        if codec.encode(status) != codec.encode(owner.status):
            self._written.note(await self._context.client.update_status(msgspec.structs.replace(owner, status=status)))


def _selector(owner: apps_v1.StatefulSet) -> selectors.Selector:
    return selectors.from_object(statefulsets.spec_of(owner).selector)


def _told(verb: str, owner: Object, name: str, error: BaseException | None) -> tuple[str, str]:
    what = f"{verb} Pod {name} in StatefulSet {meta.of(owner).name}"
    if error is None:
        return f"Successful{verb}", f"{what} successful"
    return f"Failed{verb}", f"{what} failed error: {error}"
