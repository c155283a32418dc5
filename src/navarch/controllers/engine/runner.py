"""Runs one controller: what its watches see becomes keys, and workers reconcile one key at a time.

In: a `Reconciler`. A key that fails comes again later each time; what a change of it brings is never nearer than its back-off allows.

Upstream counterparts: client-go's shared informers and work queues.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from navarch.api.scalars import Object
from navarch.client import informer as informers
from navarch.client.informer import Added, Deleted, Modified
from navarch.client.rest import Unreachable
from navarch.controllers.engine.context import Context
from navarch.lib import backoff, tasks
from navarch.lib.queue import WorkQueue
from navarch.machinery import errors

Keys = Callable[[Any], Iterable[str]]
_log = logging.getLogger(__name__)
_RETRY = backoff.Policy(first=0.02, most=60.0)


@dataclass(frozen=True, slots=True)
class Watch:
    """A kind, and the keys an object of it (or its former self) concerns; `when` says which changes matter."""

    kind: type[Object]
    keys: Keys
    when: Callable[[informers.Change[Any]], bool] = lambda change: True


class Reconciler(Protocol):
    """A controller, as the engine sees it: made with the context, before informers run."""

    name: str = ""
    workers: int = 5

    def watches(self) -> Iterable[Watch]:
        """What it watches, and the keys each change concerns."""
        ...

    async def reconcile(self, key: str) -> float | None:
        """Brings one key to what it should be; seconds after which to look at it again, or None."""
        ...

    async def run(self) -> None:
        """A loop of its own beside the queue, where a controller needs one."""
        return


class Runner:
    """Runs one controller: its queue and workers."""

    def __init__(self, controller: Reconciler, context: Context) -> None:
        self._controller = controller
        self.queue: WorkQueue[str] = WorkQueue(_RETRY, context.clock)
        for watch in controller.watches():
            context.informer(watch.kind).subscribe(self._receiver(watch))

    def _receiver(self, watch: Watch) -> Callable[[informers.Change[Any]], None]:
        add, keys, when = self.queue.add, watch.keys, watch.when

        def receive(change: informers.Change[Any]) -> None:
            if not when(change):
                return
            match change:
                case Added(obj) | Deleted(obj):
                    found = set(keys(obj))
                case Modified(old, new):
                    found = {*keys(old), *keys(new)}
            for key in found:
                add(key)

        return receive

    async def run(self, group: tasks.Group) -> None:
        """Starts the workers."""
        for number in range(self._controller.workers):
            group.start(f"{self._controller.name} worker {number}", self._work())
        group.start(f"{self._controller.name} loop", self._controller.run())

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                again = await self._controller.reconcile(key)
            except (errors.Conflict, Unreachable) as error:
                _log.debug("%s %s: %s", self._controller.name, key, error)
                self.queue.add_rate_limited(key)
            except errors.ApiError as error:
                _log.info("%s %s: %s", self._controller.name, key, error)
                self.queue.add_rate_limited(key)
            except asyncio.CancelledError:
                raise
            except Exception:
                _log.exception("%s %s", self._controller.name, key)
                self.queue.add_rate_limited(key)
            else:
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            finally:
                self.queue.done(key)
