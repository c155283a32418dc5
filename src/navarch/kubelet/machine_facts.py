"""Facts about the machine, read from /proc, /sys and /etc. Upstream's counterpart is cAdvisor's machine info."""

from __future__ import annotations

import contextlib
import os
import pathlib
import platform
import socket
import uuid

from navarch.kubelet.core.node import Machine

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return pathlib.Path(path).read_text().strip()
    return ""


def machine(root: pathlib.Path) -> Machine:
    """This machine; `root` tells which file system holds the pods' data."""
    disk = os.statvfs(root)
    release = dict(line.split("=", 1) for line in _text("/etc/os-release").splitlines() if "=" in line)
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory_total(),
        disk=disk.f_blocks * disk.f_frsize,
        machine_id=_text("/etc/machine-id") or uuid.uuid5(uuid.NAMESPACE_DNS, socket.gethostname()).hex,
        system_uuid=_text("/sys/class/dmi/id/product_uuid") or str(uuid.uuid5(uuid.NAMESPACE_DNS, socket.gethostname())),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
        kernel=platform.release(),
        os_image=release.get("PRETTY_NAME", "Linux").strip('"'),
        arch=ARCHITECTURES.get(platform.machine(), platform.machine()),
        hugepages=_hugepages(),
    )


def _hugepages() -> dict[str, int]:
    result = {}
    for entry in pathlib.Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        kilobytes = int(entry.name.removeprefix("hugepages-").removesuffix("kB"))
        size = f"{kilobytes // (1 << 20)}Gi" if kilobytes >= 1 << 20 else f"{kilobytes // 1024}Mi"
        result[size] = int(_text(str(entry / "nr_hugepages")) or 0) * kilobytes * 1024
    return result


def meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    result = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        result[name] = int(rest.split()[0]) * (1024 if rest.endswith("kB") else 1)
    return result


def memory_total() -> int:
    """All memory in bytes."""
    return meminfo().get("MemTotal", 0)


def process_ids() -> int:
    """How many processes and threads the machine can have; 0 when it does not tell."""
    found = [int(text) for name in ("pid_max", "threads-max") if (text := _text(f"/proc/sys/kernel/{name}")).isdigit()]
    return min(found, default=0)


def resolv_conf(path: str = "/etc/resolv.conf") -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Name servers, search domains and options of the node."""
    servers, searches, options = [], [], []
    for line in _text(path).splitlines():
        words = line.split()
        match words[:1]:
            case ["nameserver"]:
                servers += words[1:2]
            case ["search"] | ["domain"]:
                searches = words[1:]
            case ["options"]:
                options += words[1:]
    return tuple(servers), tuple(s for s in searches if s != "."), tuple(options)


def default_ip() -> str:
    """The address of the interface that has the default route; the loopback address where there is none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket sends nothing; it only makes the kernel choose a source address.
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
        return address
    return "127.0.0.1"
