"""The binder: a chosen node is assumed at once; the pod's volumes, then the pod, are bound beside further decisions.

In: attempts and the node chosen for each. When binding fails, what was assumed is taken back and the pod is tried again.

Upstream counterpart: bindingCycle in pkg/scheduler/schedule_one.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.events import Recorder
from navarch.client.rest import Client, Unreachable
from navarch.lib import tasks
from navarch.machinery import errors
from navarch.objects import meta
from navarch.scheduler.cache import Cache
from navarch.scheduler.core.attempt import Attempt
from navarch.scheduler.core.journal import Record
from navarch.scheduler.core.volumes.binding import Reservation
from navarch.scheduler.extenders import client as extender_client
from navarch.scheduler.extenders.client import Extender, ExtenderFailed
from navarch.scheduler.statuses import Pending, Statuses, annotations_of
from navarch.scheduler.volume_binder import NotBound, VolumeBinder

_log = logging.getLogger(__name__)
AT_ONCE = 64
"""How many bindings are under way at once."""


class Binder:
    """Binds pods."""

    def __init__(
        self, client: Client, cache: Cache, volumes: VolumeBinder, extenders: Sequence[Extender], statuses: Statuses, recorder: Recorder
    ) -> None:
        self._client = client
        self._cache = cache
        self._volumes = volumes
        self._extenders = tuple(extenders)
        self._statuses = statuses
        self._recorder = recorder
        self._slots = asyncio.Semaphore(AT_ONCE)

    def start(self, attempt: Attempt, record: Record, group: tasks.Group) -> None:
        """The pod counts on its node from now on, and is bound in a task of the group."""
        reserved = self._volumes.reserve(attempt, record.node)
        self._cache.assume(attempt.info, record.node)
        group.start(f"bind {attempt.queued.key}", self._bind(attempt, record, reserved))

    async def _bind(self, attempt: Attempt, record: Record, reserved: Reservation | None) -> None:
        if reserved is not None and not await self._bind_volumes(attempt, reserved):
            return
        pod, m = attempt.pod, meta.of(attempt.pod)
        try:
            if not await extender_client.bind(self._extenders, pod, record.node):
                async with self._slots:
                    await self._client.create_action(core_v1.Pod, m.name or "", "binding", _binding(m, record.node), m.namespace or "")
        except (errors.ApiError, Unreachable, ExtenderFailed) as error:
            self._undo(attempt, error)
            if isinstance(error, ExtenderFailed):
                self._statuses.pending(pod, Pending(str(error), "", "SchedulerError"))
            return
        message = f"Successfully assigned {m.namespace}/{m.name} to {record.node}"
        self._recorder.event(pod, "Normal", "Scheduled", message, component=attempt.profile.name, annotations=annotations_of(record))

    async def _bind_volumes(self, attempt: Attempt, reserved: Reservation) -> bool:
        """Binds a pod's volumes before the pod. Whether that came true; when not, all is taken back."""
        uid = attempt.queued.uid
        try:
            await self._volumes.bind(reserved, attempt.profile.arguments.bind_timeout, lambda: self._cache.assumed(uid))
        except NotBound as error:
            self._volumes.release(reserved)
            if self._cache.assumed(uid):
                message = f'running PreBind plugin "VolumeBinding": {error}'
                self._statuses.pending(attempt.pod, Pending(message, "", "SchedulerError"))
            self._undo(attempt, error)
            return False
        return True

    def _undo(self, attempt: Attempt, error: Exception) -> None:
        if self._cache.assumed(attempt.queued.uid):
            _log.info("binding %s: %s", attempt.queued.key, error)
            self._cache.undo(attempt.queued, gone=isinstance(error, errors.NotFound))


def _binding(m: meta_v1.ObjectMeta, node: str) -> core_v1.Binding:
    target = core_v1.ObjectReference(kind="Node", name=node)
    metadata = meta_v1.ObjectMeta(name=m.name, namespace=m.namespace, uid=m.uid)
    return core_v1.Binding(apiVersion="v1", kind="Binding", metadata=metadata, target=target)
