"""What the server serves: each resource with its strategy, its types and the cache that holds its objects.

Two API versions of one kind share a cache (events, horizontalpodautoscalers): objects are stored in one of them and converted
on the way in and out.

Upstream counterpart: the REST storages that pkg/controlplane installs.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.api import resources
from navarch.apiserver.kinds import table
from navarch.apiserver.kinds.strategy import Obj, Stored, Strategy
from navarch.apiserver.shapes import Shape, Typed
from navarch.apiserver.streams import Turns
from navarch.apiserver.views import Converted, View
from navarch.apiserver.watch_cache import Cache, Entry
from navarch.machinery import codec, schema
from navarch.machinery.openapi.schemas import Custom

ROOT = "/registry/"


@dataclass(slots=True, eq=False)
class Served:
    """One resource in one version.

    `shape` is that of its objects as they are stored, `request_shape` as clients send them. `convert_in(tree)` and `convert_out(tree)`
    change builtin trees between this version and the stored one, and `view` shows the cache in this version; None when this is the
    stored one.
    """

    resource: resources.Resource
    strategy: Strategy
    cache: Cache
    shape: Shape
    request_shape: Shape
    convert_in: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    convert_out: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    inward: Callable[[bytes], Awaitable[bytes]] | None = None
    """Makes an object's JSON what is stored of it, where the cache holds another version than that (custom resources)."""
    ready: Callable[[bool], Awaitable[None]] | None = None
    """Waits until the cache can be read, and until an object can be checked if it is told that the call writes one; None where both are so."""
    warnings: tuple[str, ...] = ()
    """What everybody is told who asks for it: that the version is deprecated."""
    published: Callable[[], Custom] | None = None
    """What OpenAPI documents say of it, where no generated type does."""
    view: View | None = None

    @property
    def group(self) -> str:
        return self.resource.group

    @property
    def plural(self) -> str:
        return self.resource.plural

    @property
    def has_status(self) -> bool:
        return "status" in self.resource.subresources

    def key(self, name: str, namespace: str) -> str:
        """The cache's key of an object."""
        return f"{namespace}/{name}" if self.resource.namespaced else name

    def store_key(self, name: str, namespace: str) -> str:
        return self.cache.prefix + self.key(name, namespace)

    def schema(self) -> schema.Schema:
        """The merge semantics of its fields, in this version."""
        return self.request_shape.schema()

    def external(self, obj: Obj) -> Any:
        """A stored object in this version: a struct, or a tree where it had to be converted."""
        return obj if self.convert_out is None else self.convert_out(codec.to_tree(obj))

    def decode(self, body: bytes) -> Obj:
        """An object from a cache entry's bytes (stored version)."""
        return self.shape.decode(body)

    def entry(self, stored: Entry) -> Entry:
        """An object in this version."""
        return stored if self.view is None else self.view.entry(stored)

    async def entries(self, stored: Sequence[Entry], turns: Turns) -> Sequence[Entry]:
        """Objects in this version."""
        return stored if self.view is None else await self.view.entries(stored, turns)

    def outward(self, body: bytes) -> bytes:
        """Any object's JSON, from the stored version to this one."""
        return body if self.view is None else self.view.convert(body)


