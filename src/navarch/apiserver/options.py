"""The API server's flags."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The API server's flags, upstream's names. Paths are files; empty means the default that `loop` describes."""

    data_dir: str
    bind_address: str = "127.0.0.1"
    secure_port: int = 6443
    advertise_address: str = ""
    tls_cert_file: str = ""
    tls_private_key_file: str = ""
    client_ca_file: str = ""
    token_auth_file: str = ""
    service_account_issuer: tuple[str, ...] = ("https://kubernetes.default.svc.cluster.local",)
    """The first one signs; tokens of the others are still taken."""

    service_account_key_file: tuple[str, ...] = ()
    """Keys that tokens are verified with, besides the signing one: several, so that the signing key can be changed."""

    service_account_signing_key_file: str = ""
    service_account_max_token_expiration: float = 0.0
    """Seconds a token lives at most, an hour or more; 0 is no limit but 2^32."""

    service_cluster_ip_range: str = "10.96.0.0/16"
    service_node_port_range: str = "30000-32767"
    kubelet_client_certificate: str = ""
    kubelet_client_key: str = ""
    kubelet_certificate_authority: str = ""
    requestheader_client_ca_file: str = ""
    requestheader_allowed_names: tuple[str, ...] = ("front-proxy-client",)
    proxy_client_cert_file: str = ""
    """Who we are to extension API servers."""

    proxy_client_key_file: str = ""
    storage_backend: str = "sqlite"
    authorization_mode: tuple[str, ...] = ("Node", "RBAC")
    """Who decides, in order: Node, RBAC, AlwaysAllow, AlwaysDeny."""

    enable_admission_plugins: tuple[str, ...] = ()
    """Plugins to run besides those that run anyway (all that `admission/table.py` lists)."""

    disable_admission_plugins: tuple[str, ...] = ()
    admission_control_config_file: str = ""
    api_audiences: tuple[str, ...] = ()
    runtime_config: str = ""
    """Versions served although they are off by default, or the other way round: `scheduling.k8s.io/v1alpha2=true`, `api/beta=true`."""
    max_requests_inflight: int = 400
    max_mutating_requests_inflight: int = 200
    event_ttl: float = 3600.0
    history_hours: float = 24.0
    """How long the store can be read as it was; less when that takes more than 2 GiB."""
