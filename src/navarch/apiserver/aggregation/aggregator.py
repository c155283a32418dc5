"""The aggregator: what it is made of, and its life.

Upstream counterpart: kube-aggregator's pkg/apiserver/apiserver.go.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from navarch.apiserver.aggregation.availability import Availability
from navarch.apiserver.aggregation.discovered import Discovered
from navarch.apiserver.aggregation.registration import Registration
from navarch.apiserver.aggregation.registry import Registry
from navarch.apiserver.aggregation.specs import Specs
from navarch.apiserver.aggregation.trust import TrustPublisher
from navarch.apiserver.storage import Storage
from navarch.lib import tasks
from navarch.machinery import errors

_log = logging.getLogger(__name__)
_PUBLISH_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Aggregator:
    """The parts that are started and stopped with the server."""

    registry: Registry
    registration: Registration
    availability: Availability
    discovered: Discovered
    specs: Specs
    trust: TrustPublisher

    def load(self, storage: Storage) -> None:
        """Takes what is stored, and follows it from there."""
        self.registry.load()
        storage.listen(self.registry.follow)

    async def start(self, group: tasks.Group) -> None:
        """Brings the server's own objects to what they are to be, and keeps them so as long as the group lives."""
        await self._publish()
        await self.registration.settle()
        group.start("local APIServices", self.registration.run())
        group.start("trust of extension servers", self._keep_published())
        self.availability.start(group)
        self.discovered.start(group)
        self.specs.start(group)

    async def _keep_published(self) -> None:
        while True:
            await asyncio.sleep(_PUBLISH_SECONDS)
            await self._publish()

    async def _publish(self) -> None:
        try:
            await self.trust.publish()
        except errors.ApiError as error:
            _log.warning("what extension servers know this server by: %s", error)
