"""The core's words and corners that random clusters seldom meet."""

from __future__ import annotations

import numpy as np

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.scheduler.core import check, topology
from navarch.scheduler.core.arguments import Arguments, Fit, Point
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.terms import PodInfo, Reader


def node(name: str, cpu: str = "4", memory: str = "8Gi", **labels: str) -> v1.Node:
    amounts: dict[str, str | int | float] = {"cpu": cpu, "memory": memory, "pods": "10"}
    return v1.Node(metadata=meta_v1.ObjectMeta(name=name, labels=labels), status=v1.NodeStatus(allocatable=amounts))


def info(name: str, cpu: str = "1", **spec: object) -> PodInfo:
    container = v1.Container(name="c", resources=v1.ResourceRequirements(requests={"cpu": cpu, "memory": "1Gi"}))
    pod = v1.Pod(
        metadata=meta_v1.ObjectMeta(name=name, namespace="d", uid=name, labels={"app": "x"}),
        spec=v1.PodSpec(containers=[container], **spec),  # type: ignore[arg-type]
    )
    return Reader().read(pod)


def core(*nodes: v1.Node) -> Core:
    found = Core()
    for each in nodes:
        found.columns.put_node(each)
    return found


def refused(outcome: Chosen | Unschedulable) -> Unschedulable:
    assert isinstance(outcome, Unschedulable)
    return outcome


def test_no_nodes() -> None:
    assert refused(core().schedule(info("a"), 0)).message == "no nodes available to schedule pods"


def test_the_message_counts_texts_in_order() -> None:
    cordoned = node("n3")
    cordoned.spec = v1.NodeSpec(unschedulable=True)
    cluster = core(node("n1", cpu="500m"), node("n2", cpu="500m", memory="1Mi"), cordoned)
    outcome = refused(cluster.schedule(info("a"), 0))
    assert outcome.message == "0/3 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu."
    assert outcome.plugins == {"NodeResourcesFit", "NodeUnschedulable"}


def test_a_pod_for_one_named_node_says_what_upstream_says() -> None:
    field = v1.NodeSelectorRequirement(key="metadata.name", operator="In", values=["n1"])
    selector = v1.NodeSelector(nodeSelectorTerms=[v1.NodeSelectorTerm(matchFields=[field])])
    affinity = v1.Affinity(nodeAffinity=v1.NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=selector))
    outcome = refused(core(node("n1", cpu="1m"), node("n2")).schedule(info("a", affinity=affinity), 0))
    assert outcome.message == "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."


def test_ties_are_drawn_by_the_seed() -> None:
    cluster = core(*(node(f"n{i}") for i in range(4)))
    drawn = {outcome.node for seed in range(40) if isinstance(outcome := cluster.schedule(info("a"), seed), Chosen)}
    assert drawn == {"n0", "n1", "n2", "n3"}


def test_room_that_another_waits_for_is_not_given_away() -> None:
    cluster = core(node("n1", cpu="2"))
    cluster.columns.nominate(info("first", cpu="2"), "n1")
    assert refused(cluster.schedule(info("second"), 0)).message == "0/1 nodes are available: 1 Insufficient cpu."
    cluster.columns.withdraw("first")
    assert isinstance(cluster.schedule(info("second"), 0), Chosen)


def test_room_for_a_less_important_pod_is() -> None:
    cluster = core(node("n1", cpu="2"))
    cluster.columns.nominate(info("first", cpu="2"), "n1")
    assert isinstance(cluster.schedule(info("second", priority=5), 0), Chosen)


def test_the_first_pod_of_a_kind_may_go_anywhere() -> None:
    term = v1.PodAffinityTerm(topologyKey="zone", labelSelector=meta_v1.LabelSelector(matchLabels={"app": "x"}))
    affinity = v1.Affinity(podAffinity=v1.PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term]))
    cluster = core(node("n1", zone="a"), node("n2", zone="b"), node("n3"))
    first = cluster.schedule(info("a", affinity=affinity), 1)
    assert isinstance(first, Chosen) and first.node in ("n1", "n2")
    cluster.columns.put_pod(info("a", affinity=affinity), first.node)
    for seed in range(4):
        later = cluster.schedule(info(f"b{seed}", affinity=affinity), seed)
        assert isinstance(later, Chosen) and later.node == first.node


