"""Which processes a cluster has, what runs in each, and with which flags.

A process has one or more parts (component loops); most have one. The table is the whole truth: the supervisor starts what it says,
in its order, and `after` names processes that must be ready before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from navarch.lib import private
from navarch.run.settings import Settings

Flags = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Part:
    """A component's loop: a module with `Options` and `run(options, ready)`, and its flags."""

    module: str
    flags: Callable[[Settings], Flags]


@dataclass(frozen=True, slots=True)
class Process:
    """`in_order`: each part starts when the one before is ready; otherwise all start at once.

    `umask`: what the files it makes are without. What only the cluster reads is private; a kubelet's are for containers.
    """

    name: str
    parts: tuple[Part, ...]
    after: tuple[str, ...] = ()
    in_order: bool = False
    umask: int = private.UMASK


def _apiserver(settings: Settings) -> Flags:
    pki = settings.pki
    return {
        "data_dir": str(settings.data_dir),
        "bind_address": "0.0.0.0",
        "secure_port": settings.secure_port,
        "advertise_address": settings.node_address,
        "tls_cert_file": str(pki / "apiserver.crt"),
        "tls_private_key_file": str(pki / "apiserver.key"),
        "client_ca_file": str(pki / "ca.crt"),
        "service_account_key_file": (str(pki / "sa.pub"),),
        "service_account_signing_key_file": str(pki / "sa.key"),
        "service_cluster_ip_range": settings.service_cidr,
        "kubelet_client_certificate": str(pki / "apiserver-kubelet-client.crt"),
        "kubelet_client_key": str(pki / "apiserver-kubelet-client.key"),
        "kubelet_certificate_authority": str(pki / "ca.crt"),
        "requestheader_client_ca_file": str(pki / "front-proxy-ca.crt"),
        "proxy_client_cert_file": str(pki / "front-proxy-client.crt"),
        "proxy_client_key_file": str(pki / "front-proxy-client.key"),
    }


def _runtime(settings: Settings) -> Flags:
    return {"data_dir": str(settings.data_dir), "run_dir": str(settings.run_dir)}


# One supervisor, one instance of each: leases would only delay the next one after a kill by their 15 s.


def _scheduler(settings: Settings) -> Flags:
    return {"kubeconfig": str(settings.kubeconfig("scheduler")), "leader_elect": False}


def _controllers(settings: Settings) -> Flags:
    return {
        "kubeconfig": str(settings.kubeconfig("controller-manager")),
        "root_ca_file": str(settings.pki / "ca.crt"),
        "cluster_signing_cert_file": str(settings.pki / "ca.crt"),
        "cluster_signing_key_file": str(settings.pki / "ca.key"),
        "cluster_cidr": settings.pod_cidr,
        "service_cluster_ip_range": settings.service_cidr,
        "leader_elect": False,
    }


def _kubelet(settings: Settings) -> Flags:
    return {
        "kubeconfig": str(settings.kubeconfig("kubelet")),
        "hostname_override": settings.node_name,
        "node_ip": settings.node_address,
        "container_runtime_endpoint": f"unix://{settings.run_dir / 'containerd' / 'containerd.sock'}",
        "root_dir": str(settings.kubelet_dir),
        "pod_log_dir": str(settings.logs / "pods"),
        "cluster_dns": (settings.dns_ip,),
        "cluster_domain": settings.cluster_domain,
        "tls_cert_file": str(settings.pki / "kubelet.crt"),
        "tls_private_key_file": str(settings.pki / "kubelet.key"),
        "client_ca_file": str(settings.pki / "ca.crt"),
        "pod_manifest_path": str(settings.data_dir / "manifests"),
    }


def _proxy(settings: Settings) -> Flags:
    return {
        "kubeconfig": str(settings.kubeconfig("proxy")),
        "hostname_override": settings.node_name,
        "cluster_cidr": settings.pod_cidr,
        "state_file": str(settings.network_state / "sysctls.json"),
    }


def _pod_network(settings: Settings) -> Flags:
    return {
        "kubeconfig": str(settings.kubeconfig("kubelet")),
        "hostname_override": settings.node_name,
        "cluster_cidr": settings.pod_cidr,
        "cni_conf_dir": str(settings.cni_conf),
        "state_dir": str(settings.network_state),
    }


def _dns(settings: Settings) -> Flags:
    return {
        "kubeconfig": str(settings.kubeconfig("dns")),
        "cluster_domain": settings.cluster_domain,
        "bind_address": settings.node_address,
        "port": settings.dns_port,
        "cluster_ip": settings.dns_ip,
        "allow": (settings.pod_cidr, settings.service_cidr, f"{settings.node_address}/32"),
    }


APISERVER = Process("apiserver", (Part("navarch.apiserver.loop", _apiserver),))
PROCESSES = (
    APISERVER,
    Process("kubelet", (Part("navarch.run.runtime", _runtime), Part("navarch.kubelet.loop", _kubelet)), in_order=True, umask=0o022),
    Process("controller-manager", (Part("navarch.controllers.loop", _controllers),), after=("apiserver",)),
    Process("scheduler", (Part("navarch.scheduler.loop", _scheduler),), after=("apiserver",)),
    Process(
        "proxy",
        (Part("navarch.network.proxy.loop", _proxy), Part("navarch.network.cni.loop", _pod_network)),
        after=("apiserver",),
        umask=0o022,
    ),
    Process("dns", (Part("navarch.network.dns.loop", _dns),), after=("apiserver",)),
)

PORTS: Mapping[str, tuple[tuple[str, int], ...]] = {
    "apiserver": (("0.0.0.0", 6443),),
    "kubelet": (("0.0.0.0", 10250),),
    "proxy": (("0.0.0.0", 10256), ("127.0.0.1", 10249)),
}
"""Fixed ports, for a check before the start."""