class Catalog:
    """Everything served, by group, version and plural. Custom resources come and go."""

    def __init__(self, runtime_config: str = "") -> None:
        self._chosen = _settings(runtime_config)
        self._served: dict[tuple[str, str, str], Served] = {}
        self._groups: dict[str, dict[str, tuple[Served, ...]]] = {}
        """By group and plural, the versions of each resource, the preferred one first."""
        self._by_prefix: dict[str, list[Served]] = {}
        """By prefix in the store, what is served from there: also in another group."""
        self.caches: dict[str, Cache] = {}
        """By prefix, the caches that take the store's changes."""
        self.converted = Converted()
        self.generation = 0
        self.changed: dict[str, int] = {}
        """By group, the generation at which it last changed."""
        self._listeners: list[Callable[[], None]] = []
        self._build()
        self._builtin = tuple(self._groups)

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._served.values()))

    def get(self, group: str, version: str, plural: str) -> Served | None:
        return self._served.get((group, version, plural))

    def of(self, group: str, plural: str) -> Served:
        """The preferred version of a resource. KeyError when it is not served."""
        try:
            return self._groups[group][plural][0]
        except KeyError:
            raise KeyError(f"{plural}.{group}") from None

    def by_kind(self, group: str, version: str, kind: str) -> Served | None:
        """The resource of a kind."""
        for plural in self._groups.get(group, ()):
            served = self._served.get((group, version, plural))
            if served is not None and served.resource.kind == kind:
                return served
        return None

    def equivalents(self, served: Served) -> tuple[Served, ...]:
        """The other versions of a resource, and other groups that serve the same objects."""
        return tuple(other for other in self._by_prefix.get(served.cache.prefix, ()) if other is not served)

    @staticmethod
    def is_virtual(resource: resources.Resource) -> bool:
        """Whether a resource is answered without being stored."""
        return (resource.group, resource.version, resource.plural) in table.VIRTUAL

    @staticmethod
    def virtual(group: str, version: str, plural: str) -> resources.Resource | None:
        """A resource that is answered without being stored."""
        key = (group, version, plural)
        return resources.table().get(key) if key in table.VIRTUAL else None

    @staticmethod
    def virtual_versions() -> set[tuple[str, str]]:
        """The groups and versions of what is answered without being stored."""
        return {(group, version) for group, version, _ in table.VIRTUAL}

    def versions(self) -> Mapping[str, list[str]]:
        """group → its versions, the preferred one first: built-in groups, then others by name."""
        virtual: dict[str, set[str]] = {}
        for group, version in self.virtual_versions():
            virtual.setdefault(group, set()).add(version)
        found = {}
        for group in dict.fromkeys((*(g for g in self._builtin if g in self._groups), *virtual, *sorted(self._groups))):
            held = {one.resource.version for served in self._groups.get(group, {}).values() for one in served}
            found[group] = sorted(held | virtual.get(group, set()), key=preference)
        return found

    def in_version(self, group: str, version: str) -> list[Served]:
        """What is served in a version of a group, by name."""
        found = (one for served in self._groups.get(group, {}).values() for one in served if one.resource.version == version)
        return sorted(found, key=lambda one: one.plural)

    def add(self, served: Served) -> None:
        r = served.resource
        self.caches[served.cache.prefix] = served.cache
        self.replace(r.group, r.plural, [*(s for s in self._of(r.group, r.plural) if s.resource.version != r.version), served])

    def remove(self, group: str, version: str, plural: str) -> None:
        self.replace(group, plural, [served for served in self._of(group, plural) if served.resource.version != version])

    def replace(self, group: str, plural: str, served: Iterable[Served]) -> None:
        """Serves a resource in these versions and no others, from one moment to the next."""
        found = sorted(served, key=lambda one: preference(one.resource.version))
        resources_of = self._groups.setdefault(group, {})
        for one in resources_of.pop(plural, ()):
            del self._served[group, one.resource.version, plural]
            beside = self._by_prefix[one.cache.prefix]
            beside.remove(one)
            if one.view is not None and one not in found:
                one.view.close()
            if not beside:
                del self._by_prefix[one.cache.prefix]
        if found:
            resources_of[plural] = tuple(found)
            self._served.update({(group, one.resource.version, plural): one for one in found})
            for one in found:
                self._by_prefix.setdefault(one.cache.prefix, []).append(one)
        elif not resources_of:
            del self._groups[group]
        self._note(group)

    def _of(self, group: str, plural: str) -> tuple[Served, ...]:
        return self._groups.get(group, {}).get(plural, ())

    def listen(self, receive: Callable[[], None]) -> None:
        """Calls `receive` whenever something else is served than before."""
        self._listeners.append(receive)

    def _note(self, group: str) -> None:
        self.generation += 1
        self.changed[group] = self.generation
        for receive in self._listeners:
            receive()

    def _build(self) -> None:
        known = resources.table()
        for key in sorted(known, key=lambda k: (k[0], preference(k[1]), k[2])):
            if not _enabled(key, self._chosen):
                continue
            if key in table.VIRTUAL:
                continue
            self.add(self._serve(known[key]))

    def _serve(self, resource: resources.Resource) -> Served:
        strategy = table.of(resource.group, resource.plural)
        stored = strategy.versions.get(resource.version)
        home = resources.table()[stored.home] if stored else resource
        prefix = f"{ROOT}{home.plural}.{home.group}/" if home.group else f"{ROOT}{home.plural}/"
        cache = self.caches.get(prefix)
        if cache is None:
            cache = Cache(prefix, strategy.selectable, strategy.indexed)
        shape = Typed(home.object_type)
        if stored is None:
            return Served(resource, strategy, cache, shape, shape)
        view = View(cache, _outward(stored), self.converted)
        return Served(resource, strategy, cache, shape, Typed(resource.object_type), stored.inward, stored.outward, view=view)


def _outward(stored: Stored) -> Callable[[bytes], bytes]:
    """A version's conversion, of JSON."""
    return lambda body: codec.encode(stored.outward(codec.tree(body)))


def _settings(runtime_config: str) -> dict[str, bool]:
    """What `--runtime-config` switches. ValueError when it is malformed."""
    found = {}
    for setting in filter(None, runtime_config.split(",")):
        name, _, value = setting.strip().partition("=")
        if value.lower() not in ("", "true", "false"):
            raise ValueError(f"invalid value {setting}={value}: runtime-config takes group/version[/resource]=true or =false")
        found[name] = value.lower() != "false"
    return found


def _enabled(key: tuple[str, str, str], chosen: Mapping[str, bool]) -> bool:
    """Whether a version of a resource is served: what is said about it most closely counts."""
    group, version, plural = key
    at = f"{group}/{version}" if group else version
    level = "api/alpha" if "alpha" in version else "api/beta" if "beta" in version else "api/ga"
    for name in (f"{at}/{plural}", at, level, "api/all"):
        if name in chosen:
            return chosen[name]
    return _stable(version)


def _stable(version: str) -> bool:
    return "alpha" not in version and "beta" not in version


_VERSION = re.compile(r"v(\d{1,18})(?:(alpha|beta)(\d{1,18}))?\Z", re.A)


def preference(version: str) -> tuple[int, int, int, str]:
    """Stable before beta before alpha before names of other forms, later before earlier."""
    match = _VERSION.match(version)
    if match is None:
        return 3, 0, 0, version
    level = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return level, -int(match[1]), -int(match[3] or 0), version
