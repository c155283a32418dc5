"""subPath mounts against a container that swaps folders for links meanwhile; the mounts are real."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import cast

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.rest import Client
from navarch.kubelet.core.payload import PayloadError
from navarch.kubelet.references import References
from navarch.kubelet.volumes import system, table
from navarch.kubelet.volumes.mounter import Mounter
from navarch.kubelet.volumes.tokens import Tokens
from navarch.lib import mounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

ATTACKER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print("swapping", flush=True)
while os.getppid() == int(sys.argv[3]):
    for _ in range(100):
        libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2)
"""
POD = v1.Pod(metadata=meta_v1.ObjectMeta(name="p", namespace="d", uid="uid-p"), spec=v1.PodSpec())


class Place:
    """A volume of a pod, and beside it what no container may see."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.mounter = Mounter(folder / "kubelet", table.plugins(cast(References, None), Tokens(cast(Client, None)), dict))
        self.volume = folder / "volume"
        (self.volume / "dir").mkdir(parents=True)
        (self.volume / "dir" / "whose").write_text("the pod's")
        self.secret = folder / "secret"
        self.secret.mkdir(mode=0o700)
        (self.secret / "whose").write_text("the host's")

    async def bind(self, path: str, index: int = 0) -> pathlib.Path:
        return await self.mounter.sub_path(POD, "c", index, "v", self.volume, path)

    def mounts(self) -> list[pathlib.Path]:
        return mounts.below(self.mounter.root)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for point in made.mounts():
        mounts.unmount(point)


async def test_what_is_there_what_is_made_and_what_is_bound_twice(place: Place) -> None:
    assert (await place.bind("dir") / "whose").read_text() == "the pod's"
    assert (await place.bind("dir/whose", 1)).read_text() == "the pod's"
    place.volume.chmod(0o2775)
    target = await place.bind("new/er", 2)
    assert (place.volume / "new" / "er").stat().st_mode & 0o7777 == 0o2775
    assert target.is_dir()
    for _ in range(3):
        await place.bind("dir")
    assert len(place.mounts()) == 3
    # What lies at the path has become another: the place shows what is there now.
    (place.volume / "dir").rename(place.volume / "old")
    (place.volume / "dir").write_text("a file")
    assert (await place.bind("dir")).read_text() == "a file"
    assert len(place.mounts()) == 3
    await place.mounter.remove("uid-p")
    assert not place.mounts()
    assert not (place.mounter.root / "pods" / "uid-p").exists()
    assert (place.volume / "old" / "whose").read_text() == "the pod's"


@pytest.mark.parametrize("path", ["out", "out/whose", "dir/../../secret", "/etc", "up", "file", "up/new", "out/new"])
async def test_what_leads_out_is_refused_and_the_node_not_described(place: Place, path: str) -> None:
    (place.volume / "out").symlink_to(place.secret)
    (place.volume / "up").symlink_to("../secret")
    (place.volume / "file").symlink_to("/etc/passwd")
    with pytest.raises(PayloadError) as refused:
        await place.bind(path)
    assert str(place.volume) not in str(refused.value)
    assert not place.mounts()
    assert os.listdir(place.secret) == ["whose"]


async def test_a_link_on_the_place_of_a_mount_is_not_unmounted_through(place: Place) -> None:
    target = await place.bind("dir")
    (place.volume / "trap").symlink_to(target)
    mounts.unmount(place.volume / "trap")
    assert len(place.mounts()) == 1


@pytest.mark.parametrize("link", ["out", "up"])
async def test_a_folder_swapped_for_a_link_during_the_mount_never_wins(place: Place, link: str) -> None:
    (place.volume / "out").symlink_to(place.secret)
    (place.volume / "up").symlink_to("../secret")
    command = [sys.executable, "-c", ATTACKER, str(place.volume / "dir"), str(place.volume / link), str(os.getpid())]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220 - it has to run beside us
    assert attacker.stdout is not None
    attacker.stdout.readline()
    seen = {"bound": 0, "made": 0, "refused": 0}
    until = time.monotonic() + 8.0
    try:
        for number in range(4000):
            if time.monotonic() > until:
                break
            path = "dir" if number % 2 else f"dir/new{number}"
            try:
                target = await place.bind(path)
            except PayloadError:
                seen["refused"] += 1
                continue
            if number % 2:
                assert (target / "whose").read_text() == "the pod's"
                seen["bound"] += 1
            else:
                assert not list(target.iterdir())
                seen["made"] += 1
            mounts.unmount(target)
    finally:
        attacker.kill()
        attacker.wait()
        attacker.stdout.close()
    print(f"swapping against {link}: {seen}")
    assert os.listdir(place.secret) == ["whose"]
    assert min(seen.values()) > 20, seen


async def test_a_volume_is_given_to_its_group_without_following_links(place: Place) -> None:
    (place.secret / "whose").chmod(0o600)
    (place.volume / "dir" / "link").symlink_to(place.secret / "whose")
    (place.volume / "out").symlink_to(place.secret)
    await asyncio.to_thread(system.own, place.volume, 4711, False)
    assert (place.secret / "whose").stat().st_gid != 4711
    assert (place.secret / "whose").stat().st_mode & 0o777 == 0o600
    assert place.secret.stat().st_gid != 4711
    assert (place.volume / "dir" / "whose").stat().st_gid == 4711
    assert (place.volume / "dir" / "whose").stat().st_mode & 0o060 == 0o060
    assert (place.volume / "dir").stat().st_mode & 0o2070 == 0o2070
