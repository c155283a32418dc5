"""The kubelet and containerd killed at random moments while pods come and go; then nothing of those pods may be left on the machine.

With NAVARCH_SOAK=20 there are twenty times as many kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import kubeconfig, rest
from navarch.cri import client as cri_client
from navarch.cri import containerd, images, leftovers
from navarch.kubelet import cgroups, loop
from navarch.lib import mounts
from navarch.machinery import errors
from navarch.network import links
from navarch.run import runtime
from navarch.testing import ports

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(shutil.which("containerd") is None, reason="containerd is not installed"),
]

KILLS = 10 * int(os.environ.get("NAVARCH_SOAK", "1"))
PODS = 6
NODE, TOKEN, BRIDGE = "killed-node", "test-token", "nvkill0"
SUBNET = "10.213.78.0/24"
NODE_PROCESS = """
import json, sys
from navarch.cri import leftovers
from navarch.kubelet import cleanup, loop
from navarch.lib import log
from navarch.run import host, runtime, supervisor
host.extend_path()
log.setup("node")
leftovers.PATIENCE, leftovers.OFTEN = 30.0, 10.0
cleanup.ROUND_EVERY = 10.0
told = json.loads(sys.argv[1])
parts = [("runtime", runtime.run, runtime.Options(**told["runtime"])), ("kubelet", loop.run, loop.Options(**told["kubelet"]))]
supervisor.run_all(parts, lambda: None, in_order=True)
"""


class Machine:
    """An API server that lives, and a node (kubelet and containerd) that is killed and started again."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.run_dir, self.addresses = folder / "run", folder / "run" / "network" / "addresses"
        self.made = runtime.containerd_settings(folder, self.run_dir)
        self.kubelet = {
            "kubeconfig": str(folder / "kubeconfig"),
            "hostname_override": NODE,
            "node_ip": "10.213.78.1",
            "container_runtime_endpoint": f"unix://{self.made.socket}",
            "root_dir": str(folder / "kubelet"),
            "pod_log_dir": str(folder / "pod-logs"),
            "address": "127.0.0.1",
            "port": ports.free(),
            "cgroup_root": f"/navarch-kill-{os.getpid()}",
        }
        self.api: subprocess.Popen[bytes] | None = None
        self.node: subprocess.Popen[bytes] | None = None

    def start_api(self) -> None:
        port = ports.free()
        (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        flags = [f"--data-dir={self.folder}/api", "--bind-address=127.0.0.1", f"--secure-port={port}", f"--token-auth-file={self.folder}/tokens.csv"]
        self.api = self._spawn("api", [sys.executable, "-m", "navarch.cli.main", "apiserver", *flags])
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": f"{self.folder}/api/pki/ca.crt"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self.folder / "kubeconfig").write_text(json.dumps(config))
        authority = self.folder / "api" / "pki" / "ca.crt"
        until = time.monotonic() + 15
        while not authority.exists() and time.monotonic() < until:
            time.sleep(0.05)

    def start_node(self) -> None:
        told = {"runtime": {"data_dir": str(self.folder), "run_dir": str(self.run_dir)}, "kubelet": self.kubelet}
        self.node = self._spawn("node", [sys.executable, "-c", NODE_PROCESS, json.dumps(told)])

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{name}.log", "ab") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def kill_kubelet(self) -> None:
        assert self.node is not None
        self.node.kill()
        self.node.wait()

    def kill_containerd(self) -> None:
        pid = containerd.Containerd(self.made).find()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def left(self) -> dict[str, list[str]]:
        """Everything on the machine that belongs to pods."""
        cri = cri_client.Client(f"unix://{self.made.socket}")
        try:
            sandboxes = [f"{box.name} {box.id[:8]}" for box in await cri.list_sandboxes()]
            containers = [c.name for c in await cri.list_containers()]
        finally:
            await cri.close()
        state = self.made.state / "io.containerd.grpc.v1.cri"
        root = str(self.kubelet["cgroup_root"])
        return {
            "sandboxes": sandboxes,
            "containers": containers,
            "mounts": [str(m) for m in (*mounts.below(self.folder / "kubelet"), *mounts.below(self.made.state))],
            "pod folders": names(self.folder / "kubelet" / "pods"),
            "log folders": names(self.folder / "pod-logs"),
            "cgroups": sorted(cgroups.pod_uids(root)),
            "shims": [owner[:8] for _, owner in leftovers.shims(self.made.socket)],
            "processes": processes_in(root),
            "addresses": [name for name in names(self.addresses / "test") if name[0].isdigit()],
            "network namespaces": names(state / "netns"),
            "sandbox folders": [*names(state / "sandboxes"), *names(self.run_dir / "containerd" / "runc" / "k8s.io")],
            "bridge ports": names(pathlib.Path(f"/sys/class/net/{BRIDGE}/brif")),
        }


def names(folder: pathlib.Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def processes_in(root: str) -> list[str]:
    """Processes in a cgroup below this one."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{root}/" in pathlib.Path(entry.path, "cgroup").read_text():
                    found.append(entry.name)
    return found


@contextlib.asynccontextmanager
async def machine() -> AsyncIterator[Machine]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nvx-", dir="/tmp"))
    there = Machine(folder)
    plugin = {"type": "bridge", "bridge": BRIDGE, "isGateway": True}
    plugin["ipam"] = {"type": "host-local", "subnet": SUBNET, "dataDir": str(there.addresses)}
    there.made.cni_conf_dir.mkdir(parents=True)
    (there.made.cni_conf_dir / "10-test.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "test", "plugins": [plugin]}))
    changed = containerd.share_mounts([folder])
    private = containerd.Containerd(there.made)
    try:
        await asyncio.to_thread(there.start_api)
        there.start_node()
        yield there
    finally:
        for process in (there.node, there.api):
            if process is not None:
                process.kill()
                process.wait()
        with contextlib.suppress(containerd.RuntimeMissing, cri_client.CriError, TimeoutError):
            await private.ensure()
            await asyncio.wait_for(private.wipe_pods(), 30)
        await private.stop()
        for pid, _ in leftovers.shims(there.made.socket):
            os.kill(pid, signal.SIGKILL)
        loop.take_down(loop.Options(**there.kubelet))  # type: ignore[arg-type]
        links.delete(BRIDGE)
        containerd.unshare_mounts(changed)
        for point in mounts.below(folder):
            mounts.unmount(point)
        shutil.rmtree(folder, ignore_errors=True)


def pod(name: str) -> v1.Pod:
    """A pod with something of everything that can be left behind."""
    quick = ["/bin/sh", "-c", "echo begun > /data/part/x; sleep 0.2"]
    sub = v1.VolumeMount(name="data", mountPath="/data/part", subPath="part")
    mounted = [v1.VolumeMount(name=volume, mountPath=f"/{volume}") for volume in ("data", "memory", "config", "secret")]
    body = v1.PodSpec(
        nodeName=NODE,
        terminationGracePeriodSeconds=1,
        initContainers=[v1.Container(name="init", image=images.SAMPLE, command=quick, volumeMounts=[sub])],
        containers=[
            v1.Container(name="app", image=images.SAMPLE, volumeMounts=[*mounted, sub]),
            v1.Container(name="restarts", image=images.SAMPLE, command=["/bin/sh", "-c", "sleep 0.5; exit 1"]),
        ],
        volumes=[
            v1.Volume(name="data", emptyDir=v1.EmptyDirVolumeSource()),
            v1.Volume(name="memory", emptyDir=v1.EmptyDirVolumeSource(medium="Memory", sizeLimit="1Mi")),
            v1.Volume(name="config", configMap=v1.ConfigMapVolumeSource(name="config")),
            v1.Volume(name="secret", secret=v1.SecretVolumeSource(secretName="secret")),
        ],
    )
    return v1.Pod(apiVersion="v1", kind="Pod", metadata=meta_v1.ObjectMeta(name=name), spec=body)


async def prepare(api: rest.Client) -> None:
    for attempt in range(100):
        try:
            await api.create(v1.ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=meta_v1.ObjectMeta(name="default")), "default")
            break
        except (rest.Unreachable, errors.ApiError):
            assert attempt < 99
            await asyncio.sleep(0.1)
    authority = v1.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=meta_v1.ObjectMeta(name="kube-root-ca.crt"), data={"ca.crt": "x"})
    config = v1.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=meta_v1.ObjectMeta(name="config"), data={"a": "b"})
    secret = v1.Secret(apiVersion="v1", kind="Secret", metadata=meta_v1.ObjectMeta(name="secret"), stringData={"a": "b"})
    for obj in (authority, config, secret):
        with contextlib.suppress(errors.AlreadyExists):
            await api.create(obj, "default")


async def churn(api: rest.Client, chance: random.Random) -> None:
    """Pods come and go; now and then one is taken out of the API by force while its containers run."""
    number = 0
    while True:
        present, _ = await api.list(v1.Pod, "default")
        going = [p for p in present if p.metadata and not p.metadata.deletionTimestamp]
        if len(present) < PODS:
            number += 1
            await api.create(pod(f"p{number}"), "default")
        elif going and chance.random() < 0.7:
            chosen = chance.choice(going).metadata
            assert chosen is not None
            with contextlib.suppress(errors.NotFound):
                await api.delete(v1.Pod, chosen.name or "", "default", grace=0 if chance.random() < 0.2 else None)
        await asyncio.sleep(chance.uniform(0.05, 0.4))


async def empty(api: rest.Client) -> None:
    """Deletes all pods in good order, and waits until the kubelet has let them go."""
    until = time.monotonic() + 90
    while True:
        present, _ = await api.list(v1.Pod, "default")
        if not present:
            return
        assert time.monotonic() < until, [(p.metadata.name, p.status and p.status.phase) for p in present if p.metadata]
        for held in present:
            if held.metadata and not held.metadata.deletionTimestamp:
                with contextlib.suppress(errors.NotFound):
                    await api.delete(v1.Pod, held.metadata.name or "", "default")
        await asyncio.sleep(0.5)


async def kill(there: Machine, chance: random.Random) -> None:
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.3, 4.0))
        what = chance.choice(("kubelet", "containerd", "containerd", "both"))
        if what != "kubelet":
            there.kill_containerd()
        if what != "containerd":
            there.kill_kubelet()
            there.start_node()


@pytest.mark.timeout(300 + 10 * KILLS)
async def test_nothing_is_left_of_pods_however_the_node_was_killed() -> None:
    seed = int(os.environ.get("NAVARCH_SEED", str(random.randrange(1 << 30))))
    chance = random.Random(seed)
    async with machine() as there, rest.Client(kubeconfig.load(there.kubelet["kubeconfig"])) as api:  # type: ignore[arg-type]
        await prepare(api)
        coming_and_going = asyncio.create_task(churn(api, random.Random(seed + 1)))
        await asyncio.sleep(5)
        during = await there.left()
        await kill(there, chance)
        coming_and_going.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await coming_and_going
        await empty(api)
        left: dict[str, list[str]] = {}
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(cri_client.CriError):
                left = await there.left()
                if not any(left.values()):
                    break
            await asyncio.sleep(1)
        print(f"seed {seed}, {KILLS} kills; there while pods ran: { {what: len(found) for what, found in during.items()} }")
        print(f"left afterwards: { {what: len(found) for what, found in left.items()} }")
        if any(left.values()):
            shutil.copytree(there.folder, "/tmp/nvx-kept", dirs_exist_ok=True, ignore=lambda *_: ["run", "root", "api"])
        assert during["sandboxes"] and during["mounts"] and during["addresses"], "nothing ran"
        assert left == {what: [] for what in left}, f"NAVARCH_SEED={seed}: {left}"
