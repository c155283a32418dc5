"""A kubelet with real containers: its own API server and its own containerd, both as processes, all gone afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import kubeconfig, rest
from navarch.cri import client as cri_client
from navarch.cri import containerd, images
from navarch.kubelet import loop
from navarch.lib.streaming import channels
from navarch.machinery import errors
from navarch.testing import ports

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(shutil.which("containerd") is None, reason="containerd is not installed"),
    pytest.mark.asyncio(loop_scope="module"),
]

NODE = "test-node"
TOKEN = "test-token"
BRIDGE = "nvtest0"
SUBNET = "10.213.77.0/24"


class Machine:
    """Folders, processes and addresses of the test."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.api_port, self.kubelet_port = ports.free(), ports.free()
        self.settings = containerd.Settings(
            data_dir=folder / "containerd",
            run_dir=folder / "run",
            sandbox_image=images.PAUSE,
            cni_conf_dir=folder / "cni",
        )
        self.options = loop.Options(
            kubeconfig=str(folder / "kubeconfig"),
            hostname_override=NODE,
            node_ip="10.213.77.1",
            container_runtime_endpoint=f"unix://{self.settings.socket}",
            root_dir=str(folder / "kubelet"),
            cgroup_root=f"/navarch-test-{os.getpid()}",
        )
        self.kubelet_process: subprocess.Popen[bytes] | None = None
        self.api_process: subprocess.Popen[bytes] | None = None

    def start_api(self) -> None:
        (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        flags = [f"--data-dir={self.folder}/api", "--bind-address=127.0.0.1", f"--secure-port={self.api_port}"]
        self.api_process = self._spawn("apiserver", [*flags, f"--token-auth-file={self.folder}/tokens.csv"])
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": f"https://127.0.0.1:{self.api_port}",
                        "certificate-authority": f"{self.folder}/api/pki/ca.crt",
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self.folder / "kubeconfig").write_text(json.dumps(config))
        authority = self.folder / "api" / "pki" / "ca.crt"
        for _ in range(200):
            if authority.exists():
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "apiserver.log").read_text())

    def start_kubelet(self) -> None:
        options = self.options
        flags = [
            f"--kubeconfig={options.kubeconfig}",
            f"--hostname-override={NODE}",
            f"--node-ip={options.node_ip}",
            f"--container-runtime-endpoint={options.container_runtime_endpoint}",
            f"--root-dir={options.root_dir}",
            f"--pod-log-dir={self.folder}/logs",
            "--address=127.0.0.1",
            f"--port={self.kubelet_port}",
            f"--cgroup-root={options.cgroup_root}",
            f"--pod-manifest-path={self.folder}/manifests",
        ]
        self.kubelet_process = self._spawn("kubelet", flags)

    def _spawn(self, component: str, flags: list[str]) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{component}.log", "ab") as output:
            command = [sys.executable, "-m", "navarch.cli.main", component, *flags]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def stop(self) -> None:
        for process in (self.kubelet_process, self.api_process):
            if process is not None:
                process.terminate()
                process.wait(10)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nvk-", dir="/tmp"))
    there = Machine(folder)
    (folder / "cni").mkdir()
    (folder / "manifests").mkdir()
    network = {
        "cniVersion": "0.4.0",
        "name": "test",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipam": {"type": "host-local", "subnet": SUBNET, "dataDir": f"{folder}/ipam"},
            }
        ],
    }
    (folder / "cni" / "10-test.conflist").write_text(json.dumps(network))
    changed = containerd.share_mounts([folder])
    private = containerd.Containerd(there.settings)

    async def begin() -> None:
        await private.ensure()
        for write, name in ((images.pause_archive, "pause"), (images.sample_archive, "sample")):
            write(folder / f"{name}.tar")
            await images.import_archive(there.settings.socket, folder / f"{name}.tar")

    async def end() -> None:
        with contextlib.suppress(containerd.RuntimeMissing):
            await private.ensure()
            await private.wipe_pods()
        await private.stop()

    try:
        asyncio.run(begin())
        there.start_api()
        there.start_kubelet()
        yield there
    finally:
        there.stop()
        os.system(f"mkdir -p /tmp/nvk-kept; cp {folder}/*.log /tmp/nvk-kept/")
        asyncio.run(end())
        loop.take_down(there.options)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
        containerd.unshare_mounts(changed)
        for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()):
            if str(folder) in line:
                subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(machine: Machine) -> AsyncIterator[rest.Client]:
    async with rest.Client(kubeconfig.load(machine.options.kubeconfig)) as client:

        async def node_ready() -> bool:
            with contextlib.suppress(errors.ApiError, rest.Unreachable, OSError):
                node = await client.get(v1.Node, NODE)
                conditions = (node.status.conditions if node.status else None) or ()
                return any(c.type == "Ready" and c.status == "True" for c in conditions)
            return False

        await until(node_ready, 20)
        for obj in (
            v1.ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=meta_v1.ObjectMeta(name="default")),
            v1.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=meta_v1.ObjectMeta(name="kube-root-ca.crt"), data={"ca.crt": "authority"}),
        ):
            with contextlib.suppress(errors.AlreadyExists):
                await client.create(obj, "default")
        yield client


