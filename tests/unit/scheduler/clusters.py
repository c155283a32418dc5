"""Random clusters and pods for the differential tests, small in vocabulary so that things meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1

KEYS = ("kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack", "metadata.name")
NAMESPACES = {"a": {"team": "x"}, "b": {"team": "y"}, "c": {}}
APPS = ("web", "db")
IMAGES = ("nginx", "registry.local:5000/app", "app:v2")
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


labels = st.fixed_dictionaries({}, optional={"app": st.sampled_from(APPS), "tier": st.sampled_from(("1", "2", "30"))})
pod_labels = st.fixed_dictionaries({"app": st.sampled_from(APPS)}, optional={"tier": st.sampled_from(("1", "2"))}) | labels
taints = st.builds(
    v1.Taint,
    key=st.sampled_from(("gpu", "spot", UNSCHEDULABLE)),
    value=maybe(st.sampled_from(("", "yes"))),
    effect=st.sampled_from(("NoSchedule", "PreferNoSchedule", "NoExecute")),
)
tolerations = st.builds(
    v1.Toleration,
    key=maybe(st.sampled_from(("gpu", "spot", UNSCHEDULABLE))),
    operator=maybe(st.sampled_from(("Equal", "Exists"))),
    value=maybe(st.sampled_from(("", "yes"))),
    effect=maybe(st.sampled_from(("NoSchedule", "PreferNoSchedule", "NoExecute"))),
)
images = st.builds(
    v1.ContainerImage,
    names=st.lists(st.sampled_from(("nginx:latest", "registry.local:5000/app:latest", "app:v2")), min_size=1, max_size=2, unique=True),
    sizeBytes=st.just(400 * 2**20),
)


@st.composite
def node(draw: st.DrawFn, name: str) -> v1.Node:
    held: dict[str, str] = draw(labels)
    if draw(st.integers(0, 9)):
        held["kubernetes.io/hostname"] = name
    if draw(st.integers(0, 7)):
        held["topology.kubernetes.io/zone"] = draw(st.sampled_from(("z1", "z1", "z2", "z3", "")))
    if draw(st.integers(0, 2)):
        held["rack"] = draw(st.sampled_from(("r1", "r2")))
    amounts: dict[str, str | int | float] = {"cpu": draw(st.sampled_from(("2500m", "4", "8"))), "memory": draw(st.sampled_from(("2G", "8Gi")))}
    amounts["pods"] = draw(st.sampled_from(("3", "110", "110")))
    if draw(st.booleans()):
        amounts["example.com/gpu"] = "2"
    if not draw(st.integers(0, 19)):
        del amounts["memory"]
    spec = v1.NodeSpec(
        unschedulable=draw(st.sampled_from((None, None, None, True))),
        taints=draw(st.none() | st.none() | st.lists(taints, max_size=2, unique_by=lambda t: (t.key, t.effect))),
    )
    status = v1.NodeStatus(allocatable=amounts, images=draw(maybe(st.lists(images, max_size=2))))
    return v1.Node(metadata=meta_v1.ObjectMeta(name=name, labels=held), spec=spec, status=status)


selector_requirements = st.builds(
    meta_v1.LabelSelectorRequirement,
    key=st.sampled_from(("app", "tier")),
    operator=st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")),
    values=st.lists(st.sampled_from((*APPS, "1", "2")), min_size=1, max_size=2),
)
label_selectors = st.one_of(
    st.builds(meta_v1.LabelSelector, matchLabels=st.fixed_dictionaries({"app": st.sampled_from(APPS)})),
    st.builds(meta_v1.LabelSelector, matchLabels=st.fixed_dictionaries({"app": st.sampled_from(APPS)})),
    st.builds(meta_v1.LabelSelector, matchExpressions=st.lists(selector_requirements, max_size=2)),
    st.none(),
)
namespace_selectors = st.sampled_from(
    (None, None, meta_v1.LabelSelector(), meta_v1.LabelSelector(matchLabels={"team": "x"}), meta_v1.LabelSelector(matchLabels={"team": "q"}))
)
topology_keys = st.sampled_from((*KEYS[:3], *KEYS))
spreads = st.builds(
    v1.TopologySpreadConstraint,
    topologyKey=topology_keys,
    maxSkew=st.integers(1, 3),
    whenUnsatisfiable=st.sampled_from(("DoNotSchedule", "ScheduleAnyway")),
    labelSelector=label_selectors,
    minDomains=st.none() | st.integers(1, 4),
    nodeAffinityPolicy=st.sampled_from((None, "Honor", "Ignore")),
    nodeTaintsPolicy=st.sampled_from((None, "Honor", "Ignore")),
    matchLabelKeys=maybe(st.just(["tier"])),
)
terms = st.builds(
    v1.PodAffinityTerm,
    topologyKey=topology_keys,
    labelSelector=label_selectors,
    namespaces=maybe(st.lists(st.sampled_from(tuple(NAMESPACES)), max_size=2)),
    namespaceSelector=namespace_selectors,
    matchLabelKeys=maybe(st.just(["tier"])),
    mismatchLabelKeys=maybe(st.just(["app"])),
)
weighted = st.builds(v1.WeightedPodAffinityTerm, weight=st.integers(1, 100), podAffinityTerm=terms)
node_requirements = st.one_of(
    st.builds(
        v1.NodeSelectorRequirement,
        key=st.sampled_from(("app", "rack", "metadata.name")),
        operator=st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")),
        values=st.lists(st.sampled_from(("web", "r1", "r2", "n0")), min_size=1, max_size=2),
    ),
    st.builds(v1.NodeSelectorRequirement, key=st.just("tier"), operator=st.sampled_from(("Gt", "Lt")), values=st.just(["2"])),
)
node_fields = st.builds(
    v1.NodeSelectorRequirement,
    key=st.just("metadata.name"),
    operator=st.sampled_from(("In", "NotIn")),
    values=st.sampled_from((["n0"], ["n1"], ["n9"])),
)
node_terms = st.builds(
    v1.NodeSelectorTerm, matchExpressions=maybe(st.lists(node_requirements, max_size=2)), matchFields=maybe(st.lists(node_fields, max_size=1))
)
node_affinities = st.builds(
    v1.NodeAffinity,
    requiredDuringSchedulingIgnoredDuringExecution=maybe(st.builds(v1.NodeSelector, nodeSelectorTerms=st.lists(node_terms, min_size=1, max_size=2))),
    preferredDuringSchedulingIgnoredDuringExecution=maybe(
        st.lists(st.builds(v1.PreferredSchedulingTerm, weight=st.integers(1, 100), preference=node_terms), max_size=2)
    ),
)


def pod_affinities(kind: Any, *, required: bool) -> st.SearchStrategy[Any]:
    if required:
        return st.builds(kind, requiredDuringSchedulingIgnoredDuringExecution=st.lists(terms, min_size=1, max_size=2))
    return st.builds(kind, preferredDuringSchedulingIgnoredDuringExecution=st.lists(weighted, min_size=1, max_size=2))


AFFINITIES = {
    "node": st.builds(v1.Affinity, nodeAffinity=node_affinities),
    "together": st.builds(v1.Affinity, podAffinity=pod_affinities(v1.PodAffinity, required=True)),
    "apart": st.builds(v1.Affinity, podAntiAffinity=pod_affinities(v1.PodAntiAffinity, required=True)),
    "rather": st.builds(
        v1.Affinity,
        podAffinity=maybe(pod_affinities(v1.PodAffinity, required=False)),
        podAntiAffinity=maybe(pod_affinities(v1.PodAntiAffinity, required=False)),
    ),
}
FEATURES = ("plain", "spread", "resources", "ports", "tolerations", *AFFINITIES)
requests = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(("100m", "0.5", "1", "3")),
        "memory": st.sampled_from(("100Mi", "1Gi", "1500M")),
        "example.com/gpu": st.sampled_from(("1", "2", "0")),
        "ephemeral-storage": st.sampled_from(("0", "1Gi")),
    },
)
resources = maybe(st.builds(v1.ResourceRequirements, requests=requests))
pod_resources = st.none() | st.none() | st.builds(v1.ResourceRequirements, requests=st.fixed_dictionaries({}, optional={"cpu": st.just("700m")}))
ports = st.builds(
    v1.ContainerPort,
    containerPort=st.just(80),
    hostPort=st.sampled_from((8080, 8081)),
    hostIP=st.sampled_from((None, "127.0.0.1", "0.0.0.0")),
    protocol=st.sampled_from((None, "TCP", "UDP")),
)


@st.composite
def container(draw: st.DrawFn, name: str, features: set[str], *, init: bool = False) -> v1.Container:
    held = draw(st.lists(ports, max_size=1)) if "ports" in features else None
    policy = draw(st.sampled_from((None, "Always"))) if init else None
    wanted = draw(resources) if "resources" in features else v1.ResourceRequirements(requests={"cpu": "100m"})
    return v1.Container(name=name, image=draw(st.sampled_from(IMAGES)), resources=wanted, ports=held, restartPolicy=policy)


@st.composite
def pod(draw: st.DrawFn, name: str, on: list[str] | None = None) -> v1.Pod:
    """A pod that uses a few features at a time, so that they are not all drowned by one; `on`: nodes one of which it is on."""
    features = draw(st.sets(st.sampled_from(FEATURES), max_size=2))
    rich = "resources" in features
    containers = [draw(container(f"c{i}", features)) for i in range(draw(st.integers(1, 2)) if rich else 1)]
    inits = [draw(container(f"i{i}", features, init=True)) for i in range(draw(st.integers(0, 2)) if rich else 0)]
    affinity = next((draw(AFFINITIES[f]) for f in sorted(features) if f in AFFINITIES), None)
    overhead: dict[str, str | int | float] | None = {"cpu": "50m", "memory": "10Mi"} if rich and draw(st.booleans()) else None
    spec = v1.PodSpec(
        containers=containers,
        initContainers=inits or None,
        nodeName=draw(st.sampled_from(on)) if on else None,
        nodeSelector=draw(st.sampled_from((None, {"rack": "r1"}))) if "node" in features else None,
        affinity=affinity,
        tolerations=draw(st.lists(tolerations, max_size=2)) if "tolerations" in features else None,
        topologySpreadConstraints=draw(st.lists(spreads, min_size=1, max_size=2)) if "spread" in features else None,
        overhead=overhead,
        resources=draw(pod_resources) if rich else None,
        priority=draw(st.sampled_from((None, 0, 10, 20))),
    )
    deleted = "2026-01-01T00:00:00Z" if on and not draw(st.integers(0, 5)) else None
    namespace = draw(st.sampled_from(("a", "a", "a", *NAMESPACES)))
    metadata = meta_v1.ObjectMeta(name=name, namespace=namespace, uid=f"uid-{name}", labels=draw(pod_labels), deletionTimestamp=deleted)
    return v1.Pod(metadata=metadata, spec=spec)


@st.composite
def clusters(draw: st.DrawFn, nodes: int = 5, pods: int = 8) -> tuple[list[v1.Node], list[v1.Pod]]:
    names = [f"n{i}" for i in range(draw(st.integers(1, nodes)))]
    # a pod may be on a node that has no object any more: it must not count
    placed = [draw(pod(f"p{i}", [*names, *names, "gone"])) for i in range(draw(st.integers(0, pods)))]
    return [draw(node(name)) for name in names], placed
