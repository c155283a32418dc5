"""Attempts of pods about which extenders have a say.

Upstream asks extenders in the middle of a decision and lets everything else wait. Here such pods queue by themselves and are tried
one after the other, the more important first, so that an extender that counts for itself sees one pod at a time, as it is
used to; pods that concern no extender pass by. While an extender is asked others are placed, so what it leaves is decided about
anew (`core.extended`), and if all of that is taken by then the pod is tried again at once.

In: queued pods. Out: `attempt.Decision`s, handed on as they are made.

Upstream counterparts: findNodesThatPassExtenders, prioritizeNodes (pkg/scheduler/schedule_one.go), callExtenders
(framework/preemption).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from navarch.api.core import v1 as core_v1
from navarch.scheduler.core import extended, preempt
from navarch.scheduler.core.attempt import Attempt, Decision, Fail, Place, TryAgain
from navarch.scheduler.core.decide import Unschedulable
from navarch.scheduler.core.decider import Decider
from navarch.scheduler.core.extended import NodeRejection
from navarch.scheduler.core.plugins.own import PluginFailed
from navarch.scheduler.core.preempt import Budget, Candidate, NoCandidate
from navarch.scheduler.core.queue import QueuedPod
from navarch.scheduler.core.terms import PodInfo
from navarch.scheduler.extenders.client import Extender, ExtenderFailed, Victims

_log = logging.getLogger(__name__)
NO_CANDIDATE = "no candidate node for preemption"


class Cluster(Protocol):
    """What is asked of the observer."""

    budgets: tuple[Budget, ...]

    def attempt(self, queued: QueuedPod) -> Attempt | None: ...

    def node(self, name: str) -> core_v1.Node | None: ...

    def pod(self, key: str) -> core_v1.Pod | None: ...


class ExtenderAttempts:
    """Tries pods with the help of extenders."""

    def __init__(self, extenders: Sequence[Extender], cluster: Cluster, decider: Decider, execute: Callable[[Decision], None]) -> None:
        self._extenders = tuple(extenders)
        self._cluster = cluster
        self._decider = decider
        self._core = decider.core
        self._execute = execute
        self._queue: list[tuple[int, bool, float, int, QueuedPod]] = []
        self._count = 0
        self._wakeup = asyncio.Event()

    def put(self, queued: QueuedPod) -> None:
        """A pod to be tried here."""
        self._count += 1
        heapq.heappush(self._queue, (-queued.priority, queued.attempts > 0, queued.since, self._count, queued))
        self._wakeup.set()

    async def run(self) -> None:
        """Tries pods until cancelled."""
        try:
            while True:
                while not self._queue:
                    self._wakeup.clear()
                    await self._wakeup.wait()
                *_, queued = heapq.heappop(self._queue)
                attempt = self._cluster.attempt(queued)
                if attempt is not None:
                    await self._try(attempt)
        finally:
            for extender in self._extenders:
                await extender.close()

    # ---- one pod ----

    async def _try(self, attempt: Attempt) -> None:
        try:
            await self._attempt(attempt)
        except (ExtenderFailed, PluginFailed) as error:
            if self._cluster.attempt(attempt.queued) is not None:
                self._execute(Fail(attempt, str(error)))

    async def _attempt(self, attempt: Attempt) -> None:
        columns, info = self._core.columns, attempt.info
        nominated = columns.withdraw(info.uid)
        offered = extended.feasible_nodes(self._core, info, attempt.profile)
        if isinstance(offered, Unschedulable):
            await self._refuse(attempt, offered, nominated)
            return
        if nominated is not None:  # others must not take the room meanwhile
            columns.nominate(info, nominated)
        kept, rejected = await self._filter(attempt.pod, offered)
        points = await self._prioritize(attempt.pod, kept)
        now = self._cluster.attempt(attempt.queued)
        if now is None:
            return
        nominated = columns.withdraw(info.uid)
        if not kept:
            await self._refuse(now, extended.refused(self._core, now.info, now.profile, rejected, offered), nominated)
            return
        chosen = extended.choose(self._core, now.info, now.seed, now.profile, {name: points.get(name, 0) for name in kept})
        self._execute(TryAgain(now) if chosen is None else Place(now, chosen))

    async def _filter(self, pod: core_v1.Pod, offered: Sequence[str]) -> tuple[tuple[str, ...], dict[str, NodeRejection]]:
        """The nodes that all extenders leave, asked one after the other, and what they said of the others."""
        left, rejected = tuple(offered), dict[str, NodeRejection]()
        for extender in self._extenders:
            if not left:
                break
            if not extender.settings.filter_verb or not extender.concerns(pod):
                continue
            try:
                kept = await extender.filter(pod, self._objects(left))
            except ExtenderFailed as error:
                if not extender.settings.ignorable:
                    raise
                _log.info("extender %s is passed over: %s", extender.name, error)
                continue
            left, rejected = kept.nodes, {**rejected, **kept.refused}
        return left, rejected

    async def _prioritize(self, pod: core_v1.Pod, names: Sequence[str]) -> dict[str, int]:
        """Node → points of all extenders, asked at once. One that fails gives none."""
        asked = [e for e in self._extenders if names and e.settings.prioritize_verb and e.concerns(pod)]
        nodes = self._objects(names)
        total: dict[str, int] = {}
        for extender, answer in zip(asked, await asyncio.gather(*(e.prioritize(pod, nodes) for e in asked), return_exceptions=True), strict=True):
            if isinstance(answer, ExtenderFailed):
                _log.info("extender %s gives no points: %s", extender.name, answer)
                continue
            if isinstance(answer, BaseException):
                raise answer
            for name, points in answer.items():
                total[name] = total.get(name, 0) + points
        return total

    def _objects(self, names: Sequence[str]) -> list[core_v1.Node]:
        return [node for name in names if (node := self._cluster.node(name)) is not None]

    # ---- eviction ----

    async def _refuse(self, attempt: Attempt, refused: Unschedulable, nominated: str | None) -> None:
        found: Candidate | NoCandidate | None = None
        if refused.nodes and attempt.profile.preempts:
            candidates = self._decider.preemptor.candidates(attempt.info, refused, attempt.profile, self._cluster.budgets, nominated, attempt.seed)
            found = candidates if isinstance(candidates, NoCandidate) else await self._vet(attempt.pod, candidates)
        now = self._cluster.attempt(attempt.queued)
        if now is not None:
            self._execute(self._decider.refuse(now, refused, found, nominated))

    async def _vet(self, pod: core_v1.Pod, candidates: Sequence[Candidate]) -> Candidate | NoCandidate:
        """The candidate that hurts least, of those that the extenders leave or made of them."""
        left = {candidate.node: candidate for candidate in candidates}
        for extender in self._extenders:
            if not extender.settings.preempt_verb or not extender.concerns(pod):
                continue
            try:
                told = await extender.preempt(pod, {node: self._victims(candidate) for node, candidate in left.items()})
                left = self._understood(extender, told)
            except ExtenderFailed as error:
                if extender.settings.ignorable:
                    _log.info("extender %s is passed over: %s", extender.name, error)
                    continue
                return NoCandidate(str(error))
            if not left:
                return NoCandidate(NO_CANDIDATE)
        return preempt.best(list(left.values()))

    def _victims(self, candidate: Candidate) -> Victims:
        pods = (self._cluster.pod(victim.key) for victim in candidate.victims)
        return Victims(tuple(p for p in pods if p is not None), candidate.violations)

    def _understood(self, extender: Extender, told: Mapping[str, tuple[tuple[str, ...], int]]) -> dict[str, Candidate]:
        found: dict[str, Candidate] = {}
        for node, (uids, violations) in told.items():
            if not uids:
                if extender.settings.ignorable:
                    continue
                raise ExtenderFailed(f'expected at least one victim pod on node "{node}"')
            found[node] = Candidate(node, tuple(self._on(extender, node, uid) for uid in uids), violations)
        return found

    def _on(self, extender: Extender, node: str, uid: str) -> PodInfo:
        columns = self._core.columns
        slot = columns.slots.get(node)
        if slot is None:
            raise ExtenderFailed(f'nodeinfo not found for node name "{node}"')
        placed = columns.by_slot[slot].get(uid)
        if placed is None:
            text = f"claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node"
            raise ExtenderFailed(f"extender: {extender.name} {text}")
        return placed.info