async def until(what: Callable[[], Awaitable[Any]], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := await what():
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(f"it did not happen within {seconds} s")


def sample(name: str, **spec: Any) -> v1.Pod:
    mains = spec.pop("containers", None) or [v1.Container(name="app", image=images.SAMPLE)]
    body = v1.PodSpec(containers=mains, nodeName=NODE, terminationGracePeriodSeconds=2, **spec)
    return v1.Pod(apiVersion="v1", kind="Pod", metadata=meta_v1.ObjectMeta(name=name), spec=body)


def shell(name: str, script: str, **more: Any) -> v1.Container:
    return v1.Container(name=name, image=images.SAMPLE, command=["/bin/sh", "-c", script], **more)


async def phase(api: rest.Client, name: str, wanted: str, seconds: float = 15) -> v1.Pod:
    async def reached() -> v1.Pod | None:
        pod = await api.get(v1.Pod, name, "default")
        return pod if pod.status and pod.status.phase == wanted else None

    found: v1.Pod = await until(reached, seconds)
    return found


def container(pod: v1.Pod, index: int = 0) -> v1.ContainerStatus:
    assert pod.status and pod.status.containerStatuses
    return pod.status.containerStatuses[index]


async def gone(api: rest.Client, name: str, seconds: float = 15) -> None:
    with contextlib.suppress(errors.NotFound):
        await api.delete(v1.Pod, name, "default")

    async def missing() -> bool:
        try:
            await api.get(v1.Pod, name, "default")
        except errors.NotFound:
            return True
        return False

    await until(missing, seconds)


@contextlib.asynccontextmanager
async def kubelet_session(token: str = TOKEN) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), headers=headers) as session:
        yield session


async def logs_of(machine: Machine, pod: str, name: str, query: str = "") -> str:
    async with kubelet_session() as session:
        url = f"https://127.0.0.1:{machine.kubelet_port}/containerLogs/default/{pod}/{name}{query}"
        async with session.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.text()


async def run_in(machine: Machine, pod: str, name: str, command: list[str], stdin: bytes | None = None) -> tuple[bytes, bytes, dict[str, Any]]:
    """Output, error output and outcome of a command, over the newest WebSocket protocol."""
    query = [("command", word) for word in command] + [("output", "1"), ("error", "1")]
    if stdin is not None:
        query.append(("input", "1"))
    out: dict[int, bytes] = {1: b"", 2: b"", 3: b""}
    async with kubelet_session() as session:
        url = f"https://127.0.0.1:{machine.kubelet_port}/exec/default/{pod}/{name}"
        async with session.ws_connect(url, params=query, protocols=(channels.V5,)) as socket:
            if stdin is not None:
                await socket.send_bytes(bytes([channels.STDIN]) + stdin)
                await socket.send_bytes(bytes([channels.CLOSE, channels.STDIN]))
            async for message in socket:
                decoded = channels.decode(channels.V5, message.data)
                assert decoded is not None
                out[decoded[0]] += decoded[1]
            assert socket.close_code == 1000
    return out[1], out[2], json.loads(out[3])


