"""What if: the real core on a copy of a cluster.

In: a `Snapshot` of API objects, from a live cluster or a dump. Out: where pods would go, who would be evicted, what stays pending
and why, how full nodes get. Nothing outside the copy is touched.

Upstream has no counterpart; the cluster autoscaler's simulator and cluster-capacity are relatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.objects import meta
from navarch.objects import pods as pod_states
from navarch.scheduler.core import decide, explain, owners, terms
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.preempt import Budget, Candidate, NoCandidate, Preemptor, budget_of
from navarch.scheduler.core.profile import DEFAULT, Profile
from navarch.scheduler.core.terms import PodInfo, Reader
from navarch.scheduler.core.view import View
from navarch.scheduler.core.volumes import reserving
from navarch.scheduler.core.volumes.storage import StorageObject


@dataclass(slots=True)
class Snapshot:
    """A cluster's objects at one time."""

    nodes: list[core_v1.Node]
    pods: list[core_v1.Pod] = field(default_factory=list)
    namespaces: list[core_v1.Namespace] = field(default_factory=list)
    budgets: tuple[Budget, ...] = ()
    services: list[core_v1.Service] = field(default_factory=list)
    controllers: dict[tuple[str, str, str, str], Any] = field(default_factory=dict)
    """Those that default spreading looks at, by apiVersion, kind, namespace and name."""
    storage: list[StorageObject] = field(default_factory=list)

    @classmethod
    def of(cls, objects: Iterable[Any]) -> Snapshot:
        """From objects of any kinds; those that do not matter here are passed over."""
        made, budgets = cls([]), []
        for obj in objects:
            match obj:
                case core_v1.Node():
                    made.nodes.append(obj)
                case core_v1.Pod():
                    made.pods.append(obj)
                case core_v1.Namespace():
                    made.namespaces.append(obj)
                case core_v1.Service():
                    made.services.append(obj)
                case policy_v1.PodDisruptionBudget():
                    budgets.append(budget_of(obj))
                case _ if isinstance(obj, StorageObject):
                    made.storage.append(obj)
                case _ if (getattr(obj, "apiVersion", ""), getattr(obj, "kind", "")) in owners.CONTROLLERS:
                    made.controllers[obj.apiVersion, obj.kind, obj.metadata.namespace or "", obj.metadata.name or ""] = obj
        made.budgets = tuple(budgets)
        return made

    def spreads(self, pod: core_v1.Pod, profile: Profile) -> tuple[terms.SpreadTerm, ...]:
        """The default topology spread of a pod that belongs to something."""
        namespace = meta.of(pod).namespace or ""
        reference, holder = owners.controller(pod), None
        if reference is not None:
            holder = self.controllers.get((reference.apiVersion or "", reference.kind or "", namespace, reference.name or ""))
        services = (s for s in self.services if meta.of(s).namespace == namespace)
        return owners.spreads(pod, owners.selector(pod, services, holder), profile)


@dataclass(frozen=True, slots=True)
class Placement:
    """What became of one pod: its node, or why it has none; the pods that had to go for it."""

    pod: str
    node: str
    why: str = ""
    evicted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Utilization:
    """How full a node is: resource → (requested, allocatable)."""

    node: str
    amounts: dict[str, tuple[int, int]]


