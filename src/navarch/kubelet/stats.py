"""What pods and the node use: the summary for `kubectl top`, and metrics as text.

In: CRI's container statistics and /proc. Out: the Summary of upstream's stats API as plain data, and Prometheus text. Upstream's
counterparts: pkg/kubelet/server/stats, metrics/collectors.
"""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from navarch.cri.client import Client, CriError
from navarch.cri.proto import Message
from navarch.kubelet import configs, machine_facts
from navarch.machinery import timestamps

HERTZ = os.sysconf("SC_CLK_TCK")


class Meter:
    """Measures, and keeps the last measurement of CPU time to tell the present rate."""

    def __init__(self, cri: Client, node: str, started: float) -> None:
        self._cri = cri
        self._node = node
        self._started = started
        self._before: dict[str, tuple[float, int]] = {}

    def _rate(self, key: str, moment: float, used: int) -> int:
        """CPU nanoseconds per second since the last measurement of this key."""
        before = self._before.get(key)
        if before is None or moment - before[0] >= 1.0:
            self._before[key] = (moment, used)
        if before is None or moment <= before[0]:
            return 0
        return max(0, int((used - before[1]) / (moment - before[0])))

    async def _containers(self) -> list[Message]:
        try:
            return list(await self._cri.container_stats())
        except CriError:
            return []

    async def summary(self, root: pathlib.Path) -> dict[str, Any]:
        """The Summary of /stats/summary."""
        now = time.time()
        stamp = timestamps.seconds(now)
        pods: dict[str, dict[str, Any]] = {}
        for stats in await self._containers():
            labels = stats.attributes.labels
            uid = labels.get(configs.POD_UID, "")
            pod = pods.setdefault(
                uid,
                {
                    "podRef": {"name": labels.get(configs.POD_NAME, ""), "namespace": labels.get(configs.POD_NAMESPACE, ""), "uid": uid},
                    "startTime": stamp,
                    "containers": [],
                },
            )
            pod["containers"].append(self._container(stats, stamp))
        for pod in pods.values():
            pod["cpu"] = _sum(pod["containers"], "cpu", ("usageNanoCores", "usageCoreNanoSeconds"), stamp)
            pod["memory"] = _sum(pod["containers"], "memory", ("usageBytes", "workingSetBytes", "rssBytes"), stamp)
        return {"node": self._node_stats(root, now, stamp), "pods": list(pods.values())}

    def _container(self, stats: Message, stamp: str) -> dict[str, Any]:
        used = stats.cpu.usage_core_nano_seconds.value
        rate = self._rate(stats.attributes.id, stats.cpu.timestamp / 1e9 or time.time(), used)
        return {
            "name": stats.attributes.metadata.name,
            "startTime": stamp,
            "cpu": {"time": stamp, "usageNanoCores": stats.cpu.usage_nano_cores.value or rate, "usageCoreNanoSeconds": used},
            "memory": {
                "time": stamp,
                "usageBytes": stats.memory.usage_bytes.value or stats.memory.working_set_bytes.value,
                "workingSetBytes": stats.memory.working_set_bytes.value,
                "rssBytes": stats.memory.rss_bytes.value,
            },
            "rootfs": {
                "time": stamp,
                "usedBytes": stats.writable_layer.used_bytes.value,
                "inodesUsed": stats.writable_layer.inodes_used.value,
            },
        }

    def _node_stats(self, root: pathlib.Path, now: float, stamp: str) -> dict[str, Any]:
        memory = machine_facts.meminfo()
        used = node_cpu()
        disk = os.statvfs(root)
        total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
        return {
            "nodeName": self._node,
            "startTime": timestamps.seconds(self._started),
            "cpu": {"time": stamp, "usageNanoCores": self._rate("node", now, used), "usageCoreNanoSeconds": used},
            "memory": {
                "time": stamp,
                "availableBytes": available,
                "usageBytes": total - memory.get("MemFree", 0),
                "workingSetBytes": total - available,
                "rssBytes": memory.get("AnonPages", 0),
            },
            "fs": {
                "time": stamp,
                "availableBytes": disk.f_bavail * disk.f_frsize,
                "capacityBytes": disk.f_blocks * disk.f_frsize,
                "usedBytes": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
                "inodesFree": disk.f_ffree,
                "inodes": disk.f_files,
                "inodesUsed": disk.f_files - disk.f_ffree,
            },
        }

    async def resource_metrics(self) -> str:
        """/metrics/resource: CPU and memory of containers, pods and the node."""
        samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        pods: dict[tuple[str, str], list[float]] = {}
        for stats in await self._containers():
            labels = stats.attributes.labels
            pod = (labels.get(configs.POD_NAMESPACE, ""), labels.get(configs.POD_NAME, ""))
            tags = {"container": stats.attributes.metadata.name, "namespace": pod[0], "pod": pod[1]}
            cpu = stats.cpu.usage_core_nano_seconds.value / 1e9
            memory = float(stats.memory.working_set_bytes.value)
            samples.setdefault("container_cpu_usage_seconds_total counter", []).append((tags, cpu))
            samples.setdefault("container_memory_working_set_bytes gauge", []).append((tags, memory))
            total = pods.setdefault(pod, [0.0, 0.0])
            total[0] += cpu
            total[1] += memory
        for (namespace, name), (cpu, memory) in pods.items():
            tags = {"namespace": namespace, "pod": name}
            samples.setdefault("pod_cpu_usage_seconds_total counter", []).append((tags, cpu))
            samples.setdefault("pod_memory_working_set_bytes gauge", []).append((tags, memory))
        held = machine_facts.meminfo()
        samples["node_cpu_usage_seconds_total counter"] = [({}, node_cpu() / 1e9)]
        samples["node_memory_working_set_bytes gauge"] = [({}, float(held.get("MemTotal", 0) - held.get("MemAvailable", 0)))]
        samples["scrape_error gauge"] = [({}, 0.0)]
        return exposition(samples)


def node_cpu() -> int:
    """CPU time used by all processes since boot, in nanoseconds."""
    words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, soft, steal = (int(word) for word in words[:8])
    return (user + nice + system + irq + soft + steal) * 1_000_000_000 // HERTZ


def _sum(containers: Iterable[Mapping[str, Any]], group: str, keys: Iterable[str], stamp: str) -> dict[str, Any]:
    return {"time": stamp, **{key: sum(c[group][key] for c in containers) for key in keys}}


def exposition(samples: Mapping[str, Iterable[tuple[Mapping[str, str], float]]]) -> str:
    """Prometheus text; keys are "name type"."""
    lines = []
    for head, values in samples.items():
        name, kind = head.split(" ")
        lines.append(f"# TYPE {name} {kind}")
        for tags, value in values:
            inside = ",".join(f'{key}="{text}"' for key, text in tags.items())
            lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return "\n".join(lines) + "\n"
