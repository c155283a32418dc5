"""`navarch up` and `down` for real: containers, network, faults, and what is left behind.

One cluster of its own data folder per module; skipped where another cluster of Navarch runs, since the bridge and the firewall
tables have one name per machine.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from navarch.run import host, settings, status

NAVARCH = [sys.executable, "-m", "navarch.cli.main"]


def navarch(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NAVARCH, *words], capture_output=True, text=True, timeout=timeout, check=False)


def until(what: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError(f"it did not happen within {seconds} s")


def traces() -> dict[str, object]:
    """What a cluster could leave on the machine."""
    text = pathlib.Path("/proc/self/mountinfo").read_text()
    names = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.netfilter.nf_conntrack_max")
    groups = [str(p) for p in pathlib.Path("/sys/fs/cgroup").glob("*/kubepods")] + [str(p) for p in pathlib.Path("/sys/fs/cgroup").glob("kubepods")]
    return {
        "links": sorted(p.name for p in pathlib.Path("/sys/class/net").iterdir() if p.name.startswith("navarch")),
        "tables": subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout,
        "mounts": sorted(line.split()[4] for line in text.splitlines() if "navarch" in line),
        "shared": sorted(p for line in text.splitlines() if " shared:" in line and ((p := line.split()[4]) == "/" or "navarch" in p)),
        "cgroups": groups,
        "settings": {n: pathlib.Path("/proc/sys", n.replace(".", "/")).read_text() for n in names},
        "run": sorted(str(p) for p in pathlib.Path("/run").glob("navarch*")),
    }


def kill(pid: int) -> None:
    """Kills one process; never the group that pid 0 would mean."""
    assert pid > 1
    os.kill(pid, signal.SIGKILL)


class Cluster:
    def __init__(self, data_dir: pathlib.Path) -> None:
        self.flag = f"--data-dir={data_dir}"
        self.before = traces()
        self.up = navarch("up", self.flag)
        loaded = settings.load(data_dir)
        assert loaded is not None, self.up.stderr
        self.settings = loaded

    def components(self) -> dict[str, Any]:
        found = status.read(self.settings)
        return dict(found["components"]) if found else {}

    def all_ready(self) -> bool:
        components = self.components()
        return bool(components) and all(c["ready"] for c in components.values())

    def tries(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", f"--kubeconfig={self.settings.admin_kubeconfig}", *words], capture_output=True, text=True, timeout=60, check=False
        )

    def kubectl(self, *words: str) -> str:
        done = self.tries(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def address(self) -> str:
        return self.kubectl("get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}")

    def answers(self, address: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def restarts(self) -> dict[str, int]:
        found = json.loads(self.kubectl("get", "pods", "-l", "app=hello", "-o", "json"))["items"]
        return {p["metadata"]["name"]: sum(c["restartCount"] for c in p["status"].get("containerStatuses", ())) for p in found}

    def containerd(self) -> int:
        wanted = str(self.settings.run_dir / "containerd" / "containerd.toml")
        pids = [p for p in status.running_with(wanted) if pathlib.Path(f"/proc/{p}/comm").read_text().strip() == "containerd"]
        return pids[0] if pids else 0


def _possible() -> None:
    """Skips where a cluster cannot be started."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    host.extend_path()
    if host.missing() or shutil.which("kubectl") is None:
        pytest.skip("programs are missing; `make prepare` installs them")
    if pathlib.Path("/sys/class/net/navarch0").exists():
        pytest.skip("a cluster runs on this machine")


def test_a_taken_port_is_named(tmp_path: pathlib.Path) -> None:
    _possible()
    with socket.create_server(("0.0.0.0", 0)) as listening:
        refused = navarch("up", f"--data-dir={tmp_path}", f"--secure-port={listening.getsockname()[1]}")
    assert refused.returncode == 1 and "which the API server needs, is taken by" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    _possible()
    data_dir = tmp_path_factory.mktemp("cluster")
    made = Cluster(data_dir)
    try:
        assert made.up.returncode == 0, made.up.stdout + made.up.stderr
        yield made
    finally:
        navarch("down", made.flag, "--wipe")


def test_up_tells_what_happens_and_how_to_go_on(cluster: Cluster) -> None:
    said = cluster.up.stdout
    assert "the sample app answered" in said and "API server ready in" in said
    assert str(cluster.settings.admin_kubeconfig) in said
    assert said.count("\n  kubectl ") == 4
    assert navarch("kubeconfig", cluster.flag).stdout == cluster.settings.admin_kubeconfig.read_text()


def test_up_again_notices(cluster: Cluster) -> None:
    pid = status.supervisor_pid(cluster.settings)
    again = navarch("up", cluster.flag)
    assert again.returncode == 0 and "running already" in again.stdout
    assert status.supervisor_pid(cluster.settings) == pid


def test_status(cluster: Cluster) -> None:
    until(cluster.all_ready, 10)
    shown = navarch("status", cluster.flag)
    assert shown.returncode == 0, shown.stdout
    for word in ("apiserver", "kubelet", "Ready", "default/hello-", "Running"):
        assert word in shown.stdout


