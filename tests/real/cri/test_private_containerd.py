"""A private containerd for real: started, found, killed, started again; images made and imported."""

from __future__ import annotations

import asyncio
import os
import pathlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator

import pytest

from navarch.cri import client, containerd, containerd_events, images, proto

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
    pytest.mark.skipif(shutil.which("containerd") is None, reason="containerd is not installed"),
]

msg = proto.message


@pytest.fixture
def settings() -> Iterator[containerd.Settings]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nvc-", dir="/tmp"))
    made = containerd.Settings(folder / "data", folder / "run", images.PAUSE, folder / "cni")
    yield made
    pid = containerd.Containerd(made).find()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    for line in reversed(pathlib.Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if str(folder) in point:
            os.system(f"umount -l {point}")
    shutil.rmtree(folder, ignore_errors=True)


def host_pod(name: str, logs: pathlib.Path) -> proto.Message:
    """A sandbox on the host's network, which needs no CNI."""
    options = msg("NamespaceOption")(network=proto.enum("NamespaceMode", "NODE"))
    linux = msg("LinuxPodSandboxConfig")(security_context=msg("LinuxSandboxSecurityContext")(namespace_options=options))
    meta = msg("PodSandboxMetadata")(name=name, namespace="d", uid=name)
    return msg("PodSandboxConfig")(metadata=meta, log_directory=str(logs), linux=linux)


def sample(config: proto.Message, command: list[str]) -> proto.Message:
    security = msg("LinuxContainerSecurityContext")(namespace_options=config.linux.security_context.namespace_options)
    return msg("ContainerConfig")(
        metadata=msg("ContainerMetadata")(name="c"),
        image=msg("ImageSpec")(image=images.SAMPLE),
        command=command,
        log_path="c.log",
        linux=msg("LinuxContainerConfig")(security_context=security),
    )


async def prepare(settings: containerd.Settings) -> None:
    await containerd.Containerd(settings).ensure()
    for write, name in ((images.pause_archive, "pause"), (images.sample_archive, "sample")):
        write(settings.data_dir / f"{name}.tar")
        assert await images.import_archive(settings.socket, settings.data_dir / f"{name}.tar")


async def test_containers_outlive_containerd(settings: containerd.Settings) -> None:
    await prepare(settings)
    private = containerd.Containerd(settings)
    first = private.find()
    assert first is not None
    assert await containerd.Containerd(settings).ensure() == first, "one that runs is taken over"
    cri = client.Client(str(settings.socket))
    config = host_pod("p", settings.data_dir / "logs")
    sandbox = await cri.run_sandbox(config)
    container = await cri.create_container(sandbox, sample(config, ["sleep", "600"]), config)
    await cri.start_container(container)
    os.kill(first, signal.SIGKILL)
    await private.wait_end(first)
    with pytest.raises(client.CriError) as refused:
        await cri.version()
    assert refused.value.code in ("Unavailable", "DeadlineExceeded")
    began = time.monotonic()
    second = await private.ensure()
    assert second != first
    assert time.monotonic() - began < 5
    status = await cri.container_status(container)
    assert status.state == "running"
    result = await cri.exec_sync(container, ["echo", "alive"], 5)
    assert result.stdout == b"alive\n"
    with pytest.raises(client.CriError) as late:
        await cri.exec_sync(container, ["sleep", "30"], 1)
    assert late.value.code == "DeadlineExceeded"
    await private.wipe_pods()
    assert await cri.list_sandboxes() == []
    await cri.close()
    await private.stop()
    assert private.find() is None


async def test_supervision_brings_containerd_back(settings: containerd.Settings) -> None:
    private = containerd.Containerd(settings)
    ready = asyncio.Event()
    keeping = asyncio.create_task(private.supervise(ready))
    try:
        await asyncio.wait_for(ready.wait(), 20)
        first = private.find()
        assert first is not None
        os.kill(first, signal.SIGKILL)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if private.find() not in (None, first):
                break
        assert private.find() not in (None, first)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await private.stop()


async def test_containerd_tells_of_ends(settings: containerd.Settings) -> None:
    await prepare(settings)
    cri = client.Client(str(settings.socket))
    heard: list[str] = []

    async def listen() -> None:
        async for container_id in containerd_events.exits(cri):
            heard.append(container_id)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.2)
    config = host_pod("p", settings.data_dir / "logs")
    sandbox = await cri.run_sandbox(config)
    container = await cri.create_container(sandbox, sample(config, ["true"]), config)
    await cri.start_container(container)
    for _ in range(60):
        await asyncio.sleep(0.05)
        if container in heard:
            break
    listening.cancel()
    assert container in heard
    await containerd.Containerd(settings).wipe_pods()
    await cri.close()
    await containerd.Containerd(settings).stop()


async def test_archives_dropped_into_a_folder_come_in_once(settings: containerd.Settings) -> None:
    private = containerd.Containerd(settings)
    await private.ensure()
    drop = settings.data_dir / "drop"
    drop.mkdir()
    memory = settings.data_dir / "memory.json"
    folder = images.Folder(drop, settings.socket, memory)
    assert await folder.look() == []
    images.sample_archive(drop / "sample.tar")
    (drop / "broken.tar").write_bytes(b"nonsense")
    (drop / "notes.txt").write_bytes(b"not an archive")
    assert await folder.look() == [], "a file may still grow: it is taken at the second look"
    assert await folder.look() == [images.SAMPLE]
    assert await folder.look() == []
    again = images.Folder(drop, settings.socket, memory)
    await again.look()
    assert await again.look() == [], "remembered across restarts"
    cri = client.Client(str(settings.socket))
    image = await cri.image_status(images.SAMPLE)
    assert image is not None and images.SAMPLE in image.tags
    await cri.remove_image(images.SAMPLE)
    assert await cri.image_status(images.SAMPLE) is None
    await cri.close()
    await private.stop()
