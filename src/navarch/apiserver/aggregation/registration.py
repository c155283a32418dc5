"""The APIServices of what this server serves itself: one for each group version, made at the start, and as custom groups come and go.

Those of built-in groups are managed when the server starts, and then left alone; those of custom groups always. An APIService without our label
is somebody else's and stays as it is.

Upstream counterparts: kube-aggregator's pkg/controllers/autoregister, pkg/controlplane/controller/crdregistration.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from navarch.api.apiregistration import v1 as registration_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import writing
from navarch.apiserver.aggregation import priorities
from navarch.apiserver.aggregation.registry import Registry
from navarch.apiserver.verbs.write import Writer, by_server
from navarch.lib import backoff, tasks
from navarch.lib.queue import WorkQueue
from navarch.machinery import codec, errors

_log = logging.getLogger(__name__)
LABEL = "kube-aggregator.kubernetes.io/automanaged"
ON_START, ALWAYS = "onstart", "true"
_FAILED = backoff.Policy(0.05, 30.0)


def wanted(versions: Mapping[str, Collection[str]]) -> dict[str, registration_v1.APIService]:
    """By name, the APIServices of group versions that this server serves."""
    found = {}
    for group, of_group in versions.items():
        if group == priorities.OWN_GROUP:
            continue
        for version in of_group:
            priority = priorities.of_local(group, version)
            managed = ON_START if (group, version) in priorities.BUILT_IN else ALWAYS
            name = f"{version}.{group}"
            found[name] = registration_v1.APIService(
                metadata=meta_v1.ObjectMeta(name=name, labels={LABEL: managed}),
                spec=registration_v1.APIServiceSpec(
                    group=group or None, version=version, groupPriorityMinimum=priority.group, versionPriority=priority.version
                ),
            )
    return found


class Action(enum.Enum):
    NOTHING = enum.auto()
    CREATE = enum.auto()
    UPDATE = enum.auto()
    DELETE = enum.auto()


def decide(desired: registration_v1.APIService | None, held: registration_v1.APIService | None, *, at_start: bool, settled: bool) -> Action:
    """What is to be done about an APIService. `at_start`: it was there when the server started; `settled`: it was right once since then."""
    once = desired is not None and _managed(desired) == ON_START
    if once and settled:
        return Action.NOTHING
    if held is None:
        return Action.CREATE if desired is not None else Action.NOTHING
    managed = _managed(held)
    if not managed or (managed == ON_START and (not at_start or settled)):
        return Action.NOTHING
    if desired is None:
        return Action.DELETE
    return Action.NOTHING if held.spec == desired.spec else Action.UPDATE


def _managed(found: registration_v1.APIService) -> str:
    label = ((found.metadata.labels if found.metadata else None) or {}).get(LABEL, "")
    return label if label in (ON_START, ALWAYS) else ""


@dataclass(slots=True)
class Registration:
    """Keeps the local APIServices. `settle` does all there is to do now, `run` goes on with what changes."""

    registry: Registry
    writer: Writer
    _queue: WorkQueue[str] = field(default_factory=lambda: WorkQueue(_FAILED))
    _wanted: dict[str, registration_v1.APIService] = field(default_factory=dict)
    _at_start: frozenset[str] = frozenset()
    _settled: set[str] = field(default_factory=set)

    async def settle(self) -> None:
        """Brings all local APIServices to what they are to be; what fails is tried again by `run`."""
        self._at_start = frozenset(entry.key for entry in self.registry.served.cache.select_all())
        self._wanted = wanted(self.registry.catalog.versions())
        self.registry.catalog.listen(self._served_changed)
        self.registry.listen(self._queue.add)
        await tasks.gather(self._try(name) for name in sorted(self._wanted.keys() | self._at_start))

    async def run(self) -> None:
        """Never returns."""
        while True:
            name = await self._queue.get()
            await self._try(name)
            self._queue.done(name)

    def _served_changed(self) -> None:
        """The catalog serves something else than before."""
        now = wanted(self.registry.catalog.versions())
        for name in now.keys() ^ self._wanted.keys():
            self._queue.add(name)
        self._wanted = now

    async def _try(self, name: str) -> None:
        try:
            await self._sync(name)
        except errors.ApiError as error:
            _log.warning("APIService %s: %s", name, error)
            self._queue.add_rate_limited(name)
        else:
            self._queue.forget(name)

    async def _sync(self, name: str) -> None:
        desired, held = self._wanted.get(name), self.registry.read(name)
        action = decide(desired, held, at_start=name in self._at_start, settled=name in self._settled)
        try:
            await self._do(action, name, desired, held)
        except (errors.AlreadyExists, errors.NotFound, errors.Conflict):
            return  # it changed meanwhile: its event brings it here again
        if desired is not None:
            self._settled.add(name)
        else:
            self._settled.discard(name)

    async def _do(self, action: Action, name: str, desired: registration_v1.APIService | None, held: registration_v1.APIService | None) -> None:
        served, author = self.registry.served, by_server()
        if action is Action.CREATE and desired is not None:
            made = codec.decode(registration_v1.APIService, codec.encode(desired))
            await self.writer.create(author, served, "", writing.settle(served, made))
        elif action is Action.UPDATE and desired is not None:
            spec = desired.spec

            async def make(old: registration_v1.APIService) -> registration_v1.APIService:
                new: registration_v1.APIService = served.decode(codec.encode(old))
                new.spec = spec
                return new

            await self.writer.change(author, served, name, "", make, patch=True)
        elif action is Action.DELETE and held is not None and held.metadata is not None:
            preconditions = meta_v1.Preconditions(uid=held.metadata.uid)
            await self.writer.delete(author, served, name, "", meta_v1.DeleteOptions(preconditions=preconditions))
