"""What slices must hold, which taints a node gets, who owns whom, which pods a set parts with."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import endpoints, nodes, replicas
from navarch.controllers.core.graph import Graph, Kind, Node
from navarch.objects.partial import Owner

NOW = 1_800_000_000.0
Wants = list[tuple[str, int, frozenset[int]]]


def endpoint(number: int) -> discovery_v1.Endpoint:
    target = core_v1.ObjectReference(kind="Pod", name=f"p{number}", uid=f"u{number}")
    address = f"10.0.{number // 250}.{number % 250}"
    return discovery_v1.Endpoint(addresses=[address], conditions=discovery_v1.EndpointConditions(ready=True), targetRef=target)


def wanted(wants: Wants) -> list[endpoints.Wanted]:
    found = {(family, port): numbers for family, port, numbers in wants}
    return [
        endpoints.Wanted(family, (("http", "TCP", port, ""),), tuple(endpoint(n) for n in sorted(numbers)))
        for (family, port), numbers in found.items()
    ]


def template() -> discovery_v1.EndpointSlice:
    return discovery_v1.EndpointSlice(metadata=meta_v1.ObjectMeta(generateName="s-", namespace="x", labels={"a": "b"}))


def written(held: list[discovery_v1.EndpointSlice], change: endpoints.Difference, start: int) -> list[discovery_v1.EndpointSlice]:
    """The slices after a difference was carried out."""

    def name(s: discovery_v1.EndpointSlice) -> str:
        assert s.metadata is not None
        return s.metadata.name or ""

    kept = {name(s): s for s in held}
    for s in change.delete:
        del kept[name(s)]
    for s in change.update:
        assert name(s) in kept
        kept[name(s)] = s
    for i, s in enumerate(change.create):
        assert s.metadata is not None
        s.metadata.name = f"s-{start}-{i}"
        kept[name(s)] = s
    return list(kept.values())


NUMBERS = st.frozensets(st.integers(0, 400), max_size=260)
WANTS = st.lists(st.tuples(st.sampled_from(["IPv4", "IPv6"]), st.sampled_from([80, 81]), NUMBERS), max_size=3)


@given(st.lists(WANTS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_slices_hold_exactly_what_is_wanted(rounds: list[Wants]) -> None:
    held: list[discovery_v1.EndpointSlice] = []
    for number, wants in enumerate(rounds):
        wishes = wanted(wants)
        held = written(held, endpoints.difference(template(), wishes, held), number)
        there: dict[tuple[str, endpoints.PortKey], list[str]] = {}
        for s in held:
            assert len(s.endpoints or ()) <= endpoints.MOST_PER_SLICE
            group = there.setdefault((s.addressType or "", endpoints.key_of_ports(s.ports)), [])
            group += [e.targetRef.uid or "" for e in s.endpoints or () if e.targetRef is not None]
        expected = {(w.family, w.ports): sorted(e.targetRef.uid or "" for e in w.endpoints if e.targetRef is not None) for w in wishes}
        assert {key: sorted(uids) for key, uids in there.items()} == expected
        rest = endpoints.difference(template(), wishes, held)
        assert not (rest.create or rest.update or rest.delete), "a second look finds nothing to do"


def test_a_change_touches_only_the_slice_it_is_in() -> None:
    wishes = wanted([("IPv4", 80, frozenset(range(250)))])
    held = written([], endpoints.difference(template(), wishes, []), 0)
    assert sorted(len(s.endpoints or ()) for s in held) == [50, 100, 100]
    change = endpoints.difference(template(), wanted([("IPv4", 80, frozenset(range(1, 250)))]), held)
    assert (len(change.create), len(change.update), len(change.delete)) == (0, 1, 0)


# ---- nodes --------------------------------------------------------------------------------------------------------


def node(*conditions: tuple[str, str], unschedulable: bool = False, taints: tuple[core_v1.Taint, ...] = ()) -> core_v1.Node:
    status = core_v1.NodeStatus(conditions=[core_v1.NodeCondition(type=t, status=s) for t, s in conditions])
    spec = core_v1.NodeSpec(unschedulable=unschedulable or None, taints=list(taints))
    return core_v1.Node(metadata=meta_v1.ObjectMeta(name="n"), spec=spec, status=status)


def taints(found: core_v1.Node) -> set[str]:
    return {f"{t.key}:{t.effect}" for t in nodes.wanted_taints(found, NOW)}


def test_taints_follow_conditions() -> None:
    assert taints(node(("Ready", "True"))) == set()
    assert taints(node(("Ready", "False"))) == {f"{nodes.NOT_READY}:NoSchedule", f"{nodes.NOT_READY}:NoExecute"}
    assert taints(node(("Ready", "Unknown"))) == {f"{nodes.UNREACHABLE}:NoSchedule", f"{nodes.UNREACHABLE}:NoExecute"}
    assert taints(node()) == {f"{nodes.NOT_READY}:NoSchedule"}
    assert taints(node(("Ready", "True"), ("DiskPressure", "True"), ("PIDPressure", "False"))) == {"node.kubernetes.io/disk-pressure:NoSchedule"}
    assert taints(node(("Ready", "True"), unschedulable=True)) == {"node.kubernetes.io/unschedulable:NoSchedule"}


def test_taints_go_with_their_cause_and_those_of_others_stay() -> None:
    mine = core_v1.Taint(key="example.com/mine", effect="NoSchedule", value="v")
    old = core_v1.Taint(key=nodes.NOT_READY, effect="NoExecute", timeAdded="2020-01-01T00:00:00Z")
    assert nodes.wanted_taints(node(("Ready", "True"), taints=(mine, old)), NOW) == [mine]
    kept = nodes.wanted_taints(node(("Ready", "False"), taints=(mine, old)), NOW)
    assert old in kept, "its time is when it came, not now"
    again = node(("Ready", "False"), taints=tuple(kept))
    assert nodes.wanted_taints(again, NOW + 60) == kept


def test_a_silent_kubelet_makes_all_unknown_once() -> None:
    ready = core_v1.NodeCondition(type="Ready", status="True", lastTransitionTime="2020-01-01T00:00:00Z")
    other = core_v1.NodeCondition(type="Custom", status="True")
    first = nodes.silenced([ready, other], NOW)
    assert {c.type: c.status for c in first} == {
        "Ready": "Unknown", "MemoryPressure": "Unknown", "DiskPressure": "Unknown", "PIDPressure": "Unknown", "Custom": "True"
    }  # fmt: skip
    assert nodes.silenced(first, NOW + 60) == first


# ---- ownership ----------------------------------------------------------------------------------------------------

KIND = Kind("", "v1", "things", "Thing", True)
UIDS = st.sampled_from(["a", "b", "c", "d"])


@given(st.lists(st.tuples(UIDS, st.one_of(st.none(), st.frozensets(UIDS, max_size=3))), max_size=30))
def test_the_graph_knows_its_dependents(steps: list[tuple[str, frozenset[str] | None]]) -> None:
    graph, model = Graph(), dict[str, frozenset[str]]()
    for uid, owners in steps:
        if owners is None:
            assert (graph.remove(uid) is None) == (model.pop(uid, None) is None)
        else:
            model[uid] = owners
            graph.put(Node(KIND, uid, "x", uid, tuple(Owner(uid=o, blockOwnerDeletion=o != "d") for o in sorted(owners))))
        for owner in "abcd":
            assert {n.uid for n in graph.of(owner)} == {u for u, owned in model.items() if owner in owned}
            assert {n.uid for n in graph.blocking(owner)} == {u for u, owned in model.items() if owner in owned and owner != "d"}
    assert all(graph.dependents.values()), "nothing empty is kept"


# ---- replica sets -------------------------------------------------------------------------------------------------


def pod(name: str, *, node: str = "n1", phase: str = "Running", ready: bool = True, cost: int = 0, restarts: int = 0, age: int = 1000) -> core_v1.Pod:
    from navarch.machinery import timestamps

    condition = core_v1.PodCondition(type="Ready", status="True" if ready else "False", lastTransitionTime=timestamps.seconds(NOW - age))
    containers = [core_v1.ContainerStatus(name="c", restartCount=restarts)]
    annotations = {"controller.kubernetes.io/pod-deletion-cost": str(cost)} if cost else None
    metadata = meta_v1.ObjectMeta(name=name, uid=name, annotations=annotations, creationTimestamp=timestamps.seconds(NOW - age))
    status = core_v1.PodStatus(phase=phase, conditions=[condition], containerStatuses=containers)
    return core_v1.Pod(metadata=metadata, spec=core_v1.PodSpec(nodeName=node or None), status=status)


def gone(count: int, *pods: core_v1.Pod) -> list[str]:
    plan = replicas.decide(len(pods) - count, pods, NOW)
    assert plan.create == 0
    return [p.metadata.name or "" for p in plan.delete if p.metadata is not None]


def test_the_least_missed_go_first() -> None:
    good = pod("good")
    assert gone(1, good, pod("unassigned", node="", phase="Pending", ready=False)) == ["unassigned"]
    assert gone(1, good, pod("pending", phase="Pending", ready=False)) == ["pending"]
    assert gone(1, good, pod("unready", ready=False)) == ["unready"]
    assert gone(1, good, pod("cheap", cost=-5)) == ["cheap"]
    assert gone(1, pod("dear", cost=5), good) == ["good"]
    assert gone(1, good, pod("crowded1", node="n2"), pod("crowded2", node="n2"))[0].startswith("crowded")
    assert gone(1, good, pod("young", age=10)) == ["young"]
    assert gone(1, good, pod("restarting", restarts=3)) == ["restarting"]


@given(st.integers(0, 600), st.integers(0, 30))
def test_a_set_comes_nearer_to_its_size(size: int, there: int) -> None:
    plan = replicas.decide(size, [pod(f"p{i}") for i in range(there)], NOW)
    assert plan.create == min(500, max(0, size - there))
    assert len(plan.delete) == max(0, there - size)
    assert not (plan.create and plan.delete)


def test_status_counts() -> None:
    spec = apps_v1.ReplicaSetSpec(replicas=3, minReadySeconds=60, template=core_v1.PodTemplateSpec())
    owner = apps_v1.ReplicaSet(metadata=meta_v1.ObjectMeta(name="s", generation=4), spec=spec)
    pods = [pod("old"), pod("fresh", age=30), pod("unready", ready=False)]
    status = replicas.status_of(owner, pods, 1, NOW)
    assert (status.replicas, status.readyReplicas, status.availableReplicas, status.observedGeneration) == (3, 2, 1, 4)
    assert status.terminatingReplicas == 1 and status.conditions is None
    failed = replicas.status_of(owner, pods, 0, NOW, "no quota")
    assert [(c.type, c.reason, c.message) for c in failed.conditions] == [("ReplicaFailure", "FailedCreate", "no quota")]
