"""What is opened beneath a folder lies in that folder, whoever swaps what meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from navarch.lib import beneath

ATTACKER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
one, other = sys.argv[1].encode(), sys.argv[2].encode()
print("swapping", flush=True)
while os.getppid() == int(sys.argv[3]):
    for _ in range(100):
        libc.renameat2(-100, one, -100, other, 2)
"""


@contextlib.contextmanager
def swapping(one: pathlib.Path, other: pathlib.Path) -> Iterator[None]:
    """A process that exchanges two names as fast as it can."""
    attacker = subprocess.Popen([sys.executable, "-c", ATTACKER, str(one), str(other), str(os.getpid())], stdout=subprocess.PIPE)
    assert attacker.stdout is not None
    attacker.stdout.readline()
    try:
        yield
    finally:
        attacker.kill()
        attacker.wait()
        attacker.stdout.close()


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("the host's")
    base = tmp_path / "volume"
    (base / "a" / "b").mkdir(parents=True)
    (base / "a" / "b" / "file").write_text("the pod's")
    return base


def content(base: pathlib.Path, path: str) -> str:
    return beneath.read(base, path, 100).decode()


@pytest.mark.parametrize(
    ("link", "target", "path"),
    [
        ("in", "a/b", "in/file"),
        ("in", "./a/../a/b", "in/file"),
        ("a/up", "../a/b", "a/up/file"),
        ("..data", "a/b", "..data/file"),
        ("one", "..data", "one/file"),
    ],
)
def test_links_that_stay_inside_are_followed(volume: pathlib.Path, link: str, target: str, path: str) -> None:
    (volume / "..data").symlink_to("a/b")
    (volume / link).unlink(missing_ok=True)
    (volume / link).symlink_to(target)
    assert content(volume, path) == "the pod's"


@pytest.mark.parametrize("target", ["../secret", "a/../../secret", "/etc", "a/b/../../../secret", "/proc/self/root"])
@pytest.mark.parametrize("through", ["", "/file", "/.."])
def test_links_that_lead_out_are_refused(volume: pathlib.Path, target: str, through: str) -> None:
    (volume / "out").symlink_to(target)
    with pytest.raises(beneath.Outside), beneath.opened(volume, f"out{through}"):
        pass


@pytest.mark.parametrize("path", ["/etc", "..", "a/../..", "../volume"])
def test_paths_that_lead_out_are_refused(volume: pathlib.Path, path: str) -> None:
    with pytest.raises(beneath.Outside), beneath.opened(volume, path):
        pass


def test_a_circle_of_links_ends(volume: pathlib.Path) -> None:
    (volume / "x").symlink_to("y")
    (volume / "y").symlink_to("x")
    with pytest.raises(OSError, match="symbolic links"), beneath.opened(volume, "x"):
        pass


def test_no_descriptor_stays_open(volume: pathlib.Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (volume / "out").symlink_to("../secret")
    for path in ("a/b/file", "a/b/none", "out", "x/y/z", "../..", "/".join("a" * 400)):
        with contextlib.suppress(OSError), beneath.opened(volume, path):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_missing_folders_get_their_mode_and_never_through_a_dangling_link(volume: pathlib.Path) -> None:
    missing = beneath.Missing(0o2771, os.getuid(), os.getgid())
    with beneath.opened(volume, "a/new/er", missing):
        pass
    assert stat.S_IMODE((volume / "a" / "new").stat().st_mode) == 0o2771
    assert stat.S_IMODE((volume / "a" / "new" / "er").stat().st_mode) == 0o2771
    (volume / "dangling").symlink_to("nowhere/at/all")
    with pytest.raises(FileNotFoundError), beneath.opened(volume, "dangling/x", missing):
        pass
    assert not (volume / "nowhere").exists()


def test_what_is_no_regular_file_is_not_read_nor_waited_for(volume: pathlib.Path) -> None:
    os.mkfifo(volume / "pipe")
    (volume / "link").symlink_to("a/b/file")
    began = time.monotonic()
    for path in ("pipe", "a"):
        with pytest.raises(OSError, match="not a regular file"):
            beneath.read(volume, path, 100)
        with pytest.raises(OSError, match="not a regular file"):
            beneath.open_file(volume / path)
    with pytest.raises(OSError, match="symbolic links"):
        beneath.open_file(volume / "link")
    assert time.monotonic() - began < 1.0
    assert beneath.read(volume, "a/b/file", 3) == b"the"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "renameat2"), reason="this C library has no renameat2")
def test_a_folder_swapped_for_a_link_never_wins(volume: pathlib.Path) -> None:
    """One process exchanges a folder and a link to a secret all the time; whatever is opened meanwhile is the pod's own."""
    (volume / "out").symlink_to(volume.parent / "secret")
    (volume / "up").symlink_to("../secret")
    seen = {"own": 0, "refused": 0}
    until = time.monotonic() + 3.0
    for swapped in ("out", "up"):
        with swapping(volume / "a" / "b", volume / swapped):
            tries = 0
            while tries < 5000 and time.monotonic() < until:
                tries += 1
                try:
                    assert content(volume, "a/b/file") == "the pod's"
                    seen["own"] += 1
                except OSError:
                    seen["refused"] += 1
        until += 3.0
    assert seen["own"] > 100, seen
    assert seen["refused"] > 100, seen
