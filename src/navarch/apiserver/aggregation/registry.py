"""The APIServices there are, as they are stored, ready to be asked on every request.

In: events of the store. Out: `remote_of(info)`, the APIService that a request goes to when it is not for this server; `address(remote)`,
where that is now; `versions()`, all groups and versions in the order of discovery.

Upstream counterparts: kube-aggregator's pkg/apiserver (apiserver.go, apiservice_controller.go, resolvers.go).
"""

from __future__ import annotations

import base64
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from navarch.api.apiregistration import v1 as registration_v1
from navarch.apiserver.aggregation import priorities
from navarch.apiserver.aggregation.priorities import GroupVersion, Priority
from navarch.apiserver.extensions import services, trusting
from navarch.apiserver.extensions.clients import Failed, Trust
from navarch.apiserver.extensions.services import Address, Unresolved
from navarch.apiserver.kinds.apiregistration import AVAILABLE
from navarch.apiserver.routes import RequestInfo
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.watch_cache import Cache, Event
from navarch.machinery import codec

_SERVICE_OF_SLICE = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Remote:
    """An APIService whose group version another server serves."""

    name: str
    group: str
    version: str
    priority: Priority
    namespace: str
    service: str
    port: int
    trust: Trust
    available: bool

    @property
    def group_version(self) -> GroupVersion:
        return self.group, self.version

    @property
    def path(self) -> str:
        return path_of(self.group, self.version)

    @property
    def place(self) -> tuple[str, str, int]:
        """The server behind it, which may serve other group versions, too."""
        return self.namespace, self.service, self.port


def path_of(group: str, version: str) -> str:
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def available(found: registration_v1.APIService) -> bool:
    """Whether an APIService is said to be available."""
    conditions = (found.status.conditions if found.status else None) or ()
    return next((c.status == "True" for c in conditions if c.type == AVAILABLE), False)


def remote(found: registration_v1.APIService, certificate: str, key: str) -> Remote | None:
    """What an APIService says of another server; None for one that this server serves. The files are our own certificate's."""
    metadata, spec = found.metadata, found.spec
    if metadata is None or spec is None or spec.service is None:
        return None
    namespace, service = spec.service.namespace or "", spec.service.name or ""
    authorities = base64.b64decode(spec.caBundle or "")
    trust = Trust(authorities, f"{service}.{namespace}.svc", bool(spec.insecureSkipTLSVerify), certificate, key)
    priority = Priority(spec.groupPriorityMinimum or 0, spec.versionPriority or 0)
    name, port = metadata.name or "", spec.service.port or 443
    return Remote(name, spec.group or "", spec.version or "", priority, namespace, service, port, trust, available(found))


