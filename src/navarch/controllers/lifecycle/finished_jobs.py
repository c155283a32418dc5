"""Finished Jobs go when their time (`ttlSecondsAfterFinished`) is over.

Upstream counterpart: pkg/controller/ttlafterfinished.
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.batch import v1 as batch_v1
from navarch.controllers.core import jobs
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import errors, timestamps
from navarch.objects import meta


class TtlController(Reconciler):
    """Deletes finished Jobs whose time is over."""

    name = "ttl-after-finished"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._jobs = context.informer(batch_v1.Job)

    def watches(self) -> Iterable[Watch]:
        yield Watch(batch_v1.Job, lambda j: [meta.key(j)] if jobs.spec_of(j).ttlSecondsAfterFinished is not None else [])

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.by_key(key)
        if job is None or meta.of(job).deletionTimestamp is not None:
            return None
        ttl = jobs.spec_of(job).ttlSecondsAfterFinished
        end = jobs.condition(job, "Complete") or jobs.condition(job, "Failed")
        if ttl is None or end is None or not end.lastTransitionTime:
            return None
        left = timestamps.parse(end.lastTransitionTime) + ttl - self._context.now()
        if left > 0:
            return left + 0.05
        m = meta.of(job)
        try:
            await self._context.client.delete(batch_v1.Job, m.name or "", m.namespace or "", uid=m.uid, propagation="Foreground")
        except (errors.NotFound, errors.Conflict):
            return None
        return None
