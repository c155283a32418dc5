"""A running cluster whose disk fills up, and one whose clock jumps: nothing is lost, nothing restarts, and it goes on by itself.

The disk is a small tmpfs. The clock is libfaketime's, so that only the cluster's own processes see it jump; containerd and the
containers keep the real one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from navarch.run import host, settings, status

NAVARCH = [sys.executable, "-m", "navarch.cli.main"]
FAKETIME = pathlib.Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")


def until(what: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(f"it did not happen within {seconds} s")


class Cluster:
    """A cluster with the sample app."""

    def __init__(self, data_dir: pathlib.Path) -> None:
        found = settings.load(data_dir)
        assert found is not None
        self.settings = found

    def kubectl(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = ["kubectl", f"--kubeconfig={self.settings.admin_kubeconfig}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input=given)

    def running(self) -> dict[str, int]:
        """The names of pods that run and are ready, and how often their containers were restarted."""
        pods = json.loads(self.kubectl("get", "pods", "-o", "json").stdout or '{"items":[]}')["items"]
        found = {}
        for pod in pods:
            containers = pod["status"].get("containerStatuses", [])
            if containers and all(c["ready"] for c in containers) and "deletionTimestamp" not in pod["metadata"]:
                found[pod["metadata"]["name"]] = sum(c["restartCount"] for c in containers)
        return found

    def starts(self) -> dict[str, int]:
        """How often each of our processes was started."""
        found = status.read(self.settings)
        assert found is not None
        return {name: c["restarts"] for name, c in dict(found["components"]).items()}


@contextlib.contextmanager
def cluster(data_dir: pathlib.Path, environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    host.extend_path()
    if host.missing() or shutil.which("kubectl") is None:
        pytest.skip("programs are missing; `make prepare` installs them")
    if pathlib.Path("/sys/class/net/navarch0").exists():
        pytest.skip("a cluster runs on this machine")
    flag = f"--data-dir={data_dir}"
    try:
        up = subprocess.run(
            [*NAVARCH, "up", flag], capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **(environment or {})}
        )
        assert up.returncode == 0, up.stdout + up.stderr
        made = Cluster(data_dir)
        until(lambda: len(made.running()) == 2, 20)
        yield made
    finally:
        subprocess.run([*NAVARCH, "down", flag, "--wipe"], capture_output=True, timeout=120, check=False)


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_writes_and_loses_none(small_disk: pathlib.Path) -> None:
    large = "x" * 900_000
    with cluster(small_disk / "data") as made:
        pods = made.running()
        with open(small_disk / "filler", "wb") as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
        written: list[str] = []
        refused = ""
        for number in range(200):
            manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{number}"}, "data": {"k": large}}
            done = made.kubectl("create", "-f", "-", given=json.dumps(manifest))
            if done.returncode:
                refused = done.stderr
                break
            written.append(f"configmap/m{number}")
        assert "no room on the disk of" in refused and "Traceback" not in refused, refused
        listed = made.kubectl("get", "configmaps", "-o", "name").stdout.split()
        assert set(written) <= set(listed)
        assert made.running() == pods
        (small_disk / "filler").unlink()
        until(lambda: made.kubectl("create", "configmap", "after").returncode == 0, 15)
        assert made.kubectl("delete", "pod", next(iter(pods)), "--grace-period=1").returncode == 0
        until(lambda: len(made.running()) == 2 and made.running() != pods, 30)
        assert set(written) <= set(made.kubectl("get", "configmaps", "-o", "name").stdout.split())
        assert set(made.starts().values()) == {0}


def test_a_clock_that_jumps_disturbs_nothing(tmp_path: pathlib.Path) -> None:
    if not FAKETIME.exists():
        pytest.skip("faketime is not installed")
    moved = tmp_path / "moved"
    moved.write_text("+0")
    fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(moved), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with cluster(tmp_path / "data", fake) as made:
        pods = made.running()
        for number, jump in enumerate(("+2h", "-6h", "+3d", "+0")):
            moved.write_text(jump)
            time.sleep(7)
            name = f"after-{number}"
            assert made.kubectl("create", "deployment", name, "--image=localhost/navarch/sample:1").returncode == 0
            until(lambda: any(pod.startswith(name) for pod in made.running()), 15)  # noqa: B023
            ready = made.kubectl("get", "nodes", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}").stdout
            assert ready == "True", jump
            taints = made.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.taints}").stdout
            assert taints == "", jump
        assert pods.items() <= made.running().items()
        assert set(made.starts().values()) == {0}