@dataclass(slots=True)
class Registry:
    """APIServices by what requests ask for."""

    catalog: Catalog
    certificate: str = ""
    key: str = ""
    """The files of the certificate that is shown to extension servers."""

    remotes: dict[str, Remote] = field(default_factory=dict)
    """By the name of the APIService."""
    generation: int = 0
    """Counts changes of which group versions there are, and of their order."""

    changed: dict[str, int] = field(default_factory=dict)
    """By group, the generation at which it last changed."""

    _by_version: dict[GroupVersion, Remote] = field(default_factory=dict)
    _by_path: dict[str, Remote] = field(default_factory=dict)
    _priorities: dict[GroupVersion, Priority] = field(default_factory=dict)
    """As stored: of local APIServices, too."""
    _addresses: dict[tuple[str, str, int], Sequence[Address]] = field(default_factory=dict)
    _listeners: list[Callable[[str], None]] = field(default_factory=list)
    _ordered: tuple[int, int, Mapping[str, list[str]]] = field(init=False)
    """The order of discovery, with the generations (ours, the catalog's) that it was made at."""
    served: Served = field(init=False)
    _services: Cache = field(init=False)
    _slices: Cache = field(init=False)

    def __post_init__(self) -> None:
        self._ordered = (-1, -1, {})
        self.served = self.catalog.of(priorities.OWN_GROUP, "apiservices")
        self._services = self.catalog.of("", "services").cache
        self._slices = self.catalog.of("discovery.k8s.io", "endpointslices").cache

    def listen(self, receive: Callable[[str], None]) -> None:
        """Calls `receive` with the name of every APIService that changed, or whose Service or endpoints did."""
        self._listeners.append(receive)

    def load(self) -> None:
        """Takes what the caches hold."""
        for entry in self.served.cache.select_all():
            self._take(entry.key)

    def follow(self, cache: Cache, event: Event) -> None:
        """Follows the store."""
        if cache is self.served.cache:
            self._take(event.key)
            self._tell(event.key)
        elif self.remotes and (entry := event.new or event.old) is not None:
            if cache is self._services:
                self._moved(entry.namespace, entry.name)
            elif cache is self._slices:
                self._moved(entry.namespace, entry.labels.get(_SERVICE_OF_SLICE, ""))

    def read(self, name: str) -> registration_v1.APIService | None:
        """An APIService as it is stored."""
        entry = self.served.cache.get(name)
        return codec.decode(registration_v1.APIService, entry.body) if entry is not None else None

    def remote_of(self, info: RequestInfo) -> Remote | None:
        """Who answers a request instead of this server."""
        if not self._by_version:
            return None
        return self._by_version.get((info.group, info.version)) if info.is_resource else self._by_path.get(info.path.rstrip("/"))

    def at_path(self, path: str) -> Remote | None:
        """Whose group version a path is."""
        return self._by_path.get(path)

    def address(self, remote: Remote) -> Address:
        """Where an extension server is reached, one of the places there are. Unresolved."""
        found = self._addresses.get(remote.place)
        if found is None:
            found = self._addresses[remote.place] = services.candidates(self.catalog, remote.namespace, remote.service, remote.port)
        return found[0] if len(found) == 1 else random.choice(found)

    def places(self, remote: Remote) -> int:
        """How many places there are where an extension server is reached."""
        try:
            self.address(remote)
        except Unresolved:
            return 0
        return len(self._addresses[remote.place])

    def versions(self) -> Mapping[str, list[str]]:
        """group → its versions, in the order of discovery: those that this server serves, and those of others."""
        mine, generation, found = self._ordered
        if (mine, generation) != (self.generation, self.catalog.generation):
            entries = {(g, v): priorities.of_local(g, v) for g, versions in self.catalog.versions().items() for v in versions}
            entries |= {key: priority for key, priority in self._priorities.items() if key in entries or key in self._by_version}
            found = priorities.ordered(entries)
            self._ordered = (self.generation, self.catalog.generation, found)
        return found

    def _take(self, name: str) -> None:
        """Takes an APIService as it is now."""
        found = self.read(name)
        group, version = _named(name)
        before = (self._by_version.get((group, version)), self._priorities.get((group, version)))
        made = remote(found, self.certificate, self.key) if found is not None else None
        gone = self.remotes.pop(name, None)
        self._by_version.pop((group, version), None)
        for path in _paths(group, version):
            self._by_path.pop(path, None)
        self._priorities.pop((group, version), None)
        if gone is not None:
            self._addresses.pop(gone.place, None)
        if made is not None:
            self.remotes[name] = self._by_version[made.group_version] = made
            self._by_path |= dict.fromkeys(_paths(group, version), made)
        if found is not None and found.spec is not None:
            self._priorities[group, version] = Priority(found.spec.groupPriorityMinimum or 0, found.spec.versionPriority or 0)
        if before != (self._by_version.get((group, version)), self._priorities.get((group, version))):
            self.generation += 1
            self.changed[group] = self.generation

    def _moved(self, namespace: str, service: str) -> None:
        """A Service, or where it is reached, changed."""
        for found in tuple(self.remotes.values()):
            if (found.namespace, found.service) == (namespace, service):
                self._addresses.pop(found.place, None)
                self._tell(found.name)

    def _tell(self, name: str) -> None:
        for receive in self._listeners:
            receive(name)


def _paths(group: str, version: str) -> tuple[str, str]:
    """The paths that are no resources', and yet another server's: discovery and OpenAPI of a group version."""
    path = path_of(group, version)
    return path, f"/openapi/v3{path}"


def _named(name: str) -> GroupVersion:
    """The group and version of an APIService, whose name is made of them."""
    version, _, group = name.partition(".")
    return group, version


def tls_of(remote: Remote) -> ssl.SSLContext:
    """TLS towards an extension server. Failed."""
    try:
        return trusting.context_of(remote.trust)
    except OSError as error:
        raise Failed(f"tls: {error.strerror or error}") from None
