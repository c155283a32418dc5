"""The columnar core against the slow reference: the same feasible nodes, reasons and scores on random clusters."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.machinery import selectors, timestamps
from navarch.scheduler.core import check, decide
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.preempt import Budget, NoCandidate, Preemptor
from navarch.scheduler.core.profile import DEFAULT
from navarch.scheduler.core.terms import Reader
from navarch.scheduler.core.view import View
from navarch.scheduler.core.volumes import binding
from tests.unit.scheduler import clusters, reference, storages

TIMES = int(os.environ.get("NAVARCH_SOAK", "1"))
"""How many times as many examples as usual: `make soak`."""
MANY = settings(max_examples=300 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))


def core_of(nodes: list[v1.Node], pods: list[v1.Pod], storage: Any = None) -> Core:
    core, reader = Core(), Reader()
    core.columns.namespaces.update(clusters.NAMESPACES)
    for kind in KINDS if storage is not None else ():
        for obj in getattr(storage, kind):
            core.columns.storage.put(obj)
    for node in nodes:
        core.columns.put_node(node)
    for pod in pods:
        info = reader.read(pod)
        core.columns.put_pod(info, info.node_name)
    return core


KINDS = ("claims", "volumes", "classes", "drivers", "capacities", "limits", "attachments")


def compare(core: Core, cluster: Any, pod: v1.Pod) -> None:
    """One pod's filters and scores, both ways."""
    info = Reader().read(pod)
    verdicts = {n.metadata.name: reference.check(cluster, pod, n) for n in cluster.nodes}
    evaluation = core.evaluations.get(info.terms, DEFAULT)
    mask = decide.feasible(evaluation, info.terms)
    found = {core.columns.names[int(s)] for s in np.flatnonzero(mask)}
    assert found == {name for name, refused in verdicts.items() if refused is None}
    view = View(core.columns, info.terms, DEFAULT.arguments)
    explained = decide.explain(view, DEFAULT)
    assert set(explained.verdicts) == set(verdicts) - found
    if not explained.whole:
        for name, verdict in explained.verdicts.items():
            if "satisfy plugin" not in verdict.texts[0]:
                expected = verdicts[name]
                assert expected is not None
                assert (verdict.plugin, tuple(sorted(verdict.texts)), verdict.final) == (expected.plugin, expected.texts, expected.final)
    elif explained.whole != "pod affinity terms conflict":
        assert {(v.plugin, v.texts[0]) for v in explained.verdicts.values()} == {reference.whole_refusal(cluster, pod)}
    if not found:
        return
    feasible = [n for n in cluster.nodes if n.metadata.name in found]
    expected_scores = reference.score(cluster, pod, feasible)
    parts = decide.parts(view, DEFAULT, mask)
    total = decide.totals(evaluation, info.terms, mask)
    for node in feasible:
        slot, name = core.columns.slots[node.metadata.name], node.metadata.name
        for plugin, values in expected_scores.items():
            own = int(parts[plugin][slot]) if plugin in parts else 0
            assert own == values.get(name, 0), (plugin, name)
        assert int(total[slot]) == sum(values.get(name, 0) for values in expected_scores.values())


@MANY
@given(clusters.clusters(), clusters.pod("new"))
def test_same_nodes_reasons_and_scores(cluster: tuple[list[v1.Node], list[v1.Pod]], pod: v1.Pod) -> None:
    nodes, pods = cluster
    compare(core_of(nodes, pods), reference.Cluster(nodes, pods, clusters.NAMESPACES), pod)


def with_volumes(data: st.DataObject, pod: v1.Pod) -> v1.Pod:
    """The pod with volumes, and without most of what else could refuse it."""
    assert pod.spec is not None and pod.metadata is not None
    pod.spec.volumes = data.draw(storages.volumes)
    pod.spec.affinity = pod.spec.nodeSelector = pod.spec.topologySpreadConstraints = None
    pod.metadata.namespace = "a"
    return pod


