"""Pods counted per domain, kept up to date as pods come and go.

Topology spread and inter-pod affinity both ask "how many pods of this kind are in each domain". A `Tally` counts the pods of
one kind per node; a `Domains` sums such counts over the values of one topology key. Both are made when first asked for, by one
look over what is there, and then cost a few additions per pod that comes or goes. Those nobody asked for lately are dropped.

Sums are arrays indexed by label code with one more entry at the end, so that code -1 (no such label) finds its own: `sums[codes]`
gives every node the number of its domain.

`carried` counts the other way round: the pods that carry an (anti-)affinity term, for the symmetric rules.

Upstream counterparts: the PreFilter and PreScore states of podtopologyspread and interpodaffinity, made anew for every pod there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from navarch.scheduler.core.arrays import Ints, LabelColumn, Mask
from navarch.scheduler.core.terms import AffinityTerm, Matcher, PodInfo, PodTerms

REQUIRED, PREFERRED, AVOIDED, FORBIDDEN = "required", "preferred", "avoided", "forbidden"
_TALLIES, _DOMAINS, _CLASSES = 512, 16, 8192


@dataclass(slots=True)
class Placed:
    """A pod on a node, assumed or confirmed."""

    info: PodInfo
    slot: int


class Cluster(Protocol):
    """What is counted over: the columns, as far as counting looks at them."""

    capacity: int
    alive: Mask
    labels: dict[str, LabelColumn]
    namespaces: dict[str, Mapping[str, str]]
    node_generation: int

    def pods(self) -> Iterator[Placed]: ...


@dataclass(frozen=True, slots=True)
class PodPredicate:
    """Which pods are counted: those that all matchers match; `running` leaves out the ones that are being deleted."""

    matchers: tuple[Matcher, ...]
    running: bool = False

    def matches(self, info: PodInfo, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        if self.running and info.terminating:
            return False
        return all(m.matches(info.terms.namespace, info.terms.labels, namespaces) for m in self.matchers)

    @property
    def by_namespace_labels(self) -> bool:
        return any(m.namespace_selector is not None for m in self.matchers)


class Domains:
    """Counts summed over the values of a topology key, over eligible nodes only."""

    __slots__ = ("codes", "counted", "eligible", "number", "sums")

    def __init__(self, codes: Ints, values: int, counts: Ints, eligible: Mask) -> None:
        self.codes = codes
        self.eligible = eligible & (codes >= 0)
        own = codes[self.eligible]
        self.sums: Ints = np.bincount(own, weights=counts[self.eligible], minlength=values + 1).astype(np.int64)
        self.counted: Mask = np.bincount(own, minlength=values + 1) > 0
        """Which domains have an eligible node."""
        self.number = int(np.count_nonzero(self.counted))

    def add(self, slot: int, number: int) -> None:
        if self.eligible[slot]:
            self.sums[self.codes[slot]] += number

    def of_nodes(self) -> Ints:
        """Every node's domain's sum."""
        return self.sums[self.codes]


class Tally:
    """Pods of one kind, per node and per domain."""

    __slots__ = ("counts", "domains", "predicate", "total")

    def __init__(self, predicate: PodPredicate, capacity: int) -> None:
        self.predicate = predicate
        self.counts: Ints = np.zeros(capacity, np.int64)
        self.total = 0
        self.domains: OrderedDict[tuple[str, bytes], Domains] = OrderedDict()

    def add(self, slot: int, number: int) -> None:
        self.counts[slot] += number
        self.total += number
        for domains in self.domains.values():
            domains.add(slot, number)


class Counters:
    """All tallies of a cluster."""

    def __init__(self, columns: Cluster) -> None:
        self._columns = columns
        self._tallies: OrderedDict[PodPredicate, Tally] = OrderedDict()
        self._generation = -1
        self._matching: dict[tuple[str, tuple[tuple[str, str], ...], bool], list[Tally]] = {}
        self._tallies_of: dict[PodTerms, tuple[Tally, ...]] = {}
        self._speaking: dict[PodTerms, tuple[tuple[str, AffinityTerm, Tally], ...]] = {}
        self.carried: dict[tuple[str, AffinityTerm], Tally] = {}
        """(what the term is, the term) → the placed pods that carry it."""

    def grow(self, by: int) -> None:
        for tally in (*self._tallies.values(), *self.carried.values()):
            tally.counts = np.concatenate([tally.counts, np.zeros(by, np.int64)])
            tally.domains.clear()

    def forget(self) -> None:
        """Namespaces changed: what was matched by their labels must be matched anew."""
        self._matching.clear()
        self._speaking.clear()
        for predicate in [k for k in self._tallies if k.by_namespace_labels]:
            del self._tallies[predicate]

    # ---- asking ----

    def predicates(self) -> tuple[PodPredicate, ...]:
        """What is counted at present."""
        return tuple(self._tallies)

    def tally(self, predicate: PodPredicate) -> Tally:
        """How many pods of a kind there are, per node."""
        tally = self._tallies.get(predicate)
        if tally is None:
            tally = self._tallies[predicate] = Tally(predicate, self._columns.capacity)
            self._matching.clear()
            for placed in self._columns.pods():
                if predicate.matches(placed.info, self._columns.namespaces):
                    tally.add(placed.slot, 1)
            if len(self._tallies) > _TALLIES:
                self._tallies.popitem(last=False)
        else:
            self._tallies.move_to_end(predicate)
        return tally

    def domains(self, tally: Tally, key: str, eligible: Mask | None = None, mark: bytes = b"") -> Domains | None:
        """A tally per domain of a topology key; None when no node has the key. `mark` names the eligible nodes (all, when none
        are given): equal marks must mean the same nodes until a node changes."""
        self.follow_nodes()
        found = tally.domains.get((key, mark))
        if found is None:
            column = self._columns.labels.get(key)
            if column is None:
                return None
            nodes = self._columns.alive if eligible is None else eligible
            found = tally.domains[key, mark] = Domains(column.codes, len(column.values), tally.counts, nodes)
            if len(tally.domains) > _DOMAINS:
                tally.domains.popitem(last=False)
        return found

    def follow_nodes(self) -> None:
        """Forgets sums over domains when nodes changed."""
        if self._generation != self._columns.node_generation:
            self._generation = self._columns.node_generation
            for tally in (*self._tallies.values(), *self.carried.values()):
                tally.domains.clear()

    def carriers(self, pod: PodTerms) -> tuple[tuple[str, AffinityTerm, Tally], ...]:
        """The terms of placed pods that speak of pods with these terms."""
        found = self._speaking.get(pod)
        if found is None:
            if len(self._speaking) > _CLASSES:
                self._speaking.clear()
            spaces = self._columns.namespaces
            found = self._speaking[pod] = tuple(
                (what, term, tally) for (what, term), tally in self.carried.items() if term.pods.matches(pod.namespace, pod.labels, spaces)
            )
        return found

    # ---- counting ----

    def count(self, info: PodInfo, slot: int, sign: int) -> None:
        """A pod came (1) or went (-1)."""
        self.follow_nodes()
        pod = info.terms
        if self._tallies:
            for tally in self._matched(info):
                tally.add(slot, sign)
        if pod.affinity or pod.anti_affinity or pod.preferred_affinity or pod.preferred_anti_affinity:
            for tally in self._own(pod):
                tally.add(slot, sign)

    def _matched(self, info: PodInfo) -> list[Tally]:
        key = (info.terms.namespace, tuple(info.terms.labels.items()), info.terminating)
        found = self._matching.get(key)
        if found is None:
            if len(self._matching) > _CLASSES:
                self._matching.clear()
            spaces = self._columns.namespaces
            found = self._matching[key] = [t for predicate, t in self._tallies.items() if predicate.matches(info, spaces)]
        return found

    def _own(self, pod: PodTerms) -> tuple[Tally, ...]:
        """The tallies of the terms that a pod carries."""
        found = self._tallies_of.get(pod)
        if found is None:
            if len(self._tallies_of) > _CLASSES:
                self._tallies_of.clear()
            keys = [(FORBIDDEN, t) for t in pod.anti_affinity] + [(REQUIRED, t) for t in pod.affinity]
            keys += [(PREFERRED, t) for t in pod.preferred_affinity] + [(AVOIDED, t) for t in pod.preferred_anti_affinity]
            found = self._tallies_of[pod] = tuple(self._carriers_of(key) for key in keys)
        return found

    def _carriers_of(self, key: tuple[str, AffinityTerm]) -> Tally:
        tally = self.carried.get(key)
        if tally is None:
            if len(self.carried) > _CLASSES:
                self._drop_empty()
            tally = self.carried[key] = Tally(PodPredicate(()), self._columns.capacity)
            self._speaking.clear()
        return tally

    def _drop_empty(self) -> None:
        self.carried = {k: t for k, t in self.carried.items() if t.total}
        self._tallies_of.clear()
        self._speaking.clear()
