"""The cluster as columns: one slot per node, one array per property.

Rows are slots; a node keeps its slot until it goes, and freed slots are used again. Amounts are int64 in the scheduler's units.
Labels are dictionary-encoded: one array of codes per label key, -1 where a node has no such label; topology domains are just
these columns. Pods live in `placed`, by uid, so that taking one away is as cheap as adding it.

Who keeps something computed from the columns asks `changed_since` for the slots to compute again.

What it is not: it knows no API objects after `put_node` and `put_pod`, and decides nothing.

Upstream counterpart: pkg/scheduler/backend/cache (Cache, Snapshot, NodeInfo).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from navarch.api.core import v1 as core_v1
from navarch.objects import meta
from navarch.scheduler.core.arrays import Ints, LabelColumn, Mask, wider
from navarch.scheduler.core.counters import Counters, Placed
from navarch.scheduler.core.requests import PODS, amount
from navarch.scheduler.core.terms import PodInfo
from navarch.scheduler.core.volumes.storage import Storage

FIRST_RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")
FIELD = "\0"
"""Before the name of a node's field (`metadata.name`), so that no label is taken for it."""
_JOURNAL = 4096
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Columns:
    """Nodes, and what is used on each."""

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.names: list[str] = [""] * capacity
        self.tie_breakers: NDArray[np.uint64] = np.zeros(capacity, np.uint64)
        """A number made of each node's name, to draw among equals: the same draw whatever slots the nodes happen to have."""
        self.slots: dict[str, int] = {}
        self.alive: Mask = np.zeros(capacity, np.bool_)
        self.alive_count = 0
        self.unschedulable: Mask = np.zeros(capacity, np.bool_)
        self.resources: dict[str, int] = {name: i for i, name in enumerate(FIRST_RESOURCES)}
        self.allocatable: Ints = np.zeros((len(FIRST_RESOURCES), capacity), np.int64)
        self.requested: Ints = np.zeros((len(FIRST_RESOURCES), capacity), np.int64)
        self.scored: Ints = np.zeros((2, capacity), np.int64)
        self.labels: dict[str, LabelColumn] = {}
        self.taints: dict[tuple[str, str, str], Mask] = {}
        self.images: dict[str, tuple[int, Mask]] = {}
        """Image → size in bytes (as the first node to have it told), and the nodes that have it."""
        self.ports: dict[tuple[str, str, int], dict[int, int]] = {}
        self.placed: dict[str, Placed] = {}
        self.by_slot: list[dict[str, Placed]] = [{} for _ in range(capacity)]
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self.counters = Counters(self)
        self.storage = Storage()
        self.nominated: dict[int, dict[str, PodInfo]] = {}
        """Slot → pods that wait for room there to be made, by uid."""
        self.node_generation = 0
        """Grows with every change of a node's own properties: what is computed from those is good until then."""
        self.pod_generation = 0
        """Grows with every change of pods on nodes."""
        self._journal: list[int] = []
        self._journal_start = 0
        self._nominations: dict[str, int] = {}
        self._names: tuple[int, tuple[str, ...]] = (-1, ())
        self._free = list(range(capacity - 1, -1, -1))
        self._fingerprints: dict[str, object] = {}

    # ---- nodes ----

    def put_node(self, node: core_v1.Node) -> bool:
        """Adds or updates a node. Whether anything that matters here changed."""
        m = meta.of(node)
        name = m.name or ""
        spec, status = node.spec or core_v1.NodeSpec(), node.status or core_v1.NodeStatus()
        labels = m.labels or {}
        fingerprint = (labels, spec.taints, spec.unschedulable, status.allocatable, status.images)
        if name in self.slots and self._fingerprints.get(name) == fingerprint:
            return False
        self._fingerprints[name] = fingerprint
        slot = self.slots.get(name)
        if slot is None:
            slot = self._take_slot(name)
        self.node_generation += 1
        self.alive_count += not self.alive[slot]
        self.alive[slot] = True
        self.unschedulable[slot] = bool(spec.unschedulable)
        self._put_resources(slot, status.allocatable or {})
        self._put_labels(slot, {**labels, FIELD + "metadata.name": name})
        self._put_taints(slot, spec.taints or [])
        self._put_images(slot, status.images or [])
        return True

    def remove_node(self, name: str) -> None:
        """Forgets a node; its pods stay known, on a node that is not alive, until they are removed."""
        slot = self.slots.get(name)
        if slot is None:
            return
        self.node_generation += 1
        self._fingerprints.pop(name, None)
        self.alive_count -= bool(self.alive[slot])
        self.alive[slot] = False
        self.allocatable[:, slot] = 0
        for column in self.labels.values():
            column.codes[slot] = -1
        for mask in self.taints.values():
            mask[slot] = False
        self._drop_images(slot)
        for uid in list(self.nominated.get(slot, {})):
            self.withdraw(uid)
        if not self.by_slot[slot]:
            self._release(name, slot)

    def _release(self, name: str, slot: int) -> None:
        del self.slots[name]
        self.names[slot] = ""
        self._free.append(slot)

    def _take_slot(self, name: str) -> int:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self.slots[name] = slot
        self.names[slot] = name
        self.tie_breakers[slot] = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        return slot

    def _grow(self) -> None:
        old, new = self.capacity, self.capacity * 2
        self.capacity = new
        self.node_generation += 1  # whoever keeps arrays over slots must make them anew
        self.names += [""] * old
        self.tie_breakers = wider(self.tie_breakers, old)
        self.by_slot += [{} for _ in range(old)]
        self._free = list(range(new - 1, old - 1, -1))
        self.alive = wider(self.alive, old)
        self.unschedulable = wider(self.unschedulable, old)
        self.allocatable = wider(self.allocatable, old)
        self.requested = wider(self.requested, old)
        self.scored = wider(self.scored, old)
        for column in self.labels.values():
            column.codes = np.concatenate([column.codes, np.full(old, -1, np.int64)])
        self.taints = {k: wider(m, old) for k, m in self.taints.items()}
        self.images = {k: (size, wider(m, old)) for k, (size, m) in self.images.items()}
        self.counters.grow(old)

    def _put_resources(self, slot: int, allocatable: Mapping[str, str | int | float]) -> None:
        self.allocatable[:, slot] = 0
        for name, value in allocatable.items():
            row = self.row(name)  # may make the arrays anew
            self.allocatable[row, slot] = amount(name, value)

    def row(self, resource: str) -> int:
        """The row of a resource, made when it is new."""
        found = self.resources.get(resource)
        if found is None:
            found = self.resources[resource] = len(self.resources)
            empty = np.zeros((1, self.capacity), np.int64)
            self.allocatable = np.concatenate([self.allocatable, empty])
            self.requested = np.concatenate([self.requested, empty.copy()])
        return found

    def _put_labels(self, slot: int, labels: Mapping[str, str]) -> None:
        for key, column in self.labels.items():
            if key not in labels:
                column.codes[slot] = -1
        for key, value in labels.items():
            column = self.labels.setdefault(key, LabelColumn(self.capacity)) if key not in self.labels else self.labels[key]
            column.codes[slot] = column.code(value)

    def _put_taints(self, slot: int, taints: list[core_v1.Taint]) -> None:
        for mask in self.taints.values():
            mask[slot] = False
        for taint in taints:
            key = (taint.key or "", taint.value or "", taint.effect or "")
            if key not in self.taints:
                self.taints[key] = np.zeros(self.capacity, np.bool_)
            self.taints[key][slot] = True
        self.taints = {k: m for k, m in self.taints.items() if m.any()}

    def _put_images(self, slot: int, images: list[core_v1.ContainerImage]) -> None:
        self._drop_images(slot)
        for image in images:
            for name in image.names or ():
                if name not in self.images:
                    self.images[name] = (image.sizeBytes or 0, np.zeros(self.capacity, np.bool_))
                self.images[name][1][slot] = True

    def _drop_images(self, slot: int) -> None:
        for name, (_, mask) in list(self.images.items()):
            if mask[slot]:
                mask[slot] = False
                if not mask.any():
                    del self.images[name]

    def draw(self, slots: Ints, seed: int) -> int:
        """One of some slots."""
        if len(slots) == 1:
            return int(slots[0])
        return int(slots[np.argmax((self.tie_breakers[slots] ^ np.uint64(seed)) * _MIX)])

    def names_now(self) -> tuple[str, ...]:
        """The nodes' names by slot, to keep."""
        if self._names[0] != self.node_generation:
            self._names = (self.node_generation, tuple(self.names))
        return self._names[1]

    def label(self, key: str) -> Ints | None:
        """A label's codes over all slots; None when no node ever had it."""
        column = self.labels.get(key)
        return None if column is None else column.codes

    # ---- pods ----

    def put_pod(self, info: PodInfo, node: str) -> None:
        """Places a pod on a node; a pod that was elsewhere, or asked for something else, moves."""
        if info.uid in self.placed:
            self.remove_pod(info.uid)
        slot = self.slots.get(node)
        if slot is None:
            slot = self._take_slot(node)
        placed = Placed(info, slot)
        self.placed[info.uid] = placed
        self.by_slot[slot][info.uid] = placed
        self._count(info, slot, 1)

    def remove_pod(self, uid: str) -> Placed | None:
        placed = self.placed.pop(uid, None)
        if placed is None:
            return None
        slot = placed.slot
        del self.by_slot[slot][uid]
        self._count(placed.info, slot, -1)
        if not self.alive[slot] and not self.by_slot[slot] and self.names[slot] not in self._fingerprints:
            self._release(self.names[slot], slot)
        return placed

    def _count(self, info: PodInfo, slot: int, sign: int) -> None:
        pod = info.terms
        for name, value in pod.requests.items():
            row = self.resources.get(name)
            if row is None:
                row = self.row(name)
            self.requested[row, slot] += sign * value
        self.requested[self.resources[PODS], slot] += sign
        self.scored[0, slot] += sign * pod.counted[0]
        self.scored[1, slot] += sign * pod.counted[1]
        for port in pod.ports:
            users = self.ports.setdefault(port, {})
            users[slot] = users.get(slot, 0) + sign
            if not users[slot]:
                del users[slot]
            if not users:
                del self.ports[port]
        self.counters.count(info, slot, sign)
        if pod.volumes is not None:
            self.storage.place(info.uid, pod.namespace, pod.volumes, self.names[slot] if sign > 0 else "")
        self._note(slot)

    def pods(self) -> Iterator[Placed]:
        return iter(self.placed.values())

    # ---- pods that wait for room ----

    def nominate(self, info: PodInfo, node: str) -> None:
        """Remembers that a pod waits for room on a node."""
        self.withdraw(info.uid)
        slot = self.slots.get(node)
        if slot is not None and self.alive[slot]:
            self._nominations[info.uid] = slot
            self.nominated.setdefault(slot, {})[info.uid] = info
            self._note(slot)

    def nomination(self, uid: str) -> str:
        """The node a pod waits for; empty when none."""
        slot = self._nominations.get(uid)
        return self.names[slot] if slot is not None else ""

    def withdraw(self, uid: str) -> str | None:
        """Forgets that a pod waits for room; the node it waited for."""
        slot = self._nominations.pop(uid, None)
        if slot is None:
            return None
        del self.nominated[slot][uid]
        if not self.nominated[slot]:
            del self.nominated[slot]
        self._note(slot)
        return self.names[slot]

    # ---- what changed ----

    def _note(self, slot: int) -> None:
        self.pod_generation += 1
        self._journal.append(slot)
        if len(self._journal) > 2 * _JOURNAL:
            del self._journal[:_JOURNAL]
            self._journal_start += _JOURNAL

    def changed_since(self, pod_generation: int) -> set[int] | None:
        """The slots whose pods changed after a `pod_generation`; None when that is too long ago to know."""
        if pod_generation < self._journal_start:
            return None
        return set(self._journal[pod_generation - self._journal_start :])
