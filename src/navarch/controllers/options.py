"""The controller manager's flags, upstream's names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Files are paths; "" is none."""

    kubeconfig: str
    cluster_cidr: str = "10.244.0.0/16"
    node_cidr_mask_size: int = 0
    root_ca_file: str = ""
    leader_elect: bool = True
    leader_elect_identity_file: str = ""
    """Where the name is kept under which this process leads, so that the next one goes on at once; without it each has a new name."""
    controllers: tuple[str, ...] = ("*",)
    terminated_pod_gc_threshold: int = 12500
    service_cluster_ip_range: str = "10.96.0.0/16"
    cluster_signing_cert_file: str = ""
    cluster_signing_key_file: str = ""
    cluster_signing_duration: float = 365 * 86400.0
