"""The cgroups of pods and of their classes: made with their limits, removed when the pod is gone.

Containers' cgroups are made by the runtime below the pod's. Works on cgroup v1 (one tree per controller, also in hybrid setups) and v2.
Upstream's counterpart is pkg/kubelet/cm's pod container manager with the cgroupfs driver.
"""

from __future__ import annotations

import contextlib
import os
import pathlib

from navarch.api.core import v1
from navarch.kubelet.core import resources

ROOT = pathlib.Path("/sys/fs/cgroup")
KUBEPODS = "kubepods"
_FOLDERS = {"Guaranteed": "", "Burstable": "burstable/", "BestEffort": "besteffort/"}


def parent_of(root: str, pod: v1.Pod) -> str:
    """The pod's cgroup as CRI's cgroup_parent: /kubepods/burstable/pod<uid>."""
    uid = (pod.metadata and pod.metadata.uid) or ""
    prefix = root.rstrip("/")
    return f"{prefix}/{KUBEPODS}/{_FOLDERS[resources.qos_class(pod)]}pod{uid}"


def unified() -> bool:
    """Whether this machine has cgroup v2 only."""
    return (ROOT / "cgroup.controllers").exists()


def _trees() -> list[pathlib.Path]:
    if unified():
        return [ROOT]
    with contextlib.suppress(OSError):
        return [path for entry in os.scandir(ROOT) if entry.is_dir() and os.path.ismount(path := pathlib.Path(entry.path))]
    return []


def make(path: str, values: resources.CgroupValues) -> None:
    """Makes a cgroup, or sets the values of one that is there. What the machine does not offer is left out."""
    relative = path.lstrip("/")
    if unified():
        folder = ROOT / relative
        _make_v2(folder)
        weight = 1 + (max(2, values.cpu_shares) - 2) * 9999 // 262142
        _write(folder / "cpu.weight", str(weight))
        _write(folder / "cpu.max", f"{values.cpu_quota or 'max'} {values.cpu_period}")
        _write(folder / "memory.max", str(values.memory_limit or "max"))
        _write(folder / "pids.max", str(values.pids_limit or "max"))
        return
    for controller, files in (
        ("cpu", {"cpu.shares": values.cpu_shares, "cpu.cfs_quota_us": values.cpu_quota or -1}),
        ("memory", {"memory.limit_in_bytes": values.memory_limit or -1}),
        ("pids", {"pids.max": values.pids_limit or "max"}),
    ):
        folder = ROOT / controller / relative
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            for name, value in files.items():
                _write(folder / name, str(value))


def _make_v2(folder: pathlib.Path) -> None:
    """On v2 a controller must be handed down through every level."""
    folder.mkdir(parents=True, exist_ok=True)
    for parent in reversed(folder.parents):
        if parent == ROOT or ROOT in parent.parents:
            for controller in ("cpu", "memory", "pids", "cpuset", "io"):
                _write(parent / "cgroup.subtree_control", f"+{controller}")


def _write(path: pathlib.Path, value: str) -> None:
    with contextlib.suppress(OSError):
        path.write_text(value)


def remove(path: str) -> None:
    """Removes a cgroup and everything below it, in all trees. Only empty ones can go; the rest stays."""
    relative = path.lstrip("/")
    if not relative:
        return
    for tree in _trees():
        top = tree / relative
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def pod_uids(root: str) -> set[str]:
    """Pods that have a cgroup below our root."""
    found = set()
    for tree in _trees():
        base = tree / root.strip("/") / KUBEPODS if root.strip("/") else tree / KUBEPODS
        for folder in (base, base / "burstable", base / "besteffort"):
            with contextlib.suppress(OSError):
                found |= {entry.name[3:] for entry in os.scandir(folder) if entry.name.startswith("pod")}
    return found


def remove_pod(root: str, uid: str) -> None:
    """Removes a pod's cgroup whatever its class is."""
    for folder in _FOLDERS.values():
        remove(f"{root.rstrip('/')}/{KUBEPODS}/{folder}pod{uid}")
