"""What a workload owns: found by its selector, adopted and released, and its pods made, removed and awaited in the cache.

Every controller that has pods of its own (replica sets, Jobs, stateful and daemon sets) is composed with an `OwnedPods`; what to make and
to remove it decides itself.

Upstream counterparts: pkg/controller/controller_ref_manager.go, pkg/controller/controller_utils.go (RealPodControl).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Object
from navarch.client.informer import Added, Change, Deleted, Modified
from navarch.client.rest import Client
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.expectations import Expectations
from navarch.controllers.engine.runner import Watch
from navarch.lib import tasks
from navarch.machinery import errors, selectors
from navarch.objects import meta, ownership

Owner = TypeVar("Owner", bound=Object)
T = TypeVar("T", bound=Object)
_DELETING_NAMESPACE = "being terminated"
Told = Callable[[str, Any, str, BaseException | None], tuple[str, str]]
"""From a verb ("Create", "Delete", "Update"), an owner, a pod's name and an error to the reason and the message of an event."""


def pod_event(verb: str, owner: Object, name: str, error: BaseException | None) -> tuple[str, str]:
    """The words of upstream's RealPodControl."""
    if error is None:
        return f"Successful{verb}", f"{verb}d pod: {name}"
    return f"Failed{verb}", f"Error {verb.lower()[:-1]}ing: {error}"


class OwnedPods(Generic[Owner]):
    """The pods of the owners of one kind."""

    def __init__(
        self,
        context: Context,
        kind: type[Owner],
        component: str,
        selector: Callable[[Owner], selectors.Selector],
        told: Told = pod_event,
    ) -> None:
        """`component` is whose events tell of pods that were made, in the words of `told`; `selector` which pods an owner wants."""
        self._context = context
        self._told = told
        self._kind = kind
        self._selector = selector
        self._events = context.recorder.named(component)
        self._owners = context.informer(kind)
        self._by_namespace = context.index(kind, "namespace", meta.namespace)
        self._pods = context.index(core_v1.Pod, "controller", ownership.by_controller)
        self._keys = ownership.controller_key(kind)
        self._expected = Expectations()
        context.informer(core_v1.Pod).subscribe(self._seen)

    # ---- the cache ----

    def watch(self) -> Watch:
        """Pods, and the owners each concerns: the one it has, or those that want an orphan."""
        return Watch(core_v1.Pod, self._keys_of)

    def _keys_of(self, pod: core_v1.Pod) -> list[str]:
        if ownership.controller_of(pod) is not None:
            return self._keys(pod)
        labels = meta.of(pod).labels
        if not labels:
            return []
        return [meta.key(o) for o in self._by_namespace.of(meta.of(pod).namespace or "") if self._selector(o).matches(labels)]

    def _seen(self, change: Change[core_v1.Pod]) -> None:
        """Notes what was awaited: a pod that is being deleted counts as gone."""
        match change:
            case Added(pod):
                for key in self._keys(pod):
                    self._expected.created(key)
            case Deleted(pod):
                self._gone(pod)
            case Modified(_, pod):
                if meta.deleted(pod):
                    self._gone(pod)

    def _gone(self, pod: core_v1.Pod) -> None:
        for key in self._keys(pod):
            self._expected.deleted(key, meta.of(pod).uid or "")

    def caught_up(self, owner: Owner) -> bool:
        """Whether the cache shows all that was done for an owner."""
        return self._expected.fulfilled(meta.key(owner), self._context.monotonic())

    def forget(self, key: str) -> None:
        """Nothing is awaited for an owner that is gone."""
        self._expected.forget(key)

    def of(self, owner: Owner) -> list[core_v1.Pod]:
        """The pods that an owner controls, by the cache."""
        return self._pods.of(meta.of(owner).uid or "")

    async def claim(self, owner: Owner, wanted: Callable[[core_v1.Pod], bool] = lambda pod: True) -> list[core_v1.Pod]:
        """The pods that an owner controls, after matching orphans were adopted and others released; only `wanted` ones are looked at."""
        orphans = self._pods.of(ownership.orphans_of(meta.of(owner).namespace))
        candidates = [p for p in (*self.of(owner), *orphans) if wanted(p)]
        return await claim(self._context.client, owner, candidates, self._selector(owner))

    # ---- acting ----

    def expect(self, owner: Owner, creations: int, deletions: Iterable[core_v1.Pod]) -> None:
        """Notes what is about to be done for an owner."""
        uids = (meta.of(p).uid or "" for p in deletions)
        self._expected.expect(meta.key(owner), creations, uids, self._context.monotonic())

    def will_not_create(self, owner: Owner, count: int) -> None:
        """Takes back creations that were announced."""
        self._expected.created(meta.key(owner), count)

    def will_not_delete(self, owner: Owner, pods: Iterable[core_v1.Pod]) -> None:
        """Takes back deletions that were announced."""
        for pod in pods:
            self._expected.deleted(meta.key(owner), meta.of(pod).uid or "")

    async def create(self, owner: Owner, pod: core_v1.Pod) -> core_v1.Pod:
        """Makes a pod and tells of it. ApiError; a creation that failed is awaited no more."""
        try:
            made = await self._context.client.create(pod)
        except errors.ApiError as error:
            self._expected.created(meta.key(owner))
            if not in_deleted_namespace(error) and not isinstance(error, errors.AlreadyExists):
                self.tell(owner, "Create", meta.of(pod).name or "", error)
            raise
        except BaseException:
            self._expected.created(meta.key(owner))
            raise
        self.tell(owner, "Create", meta.of(made).name or "")
        return made

    def tell(self, owner: Owner, verb: str, name: str, error: BaseException | None = None) -> None:
        """Records what was done to a pod, or why it could not be."""
        reason, message = self._told(verb, owner, name, error)
        self._events.event(owner, "Normal" if error is None else "Warning", reason, message)

    async def delete(self, owner: Owner, pods: Sequence[core_v1.Pod]) -> list[BaseException]:
        """Removes pods side by side and tells of it. The failures; a pod that is gone already is none."""
        results = await tasks.gather(self._delete(owner, p) for p in pods)
        return [r for r in results if isinstance(r, BaseException)]

    async def _delete(self, owner: Owner, pod: core_v1.Pod) -> None:
        m = meta.of(pod)
        try:
            await self._context.client.delete(core_v1.Pod, m.name or "", m.namespace or "", uid=m.uid)
        except (errors.NotFound, errors.Conflict):
            self._expected.deleted(meta.key(owner), m.uid or "")
        except BaseException as error:
            self._expected.deleted(meta.key(owner), m.uid or "")
            if isinstance(error, errors.ApiError):
                self.tell(owner, "Delete", m.name or "", error)
            raise
        else:
            self.tell(owner, "Delete", m.name or "")


