"""Storage for the scheduler: informers keep `core.storage`, and what a decision reserved is written and waited for.

A pod whose claims wait for it is not bound before they are: the volumes are marked as the claims', or the claims as to be
provisioned for the node; the binder or a provisioner does the rest; only then is the pod bound. When that fails, or takes too
long, what was assumed is taken back and the pod is tried again.

Upstream counterpart: plugins/volumebinding (Reserve, PreBind, Unreserve; binder.go: BindPodVolumes).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.storage import v1 as storage_v1
from navarch.client.informer import Added, Change, Deleted, Informer, Modified
from navarch.client.rest import Client, Unreachable
from navarch.lib import integers
from navarch.machinery import claims, errors
from navarch.scheduler.core import volume_binding
from navarch.scheduler.core.columns import Columns
from navarch.scheduler.core.filters import View
from navarch.scheduler.core.storage import KINDS, Claim, Volume, limits_of
from navarch.scheduler.core.volume_binding import Reservation, State
from navarch.scheduler.queue import Event

Tell = Callable[[Event, str], None]
"""Something happened that may help waiting pods; with a claim's key, only those that use it."""


class NotBound(Exception):
    """A pod's volumes could not be bound; the message is upstream's."""


class Volumes:
    """Knows storage, and binds what was reserved."""

    def __init__(self, client: Client, columns: Columns, tell: Tell) -> None:
        self._client = client
        self._columns = columns
        self._storage = columns.storage
        self._tell = tell
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.informers: tuple[Informer[Any], ...] = tuple(Informer(client, kind) for kind in KINDS)

    def start(self) -> None:
        """Takes what the informers have, and follows them; call it once they have synced."""
        for informer in self.informers:
            informer.subscribe(self._changed)

    def _changed(self, change: Change[Any]) -> None:
        match change:
            case Added(obj):
                self._storage.put(obj)
                event = _added(obj)
            case Modified(old, obj):
                self._storage.put(obj)
                event = _modified(old, obj)
            case Deleted(obj):
                self._storage.remove(obj)
                event = Event.ATTACHMENT_GONE if isinstance(obj, storage_v1.VolumeAttachment) else None
        if event is not None:
            self._tell(event, claims.key(obj) if event is Event.CLAIM else "")
        if isinstance(obj, core_v1.PersistentVolumeClaim):
            self._wake(claims.key(obj))
        elif isinstance(obj, core_v1.PersistentVolume):
            self._wake(claims.meta(obj).name or "")

    def _wake(self, name: str) -> None:
        for waiter in self._waiting.get(name, ()):
            waiter.set()

    def reserve(self, view: View, node: str) -> Reservation | None:
        """What the chosen node is to give a pod, assumed at once; None when nothing is left to bind."""
        if view.ask.volumes is None or "VolumeBinding" in view.profile.disabled_filters:
            return None
        return volume_binding.reserve(view, node)

    def release(self, reservation: Reservation) -> None:
        """Takes back what was assumed: others may have it now."""
        volume_binding.release(self._storage, reservation)
        self._tell(Event.VOLUME, "")

    async def bind(self, reservation: Reservation, timeout: float, wanted: Callable[[], bool]) -> None:
        """Writes the reservation and waits until it has come true. Raises NotBound; `wanted` tells whether the pod is still there."""
        if reservation.problem:
            raise NotBound(reservation.problem)
        changed = asyncio.Event()
        names = [name for pair in reservation.bindings for name in pair] + list(reservation.provisions)
        for name in names:
            self._waiting.setdefault(name, set()).add(changed)
        try:
            written = await self._write(reservation)
            async with asyncio.timeout(timeout):
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
            found = volume_binding.progress(self._columns, reservation, written)
            if found.state is State.DONE:
                return
            if found.state is State.FAILED:
                raise NotBound(f"binding volumes: {found.why}")
            changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 1.0)  # nobody tells when the pod goes or its node

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


# ---- what may help whom -------------------------------------------------------------------------------------------


def _added(obj: Any) -> Event | None:
    match obj:
        case core_v1.PersistentVolumeClaim():
            return Event.CLAIM
        case core_v1.PersistentVolume():
            return Event.VOLUME
        case storage_v1.StorageClass():
            return Event.CLASS
        case storage_v1.CSINode():
            return Event.CSI_NODE
        case storage_v1.CSIStorageCapacity():
            return Event.CAPACITY
    return None


def _modified(old: Any, new: Any) -> Event | None:
    """What a change may help with; most do not."""
    match new:
        case core_v1.PersistentVolumeClaim():
            return Event.CLAIM
        case core_v1.PersistentVolume():
            return Event.VOLUME
        case storage_v1.StorageClass():
            return Event.CLASS if old.allowedTopologies != new.allowedTopologies else None
        case storage_v1.CSINode():
            before, after = limits_of(old), limits_of(new)
            return Event.CSI_NODE if any(d not in after or after[d] > limit for d, limit in before.items()) else None
        case storage_v1.CSIStorageCapacity():
            limit, held = volume_binding.most(new), volume_binding.most(old)
            return Event.CAPACITY if limit is not None and (held is None or limit > held) else None
        case storage_v1.CSIDriver():
            told = old.spec is not None and old.spec.storageCapacity
            return Event.CSI_DRIVER if told and not (new.spec is not None and new.spec.storageCapacity) else None
    return None