async def test_a_pod_runs_serves_and_goes(api: rest.Client, machine: Machine) -> None:
    began = time.monotonic()
    await api.create(sample("web"), "default")
    pod = await phase(api, "web", "Running")
    assert time.monotonic() - began < 5
    assert pod.status and pod.status.podIP and pod.status.podIP.startswith("10.213.77.")
    assert pod.status.hostIP == "10.213.77.1"
    async with aiohttp.ClientSession() as session:

        async def answered() -> str | None:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{pod.status.podIP}:8080/") as answer:  # type: ignore[union-attr]
                    return await answer.text()
            return None

        assert "It works" in await until(answered, 5)
    await gone(api, "web")
    cri = cri_client.Client(machine.options.container_runtime_endpoint)
    try:

        async def nothing_left() -> bool:
            return not [c for c in await cri.list_containers() if c.labels.get("io.kubernetes.pod.name") == "web"]

        await until(nothing_left, 15)
    finally:
        await cri.close()


async def test_commands_logs_and_who_may(api: rest.Client, machine: Machine) -> None:
    await api.create(sample("talk"), "default")
    await phase(api, "talk", "Running")
    out, err, outcome = await run_in(machine, "talk", "app", ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (out, err) == (b"out\n", b"err\n")
    assert outcome["reason"] == "NonZeroExitCode"
    assert outcome["details"]["causes"][0]["message"] == "3"
    data = os.urandom(300_000)
    out, _, outcome = await run_in(machine, "talk", "app", ["cat"], stdin=data)
    assert out == data
    assert outcome["status"] == "Success"
    assert "serving on port 8080" in await logs_of(machine, "talk", "app")
    assert await logs_of(machine, "talk", "app", "?tailLines=0") == ""
    base = f"https://127.0.0.1:{machine.kubelet_port}"
    async with kubelet_session("") as nobody:
        for path in ("/pods", "/containerLogs/default/talk/app", "/stats/summary", "/healthz"):
            async with nobody.get(base + path) as answer:
                assert answer.status == 401, path
    async with kubelet_session() as admin:
        async with admin.get(base + "/stats/summary") as answer:
            summary = await answer.json()
        assert summary["node"]["nodeName"] == NODE
        assert "talk" in [pod["podRef"]["name"] for pod in summary["pods"]]
        async with admin.get(base + "/containerLogs/default/talk/nobody") as answer:
            assert answer.status == 404
    await gone(api, "talk")


async def test_volumes_and_environment(api: rest.Client, machine: Machine) -> None:
    meta = meta_v1.ObjectMeta
    await api.create(v1.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=meta(name="conf"), data={"a": "1", "b": "2"}), "default")
    await api.create(v1.Secret(apiVersion="v1", kind="Secret", metadata=meta(name="sec"), data={"s": "aGlkZGVu"}), "default")
    script = "cat /conf/a /sub /sec/s /down/name; echo; stat -L -c '%a %g' /sec/s; df /mem | tail -1; echo $FROM; grep self /etc/hosts; sleep 60"
    spec = shell(
        "app",
        script,
        env=[v1.EnvVar(name="FROM", valueFrom=v1.EnvVarSource(configMapKeyRef=v1.ConfigMapKeySelector(name="conf", key="b")))],
        volumeMounts=[
            v1.VolumeMount(name="conf", mountPath="/conf"),
            v1.VolumeMount(name="conf", mountPath="/sub", subPath="b"),
            v1.VolumeMount(name="sec", mountPath="/sec"),
            v1.VolumeMount(name="down", mountPath="/down"),
            v1.VolumeMount(name="mem", mountPath="/mem"),
        ],
    )
    fields = [v1.DownwardAPIVolumeFile(path="name", fieldRef=v1.ObjectFieldSelector(fieldPath="metadata.name"))]
    volumes = [
        v1.Volume(name="conf", configMap=v1.ConfigMapVolumeSource(name="conf")),
        v1.Volume(name="sec", secret=v1.SecretVolumeSource(secretName="sec", defaultMode=0o400)),
        v1.Volume(name="down", downwardAPI=v1.DownwardAPIVolumeSource(items=fields)),
        v1.Volume(name="mem", emptyDir=v1.EmptyDirVolumeSource(medium="Memory", sizeLimit="8Mi")),
    ]
    aliases = [v1.HostAlias(ip="127.9.9.9", hostnames=["self"])]
    context = v1.PodSecurityContext(fsGroup=4321)
    await api.create(sample("vols", containers=[spec], volumes=volumes, hostAliases=aliases, securityContext=context), "default")
    await phase(api, "vols", "Running")

    async def printed() -> str | None:
        text = await logs_of(machine, "vols", "app")
        return text if "self" in text else None

    lines = (await until(printed, 5)).splitlines()
    assert lines[0] == "12hiddenvols"
    assert lines[1] == "440 4321"
    assert "tmpfs" in lines[2] and "8192" in lines[2]
    assert lines[3] == "2"
    assert lines[4] == "127.9.9.9\tself"
    await api.patch(v1.ConfigMap, "conf", {"data": {"a": "new"}}, "default")

    async def updated() -> bool:
        out, _, _ = await run_in(machine, "vols", "app", ["cat", "/conf/a", "/sub"])
        return out == b"new2"

    await until(updated, 25)
    await gone(api, "vols")
    assert str(machine.folder / "kubelet" / "pods") not in pathlib.Path("/proc/self/mountinfo").read_text()


