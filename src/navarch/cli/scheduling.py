"""`navarch simulate`, `navarch capacity`: the scheduler's real core on a copy of the cluster.

The copy is read from the API server (the kubeconfig of `navarch up`, `--kubeconfig`, or KUBECONFIG) or from a dump
(`kubectl get nodes,pods,namespaces -A -o yaml`, with `--dump FILE`). Nothing is written to the cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import yaml

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scheduling import v1 as scheduling_v1
from navarch.cli.cluster import DATA, say, table
from navarch.client import kubeconfig, rest
from navarch.lib import integers
from navarch.machinery import codec
from navarch.objects import pods
from navarch.scheduler import history
from navarch.scheduler.config import configuration
from navarch.scheduler.core import requests
from navarch.scheduler.core.profile import DEFAULT, Profile
from navarch.scheduler.core.volumes.storage import StorageObject
from navarch.scheduler.core.what_if import Placement, Simulation, Snapshot, Utilization, renamed

_TEMPLATES = {"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController", "Job", "DaemonSet"}


def simulate(given: Sequence[str]) -> int:
    """`navarch simulate`: where everything would go, what would be evicted, what stays pending and why, how full nodes get."""
    wanted = parser("simulate", "Try a manifest, more nodes, or fewer, on a copy of the cluster")
    wanted.add_argument("-f", "--filename", action="append", default=[], help="a manifest: pods, what makes pods, and their claims")
    wanted.add_argument("--add-nodes", action="append", default=[], metavar="N:cpu=8,memory=32Gi[,pods=110][,label.KEY=VALUE]")
    wanted.add_argument("--drain", action="append", default=[], metavar="NODE", help="cordon a node and move its pods")
    wanted.add_argument("--remove", action="append", default=[], metavar="NODE", help="take a node away and move its pods")
    flags = wanted.parse_args(given)
    snapshot, priorities = read(flags)
    snapshot.nodes += [node for text in flags.add_nodes for node in added_nodes(text)]
    documents = [obj for file in flags.filename for obj in _documents(file)]
    snapshot.storage += [_named(obj) for obj in documents if isinstance(obj, StorageObject)]
    simulation = Simulation(snapshot, profile_of(flags))
    names = [n.metadata.name or "" for n in snapshot.nodes if n.metadata]
    moved = [pod for name in flags.drain for pod in simulation.drain(name, remove=False)]
    moved += [pod for name in flags.remove for pod in simulation.drain(name, remove=True)]
    waiting = [p for p in snapshot.pods if p.spec and not p.spec.nodeName and not pods.finished(p)]
    made = pods_of(iter(documents), names, priorities)
    placements = simulation.place([*waiting, *moved, *made])
    _print_placements(placements)
    say("")
    _print_utilization(simulation.utilization())
    return 1 if any(not p.node for p in placements) else 0


def capacity(given: Sequence[str]) -> int:
    """`navarch capacity -f pod.yaml`: how many more of a pod fit."""
    wanted = parser("capacity", "Say how many more pods like one fit")
    wanted.add_argument("-f", "--filename", required=True)
    flags = wanted.parse_args(given)
    snapshot, priorities = read(flags)
    wanted_pods = pods_of(_documents(flags.filename), [], priorities, once=True)
    if not wanted_pods:
        raise ValueError(f"{flags.filename} has no pod, nor anything that makes pods")
    found, why = Simulation(snapshot, profile_of(flags)).capacity(wanted_pods[0])
    say(f"{len(found)} more fit.")
    if found:
        say("")
        table([("NODE", "PODS"), *((node, str(number)) for node, number in sorted(Counter(p.node for p in found).items()))])
    if why:
        say(f"\nOne more would not: {why}")
    return 0


# ---- reading ------------------------------------------------------------------------------------------------------


def parser(name: str, about: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog=f"navarch {name}", description=about)
    made.add_argument("--kubeconfig", default="", help="default: KUBECONFIG, or the cluster of `navarch up`")
    made.add_argument("--dump", default="", help="read the cluster from a file of objects instead")
    made.add_argument("--config", default="", help="the scheduler's KubeSchedulerConfiguration, when it has one")
    return made


def profile_of(flags: argparse.Namespace, name: str = "") -> Profile:
    """The profile of that scheduler name."""
    profiles = configuration.load(flags.config).profiles if flags.config else {}
    return profiles.get(name or "default-scheduler", DEFAULT)


def client_of(flags: argparse.Namespace) -> rest.Client:
    path = flags.kubeconfig or os.environ.get("KUBECONFIG", "") or str(pathlib.Path(DATA) / "admin.kubeconfig")
    return rest.Client(kubeconfig.load(path), user_agent="navarch-simulate")


def read(flags: argparse.Namespace) -> tuple[Snapshot, dict[str, int]]:
    """The cluster, and its priority classes."""
    objects = list(_documents(flags.dump)) if flags.dump else asyncio.run(_live(flags))
    priorities = {c.metadata.name or "": c.value or 0 for c in objects if isinstance(c, scheduling_v1.PriorityClass) and c.metadata}
    return Snapshot.of(objects), priorities


async def _live(flags: argparse.Namespace) -> list[Any]:
    async with client_of(flags) as client:
        lists = await asyncio.gather(*(client.list(kind) for kind in (*history.KINDS, scheduling_v1.PriorityClass)))
    return [obj for items, _ in lists for obj in items]


_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (*history.KINDS, scheduling_v1.PriorityClass)}


def _documents(file: str) -> Iterator[Any]:
    """Typed objects of a file; kinds that do not matter here stay dicts."""
    text = sys.stdin.read() if file == "-" else pathlib.Path(file).read_text()
    for document in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if not isinstance(document, dict):
            continue
        items = document.get("items") if str(document.get("kind", "")).endswith("List") else [document]
        for item in items or ():
            kind = _KINDS.get(item.get("kind", ""))
            yield item if kind is None else codec.decode(kind, msgspec.json.encode(item))


def pods_of(objects: Iterator[Any], nodes: Sequence[str], priorities: dict[str, int], *, once: bool = False) -> list[core_v1.Pod]:
    """The pods that a manifest's objects would make; `once`: one of each."""
    found: list[core_v1.Pod] = []
    for obj in objects:
        if isinstance(obj, core_v1.Pod):
            found.append(_ready(obj, "", priorities))
        elif isinstance(obj, dict) and obj.get("kind") in _TEMPLATES:
            number = 1 if once else _number(obj, len(nodes))
            found += [_ready(_template(obj), str(i), priorities) for i in range(number)]
    return found


