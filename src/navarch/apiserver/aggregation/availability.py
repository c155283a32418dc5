"""Whether extension servers can be reached: the condition Available of the APIServices that stand for them.

Each is looked at when it, its Service or its endpoints change, and every half minute; one that fails is looked at sooner, later each time. Many are
looked at side by side, so that those that hang keep nobody else waiting.

Upstream counterparts: kube-aggregator's pkg/controllers/status/{remote,local}.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from navarch.api.apiregistration import v1 as registration_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.apiserver.aggregation import remote as remotes
from navarch.apiserver.aggregation.metrics import Availabilities
from navarch.apiserver.aggregation.registry import Registry, Remote, available
from navarch.apiserver.extensions import services
from navarch.apiserver.extensions.clients import Failed, Transport
from navarch.apiserver.extensions.services import Unresolved
from navarch.apiserver.kinds.apiregistration import AVAILABLE, local_condition
from navarch.apiserver.verbs.write import Writer, by_server
from navarch.lib import backoff, tasks
from navarch.lib.queue import WorkQueue
from navarch.machinery import codec, errors, timestamps

_log = logging.getLogger(__name__)
WORKERS = 32
ATTEMPTS = 5
"""Places of one extension server that are asked at the same time: it is available where one of them answers."""
TIMEOUT_SECONDS = 5.0
AGAIN_SECONDS = 30.0
_FAILED = backoff.Policy(0.005, 30.0)
Condition = registration_v1.APIServiceCondition


def of_service(remote: Remote, service: core_v1.Service | None, slices: Sequence[discovery_v1.EndpointSlice]) -> Condition | None:
    """What the cluster's own objects say against an extension server; None when nothing does."""
    at = f'service/{remote.service} in "{remote.namespace}"'
    if service is None:
        return _unavailable("ServiceNotFound", f"{at} is not present")
    spec = service.spec or core_v1.ServiceSpec()
    if spec.type != "ClusterIP":
        return None
    port = next((p for p in spec.ports or () if p.port == remote.port), None)
    if port is None:
        return _unavailable("ServicePortError", f"{at} is not listening on port {remote.port}")
    if not slices:
        return _unavailable("EndpointsNotFound", f"cannot find endpointslices for {at}")
    name = port.name or ""
    if not any(_ready(found, name) for found in slices):
        return _unavailable("MissingEndpoints", f'endpointslices for {at} have no addresses with port name "{name}"')
    return None


def _ready(found: discovery_v1.EndpointSlice, port: str) -> bool:
    endpoints = any(e.conditions is None or e.conditions.ready is not False for e in found.endpoints or ())
    return endpoints and any((p.name or "") == port and p.port is not None for p in found.ports or ())


def _unavailable(reason: str, message: str) -> Condition:
    return Condition(type=AVAILABLE, status="False", reason=reason, message=message)


def with_condition(found: registration_v1.APIService, condition: Condition, now: float) -> list[Condition]:
    """An APIService's conditions with this one: the time of transition changes with the status alone."""
    held = list((found.status.conditions if found.status else None) or ())
    made = Condition(condition.status, timestamps.seconds(now), condition.message, condition.reason, condition.type)
    for i, other in enumerate(held):
        if other.type == condition.type:
            if other.status == condition.status:
                made.lastTransitionTime = other.lastTransitionTime
            held[i] = made
            return held
    return [*held, made]


@dataclass(slots=True)
class Availability:
    """Keeps the condition of every APIService."""

    registry: Registry
    writer: Writer
    transport: Transport
    metrics: Availabilities
    _queue: WorkQueue[str] = field(default_factory=lambda: WorkQueue(_FAILED))

    def start(self, group: tasks.Group) -> None:
        for entry in self.registry.served.cache.select_all():
            self._queue.add(entry.key)
        self.registry.listen(self._queue.add)
        for number in range(WORKERS):
            group.start(f"availability of APIServices {number}", self._work())

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                good = await self._sync(name)
            except errors.ApiError as error:
                _log.warning("the availability of APIService %s could not be written: %s", name, error)
                good = False
            if good:
                self._queue.forget(name)
            else:
                self._queue.add_rate_limited(name)
            if name in self.registry.remotes:
                self._queue.add_after(name, AGAIN_SECONDS)
            self._queue.done(name)

    async def _sync(self, name: str) -> bool:
        """Looks at an APIService. Whether there is no reason to look again soon."""
        found = self.registry.read(name)
        if found is None:
            self.metrics.forget(name)
            return True
        remote = self.registry.remotes.get(name)
        if remote is None:
            await self._write(name, found, local_condition(time.time()))
            return True
        condition = self._of_objects(remote)
        if condition is not None:
            await self._write(name, found, condition)
            return True
        why = await self._asked(remote)
        condition = Condition(type=AVAILABLE, status="True", reason="Passed", message="all checks passed")
        await self._write(name, found, condition if not why else _unavailable("FailedDiscoveryCheck", why))
        return not why

    def _of_objects(self, remote: Remote) -> Condition | None:
        catalog = self.registry.catalog
        entry = catalog.of("", "services").cache.get(f"{remote.namespace}/{remote.service}")
        service = codec.decode(core_v1.Service, entry.body) if entry is not None else None
        return of_service(remote, service, services.slices_of(catalog, remote.namespace, remote.service))

    async def _asked(self, remote: Remote) -> str:
        """Asks an extension server at as many of its places as is worth it. Why none answered well, "" when one did."""
        said: list[str] = []
        async with tasks.Group() as group:
            for number in range(max(1, min(ATTEMPTS, self.registry.places(remote)))):
                group.start(f"asking {remote.name} {number}", self._attempt(remote, group, said))
        return "" if "" in said else said[-1]

    async def _attempt(self, remote: Remote, group: tasks.Group, said: list[str]) -> None:
        """Asks once. One good answer is enough: the others are not waited for."""
        why = await self._ask(remote)
        said.append(why)
        if not why:
            group.cancel()

    async def _ask(self, remote: Remote) -> str:
        try:
            address = self.registry.address(remote)
        except Unresolved as error:
            return str(error)
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"https://{host}:{address.port}{remote.path}"
        try:
            answer = await remotes.get(self.transport, remote, address, remote.path, TIMEOUT_SECONDS)
        except (Failed, Unresolved) as error:
            return f"failing or missing response from {url}: {error}"
        if not 200 <= answer.status < 300:
            return f"failing or missing response from {url}: bad status from {url}: {answer.status}"
        return ""

    async def _write(self, name: str, found: registration_v1.APIService, condition: Condition) -> None:
        """Writes a condition, where it is another one than before."""
        good = condition.status == "True"
        self.metrics.note(name, available=good)
        if with_condition(found, condition, time.time()) == ((found.status.conditions if found.status else None) or []):
            return
        served = self.registry.served
        uid = found.metadata.uid if found.metadata else ""

        async def make(old: registration_v1.APIService) -> registration_v1.APIService:
            new: registration_v1.APIService = served.decode(codec.encode(old))
            if new.metadata is not None and new.metadata.uid == uid:
                new.status = registration_v1.APIServiceStatus(conditions=with_condition(old, condition, time.time()))
            return new

        try:
            await self.writer.change(by_server(), served, name, "", make, subresource="status", patch=True)
        except errors.NotFound:
            return
        if available(found) and not good:
            self.metrics.became_unavailable(name, condition.reason or "UnknownReason")
