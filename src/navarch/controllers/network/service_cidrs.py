"""The ranges Services take their addresses from: ready once they are known, and kept while an address is in them alone.

Upstream counterpart: pkg/controller/servicecidrs.
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.networking import v1 as networking_v1
from navarch.controllers.core import service_ranges
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import timestamps
from navarch.objects import meta


class ServiceCidrController(Reconciler):
    """Keeps ServiceCIDRs' finalizer and condition."""

    name = "service-cidr"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._client = context.client
        self._cidrs = context.informer(networking_v1.ServiceCIDR)
        self._addresses = context.informer(networking_v1.IPAddress)

    def watches(self) -> Iterable[Watch]:
        yield Watch(networking_v1.ServiceCIDR, lambda cidr: service_ranges.overlapping(cidr, [cidr, *self._cidrs.list()]))
        yield Watch(networking_v1.IPAddress, self._of_address)

    def _of_address(self, address: networking_v1.IPAddress) -> list[str]:
        """The ranges an address keeps that are on their way out."""
        going = [cidr for cidr in self._cidrs.list() if meta.deleted(cidr)]
        return service_ranges.containing(address, going)

    async def reconcile(self, key: str) -> float | None:
        cidr = self._cidrs.by_key(key)
        if cidr is None:
            return None
        if (since := meta.of(cidr).deletionTimestamp) is not None:
            return await self._let_go(cidr, timestamps.parse(since))
        if (wanted := service_ranges.guarded(cidr, kept=True)) is not None:
            cidr = await self._client.update(wanted)
        if (wanted := service_ranges.with_condition(cidr, ready=True, now=self._context.now())) is not None:
            await self._client.update_status(wanted)
        return None

    async def _let_go(self, cidr: networking_v1.ServiceCIDR, since: float) -> float | None:
        """Takes the finalizer away once no address is left in the range, and API servers had time to hear of it."""
        if not service_ranges.removable(cidr, self._cidrs.list(), self._addresses.list()):
            if (wanted := service_ranges.with_condition(cidr, ready=False, now=self._context.now())) is not None:
                await self._client.update_status(wanted)
            return None
        left = since + service_ranges.GRACE_SECONDS - self._context.now()
        if left > 0:
            return left
        if (wanted := service_ranges.guarded(cidr, kept=False)) is not None:
            await self._client.update(wanted)
        return None