def a_cluster_with_storage(data: st.DataObject) -> Any:
    nodes, pods = data.draw(clusters.clusters(nodes=4, pods=4))
    for node in nodes:
        node.spec = None
    for pod in pods:
        if data.draw(st.sampled_from((True, True, False))):
            with_volumes(data, pod)
    names = [reference.name_of(n) for n in nodes]
    storage = reference.Storage(**data.draw(storages.storage(names, ["new", *(reference.name_of(p) for p in pods)])))
    return reference.Cluster(nodes, pods, clusters.NAMESPACES, storage)


def compare_reservations(core: Core, cluster: Any, pod: v1.Pod) -> None:
    """What each node that can take the pod would give it."""
    info = Reader().read(pod)
    if info.terms.volumes is None or reference.whole_refusal(cluster, pod)[1]:
        return
    found = binding.plan(View(core.columns, info.terms, DEFAULT.arguments))
    for node in cluster.nodes:
        reasons, bindings, made = reference.node_volumes(cluster, pod, node)
        if not reasons:
            given = found.on(core.columns.slots[node.metadata.name], node.metadata.name)
            assert {(key.partition("/")[2], name) for key, name in given.bindings} == set(bindings.items())
            assert {key.partition("/")[2] for key in given.provisions} == made


@MANY
@given(st.data(), clusters.pod("new"))
def test_the_same_with_volumes(data: st.DataObject, pod: v1.Pod) -> None:
    cluster = a_cluster_with_storage(data)
    core = core_of(cluster.nodes, cluster.pods, cluster.storage)
    compare(core, cluster, with_volumes(data, pod))
    compare_reservations(core, cluster, pod)


@settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), clusters.pod("new"))
def test_the_same_with_volumes_while_storage_changes(data: st.DataObject, pod: v1.Pod) -> None:
    """Counts and plans that live through changes of storage say what new ones would."""
    cluster = a_cluster_with_storage(data)
    core, storage = core_of(cluster.nodes, cluster.pods, cluster.storage), cluster.storage
    with_volumes(data, pod)
    for _ in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from(("claims", "claims", "volumes", "volumes", "classes", "limits", "attachments", "pods")))
        held = cluster.pods if kind == "pods" else getattr(storage, kind)
        if not held:
            continue
        at = data.draw(st.integers(0, len(held) - 1))
        if kind == "pods":
            core.columns.remove_pod(held.pop(at).metadata.uid)
        elif kind in ("claims", "volumes") and data.draw(st.booleans()):
            held[at] = data.draw(getattr(storages, kind.removesuffix("s"))(reference.name_of(held[at])))
            core.columns.storage.put(held[at])
        else:
            core.columns.storage.remove(held.pop(at))
        compare(core, cluster, pod)
        compare_reservations(core, cluster, pod)


@MANY
@given(st.data(), clusters.pod("x9"), st.integers(0, 100))
def test_preemption_with_volumes(data: st.DataObject, pod: v1.Pod, seed: int) -> None:
    cluster = a_cluster_with_storage(data)
    assert pod.spec is not None
    pod.spec.priority = 15
    with_volumes(data, pod)
    core, reader = core_of(cluster.nodes, [], cluster.storage), Reader()
    for placed in cluster.pods:
        placed.status = v1.PodStatus(startTime=timestamps.seconds(reference.started(placed)))
        info = reader.read(placed)
        core.columns.put_pod(info, info.node_name)
    info = reader.read(pod)
    refused = core.schedule(info, seed)
    if isinstance(refused, Unschedulable):
        expected = reference.preempt(cluster, pod, [])
        found = Preemptor(core.columns).preempt(info, refused, DEFAULT, (), None, seed)
        if isinstance(found, NoCandidate):
            assert not expected
        else:
            assert tuple(sorted(v.name for v in found.victims)) == expected[found.node].victims


@settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters.clusters(pods=3), st.lists(clusters.pod("x"), min_size=2, max_size=3), st.data())
def test_the_same_while_the_cluster_changes(cluster: tuple[list[v1.Node], list[v1.Pod]], templates: list[v1.Pod], data: st.DataObject) -> None:
    """Evaluations and counters that live through scheduling, deletions and node changes say what new ones would."""
    nodes, pods = list(cluster[0]), list(cluster[1])
    core, reader = core_of(nodes, pods), Reader()
    for step in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(("schedule", "schedule", "schedule", "delete", "node", "remove", "add"))):
            case "delete" if pods:
                gone = pods.pop(data.draw(st.integers(0, len(pods) - 1)))
                core.columns.remove_pod(gone.metadata.uid)  # type: ignore[union-attr, arg-type]
            case "node":
                at = data.draw(st.integers(0, len(nodes) - 1))
                nodes[at] = data.draw(clusters.node(reference.name_of(nodes[at])))
                core.columns.put_node(nodes[at])
            case "remove" if len(nodes) > 1:
                core.columns.remove_node(reference.name_of(nodes.pop(data.draw(st.integers(0, len(nodes) - 1)))))
            case "add":
                nodes.append(data.draw(clusters.node(f"m{step}")))
                core.columns.put_node(nodes[-1])
            case _:
                _schedule_one(core, reader, nodes, pods, data.draw(st.sampled_from(templates)), step)
    for template in templates:
        compare(core, reference.Cluster(nodes, pods, clusters.NAMESPACES), template)
    assert check.differences(core.columns, nodes) == []


def _schedule_one(core: Core, reader: Reader, nodes: list[v1.Node], pods: list[v1.Pod], template: v1.Pod, step: int) -> None:
    import msgspec

    assert template.metadata is not None and template.spec is not None
    named = msgspec.structs.replace(template.metadata, name=f"s{step}", uid=f"s{step}")
    pod = msgspec.structs.replace(template, metadata=named)
    compare(core, reference.Cluster(nodes, pods, clusters.NAMESPACES), pod)
    info = reader.read(pod)
    match core.schedule(info, step):
        case Chosen(node=node):
            core.columns.put_pod(info, node)
            pods.append(msgspec.structs.replace(pod, spec=msgspec.structs.replace(template.spec, nodeName=node)))
        case Unschedulable() as refused:
            assert refused.message.startswith(f"0/{len(nodes)} nodes are available")


@settings(max_examples=300 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters.clusters(nodes=4, pods=10), clusters.pod("x9"), st.integers(0, 2), st.integers(0, 100))
def test_preemption_evicts_what_the_reference_would(cluster: tuple[list[v1.Node], list[v1.Pod]], pod: v1.Pod, allowed: int, seed: int) -> None:
    nodes, pods = cluster
    for node in nodes:
        assert node.status is not None and node.status.allocatable is not None
        node.status.allocatable.update({"cpu": "300m", "pods": "3"})
    assert pod.spec is not None
    pod.spec.priority = 15
    core, reader = Core(), Reader()
    core.columns.namespaces.update(clusters.NAMESPACES)
    for node in nodes:
        core.columns.put_node(node)
    for placed in pods:
        placed.status = v1.PodStatus(startTime=timestamps.seconds(reference.started(placed)))
        info = reader.read(placed)
        core.columns.put_pod(info, info.node_name)
    info = reader.read(pod)
    refused = core.schedule(info, seed)
    if not isinstance(refused, Unschedulable):
        return
    before = core.columns.requested.copy()
    budgets = (Budget("a", selectors.from_set({"app": "web"}), allowed),)
    expected = reference.preempt(reference.Cluster(nodes, pods, clusters.NAMESPACES), pod, [({"app": "web"}, allowed)])
    found = Preemptor(core.columns).preempt(info, refused, DEFAULT, budgets, None, seed)
    assert (core.columns.requested == before).all()
    if isinstance(found, NoCandidate):
        assert not expected
        assert found.message.startswith(f"0/{len(nodes)} nodes are available: ")
    else:
        assert tuple(sorted(v.name for v in found.victims)) == expected[found.node].victims
        assert found.violations == expected[found.node].rank[0]
