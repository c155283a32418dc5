"""OpenAPI of extension servers: which v3 documents they have, which requests for them go to, and what they add to our v2 document.

Each server is asked when one of its APIServices changes and every few minutes, by conditional requests. What it says is read and checked in the
background, for its document may be megabytes; a server that says nothing, or nonsense, adds nothing.

Upstream counterparts: kube-aggregator's pkg/controllers/{openapi,openapiv3}.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from navarch.apiserver import background
from navarch.apiserver.aggregation import remote as remotes
from navarch.apiserver.aggregation.registry import Registry, Remote
from navarch.apiserver.extensions.clients import Failed, Transport
from navarch.apiserver.extensions.services import Unresolved
from navarch.lib import backoff, tasks
from navarch.lib.queue import WorkQueue
from navarch.machinery import errors
from navarch.machinery.openapi import gnostic, merging
from navarch.machinery.openapi.documents import Foreign

_log = logging.getLogger(__name__)
WORKERS = 4
TIMEOUT_SECONDS = 10.0
REFRESH_SECONDS = 60.0
_FAILED = backoff.Policy(1.0, 300.0)
_V3 = "/openapi/v3"
Place = tuple[str, str, int]


class _Link(msgspec.Struct):
    serverRelativeURL: str = ""


class _Index(msgspec.Struct):
    paths: dict[str, _Link] = {}


_index = msgspec.json.Decoder(_Index)


def of_index(body: bytes, paths: Collection[str]) -> tuple[tuple[str, str], ...]:
    """The links of an index that lead to these group versions (`apis/GROUP/VERSION`). ValueError when it is none."""
    found = _index.decode(body).paths
    return tuple((path, found[path].serverRelativeURL) for path in sorted(paths) if path in found and _own(found[path], path))


def _own(link: _Link, path: str) -> bool:
    return link.serverRelativeURL.partition("?")[0] == f"{_V3}/{path}"


def of_document(body: bytes, paths: Collection[str]) -> tuple[bytes, str]:
    """What a v2 document adds for these group versions, compressed, and its digest. ValueError when it cannot be shown."""
    try:
        kept = merging.restricted(msgspec.json.decode(body, type=dict), [f"/{path}/" for path in paths])
        gnostic.encode(kept)
    except (msgspec.MsgspecError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    data = msgspec.json.encode(kept)
    return zlib.compress(data, 1), hashlib.sha256(data).hexdigest()


@dataclass(slots=True)
class Specs:
    """What extension servers add to the OpenAPI documents."""

    registry: Registry
    transport: Transport
    generation: int = 0
    """Counts changes of what they add."""

    _found: dict[Place, Foreign] = field(default_factory=dict)
    _asked: dict[Place, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """The ETag of the v2 document that was read, and for which group versions."""
    _queue: WorkQueue[Place] = field(default_factory=lambda: WorkQueue(_FAILED))
    _places: dict[str, Place] = field(default_factory=dict)
    """Where each APIService led when it last changed."""

    def start(self, group: tasks.Group) -> None:
        for name in self.registry.remotes:
            self._changed(name)
        self.registry.listen(self._changed)
        for number in range(WORKERS):
            group.start(f"OpenAPI of extension servers {number}", self._work())

    def found(self) -> Sequence[Foreign]:
        """What they add, servers of important groups first."""
        best = {place: max(r.priority for r in self._of(place)) for place in self._found if self._of(place)}
        return [self._found[place] for place in sorted(best, key=lambda place: (-best[place].group, -best[place].version, place))]

    def _of(self, place: Place) -> list[Remote]:
        return [remote for remote in self.registry.remotes.values() if remote.place == place]

    def _changed(self, name: str) -> None:
        remote, before = self.registry.remotes.get(name), self._places.pop(name, None)
        if before is not None:
            self._queue.add(before)
        if remote is not None:
            self._places[name] = remote.place
            self._queue.forget(remote.place)  # as in `discovered`
            self._queue.add(remote.place)

    async def _work(self) -> None:
        while True:
            place = await self._queue.get()
            try:
                await self._sync(place)
            except (Failed, Unresolved, ValueError, errors.ApiError) as error:
                _log.info("OpenAPI of service %s/%s:%d: %s", *place, error)
                self._queue.add_rate_limited(place)
            else:
                self._queue.forget(place)
                if self._of(place):
                    self._queue.add_after(place, REFRESH_SECONDS)
            self._queue.done(place)

    async def _sync(self, place: Place) -> None:
        """Asks a server. What it said before stays as long as it does not answer. Failed, Unresolved, ValueError, TooManyRequests."""
        mine = self._of(place)
        if not mine:
            self._asked.pop(place, None)
            self._put(place, Foreign())
            return
        remote = next((each for each in mine if each.available), None)
        if remote is None:
            return  # its condition changes before it can answer
        paths = frozenset(each.path[1:] for each in mine)
        index = await self._links(remote, paths)
        held = self._found.get(place, Foreign())
        v2, digest = await self._document(remote, paths, held)
        self._put(place, Foreign(index, v2, digest))

    async def _links(self, remote: Remote, paths: frozenset[str]) -> tuple[tuple[str, str], ...]:
        answer = await remotes.ask(self.transport, self.registry, remote, _V3, TIMEOUT_SECONDS, {"Accept": "application/json"})
        return of_index(answer.body, paths) if answer.status == 200 else ()

    async def _document(self, remote: Remote, paths: frozenset[str], held: Foreign) -> tuple[bytes, str]:
        etag, of_paths = self._asked.get(remote.place, ("", frozenset()))
        conditional = {"If-None-Match": etag} if etag and of_paths == paths else {}
        headers = {"Accept": "application/json", **conditional}
        answer = await remotes.ask(self.transport, self.registry, remote, "/openapi/v2", TIMEOUT_SECONDS, headers)
        if answer.status == 304:
            return held.v2, held.digest
        if answer.status != 200:
            return b"", ""
        made = await background.run(len(answer.body), of_document, answer.body, paths)
        self._asked[remote.place] = (answer.headers.get("etag", ""), paths)
        return made

    def _put(self, place: Place, found: Foreign) -> None:
        if self._found.get(place, Foreign()) == found:
            return
        self.generation += 1
        if found == Foreign():
            self._found.pop(place, None)
        else:
            self._found[place] = found
