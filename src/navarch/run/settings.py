"""Where everything of a cluster is: folders, addresses, ports. One value, saved in the data folder.

The data folder stays over `down`; the run folder goes with a reboot. A cluster keeps its node's name for life, since pods and
volumes refer to it; its address follows the machine.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import socket
from dataclasses import asdict, dataclass

DEFAULT_DATA = pathlib.Path("/var/lib/navarch")
DEFAULT_RUN = pathlib.Path("/run/navarch")


@dataclass(frozen=True, slots=True)
class Settings:
    """A one-machine cluster. `data_dir` and `run_dir` are folders of ours alone."""

    data_dir: pathlib.Path
    run_dir: pathlib.Path
    node_name: str
    node_address: str
    secure_port: int = 6443
    service_cidr: str = "10.96.0.0/16"
    pod_cidr: str = "10.244.0.0/16"
    kubernetes_ip: str = "10.96.0.1"
    dns_ip: str = "10.96.0.10"
    dns_port: int = 10053
    cluster_domain: str = "cluster.local"

    @property
    def server(self) -> str:
        """The API server as this machine's components reach it."""
        return f"https://127.0.0.1:{self.secure_port}"

    @property
    def pki(self) -> pathlib.Path:
        return self.data_dir / "pki"

    @property
    def logs(self) -> pathlib.Path:
        return self.data_dir / "logs"

    @property
    def images(self) -> pathlib.Path:
        """The watched folder: archives put here are imported."""
        return self.data_dir / "images"

    @property
    def admin_kubeconfig(self) -> pathlib.Path:
        return self.data_dir / "admin.kubeconfig"

    def kubeconfig(self, component: str) -> pathlib.Path:
        return self.data_dir / "kubeconfig" / f"{component}.kubeconfig"

    @property
    def status_file(self) -> pathlib.Path:
        """What the supervisor tells about its children."""
        return self.run_dir / "status.json"

    @property
    def pid_file(self) -> pathlib.Path:
        return self.run_dir / "supervisor.pid"

    @property
    def guard_file(self) -> pathlib.Path:
        return self.run_dir / "guard.pid"

    @property
    def network_state(self) -> pathlib.Path:
        return self.run_dir / "network"

    @property
    def cni_conf(self) -> pathlib.Path:
        return self.run_dir / "cni"

    @property
    def kubelet_dir(self) -> pathlib.Path:
        return self.data_dir / "kubelet"

    @property
    def shared_mounts(self) -> pathlib.Path:
        """Mounts that were made shared, to be put back."""
        return self.run_dir / "shared-mounts.json"

    def save(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        values = {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in asdict(self).items()}
        temporary = self.data_dir / ".cluster.json"
        temporary.write_text(json.dumps(values, indent=2) + "\n")
        temporary.replace(self.data_dir / "cluster.json")


def run_dir(data_dir: pathlib.Path) -> pathlib.Path:
    """The run folder of a data folder: short, since socket paths end at 107 bytes."""
    if data_dir == DEFAULT_DATA:
        return DEFAULT_RUN
    return DEFAULT_RUN.with_name(f"navarch-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:8]}")


def load(data_dir: pathlib.Path) -> Settings | None:
    """The saved settings of a cluster; None where there is none."""
    try:
        values = json.loads((data_dir / "cluster.json").read_text())
    except (OSError, ValueError):
        return None
    known = {k: v for k, v in values.items() if k in Settings.__slots__}
    return Settings(**{**known, "data_dir": data_dir, "run_dir": run_dir(data_dir)})


def node_name() -> str:
    """This machine's name as a node: lower case, DNS-safe."""
    name = socket.gethostname().lower()
    safe = "".join(c if c.isalnum() or c in "-." else "-" for c in name).strip("-.")
    return safe or "node"
