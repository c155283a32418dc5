"""The one door through which tasks start.

Every task has an owner (the group), a name and, where somebody waits for it, a readiness signal. A loop that fails is
reported and ends its group: components decide themselves what they retry (`lib.backoff`), so an exception that gets here
is a bug and must be seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self


class Group:
    """A structured group of named tasks: leaving the block cancels what still runs and waits for it."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.cancel()
        await self._group.__aexit__(kind, error, trace)

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts a task of this group. Its exception ends the group."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancels every task of the group; the block then ends normally."""
        for task in tuple(self._tasks):
            task.cancel()


async def stop(task: asyncio.Task[Any]) -> None:
    """Cancels one task and waits until it is gone."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def gather(work: Iterable[Awaitable[Any]], most: int = 500) -> list[BaseException | Any]:
    """Does things side by side, at most so many at once; failures come back as values, in the order of the work."""
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