async def test_what_is_missing_is_told_and_made_good(api: rest.Client, machine: Machine) -> None:
    volumes = [v1.Volume(name="late", configMap=v1.ConfigMapVolumeSource(name="late"))]
    await api.create(sample("waits", volumes=volumes, containers=[v1.Container(name="app", image=images.SAMPLE)]), "default")

    async def told() -> bool:
        events, _ = await api.list(v1.Event, "default")
        words = 'MountVolume.SetUp failed for volume "late" : configmap "late" not found'
        return any(e.reason == "FailedMount" and e.message == words for e in events)

    await until(told, 5)
    late = v1.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=meta_v1.ObjectMeta(name="late"), data={})
    await api.create(late, "default")
    await phase(api, "waits", "Running", 20)
    await gone(api, "waits")
    await api.create(sample("noimage", containers=[v1.Container(name="app", image="localhost/none:1", imagePullPolicy="Never")]), "default")

    async def refused() -> bool:
        pod = await api.get(v1.Pod, "noimage", "default")
        state = (pod.status.containerStatuses or [v1.ContainerStatus()])[0].state if pod.status else None
        return bool(state and state.waiting and state.waiting.reason == "ErrImageNeverPull")

    await until(refused, 5)
    await gone(api, "noimage")


async def test_order_hooks_and_sidecars(api: rest.Client, machine: Machine) -> None:
    place = machine.folder / "order"
    place.mkdir(exist_ok=True)
    mount = [v1.VolumeMount(name="out", mountPath="/out")]

    def note(word: str) -> str:
        return f"echo {word} >> /out/log"

    hook = v1.LifecycleHandler(exec=v1.ExecAction(command=["sh", "-c", note("pre-stop")]))
    post = v1.LifecycleHandler(exec=v1.ExecAction(command=["sh", "-c", note("post-start")]))
    side = f"trap '{note('side-end')}; exit 0' TERM; {note('side')}; while true; do sleep 0.1; done"
    main = f"trap '{note('main-end')}; exit 0' TERM; {note('main')}; while true; do sleep 0.1; done"
    pod = sample(
        "order",
        initContainers=[
            shell("first", note("first"), volumeMounts=mount),
            shell("side", side, volumeMounts=mount, restartPolicy="Always"),
            shell("second", f"sleep 0.2; {note('second')}", volumeMounts=mount),
        ],
        containers=[shell("app", f"sleep 0.3; {main}", volumeMounts=mount, lifecycle=v1.Lifecycle(preStop=hook, postStart=post))],
        volumes=[v1.Volume(name="out", hostPath=v1.HostPathVolumeSource(path=str(place), type="Directory"))],
    )
    await api.create(pod, "default")

    async def running() -> bool:
        return "main" in (place / "log").read_text().split() if (place / "log").exists() else False

    await until(running, 15)
    await gone(api, "order")
    assert (place / "log").read_text().split() == [
        "first", "side", "second", "post-start", "main", "pre-stop", "main-end", "side-end",
    ]  # fmt: skip