class Simulation:
    """A copy of a cluster to try things on."""

    def __init__(self, snapshot: Snapshot, profile: Profile = DEFAULT) -> None:
        self.core = Core()
        self.profile = profile
        self.snapshot = snapshot
        self._reader = Reader()
        self._preemptor = Preemptor(self.core.columns)
        self._pods: dict[str, core_v1.Pod] = {}
        for namespace in snapshot.namespaces:
            m = meta.of(namespace)
            self.core.columns.namespaces[m.name or ""] = m.labels or {}
        for obj in snapshot.storage:
            self.core.columns.storage.put(obj)
        for node in snapshot.nodes:
            self.core.columns.put_node(node)
        for pod in snapshot.pods:
            self._put(pod)

    def _put(self, pod: core_v1.Pod) -> None:
        """Counts a pod where it is, or the room it waits for."""
        if pod_states.finished(pod):
            return
        info = self._reader.read(pod)
        if info.node_name:
            self._pods[info.uid] = pod
            self.core.columns.put_pod(info, info.node_name)
        elif pod.status is not None and pod.status.nominatedNodeName and terms.waits(pod):
            self.core.columns.nominate(info, pod.status.nominatedNodeName)

    def view(self, info: PodInfo) -> View:
        return View(self.core.columns, info.terms, self.profile.arguments)

    def read(self, pod: core_v1.Pod) -> PodInfo:
        """What a pod that is to be placed asks for."""
        return self._reader.read(pod, self.snapshot.spreads(pod, self.profile))

    def attempt(self, info: PodInfo, seed: int, *, evicting: bool = True) -> tuple[Chosen | Unschedulable, Candidate | NoCandidate]:
        """One decision as the scheduler makes it, and what preemption came to. Changes nothing but the pod's own nomination."""
        nominated = self.core.columns.withdraw(info.uid)
        outcome = self.core.schedule(info, seed, self.profile)
        if isinstance(outcome, Chosen) or not outcome.nodes or not evicting or not self.profile.preempts:
            return outcome, NoCandidate("")
        return outcome, self._preemptor.preempt(info, outcome, self.profile, self.snapshot.budgets, nominated, seed)

    def place(self, pods: Sequence[core_v1.Pod], *, evicting: bool = True) -> list[Placement]:
        """Schedules pods, the more important first; victims of preemption are gone and are not placed again."""
        ordered = sorted(pods, key=lambda p: -((p.spec.priority if p.spec else None) or 0))
        return [self._place(self.read(pod), seed, evicting=evicting) for seed, pod in enumerate(ordered)]

    def _place(self, info: PodInfo, seed: int, *, evicting: bool) -> Placement:
        outcome, plan = self.attempt(info, seed, evicting=evicting)
        if isinstance(outcome, Chosen):
            self.give(info, outcome.node)
            return Placement(info.key, outcome.node)
        if isinstance(plan, Candidate):
            for victim in plan.victims:
                self.core.columns.remove_pod(victim.uid)
            self.give(info, plan.node)
            return Placement(info.key, plan.node, "", tuple(v.key for v in plan.victims))
        near = explain.nearest(self.view(info), self.profile) if outcome.nodes else ""
        return Placement(info.key, "", f"{outcome.message}{f' Nearest miss: {near}.' if near else ''}")

    def give(self, info: PodInfo, node: str) -> None:
        """Puts a pod on a node, with the volumes it gets there."""
        if info.terms.volumes is not None and "VolumeBinding" not in self.profile.disabled_filters:
            reserving.reserve(self.view(info), node)
        self.core.columns.put_pod(info, node)

    def drain(self, name: str, *, remove: bool) -> list[core_v1.Pod]:
        """Takes a node out (cordoned, or removed); its pods, to be placed elsewhere. Those of DaemonSets go with it."""
        columns = self.core.columns
        slot = columns.slots.get(name)
        if slot is None or not columns.alive[slot]:
            raise ValueError(f'there is no node "{name}"')
        gone = [self._pods[uid] for uid in list(columns.by_slot[slot]) if uid in self._pods]
        moving = [pod for pod in gone if not _stays(pod)]
        for pod in gone if remove else moving:
            columns.remove_pod(meta.of(pod).uid or "")
        if remove:
            columns.remove_node(name)
        else:
            columns.unschedulable[slot] = True
            columns.node_generation += 1
        return [unbound(pod) for pod in moving]

    def capacity(self, pod: core_v1.Pod, most: int = 100_000) -> tuple[list[Placement], str]:
        """How many more pods like this one fit, where, and why not one more."""
        found: list[Placement] = []
        for number in range(most):
            outcome = self.core.schedule(info := self.read(renamed(pod, f"{number}")), number, self.profile)
            if not isinstance(outcome, Chosen):
                return found, outcome.message
            self.give(info, outcome.node)
            found.append(Placement(info.key, outcome.node))
        return found, ""

    def utilization(self, resources: Sequence[str] = ("cpu", "memory", "pods")) -> list[Utilization]:
        """How full each node is."""
        columns = self.core.columns
        found = []
        for name, slot in sorted(columns.slots.items()):
            if columns.alive[slot]:
                rows = {r: columns.row(r) for r in resources}
                found.append(Utilization(name, {r: (int(columns.requested[i, slot]), int(columns.allocatable[i, slot])) for r, i in rows.items()}))
        return found

    def scores(self, info: PodInfo) -> dict[str, dict[str, int]]:
        """Node → plugin → weighted points, over the nodes that can take the pod."""
        evaluation = self.core.evaluations.get(info.terms, self.profile)
        mask = decide.feasible(evaluation, info.terms)
        parts = decide.parts(self.view(info), self.profile, mask)
        return {name: {p: int(v[slot]) for p, v in parts.items()} for name, slot in self.core.columns.slots.items() if mask[slot]}


def _stays(pod: core_v1.Pod) -> bool:
    """Pods of DaemonSets and mirror pods belong to their node."""
    return any(o.kind in ("DaemonSet", "Node") for o in meta.of(pod).ownerReferences or ())


def unbound(pod: core_v1.Pod) -> core_v1.Pod:
    """The pod, thought away from its node."""
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec or core_v1.PodSpec(), nodeName=None))


def renamed(pod: core_v1.Pod, suffix: str) -> core_v1.Pod:
    """The same pod under another name and uid."""
    m = pod.metadata or meta_v1.ObjectMeta()
    name = f"{m.name or m.generateName or 'pod'}-{suffix}"
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(m, name=name, uid=f"what-if/{m.namespace}/{name}"))
