"""The cgroups of pods and of their classes: who gets how much of the CPU, and where the limits are."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import AsyncIterator

import pytest

from navarch.api.core import v1
from navarch.kubelet import cgroups, qos
from navarch.kubelet.core import resources
from navarch.kubelet.core.resources import CgroupValues
from navarch.testing import waiting


def container(requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, sidecar: bool = False) -> v1.Container:
    held = v1.ResourceRequirements(requests=dict(requests or {}), limits=dict(limits or {}))
    return v1.Container(name="c", resources=held, restartPolicy="Always" if sidecar else None)


def pod(*mains: v1.Container, inits: tuple[v1.Container, ...] = (), **spec: object) -> v1.Pod:
    return v1.Pod(spec=v1.PodSpec(containers=list(mains), initContainers=list(inits), **spec))  # type: ignore[arg-type]


SMALL, LARGE = {"cpu": "100m", "memory": "64Mi"}, {"cpu": "2", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("of", "values"),
    [
        (pod(container()), CgroupValues(2)),
        (pod(container(SMALL, SMALL)), CgroupValues(102, 10_000, 64 << 20)),
        (pod(container(SMALL)), CgroupValues(102)),
        (pod(container(SMALL, LARGE)), CgroupValues(102, 200_000, 1 << 30)),
        # The largest step of the init containers counts, beside the sidecars that run by then.
        (pod(container(SMALL, SMALL), inits=(container(LARGE, LARGE),)), CgroupValues(2048, 200_000, 1 << 30)),
        (
            pod(container(SMALL, SMALL), inits=(container(SMALL, SMALL, sidecar=True), container(LARGE, LARGE))),
            CgroupValues(2150, 210_000, (1 << 30) + (64 << 20)),
        ),
        (pod(container(LARGE, LARGE), inits=(container(SMALL, SMALL, sidecar=True),)), CgroupValues(2150, 210_000, (1 << 30) + (64 << 20))),
        # One container without a limit leaves the pod without.
        (pod(container(SMALL, SMALL), container(SMALL)), CgroupValues(204)),
        (pod(container(SMALL, SMALL), inits=(container(),)), CgroupValues(102)),
        (pod(container(SMALL, {"memory": "64Mi"})), CgroupValues(102, 0, 64 << 20)),
        # What the pod itself says goes first.
        (
            pod(container(), resources=v1.ResourceRequirements(requests=dict(SMALL), limits=dict(LARGE))),
            CgroupValues(102, 200_000, 1 << 30),
        ),
    ],
)
def test_values_of_a_pod_s_cgroup(of: v1.Pod, values: CgroupValues) -> None:
    assert resources.pod_cgroup(of) == values


def test_shares_of_the_burstable() -> None:
    burstable, guaranteed, best = pod(container({"cpu": "1500m"})), pod(container(LARGE, LARGE)), pod(container())
    assert resources.burstable_shares([]) == 2
    assert resources.burstable_shares([guaranteed, best]) == 2
    assert resources.burstable_shares([burstable, guaranteed, best, burstable]) == 3072


def test_what_pods_may_use_of_the_node() -> None:
    assert resources.node_cgroup(4, 8 << 30, 32768, {}) == CgroupValues(4096, 0, 8 << 30, pids_limit=32768)
    reserved = {"cpu": 500, "memory": 1 << 30, "pid": 1000}
    assert resources.node_cgroup(4, 8 << 30, 32768, reserved) == CgroupValues(3584, 0, 7 << 30, pids_limit=31768)


def text(path: pathlib.Path) -> str:
    return path.read_text() if path.exists() else ""


@contextlib.asynccontextmanager
async def running(classes: qos.Classes) -> AsyncIterator[None]:
    classes.make()
    task = asyncio.create_task(classes.run())
    try:
        yield
    finally:
        task.cancel()


@pytest.mark.parametrize("unified", [False, True])
async def test_classes_follow_their_pods(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, unified: bool) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(qos, "SETTLE", 0.01)
    if unified:
        (tmp_path / "cgroup.controllers").touch()
    pods = [pod(container({"cpu": "1500m"}))]
    classes = qos.Classes("/", resources.node_cgroup(2, 4 << 30, 1000, {}), lambda: pods)
    base = tmp_path / "kubepods" if unified else tmp_path / "cpu" / "kubepods"
    name, weights = ("cpu.weight", ("59", "79", "1")) if unified else ("cpu.shares", ("1536", "2048", "2"))
    async with running(classes):
        assert (text(base / "burstable" / name), text(base / name), text(base / "besteffort" / name)) == weights
        pods.clear()
        classes.changed()
        least = "1" if unified else "2"
        await waiting.until(lambda: text(base / "burstable" / name) == least, seconds=5)
    if unified:
        assert text(base / "memory.max") == str(4 << 30)
        assert text(base / "pids.max") == "1000"
        assert text(base / "burstable" / "memory.max") == "max"
    else:
        assert text(tmp_path / "memory" / "kubepods" / "memory.limit_in_bytes") == str(4 << 30)
        assert text(tmp_path / "memory" / "kubepods" / "burstable" / "memory.limit_in_bytes") == "-1"
        assert text(tmp_path / "pids" / "kubepods" / "pids.max") == "1000"


async def test_what_somebody_changed_is_set_again(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(qos, "EVERY", 0.05)
    classes = qos.Classes("/", resources.node_cgroup(2, 4 << 30, 1000, {}), list)
    async with running(classes):
        changed = tmp_path / "cpu" / "kubepods" / "besteffort" / "cpu.shares"
        changed.write_text("1024")
        await waiting.until(lambda: text(changed) == "2", seconds=5)
