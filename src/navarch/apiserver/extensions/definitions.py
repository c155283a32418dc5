"""The loop that serves what CustomResourceDefinitions say: it sees them change, asks `planning` what is to be done, and does that.

What is served is exchanged from one moment to the next: caches of a definition's versions are filled beside those that answer, and only when
they are full do they take their place. A definition whose change does not touch how its objects are read keeps its caches.

Upstream counterpart: the controllers of apiextensions-apiserver, and its customresource_handler.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from navarch.api import resources
from navarch.api.apiextensions import v1 as extensions_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.extensions import conversion, definition, planning, strategy
from navarch.apiserver.extensions.custom import Custom
from navarch.apiserver.extensions.definition import Definition, Status, Version
from navarch.apiserver.extensions.schemas import Schema
from navarch.apiserver.extensions.versions import VersionCache, Versions
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import ROOT, Catalog, Served, preference
from navarch.apiserver.storage import Storage
from navarch.apiserver.streams import Turns
from navarch.apiserver.verbs import write
from navarch.apiserver.watch_cache import Cache, Event
from navarch.apiserver.watchers import Watchers
from navarch.lib import tasks
from navarch.machinery import codec, errors, timestamps
from navarch.machinery.openapi import schemas as openapi

_log = logging.getLogger(__name__)
_GROUP, _PLURAL = "apiextensions.k8s.io", "customresourcedefinitions"
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_VERBS_AT_THE_END = ("delete", "deletecollection", "get", "list", "watch")
_PART_VERBS = ("get", "patch", "update")
_RETRY_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0
"""How long objects with finalizers are waited for before they are looked at again."""


@dataclass(frozen=True, slots=True)
class Defined(resources.Resource):
    """A resource that a definition names."""

    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    list_kind: str = ""
    advertised: tuple[str, ...] = ()
    storage_version: str = ""


@dataclass(slots=True)
class Live:
    """A definition that is served: as it was when it was made so, with its caches."""

    definition: Definition
    versions: Versions
    key: object


@dataclass(slots=True)
class Parts:
    """What the loop works with."""

    catalog: Catalog
    storage: Storage
    turns: Turns
    watchers: Watchers
    writer: write.Writer
    post: conversion.Post = conversion.unreachable


@dataclass(slots=True)
class Definitions:
    """All definitions, and what is served of them."""

    parts: Parts
    group: tasks.Group
    live: dict[str, Live] = field(default_factory=dict)
    _known: dict[str, Definition] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _cleaning: set[str] = field(default_factory=set)

    @property
    def _served(self) -> Served:
        return self.parts.catalog.of(_GROUP, _PLURAL)

    def listen(self, cache: Cache, event: Event) -> None:
        """Notes a change of a definition."""
        if cache is self._served.cache:
            self._changed.add(event.key)
            self._wake.set()

    async def load(self) -> None:
        """Serves what there is from the start."""
        self._changed.update(entry.key for entry in self._served.cache.select_all())
        await self._settle()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._settle()

    async def _settle(self) -> None:
        """Does all that is to be done about what changed. What fails is tried again."""
        while self._changed:
            changed, self._changed = self._changed, set()
            for name in changed:
                self._read(name)
            now = timestamps.seconds(time.time())
            served = {name: live.definition for name, live in self.live.items()}
            for step in planning.plan(self._known, changed, served, now):
                try:
                    await self._do(step)
                except Exception as error:  # one definition must not keep the others from being served
                    _log.warning("%s: %s", step, error, exc_info=not isinstance(error, errors.ApiError))
                    asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._again, changed)

    def _again(self, names: set[str]) -> None:
        self._changed |= names
        self._wake.set()

    def _read(self, name: str) -> None:
        entry = self._served.cache.get(name)
        self._known.pop(name, None)
        if entry is not None:
            try:
                self._known[name] = definition.read(entry.body)
            except msgspec.MsgspecError:
                _log.exception("the definition %s cannot be read, and is not served", name)

    async def _do(self, step: planning.Step) -> None:
        match step:
            case planning.Serve(wanted):
                await self._serve(wanted)
            case planning.Withdraw(name):
                self._withdraw(name)
            case planning.WriteStatus(name, status):
                await self._write_status(name, status)
            case planning.CleanUp(name):
                if name not in self._cleaning:
                    self._cleaning.add(name)
                    self.group.start(f"clean up {name}", self._clean_up(name))
            case _:
                assert_never(step)

    # ---- serving ---------------------------------------------------------------------------------------------------

    async def _serve(self, wanted: Definition) -> None:
        """Serves a definition as it says now, with new caches where they must be others."""
        catalog, plural = self.parts.catalog, wanted.spec.names.plural
        if any((wanted.group, p) == (g, plural) for g, _, p in resources.table()):
            _log.warning("%s is not served: there is a built-in resource of that name", wanted.name)
            return
        live = self.live.get(wanted.name)
        key = _reading(wanted)
        before = live.versions if live is not None else None
        if live is None or live.key != key:
            versions = await self._filled(wanted, before)
            live = self.live[wanted.name] = Live(wanted, versions, key)
        else:
            live.definition, before = wanted, None
        catalog.replace(wanted.group, wanted.status.acceptedNames.plural, served_of(wanted, live.versions))
        catalog.caches[live.versions.prefix] = live.versions.primary
        if before is not None:
            before.end()

    async def _filled(self, wanted: Definition, before: Versions | None) -> Versions:
        """The caches of a definition, as full as the store; fed from here on."""
        parts = self.parts
        prefix = f"{ROOT}{wanted.spec.names.plural}.{wanted.group}/"
        converter = conversion.of(wanted, parts.post)
        made = Versions(wanted, prefix, converter, parts.storage.store, parts.turns, self.group.start, self._end_watches)
        if before is None:
            parts.catalog.caches[prefix] = made.primary
            await made.load(made.primary)
            return made
        before.primary.followers.append(made.primary)
        try:
            await made.load(made.primary)
        finally:
            before.primary.followers.remove(made.primary)
        return made

    def _end_watches(self, cache: VersionCache) -> None:
        self.parts.watchers.end_of(cache)

    def _withdraw(self, name: str) -> None:
        live = self.live.pop(name)
        gone = live.definition
        self.parts.catalog.replace(gone.group, gone.status.acceptedNames.plural, ())
        self.parts.catalog.caches.pop(live.versions.prefix, None)
        live.versions.end()

    # ---- telling ---------------------------------------------------------------------------------------------------

    async def _write_status(self, name: str, status: Status) -> None:
        """Tells a status, of the definition as it was read; one that changed meanwhile is looked at again."""
        entry = self._served.cache.get(name)
        if entry is None:
            return

        def tell(obj: Obj) -> None:
            obj.status = codec.decode(extensions_v1.CustomResourceDefinitionStatus, codec.encode(_complete(status)))
            obj.metadata.resourceVersion = str(entry.version)

        try:
            await self._change(name, tell)
        except errors.Conflict:
            self._again({name})

    async def _change(self, name: str, make: Callable[[Obj], None], *, patch: bool = False) -> None:
        """Changes a definition's status, as the server itself. Conflict; one that is gone stays so."""
        served = self._served

        async def made(old: Obj) -> Obj:
            new = served.decode(codec.encode(old))
            make(new)
            return new

        with contextlib.suppress(errors.NotFound):
            await self.parts.writer.change(write.by_server(), served, name, "", made, subresource="status", patch=patch)

    # ---- ending ----------------------------------------------------------------------------------------------------

    async def _clean_up(self, name: str) -> None:
        """Deletes a definition's objects, waits until they are gone, and lets the definition go."""
        try:
            done = await self._cleaned(name)
            while not done:
                await self._moved()
                done = await self._cleaned(name)
        finally:
            self._cleaning.discard(name)

    async def _moved(self) -> None:
        """Waits for the store to change, or a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_SECONDS):
                await self.parts.storage.progressed.wait()

    async def _emptied(self, cache: VersionCache) -> bool:
        """Waits for the last object to go; whether it did."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while len(cache) and time.monotonic() < end:
            await self._moved()
        return not len(cache)

    async def _cleaned(self, name: str) -> bool:
        """Whether there is nothing left to do for a definition that is going."""
        known = self._known.get(name)
        if known is None or known.metadata.deletionTimestamp is None or definition.CLEANUP not in known.metadata.finalizers:
            return True
        live = self.live.get(name)
        try:
            if live is None:
                await self._tell_ending(name, ("False", "NeverEstablished", "resource was never established"), last=True)
                return True
            served = served_of(known, live.versions)[0]
            await self._tell_ending(name, ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"))
            await self._delete_all(served, live.versions.primary)
            if not await self._emptied(live.versions.primary):
                return False
            await self._tell_ending(name, ("False", "InstanceDeletionCompleted", "removed all instances"), last=True)
            return True
        except errors.ApiError as error:
            _log.warning("%s: %s", name, error)
            await self._tell_ending(name, ("True", "InstanceDeletionFailed", f"could not issue all deletes: {error}"))
            return False

    async def _delete_all(self, served: Served, cache: VersionCache) -> None:
        """Begins to delete everything; objects with finalizers stay until those are gone."""
        stored, author = _in_storage_version(served, cache), write.by_server()
        for entry in cache.select_all():
            with contextlib.suppress(errors.NotFound):
                await self.parts.writer.delete(author, stored, entry.name, entry.namespace, meta_v1.DeleteOptions(), admitted=True)

    async def _tell_ending(self, name: str, told: tuple[str, str, str], *, last: bool = False) -> None:
        """Sets the condition Terminating. `last`: takes the finalizer off too, which lets the definition go."""
        now = timestamps.seconds(time.time())

        def tell(obj: Obj) -> None:
            held = definition.read(codec.encode(obj)).status.conditions
            obj.status.conditions = _conditions(planning.with_condition(held, _ending(told), now))
            if last:
                obj.metadata.finalizers = [f for f in obj.metadata.finalizers or () if f != definition.CLEANUP] or None

        await self._change(name, tell, patch=True)


def _ending(told: tuple[str, str, str]) -> definition.Condition:
    status, reason, message = told
    return definition.Condition(definition.TERMINATING, status, None, reason, message)


def _complete(status: Status) -> dict[str, Any]:
    """A status as JSON; names that are not accepted are there, empty, as upstream has them."""
    return {"acceptedNames": {"kind": "", "plural": "", **codec.tree(codec.encode(status.acceptedNames))}, "conditions": status.conditions,
            "storedVersions": status.storedVersions}  # fmt: skip


def _conditions(conditions: tuple[definition.Condition, ...]) -> list[extensions_v1.CustomResourceDefinitionCondition]:
    return [codec.decode(extensions_v1.CustomResourceDefinitionCondition, codec.encode(condition)) for condition in conditions]


def _reading(wanted: Definition) -> object:
    """All that the bytes in a definition's caches depend on."""
    spec = wanted.spec
    versions = tuple((v.name, v.storage, openapi.stamp_of(v.document or b""), v.selectableFields) for v in spec.versions)
    return wanted.metadata.uid, spec.scope, spec.preserveUnknownFields, spec.conversion, versions


# ---- from a definition to what is served ---------------------------------------------------------------------------


def served_of(wanted: Definition, versions: Versions) -> list[Served]:
    """What is served of a definition: its served versions."""
    return [_served(wanted, version, versions) for version in wanted.spec.versions if version.served]


def _served(wanted: Definition, version: Version, versions: Versions) -> Served:
    held = versions.schemas[version.name]
    resource = resource_of(wanted, version)
    shape = Custom(resource.group_version, resource.kind, held, status=version.has_status, scale=version.scale)
    terminating = wanted.holds(definition.TERMINATING)
    made = strategy.made(version, held, plural=resource.plural, group=resource.group, terminating=terminating)
    view = versions.view(version.name)
    return Served(
        resource,
        made,
        versions.cache(version.name),
        shape,
        shape,
        inward=versions.stored if view is not None else None,
        ready=_ready((held, versions.primary.schema()), versions.ready_for(version.name)),
        warnings=deprecation(wanted, version),
        published=functools.partial(published, resource, version, held),
    )


def _ready(schemas: tuple[Schema, ...], view: Callable[[], Awaitable[None]] | None) -> Callable[[bool], Awaitable[None]] | None:
    """What a call waits for: the view of a version that is not the stored one, and for a write what follows from large schemas."""
    large = [one for one in schemas if one.large]
    if not large and view is None:
        return None

    async def ready(writes: bool) -> None:
        if writes:
            for one in large:
                await one.prepare()
        if view is not None:
            await view()

    return ready


def published(resource: Defined, version: Version, held: Schema) -> openapi.Custom:
    """What OpenAPI documents say of a version."""
    return openapi.Custom(
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        kind=resource.kind,
        list_kind=resource.list_kind,
        namespaced=resource.namespaced,
        document=held.text or b"",
        stamp=held.stamp,
        preserve=held.preserve,
        subresources=tuple(sorted(resource.subresources)),
        selectable=tuple(field.jsonPath for field in version.selectableFields),
    )


def _in_storage_version(served: Served, cache: VersionCache) -> Served:
    """A resource as it is stored, whether that version is served or not."""
    shape = Custom(cache.api_version, served.resource.kind, cache.schema(), status=False, scale=None)
    return Served(served.resource, served.strategy, cache, shape, shape)


def resource_of(wanted: Definition, version: Version) -> Defined:
    """The resource a version is."""
    names = wanted.status.acceptedNames
    parts: dict[str, resources.Subresource] = {}
    if version.has_status:
        parts["status"] = resources.Subresource("status", names.kind, wanted.group, version.name, _PART_VERBS)
    if version.scale is not None:
        parts["scale"] = resources.Subresource("scale", "Scale", "autoscaling", "v1", _PART_VERBS)
    return Defined(
        wanted.group,
        version.name,
        names.plural,
        names.kind,
        wanted.namespaced,
        _VERBS,
        parts,
        singular=names.singular,
        short_names=names.shortNames,
        categories=names.categories,
        list_kind=names.listKind,
        advertised=_VERBS_AT_THE_END if wanted.holds(definition.TERMINATING) else _VERBS,
        storage_version=wanted.storage_version.name,
    )


def deprecation(wanted: Definition, version: Version) -> tuple[str, ...]:
    """What is told to who uses a deprecated version."""
    if not version.deprecated:
        return ()
    if version.deprecationWarning is not None:
        return (version.deprecationWarning,)
    kind = wanted.spec.names.kind
    better = [v.name for v in wanted.spec.versions if v.served and not v.deprecated and preference(v.name) < preference(version.name)]
    told = f"{wanted.group}/{version.name} {kind} is deprecated"
    return (f"{told}; use {wanted.group}/{min(better, key=preference)} {kind}",) if better else (told,)


@contextlib.asynccontextmanager
async def serving(parts: Parts) -> AsyncIterator[Definitions]:
    """Serves custom resources for the length of the block: those there are when it begins, and then what comes."""
    async with tasks.Group() as group:
        found = Definitions(parts, group)
        await found.load()
        parts.storage.listen(found.listen)
        group.start("custom resource definitions", found.run())
        yield found
        group.cancel()
