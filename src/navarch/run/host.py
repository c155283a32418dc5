"""What the machine must have: root, programs, free ports, room on the disk. Says in plain words what is missing.

Missing programs come from Debian's packages, with the user seeing what is installed. Where that is not possible the message
names the packages. Nothing is changed before everything has been looked at.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")


class Unfit(Exception):
    """The machine cannot run a cluster now; the message says why and what helps."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program (or file) and the Debian package it comes from."""

    program: str
    package: str


REQUIREMENTS = (
    Requirement("containerd", "containerd"),
    Requirement("ctr", "containerd"),
    Requirement("runc", "runc"),
    Requirement("/usr/lib/cni/bridge", "containernetworking-plugins"),
    Requirement("/usr/lib/cni/host-local", "containernetworking-plugins"),
    Requirement("nft", "nftables"),
    Requirement("conntrack", "conntrack"),
    Requirement("ip", "iproute2"),
    Requirement("mount", "mount"),
    Requirement("busybox", "busybox-static"),
    Requirement("catatonit", "catatonit"),
)
LEAST_FREE = 256 * 1024 * 1024


def extend_path() -> None:
    """Makes the system programs findable: a user's PATH often lacks them."""
    parts = os.environ.get("PATH", "").split(":")
    os.environ["PATH"] = ":".join([*parts, *(p for p in SBIN if p not in parts)])


def missing(requirements: Sequence[Requirement] = REQUIREMENTS) -> list[Requirement]:
    return [r for r in requirements if not (os.path.exists(r.program) if r.program.startswith("/") else shutil.which(r.program))]


def need_root() -> None:
    if os.geteuid() != 0:
        raise Unfit("navarch needs root to run containers and to set the network up. Try: sudo navarch up")


def install(say: Callable[[str], None], requirements: Sequence[Requirement] = REQUIREMENTS) -> None:
    """Installs what is missing by apt-get. Raises Unfit with the packages' names when that fails."""
    absent = missing(requirements)
    if not absent:
        return
    packages = list(dict.fromkeys(r.package for r in absent))
    programs = ", ".join(pathlib.Path(r.program).name for r in absent)
    if shutil.which("apt-get") is None:
        raise Unfit(f"missing: {programs}. There is no apt-get here: install these yourself (Debian's packages: {' '.join(packages)})")
    say(f"Installing {' '.join(packages)} (for: {programs})")
    _apt("update")
    failure = _apt("install", "--no-install-recommends", *packages)
    still = missing(requirements)
    if still:
        names = ", ".join(r.program for r in still)
        raise Unfit(f"{names} could not be installed: {failure or 'apt-get gave no reason'}. Packages: {' '.join(packages)}")


def _apt(*arguments: str) -> str:
    """Runs apt-get quietly, without starting services of what it installs; its last error line when it failed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ("-q", "-y", "-o", "Dpkg::Use-Pty=0")
    done = subprocess.run(["apt-get", *options, *arguments], capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return lines[-1] if done.returncode and lines else ""


def need_ports(ports: Sequence[tuple[str, int, str]]) -> None:
    """Checks (address, port, whose) for being free; names who holds one that is not."""
    for address, port, whose in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trying:
            trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trying.bind((address, port))
            except OSError as error:
                holder = holder_of(port)
                by = f" by {holder}" if holder else f" ({error.strerror})"
                raise Unfit(f"port {port}, which {whose} needs, is taken{by}. Stop that, or choose another port") from None


def holder_of(port: int) -> str:
    """Who listens on a TCP port, as "NAME (process ID)"; "" when it cannot be told."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = pathlib.Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and _holds(entry, sockets):
            return f"{(entry / 'comm').read_text().strip()} (process {entry.name})"
    return ""


def _holds(process: pathlib.Path, sockets: set[str]) -> bool:
    try:
        return any(os.readlink(fd) in sockets for fd in (process / "fd").iterdir())
    except OSError:
        return False


def need_room(folder: pathlib.Path) -> None:
    """Checks for room on the disk and for being allowed to write."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        probe = folder / ".probe"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise Unfit(f"{folder} cannot be written: {error.strerror}") from None
    if free < LEAST_FREE:
        raise Unfit(f"only {free >> 20} MiB are free on the disk of {folder}; at least {LEAST_FREE >> 20} MiB are needed")
