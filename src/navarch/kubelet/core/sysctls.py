"""Which kernel settings a pod may ask for on this node. Pure.

Safe ones are the pod's own and touch no other pod; the rest the node's owner must allow by name or by a pattern that ends in `*`. A setting
of a namespace that the pod shares with the node is the node's, and refused. Upstream's counterpart is pkg/kubelet/sysctl.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from navarch.api.core import v1
from navarch.kubelet.core.model import Failure

IPC, NET = "IPC", "Net"
_IPC_NAMES: Final = frozenset(
    f"kernel.{name}" for name in ("sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "shm", "msgmax", "msgmnb", "msgmni", "msg")
)
_PREFIXES = (("net.", NET), ("fs.mqueue.", IPC))
SAFE: Final = (
    ("kernel.shm_rmid_forced", (0, 0)),
    ("net.ipv4.ip_local_port_range", (0, 0)),
    ("net.ipv4.tcp_syncookies", (0, 0)),
    ("net.ipv4.ping_group_range", (0, 0)),
    ("net.ipv4.ip_unprivileged_port_start", (0, 0)),
    ("net.ipv4.ip_local_reserved_ports", (3, 16)),
    ("net.ipv4.tcp_keepalive_time", (4, 5)),
    ("net.ipv4.tcp_fin_timeout", (4, 6)),
    ("net.ipv4.tcp_keepalive_intvl", (4, 5)),
    ("net.ipv4.tcp_keepalive_probes", (4, 5)),
    ("net.ipv4.tcp_rmem", (4, 15)),
    ("net.ipv4.tcp_wmem", (4, 15)),
)
"""The safe settings, with the kernel since which each is a namespace's own."""
MAX_LENGTH = 253
_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_PATTERN_TEXT = rf"({_SEGMENT}[\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9*]"
_PATTERN = re.compile(rf"^{_PATTERN_TEXT}$")


class BadPattern(ValueError):
    """A setting that cannot be allowed; the message says why."""


class Allowlist:
    """The safe settings of this kernel and those that the node's owner allows. BadPattern for one that is nobody's own."""

    def __init__(self, unsafe: Iterable[str] = (), kernel: str = "") -> None:
        version = _version(kernel)
        self._names: dict[str, str] = {}
        self._prefixes: dict[str, str] = {}
        for pattern in (*(name for name, since in SAFE if version >= since), *unsafe):
            if len(pattern) > MAX_LENGTH or not _PATTERN.match(pattern):
                raise BadPattern(f'sysctl "{pattern}" must have at most {MAX_LENGTH} characters and match regex {_PATTERN_TEXT}')
            name, star, _ = normalized(pattern).partition("*")
            namespace = _namespace(name)
            if not namespace:
                raise BadPattern(f'the sysctls "{name}" are not known to be namespaced')
            (self._prefixes if star else self._names)[name] = namespace

    def check(self, pod: v1.Pod) -> Failure | None:
        """Why the pod may not run here, if it may not."""
        spec = pod.spec or v1.PodSpec()
        for wanted in (spec.securityContext.sysctls if spec.securityContext else None) or ():
            problem = self._problem(normalized(wanted.name or ""), bool(spec.hostNetwork), bool(spec.hostIPC))
            if problem:
                return Failure("SysctlForbidden", f"forbidden sysctl: {problem}")
        return None

    def _problem(self, name: str, host_network: bool, host_ipc: bool) -> str:
        namespace = self._names.get(name) or next((kind for prefix, kind in self._prefixes.items() if name.startswith(prefix)), "")
        if not namespace:
            return f'"{name}" not allowlisted'
        if (namespace == IPC and host_ipc) or (namespace == NET and host_network):
            return f'"{name}" not allowed with host {namespace} enabled'
        return ""


def normalized(name: str) -> str:
    """The name with dots between its parts; in a name that begins with slashes the two change places."""
    first = re.search(r"[./]", name)
    if first is None or first[0] == ".":
        return name
    return name.translate(str.maketrans("./", "/."))


def _namespace(name: str) -> str:
    if name in _IPC_NAMES:
        return IPC
    return next((kind for prefix, kind in _PREFIXES if name.startswith(prefix)), "")


def _version(kernel: str) -> tuple[int, int]:
    found = re.match(r"(\d{1,4})\.(\d{1,4})", kernel)
    return (int(found[1]), int(found[2])) if found else (0, 0)
