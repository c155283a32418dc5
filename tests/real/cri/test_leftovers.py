"""What a killed containerd left behind goes; what belongs to a sandbox that lives, or may still become one, stays."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest

from navarch.cri import client, containerd, images, leftovers, proto
from navarch.lib import mounts
from navarch.network import links

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(shutil.which("containerd") is None, reason="containerd is not installed"),
]

BRIDGE = "nvleft0"
FORGOTTEN = "f" * 64
SHIM = "sleep 300 & echo $!; wait"


@contextlib.asynccontextmanager
async def sandbox() -> AsyncIterator[tuple[containerd.Settings, pathlib.Path, str]]:
    """A private containerd with one living sandbox, where host-local notes addresses, and the sandbox's id."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nvl-", dir="/tmp"))
    settings = containerd.Settings(folder / "data", folder / "run", images.PAUSE, folder / "cni")
    settings.cni_conf_dir.mkdir()
    ipam = {"type": "host-local", "subnet": "10.213.79.0/24", "dataDir": f"{folder}/addresses"}
    plugin = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipam": ipam}
    (settings.cni_conf_dir / "10.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": "test", "plugins": [plugin]}))
    private = containerd.Containerd(settings)
    cri = client.Client(f"unix://{settings.socket}")
    try:
        await private.ensure()
        images.pause_archive(folder / "pause.tar")
        await images.import_archive(settings.socket, folder / "pause.tar")
        message = proto.message
        config = message("PodSandboxConfig")(
            metadata=message("PodSandboxMetadata")(name="p", namespace="d", uid="u"),
            log_directory=str(folder / "logs"),
            linux=message("LinuxPodSandboxConfig")(),
        )
        yield settings, folder / "addresses", await cri.run_sandbox(config)
        await private.wipe_pods()
    finally:
        await cri.close()
        await private.stop()
        links.delete(BRIDGE)
        for point in mounts.below(folder):
            mounts.unmount(point)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def forgotten(settings: containerd.Settings, addresses: pathlib.Path) -> Iterator[dict[str, object]]:
    """Parts of a sandbox that no containerd knows."""
    command = ["containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", FORGOTTEN, "-address", str(settings.socket)]
    shim = subprocess.Popen([command[0], "-c", SHIM, *command[1:]], executable="/bin/sh", stdout=subprocess.PIPE, text=True)
    assert shim.stdout is not None
    child = int(shim.stdout.readline())
    state = settings.state / "io.containerd.grpc.v1.cri"
    shm = state / "sandboxes" / FORGOTTEN / "shm"
    shm.mkdir(parents=True)
    mounts.mount("shm", shm, "tmpfs")
    space = state / "netns" / "cni-forgotten"
    space.touch()
    mounts.mount("/proc/self/ns/net", space, "", 4096)
    address = addresses / "test" / "10.213.79.99"
    address.write_text(f"{FORGOTTEN}\r\neth0")
    try:
        yield {"shim": shim, "child": child, "folders": [shm.parent], "files": [space, address]}
    finally:
        for pid in (shim.pid, child):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shim.wait()
        shim.stdout.close()


async def test_leftovers_go_and_living_sandboxes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with sandbox() as (settings, addresses, living):
        with forgotten(settings, addresses) as made:
            sweeper = leftovers.Sweeper(settings, addresses)
            for _ in range(3):
                assert await sweeper.sweep() == [], "what is younger than containerd may be a sandbox that is being made"
            monkeypatch.setattr(leftovers, "PATIENCE", 0.0)
            gone = await sweeper.sweep()
            assert sorted(left.kind for left in gone) == ["address", "folder", "network namespace", "shim"]
            assert await sweeper.sweep() == []
            shim, child, folders, files = made["shim"], made["child"], made["folders"], made["files"]
            assert isinstance(shim, subprocess.Popen) and isinstance(folders, list) and isinstance(files, list)
            assert shim.wait(5) == -signal.SIGKILL
            assert not pathlib.Path(f"/proc/{child}/cwd").exists() or "Z" in pathlib.Path(f"/proc/{child}/stat").read_text().split()[2]
            assert not [path for path in (*folders, *files) if path.exists()]
        cri = client.Client(f"unix://{settings.socket}")
        assert [(box.id, box.ready) for box in await cri.list_sandboxes()] == [(living, True)]
        await cri.close()
        assert [owner for _, owner in leftovers.shims(settings.socket)] == [living]
        assert [path.name for path in (addresses / "test").iterdir() if path.name.startswith("10.")] == ["10.213.79.2"]


async def test_what_is_older_than_containerd_goes_at_the_second_look() -> None:
    async with sandbox() as (settings, addresses, _):
        with forgotten(settings, addresses):
            private = containerd.Containerd(settings)
            pid = private.find()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await private.wait_end(pid)
            await private.ensure()
            sweeper = leftovers.Sweeper(settings, addresses)
            assert await sweeper.sweep() == []
            assert {left.kind for left in await sweeper.sweep()} >= {"address", "network namespace", "shim"}
