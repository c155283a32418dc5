"""The lane of pods about which extenders have a say.

Upstream asks extenders in the middle of a decision and lets everything else wait. Here such pods queue in a lane of their own and are
tried one after the other, the more important first, so that an extender that counts for itself sees one pod at a time, as it is
used to; pods that concern no extender pass by. While an extender is asked others are placed, so what it leaves is decided about
anew (`core.offers`), and if all of that is taken by then the pod is tried again at once.

Upstream counterparts: findNodesThatPassExtenders, prioritizeNodes, extendersBinding (pkg/scheduler/schedule_one.go), callExtenders
(framework/preemption).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Mapping, Sequence

from navarch.api.core import v1 as core_v1
from navarch.scheduler.attempts import Case, Desk
from navarch.scheduler.core import offers, plugins, preempt
from navarch.scheduler.core.offers import No
from navarch.scheduler.core.preempt import Budget, Helpless, Preempted, Preemptor
from navarch.scheduler.core.schedule import Core, Unschedulable
from navarch.scheduler.core.terms import Demand
from navarch.scheduler.extenders import Extender, ExtenderFailed, Victims
from navarch.scheduler.queue import Waiting

_log = logging.getLogger(__name__)
NO_CANDIDATE = "no candidate node for preemption"


class Lane:
    """Tries pods with the help of extenders."""

    def __init__(
        self,
        extenders: Sequence[Extender],
        desk: Desk,
        core: Core,
        preemptor: Preemptor,
        node: Callable[[str], core_v1.Node | None],
        pod: Callable[[str], core_v1.Pod | None],
        budgets: Callable[[], Sequence[Budget]],
    ) -> None:
        self._extenders = tuple(extenders)
        self._desk = desk
        self._core = core
        self._preemptor = preemptor
        self._node, self._pod, self._budgets = node, pod, budgets
        self._waiting: list[tuple[int, bool, float, int, Waiting]] = []
        self._count = 0
        self._wakeup = asyncio.Event()

    def asked(self, pod: core_v1.Pod) -> tuple[str, ...]:
        """The extenders that have a say about where a pod goes."""
        return tuple(e.name for e in self._extenders if _decides(e) and e.concerns(pod))

    def put(self, waiting: Waiting) -> None:
        """A pod to be tried here."""
        self._count += 1
        heapq.heappush(self._waiting, (-waiting.priority, waiting.attempts > 0, waiting.since, self._count, waiting))
        self._wakeup.set()

    async def run(self) -> None:
        """Tries pods until cancelled."""
        try:
            while True:
                while not self._waiting:
                    self._wakeup.clear()
                    await self._wakeup.wait()
                *_, waiting = heapq.heappop(self._waiting)
                case = self._desk.case(waiting)
                if case is not None:
                    await self._try(case)
        finally:
            for extender in self._extenders:
                await extender.close()

    async def bind(self, pod: core_v1.Pod, node: str) -> bool:
        """Has an extender bind a pod, if one does that for it. Raises ExtenderFailed."""
        for extender in self._extenders:
            if not extender.settings.bind_verb or not extender.concerns(pod):
                continue
            try:
                await extender.bind(pod, node)
            except ExtenderFailed as error:
                if extender.settings.ignorable:
                    _log.info("extender %s is passed over: %s", extender.name, error)
                    continue
                raise
            return True
        return False

    # ---- one pod ----

    async def _try(self, case: Case) -> None:
        try:
            await self._attempt(case)
        except (ExtenderFailed, plugins.PluginFailed) as error:
            if self._desk.case(case.waiting) is not None:
                self._desk.failed(case, str(error))

    async def _attempt(self, case: Case) -> None:
        nominated = self._core.columns.withdraw(case.demand.uid)
        offered = offers.nodes(self._core, case.demand, case.profile)
        if isinstance(offered, Unschedulable):
            await self._refuse(case, offered, nominated)
            return
        if nominated is not None:  # others must not take the room meanwhile
            self._core.columns.nominate(case.demand, nominated)
        kept, said = await self._filter(case.pod, offered)
        points = await self._prioritize(case.pod, kept)
        now = self._desk.case(case.waiting)
        if now is None:
            return
        nominated = self._core.columns.withdraw(case.demand.uid)
        if not kept:
            await self._refuse(now, offers.refused(self._core, now.demand, now.profile, said, offered), nominated)
            return
        among = {name: points.get(name, 0) for name in kept}
        chosen = offers.choose(self._core, now.demand, now.seed, now.profile, among)
        if chosen is None:
            self._desk.again(now)
        else:
            self._desk.placed(now, chosen)

    async def _filter(self, pod: core_v1.Pod, offered: Sequence[str]) -> tuple[tuple[str, ...], dict[str, No]]:
        """The nodes that all extenders leave, asked one after the other, and what they said of the others."""
        left, said = tuple(offered), dict[str, No]()
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
            left, said = kept.nodes, {**said, **kept.refused}
        return left, said

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
        return [node for name in names if (node := self._node(name)) is not None]

    # ---- eviction ----

    async def _refuse(self, case: Case, refused: Unschedulable, nominated: str | None) -> None:
        plan: Preempted | Helpless | None = None
        if refused.nodes and case.profile.preempts:
            found = self._preemptor.options(case.demand, refused, case.profile, self._budgets(), nominated, case.seed)
            plan = found if isinstance(found, Helpless) else await self._vet(case.pod, found)
        now = self._desk.case(case.waiting)
        if now is not None:
            self._desk.refused(now, refused, plan, nominated)

    async def _vet(self, pod: core_v1.Pod, options: Sequence[Preempted]) -> Preempted | Helpless:
        """The option that hurts least, of those that the extenders leave or made of them."""
        left = {option.node: option for option in options}
        for extender in self._extenders:
            if not extender.settings.preempt_verb or not extender.concerns(pod):
                continue
            try:
                told = await extender.preempt(pod, {node: self._victims(option) for node, option in left.items()})
                left = self._understood(extender, told)
            except ExtenderFailed as error:
                if extender.settings.ignorable:
                    _log.info("extender %s is passed over: %s", extender.name, error)
                    continue
                return Helpless(str(error))
            if not left:
                return Helpless(NO_CANDIDATE)
        return preempt.best(list(left.values()))

    def _victims(self, option: Preempted) -> Victims:
        pods = (self._pod(victim.key) for victim in option.victims)
        return Victims(tuple(p for p in pods if p is not None), option.violations)

    def _understood(self, extender: Extender, told: Mapping[str, tuple[tuple[str, ...], int]]) -> dict[str, Preempted]:
        found: dict[str, Preempted] = {}
        for node, (uids, violations) in told.items():
            if not uids:
                if extender.settings.ignorable:
                    continue
                raise ExtenderFailed(f'expected at least one victim pod on node "{node}"')
            found[node] = Preempted(node, tuple(self._on(extender, node, uid) for uid in uids), violations)
        return found

    def _on(self, extender: Extender, node: str, uid: str) -> Demand:
        columns = self._core.columns
        slot = columns.slots.get(node)
        if slot is None:
            raise ExtenderFailed(f'nodeinfo not found for node name "{node}"')
        placed = columns.by_slot[slot].get(uid)
        if placed is None:
            text = f"claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node"
            raise ExtenderFailed(f"extender: {extender.name} {text}")
        return placed.demand


def _decides(extender: Extender) -> bool:
    """Whether it does more than bind."""
    settings = extender.settings
    return bool(settings.filter_verb or settings.prioritize_verb or settings.preempt_verb)
