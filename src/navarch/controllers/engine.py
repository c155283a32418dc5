"""What runs a controller: informers feed a queue of keys, workers reconcile one key at a time.

A controller is a value: which kinds it watches, how their changes become keys, and one `reconcile(key)`. It observes through
the shared informers, decides by pure functions, and acts through the client. After an action the controller must not decide
again on a cache that does not show it yet: it says what it expects (`Expectations`), and its key waits until the cache has
caught up or the time for it is over.

Upstream counterparts: client-go's shared informers and work queues, pkg/controller's ControllerExpectations.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from navarch.api.scalars import Object
from navarch.client import informer as informers
from navarch.client.events import Recorder
from navarch.client.index import Indexer
from navarch.client.informer import Added, Deleted, Informer, Modified
from navarch.client.queue import WorkQueue
from navarch.client.rest import Client, Unreachable
from navarch.lib import backoff, tasks
from navarch.machinery import errors

T = TypeVar("T", bound=Object)
Keys = Callable[[Any], Iterable[str]]
_log = logging.getLogger(__name__)
_RETRY = backoff.Policy(first=0.02, most=60.0)


class Context:
    """What controllers share: the client, the informers, the event recorder, the clock."""

    def __init__(self, client: Client, recorder: Recorder, options: Mapping[str, Any] | None = None) -> None:
        self.client = client
        self.recorder = recorder
        self.options = dict(options or {})
        self._informers: dict[type[Object], Informer[Any]] = {}

    def index(self, kind: type[Object], name: str, indexer: Indexer[Any]) -> None:
        """Asks for an index on a kind's informer."""
        self.informer(kind).add_index(name, indexer)

    def informer(self, kind: type[T]) -> Informer[T]:
        """The informer of a kind, one for all controllers."""
        found = self._informers.get(kind)
        if found is None:
            found = self._informers[kind] = Informer(self.client, kind)
        return found

    async def run(self, group: tasks.Group) -> None:
        """Starts all informers and waits until each has its first list."""
        for kind, informer in self._informers.items():
            group.start(f"informer {kind.__name__}", informer.run())
        for informer in self._informers.values():
            await informer.synced.wait()

    @staticmethod
    def now() -> float:
        """Seconds since the epoch: for what is written into objects."""
        return time.time()

    @staticmethod
    def monotonic() -> float:
        """Seconds that never jump: for how long something lasts."""
        return time.monotonic()


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


class Runner:
    """Runs one controller: its queue and workers."""

    def __init__(self, controller: Reconciler, context: Context) -> None:
        self._controller = controller
        self.queue: WorkQueue[str] = WorkQueue(_RETRY)
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


@dataclass(slots=True)
class _Awaited:
    creations: int
    deletions: set[str]
    since: float


@dataclass(slots=True)
class Expectations:
    """Creations and deletions a controller made and has not yet seen in its cache, per key."""

    timeout: float = 300.0
    _awaited: dict[str, _Awaited] = field(default_factory=dict)

    def expect(self, key: str, creations: int, deletions: Iterable[str], now: float) -> None:
        self._awaited[key] = _Awaited(creations, set(deletions), now)

    def created(self, key: str) -> None:
        """One creation was seen, or failed."""
        held = self._awaited.get(key)
        if held is not None:
            held.creations = max(0, held.creations - 1)

    def deleted(self, key: str, uid: str) -> None:
        """A deletion was seen, or failed."""
        held = self._awaited.get(key)
        if held is not None:
            held.deletions.discard(uid)

    def fulfilled(self, key: str, now: float) -> bool:
        """Whether the cache shows all that was done."""
        held = self._awaited.get(key)
        if held is None or (not held.creations and not held.deletions) or now - held.since > self.timeout:
            self._awaited.pop(key, None)
            return True
        return False

    def forget(self, key: str) -> None:
        self._awaited.pop(key, None)


async def gather(work: Iterable[Awaitable[Any]], most: int = 500) -> list[BaseException | Any]:
    """Does things side by side, at most so many; failures come back as values."""
    found: list[BaseException | Any] = []
    batch: list[Awaitable[Any]] = []
    for item in work:
        batch.append(item)
        if len(batch) == most:
            found += await asyncio.gather(*batch, return_exceptions=True)
            batch = []
    if batch:
        found += await asyncio.gather(*batch, return_exceptions=True)
    return found
