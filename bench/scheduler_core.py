"""The scheduler's core alone: pods decided per second of processor time (it is one thread), reading each pod included.

    python -m bench.scheduler_core

Upstream's own benchmark (scheduler_perf) has floors at 5,000 nodes of 680 pods/s basic, 60 required anti-affinity, 35 required
affinity, on larger machines than two cores; each shape here prints its aim beside its figure.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.preempt import Candidate, Preemptor
from navarch.scheduler.core.profile import DEFAULT
from navarch.scheduler.core.terms import Reader

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SELECTOR = meta_v1.LabelSelector(matchLabels={"app": "measured"})
Shape = Callable[[], v1.PodSpec]


def node(i: int) -> v1.Node:
    labels = {HOST: f"node-{i}", ZONE: f"zone-{i % 10}"}
    status = v1.NodeStatus(allocatable={"cpu": "32", "memory": "128Gi", "pods": "110"})
    return v1.Node(metadata=meta_v1.ObjectMeta(name=f"node-{i}", labels=labels), status=status)


def spec(affinity: v1.Affinity | None = None, spread: str = "", priority: int = 0, cpu: str = "100m") -> v1.PodSpec:
    constraints = None
    if spread:
        constraints = [v1.TopologySpreadConstraint(maxSkew=5, topologyKey=ZONE, whenUnsatisfiable=spread, labelSelector=SELECTOR)]
    container = v1.Container(name="c", image="app", resources=v1.ResourceRequirements(requests={"cpu": cpu, "memory": "200Mi"}))
    return v1.PodSpec(containers=[container], affinity=affinity, topologySpreadConstraints=constraints, priority=priority)


def term(key: str) -> v1.PodAffinityTerm:
    return v1.PodAffinityTerm(topologyKey=key, labelSelector=SELECTOR)


def wish(key: str) -> list[v1.WeightedPodAffinityTerm]:
    return [v1.WeightedPodAffinityTerm(weight=10, podAffinityTerm=term(key))]


SHAPES: tuple[tuple[str, int, int, Shape], ...] = (
    ("basic", 10_000, 10_000, spec),
    ("topology spread, required", 3_000, 3_000, lambda: spec(spread="DoNotSchedule")),
    ("topology spread, preferred", 3_000, 3_000, lambda: spec(spread="ScheduleAnyway")),
    (
        "affinity, required (zone)",
        3_000,
        3_000,
        lambda: spec(v1.Affinity(podAffinity=v1.PodAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term(ZONE)]))),
    ),
    (
        "anti-affinity, required (host)",
        3_000,
        3_000,
        lambda: spec(v1.Affinity(podAntiAffinity=v1.PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term(HOST)]))),
    ),
    (
        "affinity, preferred (host)",
        3_000,
        3_000,
        lambda: spec(v1.Affinity(podAffinity=v1.PodAffinity(preferredDuringSchedulingIgnoredDuringExecution=wish(HOST)))),
    ),
    (
        "anti-affinity, preferred (host)",
        3_000,
        3_000,
        lambda: spec(v1.Affinity(podAntiAffinity=v1.PodAntiAffinity(preferredDuringSchedulingIgnoredDuringExecution=wish(HOST)))),
    ),
)


def pod(name: str, of: v1.PodSpec) -> v1.Pod:
    return v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace="bench", uid=name, labels={"app": "measured"}), spec=of)


def filled(nodes: int, each: int, of: v1.PodSpec) -> Core:
    """A cluster with some pods on every node."""
    core, reader = Core(), Reader()
    for i in range(nodes):
        core.columns.put_node(node(i))
        for j in range(each):
            holder = v1.Pod(metadata=meta_v1.ObjectMeta(name=f"init-{i}-{j}", namespace="bench", uid=f"init-{i}-{j}"), spec=of)
            core.columns.put_pod(reader.read(holder), f"node-{i}")
    return core


def decide(nodes: int, pods: int, shape: Shape) -> float:
    """Pods per second."""
    core, reader = filled(nodes, 1, spec()), Reader()
    made = [pod(f"p{i}", shape()) for i in range(pods + 1)]
    core.schedule(reader.read(made[-1]), 0)
    began = time.process_time()
    for i, each in enumerate(made[:-1]):
        info = reader.read(each)
        outcome = core.schedule(info, i * 7919)
        assert isinstance(outcome, Chosen)
        core.columns.put_pod(info, outcome.node)
    return pods / (time.process_time() - began)


def preempt(nodes: int, pods: int) -> float:
    """Preemptors per second: each is refused, finds victims, which go, and is then placed."""
    core, reader = filled(nodes, 4, spec(cpu="7900m")), Reader()
    preemptor = Preemptor(core.columns)
    made = [pod(f"p{i}", spec(priority=100, cpu="8")) for i in range(pods)]
    began = time.process_time()
    for i, each in enumerate(made):
        info = reader.read(each)
        refused = core.schedule(info, i)
        assert isinstance(refused, Unschedulable)
        plan = preemptor.preempt(info, refused, DEFAULT, (), None, i)
        assert isinstance(plan, Candidate)
        for victim in plan.victims:
            core.columns.remove_pod(victim.uid)
        core.columns.put_pod(info, plan.node)
    return pods / (time.process_time() - began)


def report(name: str, nodes: int, rate: float, aim: int) -> None:
    print(f"{name:34} {nodes:>6,} nodes  {rate:>8,.0f} pods/s  (aim {aim:,})", flush=True)


def main() -> int:
    for name, pods, aim, shape in SHAPES:
        report(name, 5_000, decide(5_000, pods, shape), aim)
    report("preemption", 5_000, preempt(5_000, 1_000), 500)
    report("basic", 15_000, decide(15_000, 10_000, spec), 5_000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
