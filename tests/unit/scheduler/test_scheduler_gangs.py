"""Groups placed together, and decisions in which somebody outside has a say, on random clusters."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.scheduler.core import decide, extended, gang
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.preempt import Preemptor
from navarch.scheduler.core.profile import DEFAULT
from navarch.scheduler.core.terms import PodInfo, Reader
from tests.unit.scheduler import clusters

MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


def core_of(nodes: list[v1.Node], pods: list[v1.Pod]) -> Core:
    core, reader = Core(), Reader()
    core.columns.namespaces.update(clusters.NAMESPACES)
    for node in nodes:
        core.columns.put_node(node)
    for pod in pods:
        info = reader.read(pod)
        core.columns.put_pod(info, info.node_name)
    return core


def state(core: Core) -> dict[str, tuple[str, ...]]:
    columns = core.columns
    return {name: tuple(sorted(columns.by_slot[slot])) for name, slot in columns.slots.items() if columns.by_slot[slot]}


def members(template: v1.Pod, number: int, priority: int) -> list[PodInfo]:
    assert template.metadata is not None and template.spec is not None
    spec = msgspec.structs.replace(template.spec, priority=priority)
    made = [msgspec.structs.replace(template.metadata, name=f"m{i}", uid=f"m{i}") for i in range(number)]
    reader = Reader()
    return [reader.read(v1.Pod(metadata=m, spec=spec)) for m in made]


@MANY
@given(clusters.clusters(nodes=4, pods=10), clusters.pod("m"), st.integers(1, 5), st.integers(1, 4), st.sampled_from((0, 15, 30, 30)), st.booleans())
def test_all_that_is_needed_or_nothing(
    cluster: tuple[list[v1.Node], list[v1.Pod]], template: v1.Pod, number: int, needed: int, priority: int, tight: bool
) -> None:
    nodes, pods = cluster
    for node in nodes:
        assert node.status is not None and node.status.allocatable is not None
        node.status.allocatable |= {"cpu": "300m", "pods": "3"} if tight else {"pods": "4"}
    core, group = core_of(nodes, pods), members(template, number, priority)
    before, amounts = state(core), core.columns.requested.copy()
    outcome = gang.place(core, [(d, i) for i, d in enumerate(group)], needed, DEFAULT, Preemptor(core.columns), ())
    match outcome:
        case gang.Placed(placed, refused):
            assert len(placed) >= needed and len(placed) + len(refused) == number
            for info, chosen in placed:
                assert core.columns.placed[info.uid].slot == core.columns.slots[chosen.node]
                core.columns.remove_pod(info.uid)
        case gang.MakingRoom(plans, where):
            assert len(where) == needed <= number and plans
            _would_fit(core, group, plans, where)
        case gang.TooFew(fits, refused):
            assert len(fits) < needed and len(fits) + len(refused) == number
    assert state(core) == before
    rows = amounts.shape[0]
    assert (core.columns.requested[:rows] == amounts).all() and not core.columns.requested[rows:].any()


def _would_fit(core: Core, group: list[PodInfo], plans: Any, where: dict[str, str]) -> None:
    """Without the victims each member passes every filter on its node, those before it there."""
    gone = [(victim, plan.node) for _, plan in plans for victim in plan.victims]
    assert all(victim.terms.priority < group[0].terms.priority for victim, _ in gone)
    for victim, _ in gone:
        core.columns.remove_pod(victim.uid)
    for info in group:
        node = where.get(info.uid)
        if node is not None:
            mask = decide.feasible(core.evaluations.get(info.terms, DEFAULT), info.terms)
            assert mask[core.columns.slots[node]]
            core.columns.put_pod(info, node)
    for uid in where:
        core.columns.remove_pod(uid)
    for victim, node in gone:
        core.columns.put_pod(victim, node)


@MANY
@given(clusters.clusters(nodes=5, pods=6), clusters.pod("x9"), st.data())
def test_who_has_a_say_outside_chooses_among_what_can_take_the_pod(
    cluster: tuple[list[v1.Node], list[v1.Pod]], pod: v1.Pod, data: st.DataObject
) -> None:
    core, info = core_of(*cluster), Reader().read(pod)
    offered = extended.feasible_nodes(core, info, DEFAULT)
    alone = core.schedule(info, 0)
    if isinstance(offered, Unschedulable):
        assert isinstance(alone, Unschedulable) and offered.message == alone.message
        return
    assert isinstance(alone, Chosen) and alone.node in offered
    # nobody says anything: the same decision, as far as the points go
    same = extended.choose(core, info, 0, DEFAULT, dict.fromkeys(offered, 0))
    assert same is not None and same.node == alone.node
    kept = data.draw(st.lists(st.sampled_from(offered), unique=True))
    points = {name: data.draw(st.integers(0, 2)) * 100_000 for name in kept}
    chosen = extended.choose(core, info, 0, DEFAULT, points)
    if kept:
        assert chosen is not None and points[chosen.node] == max(points.values())
    else:
        assert chosen is None
    said = {name: extended.NodeRejection("not here", data.draw(st.booleans())) for name in offered if data.draw(st.booleans())}
    refused = extended.refused(core, info, DEFAULT, said, offered)
    verdicts = refused.verdicts
    assert set(verdicts) == {n for n, s in core.columns.slots.items() if core.columns.alive[s]}
    for name in offered:
        wanted = said.get(name, extended.NodeRejection(extended.LEFT_OUT, True))
        assert (verdicts[name].plugin, verdicts[name].texts, verdicts[name].final) == ("Extender", (wanted.text,), wanted.final)
    assert extended.EXTENDER in refused.plugins


def test_what_others_took_meanwhile_is_not_chosen() -> None:
    core = core_of([], [])
    assert extended.choose(core, Reader().read(v1.Pod()), 0, DEFAULT, {"gone": 0}) is None
    assert not np.any(core.columns.alive)
