"""Informers of storage: they keep the columns' storage, and tell which of its changes may help a waiting pod.

Upstream counterparts: the assume caches of plugins/volumebinding, EventsToRegister of the volume plugins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.storage import v1 as storage_v1
from navarch.client.informer import Added, Change, Deleted, Informer, Modified
from navarch.client.rest import Client
from navarch.machinery import claims
from navarch.scheduler.cache import Cache
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.volumes import binding
from navarch.scheduler.core.volumes.storage import KINDS, limits_of


class StorageObserver:
    """Keeps the cache's storage as the API server shows it."""

    def __init__(self, client: Client, cache: Cache, changed: Callable[[str], None]) -> None:
        """`changed` is told of each claim (by its key) and volume (by its name) that changed."""
        self._cache = cache
        self._changed_name = changed
        self.informers: tuple[Informer[Any], ...] = tuple(Informer(client, kind) for kind in KINDS)

    def start(self) -> None:
        """Takes what the informers have, and follows them; call it once they have synced."""
        for informer in self.informers:
            informer.subscribe(self._changed)

    def _changed(self, change: Change[Any]) -> None:
        storage = self._cache.columns.storage
        match change:
            case Added(obj):
                storage.put(obj)
                event = _added(obj)
            case Modified(old, obj):
                storage.put(obj)
                event = _modified(old, obj)
            case Deleted(obj):
                storage.remove(obj)
                event = Event.ATTACHMENT_GONE if isinstance(obj, storage_v1.VolumeAttachment) else None
        if event is not None:
            self._cache.happened(event, claims.key(obj) if event is Event.CLAIM else "")
        if isinstance(obj, core_v1.PersistentVolumeClaim):
            self._changed_name(claims.key(obj))
        elif isinstance(obj, core_v1.PersistentVolume):
            self._changed_name(claims.meta(obj).name or "")


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
            limit, held = binding.most(new), binding.most(old)
            return Event.CAPACITY if limit is not None and (held is None or limit > held) else None
        case storage_v1.CSIDriver():
            told = old.spec is not None and old.spec.storageCapacity
            return Event.CSI_DRIVER if told and not (new.spec is not None and new.spec.storageCapacity) else None
    return None
