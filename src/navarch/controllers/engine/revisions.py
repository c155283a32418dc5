"""The ControllerRevisions of the owners of one kind: found, adopted, made, renumbered and cleaned up.

What has to be written is decided in `core.revisions`. What this process wrote itself counts from then on, whether the cache shows it yet
or not: a template that changes twice in a moment gets two numbers.

Upstream counterpart: pkg/controller/history (realHistory).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Object
from navarch.client.informer import Added, Change, Deleted, Modified
from navarch.controllers.core import revisions
from navarch.controllers.engine import owned
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Watch
from navarch.lib import integers
from navarch.machinery import errors, selectors
from navarch.objects import meta, ownership

Owner = TypeVar("Owner", bound=Object)
_MOST_COLLISIONS = 16
_SHOWN_WITHIN = 30.0
"""Seconds after which a cache that does not show a write has missed both it and its undoing."""


@dataclass(frozen=True, slots=True)
class _Written:
    revision: apps_v1.ControllerRevision
    at: float


class OwnedRevisions(Generic[Owner]):
    """The revisions of the owners of one kind."""

    def __init__(self, context: Context, kind: type[Owner], selector: Callable[[Owner], selectors.Selector], hash_label: str) -> None:
        self._context = context
        self._selector = selector
        self._hash_label = hash_label
        self._keys = ownership.controller_key(kind)
        self._informer = context.informer(apps_v1.ControllerRevision)
        self._cached = context.index(apps_v1.ControllerRevision, "controller", ownership.by_controller)
        self._written: dict[str, dict[str, _Written]] = {}
        self._informer.subscribe(self._seen)

    def watch(self) -> Watch:
        """Revisions that were changed or removed by somebody else bring their owner back."""
        return Watch(apps_v1.ControllerRevision, self._keys)

    async def of(self, owner: Owner) -> list[apps_v1.ControllerRevision]:
        """The owner's revisions in order, matching orphans adopted."""
        m = meta.of(owner)
        candidates = self._cached.of(m.uid or "") + self._cached.of(ownership.orphans_of(m.namespace))
        claimed = await owned.claim(self._context.client, owner, candidates, self._selector(owner))
        found = {meta.of(r).name or "": r for r in claimed}
        now = self._context.monotonic()
        for name, written in list(self._written.get(meta.key(owner), {}).items()):
            holder = ownership.controller_of(written.revision)
            if holder is None or holder.uid != m.uid or now - written.at > _SHOWN_WITHIN:
                self._forget_one(meta.key(owner), name)
            else:
                found[name] = written.revision
        return revisions.ordered(found.values())

    def _seen(self, change: Change[apps_v1.ControllerRevision]) -> None:
        """What the cache shows, or shows to be gone, need not be remembered."""
        match change:
            case Added(revision) | Modified(_, revision):
                for key in self._keys(revision):
                    held = self._written.get(key, {}).get(meta.of(revision).name or "")
                    if held is not None and _version(revision) >= _version(held.revision):
                        self._forget_one(key, meta.of(revision).name or "")
            case Deleted(revision):
                for key in self._keys(revision):
                    self._forget_one(key, meta.of(revision).name or "")

    def _forget_one(self, key: str, name: str) -> None:
        held = self._written.get(key, {})
        held.pop(name, None)
        if not held:
            self._written.pop(key, None)

    async def ensure(
        self, owner: Owner, held: Sequence[apps_v1.ControllerRevision], template: core_v1.PodTemplateSpec, collisions: int
    ) -> tuple[apps_v1.ControllerRevision, int]:
        """The revision of the template, made or renumbered where needed, and how many names were found taken so far."""
        match revisions.decide(held, template):
            case revisions.Unchanged(revision):
                return revision, collisions
            case revisions.Renumber(revision, number):
                written = await self._context.client.update(msgspec.structs.replace(revision, revision=number))
                return self._note(owner, written), collisions
            case revisions.Create(number):
                return await self._create(owner, template, number, collisions)

    async def _create(self, owner: Owner, template: core_v1.PodTemplateSpec, number: int, collisions: int) -> tuple[apps_v1.ControllerRevision, int]:
        for tried in range(collisions, collisions + _MOST_COLLISIONS):
            made = revisions.made(owner, template, number, tried, self._hash_label)
            try:
                return self._note(owner, await self._context.client.create(made)), tried
            except errors.AlreadyExists:
                m = meta.of(made)
                live = await self._context.client.get(apps_v1.ControllerRevision, m.name or "", m.namespace or "")
                holder = ownership.controller_of(live)
                if live.data == made.data and holder is None:
                    raise errors.Conflict(f"revision {m.name} of {meta.key(owner)} waits to be adopted") from None
                if live.data == made.data and holder is not None and holder.uid == meta.of(owner).uid:
                    return self._note(owner, live), tried
        raise errors.Conflict(f"{_MOST_COLLISIONS} names for a revision of {meta.key(owner)} are taken")

    def _note(self, owner: Owner, revision: apps_v1.ControllerRevision) -> apps_v1.ControllerRevision:
        cached = self._informer.by_key(meta.key(revision))
        if cached is None or _version(cached) < _version(revision):
            held = self._written.setdefault(meta.key(owner), {})
            held[meta.of(revision).name or ""] = _Written(revision, self._context.monotonic())
        return revision

    async def clean(self, owner: Owner, held: Sequence[apps_v1.ControllerRevision], live: Collection[str], limit: int | None) -> None:
        """Deletes revisions past the history limit; `live` are the names of those that are in use."""
        for revision in revisions.surplus(held, live, 10 if limit is None else limit):
            m = meta.of(revision)
            try:
                await self._context.client.delete(apps_v1.ControllerRevision, m.name or "", m.namespace or "", uid=m.uid)
            except (errors.NotFound, errors.Conflict):
                continue
            finally:
                self._forget_one(meta.key(owner), m.name or "")

    def forget(self, key: str) -> None:
        """Nothing is remembered of an owner that is gone."""
        self._written.pop(key, None)


def _version(obj: Object) -> int:
    return integers.parse(meta.of(obj).resourceVersion) or 0
