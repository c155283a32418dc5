"""What a server serves, as it tells: for who works on every resource there is, custom ones included.

In: a client. Out: `resources()`, each resource in the version its group prefers. The server is asked each time, by two conditional requests:
while nothing changed it answers that, and nothing is read anew.

Upstream counterpart: client-go's aggregated discovery client.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from navarch.client.rest import Client, Request
from navarch.machinery import codec

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_ROOTS = ("/api", "/apis")


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource in one version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


@dataclass(frozen=True, slots=True)
class Found:
    """All resources, and the groups' versions of which the server cannot say just now (those of extension servers that do not answer)."""

    resources: tuple[Resource, ...]
    stale: tuple[str, ...] = ()


class _Kind(msgspec.Struct):
    kind: str = ""


class _Resource(msgspec.Struct):
    resource: str
    scope: str = ""
    responseKind: _Kind | None = None
    verbs: list[str] = []


class _Version(msgspec.Struct):
    version: str
    resources: list[_Resource] = []
    freshness: str = "Current"


class _Metadata(msgspec.Struct):
    name: str = ""


class _Group(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    versions: list[_Version] = []


class _Groups(msgspec.Struct):
    items: list[_Group] = []


_decoder = msgspec.json.Decoder(_Groups)


class Discovery:
    """Asks one server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: dict[str, tuple[str, Found]] = {}

    async def resources(self) -> Found:
        """All that is served now. ApiError, Unreachable, codec.DecodeError."""
        core, named = [await self._of(root) for root in _ROOTS]
        return Found(core.resources + named.resources, core.stale + named.stale)

    async def resource(self, group: str, plural: str) -> Resource | None:
        """One resource; None when it is not served."""
        found = await self.resources()
        return next((r for r in found.resources if (r.group, r.plural) == (group, plural)), None)

    async def _of(self, root: str) -> Found:
        tag, held = self._held.get(root, ("", Found(())))
        request = Request("GET", root, accept=_AGGREGATED, if_none_match=tag)
        async with self._client.open(request) as response:
            if response.status == 304:
                return held
            data = await response.read()
            tag = response.headers.get("ETag", "")
        try:
            held = found(_decoder.decode(data))
        except msgspec.MsgspecError as error:
            raise codec.DecodeError(str(error)) from error
        if tag:
            self._held[root] = (tag, held)
        return held


def found(groups: _Groups) -> Found:
    """The resources of an answer, each in the first version that has it."""
    made: dict[tuple[str, str], Resource] = {}
    stale: list[str] = []
    for group in groups.items:
        name = group.metadata.name
        for version in group.versions:
            if version.freshness != "Current":
                stale.append(f"{name}/{version.version}")
            for r in version.resources:
                kind = r.responseKind.kind if r.responseKind is not None else ""
                resource = Resource(name, version.version, r.resource, kind, r.scope == "Namespaced", frozenset(r.verbs))
                made.setdefault((name, r.resource), resource)
    return Found(tuple(made.values()), tuple(stale))