def _named(obj: StorageObject) -> StorageObject:
    """As the API server would take it: a claim is in a namespace."""
    if isinstance(obj, core_v1.PersistentVolumeClaim) and obj.metadata is not None:
        obj.metadata.namespace = obj.metadata.namespace or "default"
    return obj


def _number(obj: dict[str, Any], nodes: int) -> int:
    spec = obj.get("spec") or {}
    if obj["kind"] == "DaemonSet":
        return nodes
    if obj["kind"] == "Job":
        return min(int(spec.get("parallelism", 1)), int(spec.get("completions", spec.get("parallelism", 1))))
    return int(spec.get("replicas", 1))


def _template(obj: dict[str, Any]) -> core_v1.Pod:
    template = (obj.get("spec") or {}).get("template") or {}
    own = obj.get("metadata") or {}
    metadata = {**(template.get("metadata") or {}), "name": own.get("name"), "namespace": own.get("namespace")}
    return codec.decode(core_v1.Pod, msgspec.json.encode({"metadata": metadata, "spec": template.get("spec") or {}}))


def _ready(pod: core_v1.Pod, suffix: str, priorities: dict[str, int]) -> core_v1.Pod:
    """As admission would make it: a namespace, a name, a priority."""
    m, spec = pod.metadata or meta_v1.ObjectMeta(), pod.spec or core_v1.PodSpec()
    if spec.priority is None and spec.priorityClassName:
        spec = msgspec.structs.replace(spec, priority=priorities.get(spec.priorityClassName, 0))
    placed = msgspec.structs.replace(pod, metadata=msgspec.structs.replace(m, namespace=m.namespace or "default"), spec=spec)
    return renamed(placed, suffix or "0")


def added_nodes(text: str) -> list[core_v1.Node]:
    """Nodes of `3:cpu=8,memory=32Gi`."""
    number, colon, rest_of = text.partition(":")
    count = integers.parse(number, 0, 10_000)
    if not colon or count is None:
        raise ValueError(f'"{text}" is not N:cpu=8,memory=32Gi')
    amounts: dict[str, str | int | float] = {"pods": "110"}
    labels: dict[str, str] = {}
    for pair in rest_of.split(","):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f'"{pair}" is not RESOURCE=AMOUNT')
        if key.startswith("label."):
            labels[key.removeprefix("label.")] = value
        else:
            amounts[key] = value
    return [_added(f"added-{i}", amounts, labels) for i in range(count)]


def _added(name: str, amounts: dict[str, str | int | float], labels: dict[str, str]) -> core_v1.Node:
    metadata = meta_v1.ObjectMeta(name=name, labels={"kubernetes.io/hostname": name, **labels})
    return core_v1.Node(metadata=metadata, status=core_v1.NodeStatus(allocatable=amounts))


# ---- printing -----------------------------------------------------------------------------------------------------


def _print_placements(placements: Sequence[Placement]) -> None:
    placed = [p for p in placements if p.node]
    if placed:
        table([("POD", "NODE", "WOULD EVICT"), *((p.pod, p.node, ", ".join(p.evicted) or "-") for p in placed)])
    for p in placements:
        if not p.node:
            say(f"pending: {p.pod}: {p.why}")
    if not placements:
        say("nothing to place")


def _print_utilization(rows: Sequence[Utilization]) -> None:
    names = list(rows[0].amounts) if rows else []
    table([("NODE", *(n.upper() for n in names)), *((row.node, *(_share(n, *row.amounts[n]) for n in names)) for row in rows)])


def _share(name: str, used: int, has: int) -> str:
    percent = f" ({used * 100 // has}%)" if has else ""
    return f"{requests.as_text(name, used)}/{requests.as_text(name, has)}{percent}"
