"""The debug check: columns that lived through changes against columns built from scratch.

In: the live columns and the nodes as the API shows them. Out: sentences about what differs; none when all is well. `kill -USR2` makes a
running scheduler check itself and log what it finds.

Upstream counterpart: pkg/scheduler/backend/cache/debugger (CacheComparer).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from navarch.api.core import v1 as core_v1
from navarch.scheduler.core.columns import Columns


def differences(live: Columns, nodes: Iterable[core_v1.Node]) -> list[str]:
    """What the live columns have otherwise than columns made anew of these nodes and of the pods that are placed."""
    fresh = Columns()
    fresh.namespaces.update(live.namespaces)
    for node in nodes:
        fresh.put_node(node)
    for placed in live.pods():
        fresh.put_pod(placed.info, live.names[placed.slot])
    known, there = ({name for name, slot in c.slots.items() if c.alive[slot]} for c in (live, fresh))
    found = [f"node {name} is in the columns but not in the API" for name in sorted(known - there)]
    found += [f"node {name} is in the API but not in the columns" for name in sorted(there - known)]
    for name in sorted(known & there):
        found += [f"node {name}: {text}" for text in _of_node(live, live.slots[name], fresh, fresh.slots[name])]
    return found + list(_of_tallies(live, fresh))


def _of_node(live: Columns, slot: int, fresh: Columns, other: int) -> Iterator[str]:
    for resource, row in live.resources.items():
        wanted = fresh.row(resource)
        for what, mine, theirs in (("allocatable", live.allocatable, fresh.allocatable), ("requested", live.requested, fresh.requested)):
            if mine[row, slot] != theirs[wanted, other]:
                yield f"{what} {resource} is {mine[row, slot]} instead of {theirs[wanted, other]}"
    if (live.scored[:, slot] != fresh.scored[:, other]).any():
        yield f"counts {live.scored[:, slot].tolist()} for scoring instead of {fresh.scored[:, other].tolist()}"
    if live.unschedulable[slot] != fresh.unschedulable[other]:
        yield f"unschedulable is {bool(live.unschedulable[slot])}"
    for taint in live.taints.keys() | fresh.taints.keys():
        has, should = _tainted(live, taint, slot), _tainted(fresh, taint, other)
        if has != should:
            yield f"taint {taint[0]}={taint[1]}:{taint[2]} is {'there' if has else 'missing'}"
    if live.by_slot[slot].keys() != fresh.by_slot[other].keys():
        yield f"holds {len(live.by_slot[slot])} pods instead of {len(fresh.by_slot[other])}"


def _tainted(columns: Columns, taint: tuple[str, str, str], slot: int) -> bool:
    mask = columns.taints.get(taint)
    return mask is not None and bool(mask[slot])


def _of_tallies(live: Columns, fresh: Columns) -> Iterator[str]:
    """Pods counted per node for affinity and spread."""
    for predicate in live.counters.predicates():
        mine, theirs = live.counters.tally(predicate), fresh.counters.tally(predicate)
        for name, slot in live.slots.items():
            if live.alive[slot] and mine.counts[slot] != theirs.counts[fresh.slots[name]]:
                yield f"node {name}: {mine.counts[slot]} pods of {predicate} are counted instead of {theirs.counts[fresh.slots[name]]}"
