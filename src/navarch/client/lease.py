"""Leader election on a Lease object: at most one holder acts.

The holder renews; others watch the clock since they last saw the lease change (never the times in it, so that clocks need
not agree). Upstream counterpart: client-go's tools/leaderelection (15 s lease, 10 s renewal deadline, 2 s retry).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from navarch.api.coordination import v1 as coordination_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.rest import Client, Unreachable
from navarch.machinery import errors, timestamps

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Election:
    """Which lease, who we are, and the times in seconds."""

    name: str
    identity: str
    namespace: str = "kube-system"
    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0


class Elector:
    """`await acquire()` returns when we lead; `await lead()` returns when we no longer do."""

    def __init__(self, client: Client, election: Election) -> None:
        self._client = client
        self.election = election
        self._clock = client.clock
        self._seen: tuple[str, float] = ("", 0.0)

    async def acquire(self) -> None:
        """Waits until the lease is ours."""
        while not await self._attempt():
            await self._clock.sleep(self.election.retry)
        _log.info("leading as %s", self.election.identity)

    async def lead(self) -> None:
        """Renews the lease until it could not be renewed for the deadline."""
        renewed = self._clock.monotonic()
        while self._clock.monotonic() - renewed < self.election.deadline:
            await self._clock.sleep(self.election.retry)
            if await self._attempt():
                renewed = self._clock.monotonic()

    async def release(self) -> None:
        """Gives the lease up, so that the next holder need not wait."""
        try:
            lease = await self._client.get(coordination_v1.Lease, self.election.name, self.election.namespace)
            if lease.spec is not None and lease.spec.holderIdentity == self.election.identity:
                lease.spec.holderIdentity = ""
                lease.spec.leaseDurationSeconds = 1
                await self._client.update(lease)
        except (errors.ApiError, Unreachable) as error:
            _log.debug("could not release %s: %s", self.election.name, error)

    async def _attempt(self) -> bool:
        try:
            async with asyncio.timeout(self.election.deadline / 2):
                return await self._take_or_renew()
        except (errors.ApiError, Unreachable, TimeoutError) as error:
            _log.debug("lease %s: %s", self.election.name, error)
            return False

    async def _take_or_renew(self) -> bool:
        e = self.election
        stamp = timestamps.micros(self._clock.now())
        try:
            lease = await self._client.get(coordination_v1.Lease, e.name, e.namespace)
        except errors.NotFound:
            fresh = coordination_v1.LeaseSpec(
                holderIdentity=e.identity, leaseDurationSeconds=e.duration, acquireTime=stamp, renewTime=stamp, leaseTransitions=0
            )
            metadata = meta_v1.ObjectMeta(name=e.name, namespace=e.namespace)
            await self._client.create(coordination_v1.Lease(metadata=metadata, spec=fresh))
            return True
        assert lease.metadata is not None
        spec = lease.spec or coordination_v1.LeaseSpec()
        version = lease.metadata.resourceVersion or ""
        if version != self._seen[0]:
            self._seen = (version, self._clock.monotonic())
        ours = spec.holderIdentity == e.identity
        expired = self._clock.monotonic() - self._seen[1] >= (spec.leaseDurationSeconds or e.duration)
        if spec.holderIdentity and not ours and not expired:
            return False
        if not ours:
            spec.acquireTime = stamp
            spec.leaseTransitions = (spec.leaseTransitions or 0) + 1
        spec.holderIdentity, spec.leaseDurationSeconds, spec.renewTime = e.identity, e.duration, stamp
        lease.spec = spec
        await self._client.update(lease)
        return True
