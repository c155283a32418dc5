"""A cluster's identity: its authorities, certificates, keys and kubeconfigs, made once and renewed before they expire.

Layout and names are kubeadm's, so that people find what they know: `pki/ca.crt`, `pki/apiserver.crt`, `pki/sa.key` …
Serving certificates are made anew when the machine's address changed.
"""

from __future__ import annotations

import datetime
import pathlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509

from navarch.client import kubeconfig
from navarch.lib import pki, private
from navarch.run.settings import Settings

RENEW = datetime.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate to have: file name in `pki/` or component name, and what it says."""

    name: str
    common_name: str
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    server: bool = False
    client: bool = True
    authority: str = "ca"


def server_names(settings: Settings) -> tuple[str, ...]:
    """Every name and address the API server is reached by."""
    inside = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{settings.cluster_domain}")
    return (*inside, "localhost", settings.node_name, settings.kubernetes_ip, "127.0.0.1", "::1", settings.node_address)


def files(settings: Settings) -> tuple[Leaf, ...]:
    """Certificates that are files of their own."""
    node = settings.node_name
    return (
        Leaf("apiserver", "kube-apiserver", names=server_names(settings), server=True, client=False),
        Leaf("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
        Leaf("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
        Leaf("kubelet", f"system:node:{node}", ("system:nodes",), (node, settings.node_address, "127.0.0.1", "localhost"), True, False),
    )


def users(settings: Settings) -> tuple[Leaf, ...]:
    """Certificates that live in kubeconfigs."""
    return (
        Leaf("admin", "kubernetes-admin", ("system:masters",)),
        Leaf("scheduler", "system:kube-scheduler"),
        Leaf("controller-manager", "system:kube-controller-manager"),
        Leaf("kubelet", f"system:node:{settings.node_name}", ("system:nodes",)),
        Leaf("proxy", "system:kube-proxy"),
        Leaf("dns", "system:coredns"),
    )


def prepare(settings: Settings, now: datetime.datetime) -> None:
    """Makes or renews everything, and sees to it that only its owner can read it. Fine to call at every start."""
    private.mend(settings.data_dir)
    authorities = {name: _authority(settings.pki, name, now) for name in ("ca", "front-proxy-ca")}
    for leaf in files(settings):
        _certificate(settings.pki, leaf, authorities[leaf.authority], now)
    for leaf in users(settings):
        path = settings.admin_kubeconfig if leaf.name == "admin" else settings.kubeconfig(leaf.name)
        _kubeconfig(path, leaf, authorities["ca"], settings.server, now)
    _service_account_keys(settings.pki)
    _once(settings.data_dir / "encryption.key", lambda: secrets.token_hex(32).encode())


def _authority(folder: pathlib.Path, name: str, now: datetime.datetime) -> pki.Pair:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    if not (certificate.exists() and key.exists()):
        pki.authority("kubernetes" if name == "ca" else name, now).write(certificate, key)
    return pki.Pair(certificate.read_bytes(), key.read_bytes())


def _issue(leaf: Leaf, authority: pki.Pair, now: datetime.datetime) -> pki.Pair:
    return pki.issue(
        authority,
        leaf.common_name,
        now,
        organizations=leaf.organizations,
        names=leaf.names,
        server=leaf.server,
        client=leaf.client,
    )


def _certificate(folder: pathlib.Path, leaf: Leaf, authority: pki.Pair, now: datetime.datetime) -> None:
    certificate, key = folder / f"{leaf.name}.crt", folder / f"{leaf.name}.key"
    if not (key.exists() and _good(certificate, leaf.names, now)):
        _issue(leaf, authority, now).write(certificate, key)


def _good(certificate: pathlib.Path, names: Sequence[str], now: datetime.datetime) -> bool:
    """Whether a certificate is there, holds for a while and has all the names."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    if parsed.not_valid_after_utc - now < RENEW or parsed.not_valid_before_utc > now:
        return False
    if not names:
        return True
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return set(found) >= set(pki.alternative_names(names))


def _kubeconfig(path: pathlib.Path, leaf: Leaf, authority: pki.Pair, server: str, now: datetime.datetime) -> None:
    if path.exists():
        try:
            known = kubeconfig.load(path)
        except kubeconfig.KubeconfigError:
            known = None
        if known is not None and known.server == server and known.ca.strip() == authority.certificate.strip() and _fresh(known, now):
            return
    pair = _issue(leaf, authority, now)
    config = kubeconfig.Config(server, ca=authority.certificate, certificate=pair.certificate, key=pair.key)
    pki.write_private(path, kubeconfig.render(config).encode())


def _fresh(config: kubeconfig.Config, now: datetime.datetime) -> bool:
    try:
        parsed = x509.load_pem_x509_certificate(config.certificate)
    except ValueError:
        return False
    return parsed.not_valid_after_utc - now > RENEW


def _service_account_keys(folder: pathlib.Path) -> None:
    key = folder / "sa.key"
    _once(key, pki.rsa_key)
    _once(folder / "sa.pub", lambda: pki.public_key(key.read_bytes()))


def _once(path: pathlib.Path, make: Callable[[], bytes]) -> None:
    if not path.exists():
        pki.write_private(path, make())