def test_the_network_leads_everywhere(cluster: Cluster) -> None:
    service = json.loads(cluster.kubectl("get", "service", "hello", "-o", "json"))["spec"]
    assert cluster.answers(service["clusterIP"])
    assert cluster.answers(f"{cluster.settings.node_address}:{service['ports'][0]['nodePort']}")
    inside = "wget -qO- http://hello.default.svc.cluster.local | grep -c works; wget -qO- http://hello | grep -c works"
    assert cluster.kubectl("exec", "deployment/hello", "--", "sh", "-c", inside).split() == ["1", "1"]
    resolved = cluster.kubectl("exec", "deployment/hello", "--", "nslookup", "kubernetes.default.svc.cluster.local")
    assert cluster.settings.kubernetes_ip in resolved


@pytest.mark.parametrize("name", ["apiserver", "controller-manager", "scheduler", "kubelet", "proxy", "dns"])
def test_a_killed_component_is_back_and_no_pod_notices(cluster: Cluster, name: str) -> None:
    until(cluster.all_ready, 10)
    before, address = cluster.restarts(), cluster.address()
    pid = cluster.components()[name]["pid"]
    kill(pid)
    until(lambda: cluster.all_ready() and cluster.components()[name]["pid"] != pid, 5)
    assert cluster.answers(address)
    assert cluster.restarts() == before


def test_a_killed_containerd_is_back_and_containers_run_on(cluster: Cluster) -> None:
    before, address, pid = cluster.restarts(), cluster.address(), cluster.containerd()
    kill(pid)
    assert cluster.answers(address)
    until(lambda: cluster.containerd() not in (0, pid), 5)
    until(lambda: cluster.tries("exec", "deployment/hello", "--", "echo", "back").stdout == "back\n", 5)
    assert cluster.restarts() == before


def test_all_components_killed_at_once(cluster: Cluster) -> None:
    until(cluster.all_ready, 10)
    before, address = cluster.restarts(), cluster.address()
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    old = {c["pid"] for c in cluster.components().values()}
    for pid in old:
        kill(pid)
    until(lambda: cluster.all_ready() and not old & {c["pid"] for c in cluster.components().values()}, 5)
    assert cluster.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}") == "b", "no acknowledged write is lost"
    assert cluster.answers(address) and cluster.restarts() == before


def test_a_killed_supervisor_is_back_with_everything(cluster: Cluster) -> None:
    before, address, pid = cluster.restarts(), cluster.address(), status.supervisor_pid(cluster.settings)
    kill(pid)
    until(lambda: status.supervisor_pid(cluster.settings) not in (0, pid) and cluster.all_ready(), 5)
    assert cluster.answers(address) and cluster.restarts() == before


def test_with_all_of_us_killed_the_app_runs_on_and_up_recovers(cluster: Cluster) -> None:
    before, address = cluster.restarts(), cluster.address()
    pids = [c["pid"] for c in cluster.components().values()]
    kill(status.guard_pid(cluster.settings))
    kill(status.supervisor_pid(cluster.settings))
    until(lambda: not any(status.alive(pid) for pid in pids), 5)
    assert cluster.answers(address), "the app does not need us to go on"
    again = navarch("up", cluster.flag)
    assert again.returncode == 0, again.stdout + again.stderr
    assert cluster.answers(address) and cluster.restarts() == before, "no container was started again"


KEEPER = """
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: localhost/navarch/sample:1
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
"""


def test_down_and_up_brings_everything_back(cluster: Cluster, tmp_path: pathlib.Path) -> None:
    address = cluster.address()
    (tmp_path / "keeper.yaml").write_text(KEEPER)
    cluster.kubectl("apply", "-f", str(tmp_path / "keeper.yaml"))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=20s")
    cluster.kubectl("exec", "keeper", "--", "sh", "-c", "echo kept > /data/file")
    gone = navarch("down", cluster.flag)
    assert gone.returncode == 0 and "data stays" in gone.stdout, gone.stderr
    assert traces() == cluster.before
    assert status.running_with(str(cluster.settings.run_dir)) == []
    assert "was not running" in navarch("down", cluster.flag).stdout
    assert navarch("up", cluster.flag).returncode == 0
    assert cluster.address() == address
    until(lambda: cluster.answers(address), 10)
    until(lambda: cluster.tries("exec", "keeper", "--", "cat", "/data/file").stdout == "kept\n", 20)
    folder = next(cluster.settings.kubelet_dir.glob("pods/*/volumes/kubernetes.io~empty-dir/data"))
    cluster.kubectl("delete", "pod", "keeper")
    until(lambda: not folder.exists(), 20)


def test_down_after_everything_was_killed_leaves_nothing(cluster: Cluster) -> None:
    kill(status.guard_pid(cluster.settings))
    kill(status.supervisor_pid(cluster.settings))
    kill(cluster.containerd())
    time.sleep(0.3)
    assert navarch("down", cluster.flag, "--wipe").returncode == 0
    until(lambda: status.running_with(str(cluster.settings.run_dir)) == [], 5)
    assert traces() == cluster.before
    assert not cluster.settings.data_dir.exists()
