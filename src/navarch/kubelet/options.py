"""The kubelet's flags, under upstream's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from navarch.api.core import v1


@dataclass(frozen=True)
class Options:
    """Reserved amounts are milli-CPU and bytes."""

    kubeconfig: str
    hostname_override: str = ""
    node_ip: str = ""
    container_runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    root_dir: str = "/var/lib/kubelet"
    pod_log_dir: str = "/var/log/pods"
    register_node: bool = True
    register_with_taints: Sequence[v1.Taint] = ()
    node_labels: Mapping[str, str] = field(default_factory=dict)
    cluster_dns: Sequence[str] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: str = "/etc/resolv.conf"
    address: str = "0.0.0.0"
    port: int = 10250
    tls_cert_file: str = ""
    tls_private_key_file: str = ""
    client_ca_file: str = ""
    anonymous_auth: bool = False
    authorization_mode: str = "Webhook"
    pod_manifest_path: str = ""
    cgroup_root: str = "/"
    cgroups_per_qos: bool = True
    max_pods: int = 110
    pod_infra_container_image: str = ""
    kube_reserved: Mapping[str, int] = field(default_factory=dict)
    image_gc_high_threshold: int = 85
    image_gc_low_threshold: int = 80
    container_log_max_size: int = 10 << 20
    container_log_max_files: int = 5
    parallel_starts: int = 8
    crash_loop_max: float = 300.0
    allowed_unsafe_sysctls: Sequence[str] = ()
    image_pull_credentials_verification_policy: str = "NeverVerifyPreloadedImages"
    preloaded_images_verification_allowlist: Sequence[str] = ()
