"""The decider: what an attempt comes to, for pods alone and for groups, on random clusters; nothing is left behind on the columns."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.objects import meta
from navarch.scheduler.core import gang
from navarch.scheduler.core.attempt import Attempt, Evict, Fail, Place, Refuse, Wait
from navarch.scheduler.core.decide import Core
from navarch.scheduler.core.decider import Decider
from navarch.scheduler.core.plugin import Plugin
from navarch.scheduler.core.profile import DEFAULT, Profile
from navarch.scheduler.core.queue import QueuedPod
from navarch.scheduler.core.terms import Reader
from navarch.scheduler.core.view import At, Refusal, View
from tests.unit.scheduler import clusters

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def core_of(nodes: list[v1.Node], pods: list[v1.Pod]) -> Core:
    core, reader = Core(), Reader()
    core.columns.namespaces.update(clusters.NAMESPACES)
    for node in nodes:
        core.columns.put_node(node)
    for pod in pods:
        info = reader.read(pod)
        core.columns.put_pod(info, info.node_name)
    return core


def attempt_of(pod: v1.Pod, profile: Profile = DEFAULT, seed: int = 0) -> Attempt:
    info = Reader().read(pod)
    return Attempt(QueuedPod(info.uid, info.key, info.terms.priority, 0.0), pod, info, profile, seed)


def members(template: v1.Pod, number: int, priority: int) -> list[v1.Pod]:
    assert template.spec is not None
    spec, m = msgspec.structs.replace(template.spec, priority=priority), meta.of(template)
    return [v1.Pod(metadata=msgspec.structs.replace(m, name=f"m{i}", uid=f"m{i}"), spec=spec) for i in range(number)]


def placed(core: Core) -> dict[str, int]:
    return {uid: each.slot for uid, each in core.columns.placed.items()}


@MANY
@given(clusters.clusters(nodes=4, pods=8), clusters.pod("new"), st.integers(0, 1000), st.sampled_from((0, 30)))
def test_one_pod_is_placed_or_refused_in_one_sentence(cluster: tuple[list[v1.Node], list[v1.Pod]], pod: v1.Pod, seed: int, priority: int) -> None:
    core = core_of(*cluster)
    assert pod.spec is not None
    pod.spec.priority = priority
    attempt, before, amounts = attempt_of(pod, seed=seed), placed(core), core.columns.requested.copy()
    found = Decider(core).decide(attempt, ())
    rows = amounts.shape[0]
    assert placed(core) == before and (core.columns.requested[:rows] == amounts).all() and not core.columns.requested[rows:].any()
    match found:
        case Place(_, chosen):
            assert core.columns.alive[core.columns.slots[chosen.node]]
        case Refuse(_, refused, candidate, nominated, message):
            assert message.startswith(refused.message)
            assert nominated == (candidate.node if candidate is not None else "")
            assert (candidate is None) == (" preemption: " in message) or not refused.nodes
        case _:
            raise AssertionError(found)


@MANY
@given(clusters.clusters(nodes=3, pods=8), clusters.pod("m"), st.integers(1, 4), st.integers(1, 4), st.sampled_from((0, 30)))
def test_every_member_of_a_group_gets_its_decision(
    cluster: tuple[list[v1.Node], list[v1.Pod]], template: v1.Pod, number: int, needed: int, priority: int
) -> None:
    for node in cluster[0]:
        assert node.status is not None and node.status.allocatable is not None
        node.status.allocatable |= {"pods": "3"}
    core = core_of(*cluster)
    attempts, before = [attempt_of(pod, seed=i) for i, pod in enumerate(members(template, number, priority))], placed(core)
    found = Decider(core).decide_group(attempts, needed, ())
    assert not isinstance(found, Fail)
    about = [d.attempt.info.uid for d in found.decisions if not isinstance(d, Evict)]
    assert sorted(about) == sorted(a.info.uid for a in attempts)
    places = [d for d in found.decisions if isinstance(d, Place)]
    assert found.scheduled == bool(places) and (not places or len(places) >= needed)
    if not found.scheduled:
        assert placed(core) == before and found.message
        evicting = any(isinstance(d, Evict) for d in found.decisions)
        waits = [d for d in found.decisions if isinstance(d, Wait)]
        assert len(waits) == number and evicting == (found.message == gang.MAKING_ROOM)


def named(name: str, namespace: str | None = None) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, namespace=namespace, uid=name)


def test_a_plugin_that_raises_while_a_member_is_explained_fails_that_member_alone() -> None:
    """A group of which enough fit: the words for the others are made after that is decided, and ask the plugin once more."""
    asked = 0

    def fragile(view: View, at: At) -> list[Refusal]:
        nonlocal asked
        asked += 1
        if asked == 4:  # 1: the first is placed; 2 and 3: the second is refused, and why; 4: what it misses least
            raise RuntimeError("boom")
        return [Refusal("full", view.columns.requested[view.columns.resources["pods"]][at] >= 1, True)]

    amounts: dict[str, str | int | float] = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    node = v1.Node(metadata=named("n1"), status=v1.NodeStatus(allocatable=amounts))
    profile = Profile("p", filters=(Plugin("Fragile", fragile),))
    pods = [v1.Pod(metadata=named(f"m{i}", "d"), spec=v1.PodSpec(containers=[v1.Container(name="c")])) for i in range(2)]
    first, second = [attempt_of(pod, profile) for pod in pods]
    found = Decider(core_of([node], [])).decide_group([first, second], 1, ())
    assert not isinstance(found, Fail) and found.scheduled and asked == 4
    placed_first, failed_second = found.decisions
    assert isinstance(placed_first, Place) and placed_first.attempt is first
    assert failed_second == Fail(second, 'running "Fragile" filter plugin: boom')
