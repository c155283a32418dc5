"""Sees to it that the numbers Services hold are theirs, and that no number is held for nothing.

A Service is written together with its numbers, so there is nothing to repair but what others did: somebody deleted or changed an
IPAddress, a Service was written by a server that did not know of numbers, another kind of server died between two writes. All is looked at
once at the start, then what changed.

Upstream counterparts: ipallocator/controller/repairip.go, portallocator/controller/repair.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

from navarch.apiserver.kinds.core import service_numbers
from navarch.apiserver.kinds.core.service_numbers import Holdings
from navarch.apiserver.numbers import holders
from navarch.apiserver.numbers.services import Allocations
from navarch.apiserver.storage import Storage
from navarch.apiserver.watch_cache import Cache, Entry, Event
from navarch.lib.clock import SYSTEM, Clock
from navarch.machinery import codec, timestamps
from navarch.store.interface import Delete, Put

_log = logging.getLogger(__name__)
GRACE_SECONDS = 60.0
"""How long a number may be held for a Service that does not hold it: a server that writes the two one after the other may be between them."""
_AT_ONCE = 256

Operation = Put | Delete


class Repair:
    """Remembers what changed, and mends it when it is told to."""

    def __init__(self, storage: Storage, numbers: Allocations, clock: Clock = SYSTEM) -> None:
        self._storage = storage
        self._numbers = numbers
        self._clock = clock
        caches = storage.catalog.caches
        self._services, self._addresses, self._ports = caches[holders.SERVICES], caches[holders.ADDRESSES], caches[holders.PORTS]
        self._changed: dict[Cache, set[str]] = {self._services: set(), self._addresses: set(), self._ports: set()}
        storage.listen(self._note)

    def _note(self, cache: Cache, event: Event) -> None:
        keys = self._changed.get(cache)
        if keys is not None:
            keys.add(event.key)
            if event.new is None and cache is not self._services and event.old is not None:
                self._changed[self._services].add("/".join(holders.holder(event.old.body) or ("", "")))

    async def everything(self) -> None:
        """Looks at all Services and all numbers. ApiError."""
        for cache, keys in self._changed.items():
            keys.update(entry.key for entry in cache.select_all())
        await self.run()

    async def run(self) -> None:
        """Looks at what changed, and mends what is wrong with it. ApiError."""
        for cache, keys in self._changed.items():
            for n, key in enumerate(tuple(keys)):
                if n % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)
                entry = cache.get(key)
                keys.discard(key)
                if entry is None:
                    continue
                if cache is self._services:
                    for operations in self._mended(entry):
                        await self._storage.commit(*operations)
                elif (operation := self._released(cache, entry)) is not None:
                    await self._storage.commit(operation)
                elif not self._is_held(cache, entry):
                    keys.add(key)

    # ---- numbers that Services hold ----

    def _mended(self, service: Entry) -> Iterator[list[Operation]]:
        """What makes a Service's numbers its own, a transaction each."""
        holdings, now = held_by(service), self._clock.now()
        for address in sorted(holdings.addresses):
            if not self._numbers.ranges_of(address):
                _log.warning("the ClusterIP %s for Service %s is not within any service CIDR; please recreate", address, service.key)
                continue
            made = holders.address(address, service.namespace, service.name, now)
            found = self._addresses.get(address)
            proper = found is not None and holders.address_labels(address).items() <= found.labels.items()
            yield from self._taken_over(service, holders.ADDRESSES + address, found, made, proper=proper)
        for port in sorted(holdings.ports):
            made = holders.port(port, service.namespace, service.name, now)
            yield from self._taken_over(service, f"{holders.PORTS}{port}", self._ports.get(str(port)), made, proper=True)

    def _taken_over(self, service: Entry, key: str, found: Entry | None, made: bytes, *, proper: bool) -> Iterator[list[Operation]]:
        if found is None:
            _log.warning("%s, which Service %s holds, is not allocated; repairing", key, service.key)
            yield [Put(key, made, 0)]
            return
        holder = holders.holder(found.body)
        if holder == (service.namespace, service.name) and proper:
            return
        if holder is not None and holder != (service.namespace, service.name) and self._holds(holder, found):
            _log.warning("%s was assigned to Services %s and %s; please recreate one", key, service.key, "/".join(holder))
            return
        _log.warning("%s, which Service %s holds, has a wrong reference; repairing", key, service.key)
        yield [Delete(key, found.version)]
        yield [Put(key, made, 0)]

    def _holds(self, holder: tuple[str, str], number: Entry) -> bool:
        service = self._services.get("/".join(holder))
        if service is None:
            return False
        holdings = held_by(service)
        return number.name in holdings.addresses or number.name in {str(port) for port in holdings.ports}

    # ---- numbers that are held for nothing ----

    def _is_held(self, cache: Cache, number: Entry) -> bool:
        """Whether a Service holds it, or it is none of ours."""
        if cache is self._addresses and number.labels.get(holders.MANAGED_BY) != holders.MANAGER:
            return True
        holder = holders.holder(number.body)
        return holder is not None and self._holds(holder, number)

    def _released(self, cache: Cache, number: Entry) -> Operation | None:
        """What takes away a number that nobody holds, once it is certain."""
        if self._is_held(cache, number):
            return None
        if holders.holder(number.body) is not None and self._clock.now() - made_at(number) < GRACE_SECONDS:
            return None
        _log.warning("%s%s appears to have leaked: cleaning up", cache.prefix, number.key)
        return Delete(cache.prefix + number.key, number.version)


def held_by(service: Entry) -> Holdings:
    return service_numbers.holdings(service_numbers.decode(service.body))


def made_at(entry: Entry) -> float:
    """When an object was created, in seconds since 1970."""
    return timestamps.parse(codec.tree(entry.body)["metadata"].get("creationTimestamp") or "1970-01-01T00:00:00Z")
