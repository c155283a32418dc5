"""Pods counted per selector and node, kept up to date as pods come and go.

Topology spread and inter-pod affinity both ask "how many pods of this kind are in each domain". A `Counter` answers per node
in one array; a domain's number is a sum over the node's label codes. A counter is made when first asked for, by one look over
the placed pods, and then costs one match per pod that comes or goes. Counters nobody asked for lately are dropped.

`Carriers` count the other way round: per node, the pods that carry an (anti-)affinity term, for the symmetric rules.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from navarch.machinery import selectors
from navarch.scheduler.core.terms import AffinityTerm, Demand

if TYPE_CHECKING:
    from navarch.scheduler.core.columns import Columns

_KEPT = 512
K = TypeVar("K")
Counts = NDArray[np.int64]


class Counter:
    """Pods that a term speaks of, per node."""

    __slots__ = ("counts", "term")

    def __init__(self, term: AffinityTerm, capacity: int) -> None:
        self.term = term
        self.counts: Counts = np.zeros(capacity, np.int64)


class Carriers:
    """Pods that carry one and the same term, per node."""

    __slots__ = ("counts", "term", "total")

    def __init__(self, term: AffinityTerm, capacity: int) -> None:
        self.term = term
        self.counts: Counts = np.zeros(capacity, np.int64)
        self.total = 0


class Counters:
    """All counters of a cluster."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._matching: OrderedDict[AffinityTerm, Counter] = OrderedDict()
        self.anti: dict[AffinityTerm, Carriers] = {}
        """Required anti-affinity terms of placed pods."""
        self.wishes: dict[tuple[AffinityTerm, str], Carriers] = {}
        """Required affinity and preferred terms of placed pods, by what they are ("required", "preferred", "avoided")."""

    def grow(self, by: int) -> None:
        for counter in (*self._matching.values(), *self.anti.values(), *self.wishes.values()):
            counter.counts = np.concatenate([counter.counts, np.zeros(by, np.int64)])

    def matching(self, term: AffinityTerm) -> Counts:
        """How many pods the term speaks of, per node."""
        bare = AffinityTerm("", term.selector, term.namespaces, term.namespace_selector)
        counter = self._matching.get(bare)
        if counter is None:
            counter = self._matching[bare] = Counter(bare, self._columns.capacity)
            spaces = self._columns.namespaces
            for placed in self._columns.pods():
                if bare.matches(placed.demand.namespace, placed.demand.labels, spaces):
                    counter.counts[placed.slot] += 1
            if len(self._matching) > _KEPT:
                self._matching.popitem(last=False)
        else:
            self._matching.move_to_end(bare)
        return counter.counts

    def in_namespace(self, namespace: str, selector: selectors.Selector) -> Counts:
        """How many pods of a namespace a selector matches, per node."""
        return self.matching(AffinityTerm("", selector, frozenset({namespace}), None))

    def namespaces_changed(self) -> None:
        """Counters that select namespaces by label must be made anew."""
        for term in [t for t in self._matching if t.namespace_selector is not None]:
            del self._matching[term]

    def count(self, demand: Demand, slot: int, sign: int) -> None:
        """A pod came (1) or went (-1)."""
        spaces = self._columns.namespaces
        for term, counter in self._matching.items():
            if term.matches(demand.namespace, demand.labels, spaces):
                counter.counts[slot] += sign
        for term in demand.anti_affinity:
            self._carry(self.anti, term, term, slot, sign)
        for term in demand.affinity:
            self._carry(self.wishes, (term, "required"), term, slot, sign)
        for term in demand.preferred_affinity:
            self._carry(self.wishes, (term, "preferred"), term, slot, sign)
        for term in demand.preferred_anti_affinity:
            self._carry(self.wishes, (term, "avoided"), term, slot, sign)

    def _carry(self, table: dict[K, Carriers], key: K, term: AffinityTerm, slot: int, sign: int) -> None:
        carriers = table.get(key)
        if carriers is None:
            carriers = table[key] = Carriers(term, self._columns.capacity)
        carriers.counts[slot] += sign
        carriers.total += sign
        if not carriers.total:
            del table[key]
