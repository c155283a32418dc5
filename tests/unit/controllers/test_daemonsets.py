"""DaemonSets in a world of values: nodes come, go and are tainted, writes fail at random, pods live and die; the bounds hold at every step."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import daemonsets, revisions
from navarch.controllers.engine.expectations import Expectations
from navarch.controllers.workloads.daemonset import FailedPods
from navarch.objects import meta, pods

NOW = 1_700_000_000.0
LONG_AGO = "2020-01-01T00:00:00Z"


def node(name: str, *taints: tuple[str, str], labels: dict[str, str] | None = None) -> core_v1.Node:
    spec = core_v1.NodeSpec(taints=[core_v1.Taint(key=k, effect=e) for k, e in taints])
    return core_v1.Node(metadata=meta_v1.ObjectMeta(name=name, labels=labels), spec=spec)


def daemon_set(surge: int | str = 0, unavailable: int | str = 1, kind: str = "RollingUpdate", **pod: Any) -> apps_v1.DaemonSet:
    rolling = apps_v1.RollingUpdateDaemonSet(maxSurge=surge, maxUnavailable=unavailable) if kind == "RollingUpdate" else None
    template = core_v1.PodTemplateSpec(
        metadata=meta_v1.ObjectMeta(labels={"app": "d"}), spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="one")], **pod)
    )
    return apps_v1.DaemonSet(
        metadata=meta_v1.ObjectMeta(name="d", namespace="n", uid="set", generation=1),
        spec=apps_v1.DaemonSetSpec(
            selector=meta_v1.LabelSelector(matchLabels={"app": "d"}),
            template=template,
            updateStrategy=apps_v1.DaemonSetUpdateStrategy(type=kind, rollingUpdate=rolling),
        ),
    )


class World:
    """The set, its nodes and pods. Plans are carried out on it, or fail in part."""

    def __init__(self, owner: apps_v1.DaemonSet, *names: str) -> None:
        self.owner, self.hash = owner, "one"
        self.nodes = {n: node(n) for n in names}
        self.pods: dict[str, core_v1.Pod] = {}
        self._count = itertools.count(1)

    @property
    def revision(self) -> daemonsets.Revision:
        return daemonsets.Revision(self.hash, None)

    def decide(self) -> daemonsets.Plan:
        return daemonsets.decide(self.owner, list(self.nodes.values()), list(self.pods.values()), self.revision, NOW)

    def create(self, place: str) -> None:
        pod = daemonsets.made(self.owner, place, self.revision)
        name = f"d-{next(self._count):06d}"
        pod.metadata = msgspec.structs.replace(meta.of(pod), name=name, uid=name)
        self.pods[name] = msgspec.structs.replace(pod, status=core_v1.PodStatus(phase="Pending"))

    def delete(self, pod: core_v1.Pod) -> None:
        name = meta.of(pod).name or ""
        if name in self.pods:
            self.pods[name] = msgspec.structs.replace(pod, metadata=msgspec.structs.replace(meta.of(pod), deletionTimestamp=LONG_AGO))

    def live(self, name: str, life: str = "Ready") -> None:
        pod = self.pods[name]
        if meta.deleted(pod):
            del self.pods[name]
            return
        ready = core_v1.PodCondition(type="Ready", status="True" if life == "Ready" else "False", lastTransitionTime=LONG_AGO)
        self.pods[name] = msgspec.structs.replace(
            pod, status=core_v1.PodStatus(phase="Failed" if life == "Failed" else "Running", conditions=[ready])
        )

    def settle(self) -> None:
        for _ in range(200):
            plan = self.decide()
            for place in plan.create:
                self.create(place)
            for pod in plan.delete:
                self.delete(pod)
            moving = [n for n, p in self.pods.items() if meta.deleted(p) or not pods.is_ready(p)]
            for name in moving:
                self.live(name)
            if not plan.create and not plan.delete and not moving:
                return
        raise AssertionError("it does not come to rest")

    def places(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for pod in self.pods.values():
            found.setdefault(daemonsets.node_of(pod) or "", []).append(daemonsets.hash_of(pod))
        return found

    def available(self) -> int:
        return len({daemonsets.node_of(p) for p in self.pods.values() if pods.is_ready(p) and not meta.deleted(p)})


def test_every_node_gets_one_and_loses_what_is_too_much() -> None:
    world = World(daemon_set(), "a", "b")
    world.settle()
    assert world.places() == {"a": ["one"], "b": ["one"]}
    world.create("a")
    world.settle()
    assert world.places() == {"a": ["one"], "b": ["one"]}
    assert "d-000001" in world.pods, "the oldest stays"


@pytest.mark.parametrize(
    ("taint", "expected"),
    [
        (("mine", "NoSchedule"), (False, True)),
        (("mine", "NoExecute"), (False, False)),
        (("mine", "PreferNoSchedule"), (True, True)),
        (("node.kubernetes.io/not-ready", "NoExecute"), (True, True)),
        (("node.kubernetes.io/unschedulable", "NoSchedule"), (True, True)),
        (("node.kubernetes.io/network-unavailable", "NoSchedule"), (False, True)),
    ],
)
def test_taints_keep_pods_off_unless_a_daemon_tolerates_them(taint: tuple[str, str], expected: tuple[bool, bool]) -> None:
    assert daemonsets.belongs(daemon_set(), node("a", taint)) == expected
    if taint[0].endswith("network-unavailable"):
        assert daemonsets.belongs(daemon_set(hostNetwork=True), node("a", taint)) == (True, True)


def test_selectors_and_affinity_choose_nodes() -> None:
    selecting = daemon_set(nodeSelector={"disk": "ssd"})
    assert daemonsets.belongs(selecting, node("a", labels={"disk": "ssd"})) == (True, True)
    assert daemonsets.belongs(selecting, node("a")) == (False, False)
    requirement = core_v1.NodeSelectorRequirement(key="metadata.name", operator="In", values=["a"])
    required = core_v1.NodeSelector(nodeSelectorTerms=[core_v1.NodeSelectorTerm(matchFields=[requirement])])
    named = daemon_set(affinity=core_v1.Affinity(nodeAffinity=core_v1.NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=required)))
    assert daemonsets.belongs(named, node("a"))[0] and not daemonsets.belongs(named, node("b"))[0]


def test_pods_name_their_node_and_carry_the_tolerations_once() -> None:
    held = [core_v1.Toleration(key="node.kubernetes.io/not-ready", operator="Exists", effect="NoExecute")]
    pod = daemonsets.made(daemon_set(tolerations=held), "a", daemonsets.Revision("h", "3"))
    assert daemonsets.node_of(pod) == "a" and daemonsets.hash_of(pod) == "h"
    assert pod.spec is not None and len(pod.spec.tolerations or ()) == 6


def test_failed_pods_are_replaced_ever_more_slowly() -> None:
    owner, waits = daemon_set(), FailedPods()
    assert waits.wait(owner, "a", 0.0) == 0
    waits.failed(owner, "a", 0.0)
    assert waits.wait(owner, "a", 0.4) == pytest.approx(0.6)
    waits.failed(owner, "a", 1.0)
    assert waits.wait(owner, "a", 1.0) == 2.0 and waits.wait(owner, "b", 1.0) == 0
    world = World(owner, "a")
    world.settle()
    world.live("d-000001", "Failed")
    every = list(world.pods.values())
    plan = daemonsets.decide(owner, list(world.nodes.values()), every, world.revision, NOW, lambda place: 2.0)
    assert not plan.delete and plan.again == 2.0
    plan = world.decide()
    assert [e[1] for e in plan.events] == ["FailedDaemonPod"] and plan.failed == ["a"] and len(plan.delete) == 1


def test_on_delete_replaces_nothing_by_itself() -> None:
    world = World(daemon_set(kind="OnDelete"), "a", "b")
    world.settle()
    world.hash = "two"
    world.settle()
    assert world.places() == {"a": ["one"], "b": ["one"]}


SHARES = st.sampled_from([0, 1, 2, "30%", "100%"])


@settings(max_examples=200, deadline=None)
@given(SHARES, SHARES, st.integers(1, 6), st.integers(0, 2**32))
def test_bounds_hold_at_every_step_whatever_fails(surge: int | str, unavailable: int | str, count: int, seed: int) -> None:
    if surge not in (0,):
        unavailable = 0
    chance = random.Random(seed)
    world = World(daemon_set(surge, unavailable), *(f"n{i}" for i in range(count)))
    world.settle()
    world.hash = "two"
    most_surge, most_unavailable = daemonsets.bounds(world.owner, count)
    for _ in range(40):
        plan = world.decide()
        for place in plan.create:
            if chance.random() < 0.8:
                world.create(place)
        for pod in plan.delete:
            if chance.random() < 0.8:
                world.delete(pod)
        assert world.available() >= count - (most_unavailable if not most_surge else 0)
        two = [
            p
            for p, hashes in world.places().items()
            if len([n for n in world.pods.values() if daemonsets.node_of(n) == p and not meta.deleted(n)]) > 1
        ]
        assert len(two) <= most_surge and all(len(h) <= 3 for h in world.places().values())
        for name in [n for n in world.pods if chance.random() < 0.6]:
            world.live(name)
    world.settle()
    assert world.places() == {f"n{i}": ["two"] for i in range(count)}
    plan = world.decide()
    assert not plan.create and not plan.delete, "applied, the plan is empty"


@settings(max_examples=100, deadline=None)
@given(SHARES, st.integers(0, 2**32))
def test_a_cache_that_lags_makes_nothing_twice(surge: int | str, seed: int) -> None:
    """The pass sees an old world; what it did before is awaited, as `OwnedPods` awaits it."""
    chance = random.Random(seed)
    world, expected = World(daemon_set(surge, 0 if surge else 1), "n0", "n1", "n2", "n3"), Expectations()
    seen: list[core_v1.Pod] = []
    known: set[str] = set()
    for _ in range(60):
        if chance.random() < 0.4:
            seen = list(world.pods.values())
            there = {meta.of(p).uid or "" for p in seen}
            expected.created("k", len(there - known))
            for uid in known - there | {meta.of(p).uid or "" for p in seen if meta.deleted(p)}:
                expected.deleted("k", uid)
            known |= there
        if expected.fulfilled("k", 0.0):
            plan = daemonsets.decide(world.owner, list(world.nodes.values()), seen, world.revision, NOW)
            expected.expect("k", len(plan.create), [meta.of(p).uid or "" for p in plan.delete], 0.0)
            for place in plan.create:
                world.create(place)
            for pod in plan.delete:
                world.delete(world.pods.get(meta.of(pod).name or "", pod))
        made = Counter((daemonsets.node_of(p), daemonsets.hash_of(p)) for p in world.pods.values() if not meta.deleted(p))
        assert all(count == 1 for count in made.values()), "one of each template a node, at most"
        if chance.random() < 0.1:
            world.hash = chance.choice(["one", "two"])
        for held in [n for n, p in world.pods.items() if chance.random() < 0.3 and (not pods.is_ready(p) or meta.deleted(p))]:
            world.live(held)
    world.settle()


@settings(max_examples=100, deadline=None)
@given(SHARES, st.integers(0, 2**32))
def test_it_comes_to_rest_whatever_nodes_and_pods_do(surge: int | str, seed: int) -> None:
    chance = random.Random(seed)
    world = World(daemon_set(surge, 0 if surge else 1), "n0", "n1", "n2")
    for _ in range(40):
        plan = world.decide()
        for place in plan.create:
            if chance.random() < 0.8:
                world.create(place)
        for pod in plan.delete:
            if chance.random() < 0.8:
                world.delete(pod)
        name = f"n{chance.randrange(5)}"
        match chance.randrange(6):
            case 0:
                world.nodes.pop(name, None)
            case 1:
                world.nodes[name] = node(name)
            case 2:
                world.nodes[name] = node(name, ("t", chance.choice(["NoSchedule", "NoExecute"])))
            case 3:
                world.hash = chance.choice(["one", "two"])
        for held in [n for n in world.pods if chance.random() < 0.5]:
            world.live(held, chance.choice(["Ready", "Ready", "Broken", "Failed"]))
    world.settle()
    runs = {n for n, held in world.nodes.items() if daemonsets.belongs(world.owner, held)[0]}
    assert {p: len(h) for p, h in world.places().items() if p in runs} == dict.fromkeys(runs, 1)
    status = daemonsets.status_of(world.owner, list(world.nodes.values()), list(world.pods.values()), world.revision, NOW, observed=True)
    assert status.desiredNumberScheduled == status.numberReady == len(runs)


def test_a_revision_holds_its_patch_as_go_writes_it() -> None:
    """Clients compare the text of `data` with the JSON that Go makes of a map: keys in order, at every level."""
    container = core_v1.Container(name="c", image="one", env=[core_v1.EnvVar(name="b", value="1")])
    template = core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels={"z": "1", "a": "2"}), spec=core_v1.PodSpec(containers=[container]))
    text = json.dumps(revisions.data_of(template), separators=(",", ":"))
    assert text == json.dumps(json.loads(text), separators=(",", ":"), sort_keys=True)
    assert text.startswith('{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"a":"2","z":"1"}}')