async def test_short_containers_keep_their_output_and_message(api: rest.Client, machine: Machine) -> None:
    names = [f"short{i}" for i in range(12)]
    script = "echo the output; echo why > /dev/termination-log; exit 4"
    for name in names:
        await api.create(sample(name, restartPolicy="Never", containers=[shell("app", script)]), "default")
    for name in names:
        pod = await phase(api, name, "Failed", 30)
        state = container(pod).state
        assert state and state.terminated
        assert (state.terminated.exitCode, state.terminated.reason, state.terminated.message) == (4, "Error", "why\n")
        assert await logs_of(machine, name, "app") == "the output\n"
    await asyncio.gather(*(gone(api, name) for name in names))


async def test_a_killed_process_is_back_soon(api: rest.Client, machine: Machine) -> None:
    await api.create(sample("crash"), "default")
    before = container(await phase(api, "crash", "Running"))
    cri = cri_client.Client(machine.options.container_runtime_endpoint)
    try:
        out, _, _ = await run_in(machine, "crash", "app", ["cat", "/proc/self/cgroup"])
        assert out
        path = next(pathlib.Path("/sys/fs/cgroup").glob(f"**/{(before.containerID or '').removeprefix('containerd://')}/cgroup.procs"))
        for pid in path.read_text().split():
            with contextlib.suppress(ProcessLookupError):  # the `cat` above may only now be gone
                os.kill(int(pid), signal.SIGKILL)
    finally:
        await cri.close()

    async def again() -> bool:
        pod = await api.get(v1.Pod, "crash", "default")
        status = container(pod)
        return status.restartCount == 1 and bool(status.state and status.state.running)

    began = time.monotonic()
    await until(again, 5)
    assert time.monotonic() - began < 3
    after = container(await api.get(v1.Pod, "crash", "default"))
    assert after.lastState and after.lastState.terminated and after.lastState.terminated.exitCode == 137
    await gone(api, "crash")


async def test_probes(api: rest.Client, machine: Machine) -> None:
    ready = v1.Probe(exec=v1.ExecAction(command=["test", "-e", "/tmp/ready"]), periodSeconds=1)
    alive = v1.Probe(exec=v1.ExecAction(command=["test", "!", "-e", "/tmp/dead"]), periodSeconds=1, failureThreshold=1)
    spec = v1.Container(name="app", image=images.SAMPLE, readinessProbe=ready, livenessProbe=alive)
    await api.create(sample("probed", containers=[spec]), "default")
    pod = await phase(api, "probed", "Running")
    assert container(pod).ready is False
    await run_in(machine, "probed", "app", ["touch", "/tmp/ready"])

    async def is_ready() -> bool:
        return container(await api.get(v1.Pod, "probed", "default")).ready is True

    await until(is_ready, 4)
    await run_in(machine, "probed", "app", ["touch", "/tmp/dead"])

    async def restarted() -> bool:
        return container(await api.get(v1.Pod, "probed", "default")).restartCount == 1

    await until(restarted, 8)
    await gone(api, "probed")


async def test_static_pods_have_mirrors(api: rest.Client, machine: Machine) -> None:
    manifest = machine.folder / "manifests" / "fixed.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: fixed, namespace: default}\n"
        f"spec: {{terminationGracePeriodSeconds: 2, containers: [{{name: app, image: '{images.SAMPLE}'}}]}}\n"
    )
    await until(lambda: _exists(api, f"fixed-{NODE}"), 10)
    await phase(api, f"fixed-{NODE}", "Running", 15)
    manifest.unlink()

    async def away() -> bool:
        return not await _exists(api, f"fixed-{NODE}")

    await until(away, 15)