def test_fewer_domains_than_wanted_count_as_an_empty_one() -> None:
    constraint = v1.TopologySpreadConstraint(
        topologyKey="zone", maxSkew=1, minDomains=3, whenUnsatisfiable="DoNotSchedule", labelSelector=meta_v1.LabelSelector(matchLabels={"app": "x"})
    )
    cluster = core(node("n1", zone="a"), node("n2", zone="b"))
    for name in ("a", "b"):
        outcome = cluster.schedule(info(name, topologySpreadConstraints=[constraint]), 0)
        assert isinstance(outcome, Chosen)
        cluster.columns.put_pod(info(name), outcome.node)
    assert "topology spread" in refused(cluster.schedule(info("c", topologySpreadConstraints=[constraint]), 0)).message


def test_affinity_scores_round_as_upstream_does() -> None:
    """100.0 * (29 / 100) is 28.99… in floating point, and is cut off."""
    normal = topology._affinity_normalized(np.array([0, 29, 100]), np.array([True, True, True]))
    assert normal.tolist() == [0, 28, 100]


def test_strategies_of_fit() -> None:
    full, empty = node("full"), node("empty")

    def chosen(fit: Fit) -> str:
        cluster = core(full, empty)
        cluster.columns.put_pod(info("old", cpu="2"), "full")
        outcome = cluster.schedule(info("a"), 0, Profile(name="p", arguments=Arguments(fit=fit), weights={"NodeResourcesFit": 1}))
        assert isinstance(outcome, Chosen)
        return outcome.node

    assert chosen(Fit()) == "empty"
    assert chosen(Fit(strategy="MostAllocated")) == "full"
    assert chosen(Fit(strategy="RequestedToCapacityRatio", shape=(Point(0, 0), Point(100, 100)))) == "full"
    assert chosen(Fit(strategy="RequestedToCapacityRatio", shape=(Point(0, 100), Point(100, 0)))) == "empty"


def test_a_freed_slot_is_taken_again_and_a_pod_without_its_node_does_not_count() -> None:
    cluster = core(node("n1"))
    cluster.columns.put_pod(info("a", cpu="3"), "n1")
    cluster.columns.remove_node("n1")
    assert cluster.columns.alive_count == 0
    cluster.columns.put_node(node("n1"))
    assert refused(cluster.schedule(info("b", cpu="2"), 0)).message == "0/1 nodes are available: 1 Insufficient cpu."
    cluster.columns.remove_pod("a")
    assert isinstance(cluster.schedule(info("b", cpu="2"), 0), Chosen)


def test_nodes_are_alike_only_when_scoring_counts_them_alike() -> None:
    """A pod that asks for nothing counts with a default in scores, one that asks for 0 does not; both request nothing."""
    cluster = core(node("n1"), node("n2"))

    def empty(name: str, requests: dict[str, str | int | float] | None) -> PodInfo:
        container = v1.Container(name="c", resources=v1.ResourceRequirements(requests=requests))
        metadata = meta_v1.ObjectMeta(name=name, namespace="d", uid=name)
        return Reader().read(v1.Pod(metadata=metadata, spec=v1.PodSpec(containers=[container])))

    cluster.schedule(info("a"), 0)
    cluster.columns.put_pod(empty("nothing", None), "n1")
    cluster.schedule(info("a"), 0)
    cluster.columns.put_pod(empty("zero", {"cpu": "0", "memory": "0"}), "n2")
    drawn = {outcome.node for seed in range(4) if isinstance(outcome := cluster.schedule(info("a"), seed), Chosen)}
    assert drawn == {"n2"}


def test_a_draw_does_not_depend_on_the_order_of_nodes() -> None:
    names = [f"n{i}" for i in range(9)]
    forward, backward = core(*(node(n) for n in names)), core(*(node(n) for n in reversed(names)))
    for seed in range(20):
        assert forward.schedule(info("a"), seed) == backward.schedule(info("a"), seed)


def test_the_check_finds_what_is_wrong_with_the_columns() -> None:
    nodes = [node("n1", cpu="2"), node("n2", cpu="2")]
    cluster = core(*nodes)
    cluster.columns.put_pod(info("a"), "n1")
    assert check.differences(cluster.columns, nodes) == []
    cluster.columns.requested[0, cluster.columns.slots["n1"]] += 7
    cluster.columns.unschedulable[cluster.columns.slots["n2"]] = True
    found = check.differences(cluster.columns, [*nodes, node("n3")])
    assert [text.split(" is ")[0] for text in found] == ["node n3", "node n1: requested cpu", "node n2: unschedulable"]
