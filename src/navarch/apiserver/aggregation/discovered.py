"""What extension servers say they serve: fetched when an APIService changes and once a minute, checked, and kept as bytes for the merged documents.

A server is asked for the aggregated form (KEP-3352) first, once for all its group versions, by a conditional request; one that does not
know it is asked for each group version. What cannot be had leaves what was known before, told as stale.

Upstream counterpart: kube-aggregator's pkg/apiserver/handler_discovery.go.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from navarch.apiserver.aggregation import remote as remotes
from navarch.apiserver.aggregation.priorities import GroupVersion
from navarch.apiserver.aggregation.registry import Registry, Remote
from navarch.apiserver.extensions.clients import Answer, Failed, Transport
from navarch.apiserver.extensions.services import Unresolved
from navarch.lib import backoff, tasks
from navarch.lib.queue import WorkQueue

_log = logging.getLogger(__name__)
WORKERS = 8
TIMEOUT_SECONDS = 5.0
REFRESH_SECONDS = 60.0
_FAILED = backoff.Policy(0.5, REFRESH_SECONDS)
_FORM = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_ACCEPT = f"{_FORM.format('v2')},{_FORM.format('v2beta1')}"


class Kind(msgspec.Struct, omit_defaults=False):
    group: str = ""
    version: str = ""
    kind: str = ""


class Subresource(msgspec.Struct, omit_defaults=True):
    subresource: str
    responseKind: Kind | None = msgspec.field(default_factory=Kind)
    acceptedTypes: list[Kind] = []
    verbs: list[str] = []


class Resource(msgspec.Struct, omit_defaults=True):
    resource: str
    responseKind: Kind | None = msgspec.field(default_factory=Kind)
    scope: Literal["", "Cluster", "Namespaced"] = ""
    singularResource: str = ""
    verbs: list[str] = []
    shortNames: list[str] = []
    categories: list[str] = []
    subresources: list[Subresource] = []


class _Version(msgspec.Struct):
    version: str
    resources: list[Resource] = []


class _Metadata(msgspec.Struct):
    name: str = ""


class _Group(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    versions: list[_Version] = []


class _Groups(msgspec.Struct):
    items: list[_Group] = []


class _Listed(msgspec.Struct):
    """A resource or subresource as APIResourceList has it."""

    name: str
    singularName: str = ""
    namespaced: bool = False
    group: str = ""
    version: str = ""
    kind: str = ""
    verbs: list[str] = []
    shortNames: list[str] = []
    categories: list[str] = []


class _ResourceList(msgspec.Struct):
    groupVersion: str = ""
    resources: list[_Listed] = []


_groups = msgspec.json.Decoder(_Groups)
_list = msgspec.json.Decoder(_ResourceList)


def of_groups(body: bytes) -> dict[GroupVersion, list[Resource]]:
    """What an APIGroupDiscoveryList says. ValueError when it is none."""
    found = _groups.decode(body)
    for resource in (r for group in found.items for version in group.versions for r in version.resources):
        resource.responseKind = resource.responseKind or Kind()
        for sub in resource.subresources:
            sub.responseKind = sub.responseKind or Kind()
    return {(group.metadata.name, version.version): version.resources for group in found.items for version in group.versions}


def of_list(body: bytes, group: str, version: str) -> list[Resource]:
    """What an APIResourceList says. ValueError when it is none."""
    found: dict[str, Resource] = {}
    for listed in _list.decode(body).resources:
        plural, _, sub = listed.name.partition("/")
        kind = Kind(listed.group or group, listed.version or version, listed.kind)
        scope: Literal["Cluster", "Namespaced"] = "Namespaced" if listed.namespaced else "Cluster"
        if not sub:
            subresources = found[plural].subresources if plural in found else []
            found[plural] = Resource(plural, kind, scope, listed.singularName, listed.verbs, listed.shortNames, listed.categories, subresources)
        else:
            parent = found.setdefault(plural, Resource(plural, Kind(), scope))
            parent.subresources.append(Subresource(sub, kind, [], listed.verbs))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """A group version as the aggregated form has it, and whether that is so now."""

    resources: bytes = b"[]"
    current: bool = False

    def document(self, version: str) -> bytes:
        freshness = b"Current" if self.current else b"Stale"
        return b'{"version":%b,"resources":%b,"freshness":"%b"}' % (msgspec.json.encode(version), self.resources, freshness)


@dataclass(slots=True)
class _Held:
    """What a server said last, and when it was asked."""

    found: Mapping[GroupVersion, Sequence[Resource]]
    etag: str
    asked: float


@dataclass(slots=True)
class Discovered:
    """Entries of group versions that other servers serve."""

    registry: Registry
    transport: Transport
    generation: int = 0
    """Counts changes of entries."""

    changed: dict[str, int] = field(default_factory=dict)
    """By group, the generation at which it last changed."""

    entries: dict[GroupVersion, Entry] = field(default_factory=dict)
    _held: dict[tuple[str, str, int], _Held] = field(default_factory=dict)
    _dirty: dict[str, float] = field(default_factory=dict)
    """When an APIService, or where its server is, last changed: what was fetched before tells nothing of it."""
    _queue: WorkQueue[str] = field(default_factory=lambda: WorkQueue(_FAILED))

    def start(self, group: tasks.Group) -> None:
        for name in self.registry.remotes:
            self._changed(name)
        self.registry.listen(self._changed)
        for number in range(WORKERS):
            group.start(f"discovery of extension servers {number}", self._work())

    def of(self, group: str, version: str) -> Entry:
        """What is known of a group version; nothing, and stale, before its server answered."""
        return self.entries.get((group, version), Entry())

    def _changed(self, name: str) -> None:
        if name in self.registry.remotes or name in self._dirty:
            self._dirty[name] = time.monotonic()
            self._queue.forget(name)  # it failed as it was before, which says nothing of how it is now
            self._queue.add(name)

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            if await self._sync(name):
                self._queue.forget(name)
                if name in self.registry.remotes:
                    self._queue.add_after(name, REFRESH_SECONDS)
            else:
                self._queue.add_rate_limited(name)
            self._queue.done(name)

    async def _sync(self, name: str) -> bool:
        """Brings the entry of an APIService up to date. Whether it could."""
        remote = self.registry.remotes.get(name)
        if remote is None:
            self._forget(name)
            return True
        key, dirty = remote.group_version, self._dirty.get(name, 0.0)
        held = self._held.get(remote.place)
        try:
            found = await self._fetch(remote, held, dirty)
        except (Failed, Unresolved, ValueError) as error:
            _log.info("discovery of APIService %s: %s", name, error)
            if name in self.registry.remotes:
                self._put(key, Entry(self.of(*key).resources))
            return False
        if name in self.registry.remotes:
            self._put(key, Entry(msgspec.json.encode(found.get(key, ())), current=True))
        return True

    async def _fetch(self, remote: Remote, held: _Held | None, dirty: float) -> Mapping[GroupVersion, Sequence[Resource]]:
        """What a server serves, not older than `dirty`. Failed, Unresolved, ValueError."""
        if held is not None and held.asked >= max(dirty, time.monotonic() - REFRESH_SECONDS / 2):
            return held.found
        if not remote.available:
            raise Failed("service unavailable")
        now = time.monotonic()
        conditional = {"If-None-Match": held.etag} if held is not None and held.etag else {}
        answer = await remotes.ask(self.transport, self.registry, remote, "/apis", TIMEOUT_SECONDS, {"Accept": _ACCEPT, **conditional})
        if answer.status == 304 and held is not None:
            held.asked = now
            return held.found
        if answer.status == 503:
            raise Failed(f"service {remote.namespace}/{remote.service}:{remote.port} returned non-success response code: 503")
        if answer.status == 200 and _aggregated(answer):
            found = of_groups(answer.body)
            self._held[remote.place] = _Held(found, answer.headers.get("etag", ""), now)
            return found
        answer = await remotes.ask(self.transport, self.registry, remote, remote.path, TIMEOUT_SECONDS, {"Accept": "application/json"})
        if answer.status != 200:
            raise Failed(f"failed to download legacy discovery for {remote.path}: {answer.status}")
        return {remote.group_version: of_list(answer.body, remote.group, remote.version)}

    def _put(self, key: GroupVersion, entry: Entry) -> None:
        if self.entries.get(key) != entry:
            self.entries[key] = entry
            self._note(key[0])

    def _note(self, group: str) -> None:
        self.generation += 1
        self.changed[group] = self.generation

    def _forget(self, name: str) -> None:
        self._dirty.pop(name, None)
        version, _, group = name.partition(".")
        if self.entries.pop((group, version), None) is not None:
            self._note(group)
        used = {remote.place for remote in self.registry.remotes.values()}
        for place in [place for place in self._held if place not in used]:
            del self._held[place]


def _aggregated(answer: Answer) -> bool:
    parts = {part.strip() for part in answer.headers.get("content-type", "").split(";")}
    return {"g=apidiscovery.k8s.io", "as=APIGroupDiscoveryList"} <= parts and bool(parts & {"v=v2", "v=v2beta1"})