async def _exists(api: rest.Client, name: str) -> bool:
    try:
        await api.get(v1.Pod, name, "default")
    except errors.NotFound:
        return False
    return True


async def event(api: rest.Client, pod: str, reason: str, seconds: float = 10) -> str:
    """The message of an event about a pod."""

    async def found() -> str | None:
        events, _ = await api.list(v1.Event, "default")
        return next((e.message for e in events if e.involvedObject and e.involvedObject.name == pod and e.reason == reason), None)

    message: str = await until(found, seconds)
    return message


async def test_what_this_node_will_not_do_is_refused(api: rest.Client, machine: Machine) -> None:
    """A pod of its own users on a runtime without user namespaces, and kernel settings that are not the pod's own."""
    await api.create(sample("users", hostUsers=False), "default")
    message = await event(api, "users", "FailedCreatePodSandBox")
    assert message == "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces"
    await asyncio.sleep(1.5)  # it is tried again meanwhile, in vain
    pod = await api.get(v1.Pod, "users", "default")
    assert pod.status and pod.status.phase == "Pending" and not container(pod).containerID
    settings = [v1.Sysctl(name="kernel.msgmax", value="65536")]
    await api.create(sample("settings", securityContext=v1.PodSecurityContext(sysctls=settings)), "default")
    pod = await phase(api, "settings", "Failed")
    assert pod.status
    assert (pod.status.reason, pod.status.message) == ("SysctlForbidden", 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted')
    safe = [v1.Sysctl(name="net.ipv4.ip_unprivileged_port_start", value="80")]
    await api.create(sample("safe", securityContext=v1.PodSecurityContext(sysctls=safe)), "default")
    await phase(api, "safe", "Running")
    out, _, _ = await run_in(machine, "safe", "app", ["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"])
    assert out == b"80\n"
    for name in ("users", "settings", "safe"):
        await gone(api, name)


def cgroup(machine: Machine, path: str, name: str) -> str:
    """A value of a cgroup below our root, on cgroup v1 or v2."""
    root = pathlib.Path("/sys/fs/cgroup")
    controller = "" if (root / "cgroup.controllers").exists() else name.partition(".")[0]
    return (root / controller / machine.options.cgroup_root.strip("/") / "kubepods" / path / name).read_text().strip()


async def test_classes_of_pods_get_their_shares(api: rest.Client, machine: Machine) -> None:
    unified = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
    name = "cpu.weight" if unified else "cpu.shares"
    requests: Any = {"cpu": "500m"}
    asks = v1.Container(name="app", image=images.SAMPLE, resources=v1.ResourceRequirements(requests=requests))
    await api.create(sample("asks", containers=[asks]), "default")
    await api.create(sample("takes"), "default")
    await phase(api, "asks", "Running")
    await phase(api, "takes", "Running")

    async def shared() -> bool:
        return cgroup(machine, "burstable", name) == ("20" if unified else "512")

    await until(shared, 5)
    assert cgroup(machine, "besteffort", name) == ("1" if unified else "2")
    assert int(cgroup(machine, "", name)) > (50 if unified else 1500)
    assert int(cgroup(machine, "", "pids.max")) > 1000
    await gone(api, "asks")

    async def nobody_asks() -> bool:
        return cgroup(machine, "burstable", name) == ("1" if unified else "2")

    await until(nobody_asks, 20)
    await gone(api, "takes")


async def test_an_init_container_may_have_more_than_the_main_ones(api: rest.Client, machine: Machine) -> None:
    large: Any = {"cpu": "1500m", "memory": "256Mi"}
    small: Any = {"cpu": "100m", "memory": "64Mi"}
    init = shell("init", "exit 0", resources=v1.ResourceRequirements(requests=small, limits=large))
    main = v1.Container(name="app", image=images.SAMPLE, resources=v1.ResourceRequirements(requests=small, limits=small))
    await api.create(sample("grows", initContainers=[init], containers=[main]), "default")
    await phase(api, "grows", "Running")
    await gone(api, "grows")


async def test_a_sandbox_that_died_gives_its_address_back(api: rest.Client, machine: Machine) -> None:
    await api.create(sample("reborn"), "default")
    before = await phase(api, "reborn", "Running")
    cri = cri_client.Client(machine.options.container_runtime_endpoint)
    try:

        async def sandboxes() -> list[str]:
            return [box.id for box in await cri.list_sandboxes() if box.name == "reborn"]

        (first,) = await sandboxes()
        info = json.loads((await cri.sandbox_info(first))["info"])
        os.kill(info["pid"], signal.SIGKILL)

        async def runs_anew() -> bool:
            pod = await api.get(v1.Pod, "reborn", "default")
            ready = {c.type: c.status for c in (pod.status and pod.status.conditions) or ()}
            return bool(container(pod).containerID != container(before).containerID and ready.get("Ready") == "True")

        await until(runs_anew, 30)
        found = await sandboxes()
        holders = [path.read_text().split()[0] for path in (machine.folder / "ipam" / "test").iterdir() if path.name[0].isdigit()]
        assert len([holder for holder in holders if holder in found]) == 1
        assert first not in holders
    finally:
        await cri.close()
    await gone(api, "reborn")


async def test_a_ready_pod_stays_ready_while_kubelet_and_runtime_start_anew(api: rest.Client, machine: Machine) -> None:
    """Also one whose probe will not be asked again for a minute; and what others said meanwhile is put right."""
    probe = v1.Probe(exec=v1.ExecAction(command=["true"]), periodSeconds=60, failureThreshold=1)
    await api.create(sample("steady", containers=[v1.Container(name="app", image=images.SAMPLE, readinessProbe=probe)]), "default")

    async def ready(pod: v1.Pod | None = None) -> bool:
        held = pod or await api.get(v1.Pod, "steady", "default")
        conditions = {c.type: c for c in (held.status and held.status.conditions) or ()}
        condition = conditions.get("Ready")
        return condition is not None and (condition.status, condition.reason, condition.message) == ("True", None, None)

    await until(ready, 15)
    assert machine.kubelet_process is not None
    machine.kubelet_process.kill()
    machine.kubelet_process.wait()
    pid = containerd.Containerd(machine.settings).find()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await api.patch(v1.Pod, "steady", not_ready, "default", how="strategic", subresource="status")
    await containerd.Containerd(machine.settings).ensure()
    machine.start_kubelet()
    await until(ready, 15)
    await api.patch(v1.Pod, "steady", not_ready, "default", how="strategic", subresource="status")
    await until(ready, 15)
    for _ in range(20):
        assert await ready()
        await asyncio.sleep(0.1)
    assert container(await api.get(v1.Pod, "steady", "default")).restartCount == 0
    await gone(api, "steady")


async def test_killing_the_kubelet_and_containerd_leaves_containers_alone(api: rest.Client, machine: Machine) -> None:
    await api.create(sample("steady"), "default")
    before = container(await phase(api, "steady", "Running"))
    assert machine.kubelet_process is not None
    machine.kubelet_process.kill()
    machine.kubelet_process.wait()
    machine.start_kubelet()
    private = containerd.Containerd(machine.settings)
    await api.create(sample("after-kubelet"), "default")
    await phase(api, "after-kubelet", "Running", 10)
    pid = private.find()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await private.wait_end(pid)
    await private.ensure()
    await api.create(sample("after-containerd"), "default")
    await phase(api, "after-containerd", "Running", 15)
    after = container(await api.get(v1.Pod, "steady", "default"))
    assert (after.containerID, after.restartCount) == (before.containerID, 0)
    out, _, _ = await run_in(machine, "steady", "app", ["echo", "still here"])
    assert out == b"still here\n"
    await asyncio.gather(*(gone(api, name) for name in ("steady", "after-kubelet", "after-containerd")))