def in_deleted_namespace(error: BaseException) -> bool:
    """Whether a creation was refused because its namespace is on its way out: no failure that anybody need be told of."""
    return isinstance(error, errors.Forbidden) and _DELETING_NAMESPACE in str(error)


async def claim(client: Client, owner: Object, candidates: Iterable[T], selector: selectors.Selector) -> list[T]:
    """What `owner` controls among candidates: matching orphans are adopted, what no longer matches is released.

    Before the first adoption the API server is asked whether the owner is still there: a cache that is behind must not adopt for one
    that is gone.
    """
    m = meta.of(owner)
    mine: list[T] = []
    still_there: bool | None = None
    for obj in candidates:
        held = ownership.controller_of(obj)
        matches = selector.matches(meta.of(obj).labels)
        if held is not None:
            if held.uid != m.uid:
                continue
            if matches:
                mine.append(obj)
            elif m.deletionTimestamp is None:
                await _release(client, obj, m.uid or "")
            continue
        if not matches or m.deletionTimestamp is not None or meta.deleted(obj):
            continue
        if still_there is None:
            still_there = await _is_there(client, owner)
        if still_there and (adopted := await _adopt(client, owner, obj)) is not None:
            mine.append(adopted)
    return mine


async def _is_there(client: Client, owner: Object) -> bool:
    m = meta.of(owner)
    live = await client.get(type(owner), m.name or "", m.namespace or "")
    return meta.of(live).uid == m.uid and not meta.deleted(live)


async def _adopt(client: Client, owner: Object, obj: T) -> T | None:
    m = meta.of(obj)
    references = [msgspec.to_builtins(o) for o in (*(m.ownerReferences or ()), ownership.reference(owner))]
    patch: dict[str, Any] = {"metadata": {"uid": m.uid, "ownerReferences": references}}
    try:
        return await client.patch(type(obj), m.name or "", patch, m.namespace or "")
    except errors.NotFound:
        return None


async def _release(client: Client, obj: Object, uid: str) -> None:
    m = meta.of(obj)
    patch = {"metadata": {"uid": m.uid, "ownerReferences": [{"$patch": "delete", "uid": uid}]}}
    try:
        await client.patch(type(obj), m.name or "", patch, m.namespace or "", how="strategic")
    except (errors.NotFound, errors.Invalid):
        return
