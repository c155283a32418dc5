"""The volumes of a pod, bound before the pod: what a decision reserved is written and waited for.

A pod whose claims wait for it is not bound before they are: the volumes are marked as the claims', or the claims as to be
provisioned for the node; the binder or a provisioner does the rest; only then is the pod bound. When that fails, or takes too
long, what was assumed is taken back and the pod is tried again.

Upstream counterpart: plugins/volumebinding (Reserve, PreBind, Unreserve; binder.go: BindPodVolumes).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from navarch.client.rest import Client, Unreachable
from navarch.lib import clock, integers
from navarch.machinery import claims, errors
from navarch.scheduler.cache import Cache
from navarch.scheduler.core.attempt import Attempt
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.view import View
from navarch.scheduler.core.volumes import reserving
from navarch.scheduler.core.volumes.binding import Reservation
from navarch.scheduler.core.volumes.reserving import State
from navarch.scheduler.core.volumes.storage import Claim, Volume

_LOOK_SECONDS = 1.0
"""How often to look whether the pod and its node are still there: nobody tells of those."""


class NotBound(Exception):
    """A pod's volumes could not be bound; the message is upstream's."""


class VolumeBinder:
    """Reserves the volumes of pods, and binds what was reserved."""

    def __init__(self, client: Client, cache: Cache) -> None:
        self._client = client
        self._cache = cache
        self._storage = cache.columns.storage
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def changed(self, name: str) -> None:
        """A claim or volume changed that somebody may wait for."""
        for waiter in self._waiting.get(name, ()):
            waiter.set()

    def reserve(self, attempt: Attempt, node: str) -> Reservation | None:
        """What the chosen node is to give a pod, assumed at once; None when nothing is left to bind."""
        if attempt.info.terms.volumes is None or "VolumeBinding" in attempt.profile.disabled_filters:
            return None
        return reserving.reserve(View(self._cache.columns, attempt.info.terms, attempt.profile.arguments), node)

    def release(self, reservation: Reservation) -> None:
        """Takes back what was assumed: others may have it now."""
        reserving.release(self._storage, reservation)
        self._cache.happened(Event.VOLUME)

    async def bind(self, reservation: Reservation, seconds: float, wanted: Callable[[], bool]) -> None:
        """Writes the reservation and waits until it has come true. Raises NotBound; `wanted` tells whether the pod is still there."""
        if reservation.problem:
            raise NotBound(reservation.problem)
        changed = asyncio.Event()
        names = [name for pair in reservation.bindings for name in pair] + list(reservation.provisions)
        for name in names:
            self._waiting.setdefault(name, set()).add(changed)
        try:
            written = await self._write(reservation)
            async with clock.timeout(self._client.clock, seconds):
                await self._come_true(reservation, written, changed, wanted)
        except TimeoutError:
            raise NotBound("binding volumes: context deadline exceeded") from None
        except (errors.ApiError, Unreachable) as error:
            raise NotBound(str(error)) from error
        finally:
            for name in names:
                self._waiting[name].discard(changed)
                if not self._waiting[name]:
                    del self._waiting[name]

    async def _come_true(self, reservation: Reservation, written: Mapping[str, int], changed: asyncio.Event, wanted: Callable[[], bool]) -> None:
        while True:
            if not wanted():
                raise NotBound("binding volumes: pod does not exist any more")
            found = reserving.progress(self._cache.columns, reservation, written)
            if found.state is State.DONE:
                return
            if found.state is State.FAILED:
                raise NotBound(f"binding volumes: {found.why}")
            changed.clear()
            with contextlib.suppress(TimeoutError):
                async with clock.timeout(self._client.clock, _LOOK_SECONDS):
                    await changed.wait()

    async def _write(self, reservation: Reservation) -> dict[str, int]:
        """The versions of what was written."""
        written: dict[str, int] = {}
        for key, name in reservation.bindings:
            volume, claim = self._storage.volumes.get(name), self._storage.claims.get(key)
            changed = claims.bound_to(volume, claim) if volume is not None and claim is not None else None
            if changed is not None:
                written[name] = _version(await self._client.update(changed))
        for key in reservation.provisions:
            claim = self._storage.claims.get(key)
            if claim is not None and claims.notes(claim).get(claims.SELECTED_NODE) != reservation.node:
                marked = claims.annotated(claim, {claims.SELECTED_NODE: reservation.node})
                written[key] = _version(await self._client.update(marked))
        return written


def _version(obj: Claim | Volume) -> int:
    return integers.parse(claims.meta(obj).resourceVersion) or 0
