"""Kubeconfig files: who the API server is and who we are to it.

In: a kubeconfig file (upstream's format), the pod's mounted service account, or values. Out: a `Config`. Upstream
counterpart: client-go's clientcmd and rest.InClusterConfig.
"""

from __future__ import annotations

import base64
import os
import pathlib
import ssl
import tempfile
from dataclasses import dataclass
from typing import Any

import yaml

SERVICE_ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Config:
    """Where the API server is, how it is known (`ca`), and what proves who we are. Certificates and keys are PEM."""

    server: str
    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""
    token_file: str = ""
    server_name: str = ""
    insecure: bool = False
    namespace: str = "default"

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings of this configuration; None for a plain HTTP server."""
        if self.server.startswith("http://"):
            return None
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            _load_pair(context, self.certificate, self.key)
        return context

    def bearer(self) -> str:
        """The token to send now; a token file is read again each time, since it is rotated."""
        if self.token_file:
            return pathlib.Path(self.token_file).read_text().strip()
        return self.token


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Python's ssl reads key pairs from files only: a private one, gone at once."""
    with tempfile.NamedTemporaryFile(prefix="navarch-") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


class KubeconfigError(ValueError):
    """The file is no kubeconfig, or names what it does not hold."""


def _entry(document: dict[str, Any], section: str, name: str, path: str) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry.get(section.removesuffix("s")) or {}
            return found
    raise KubeconfigError(f'{path}: no entry "{name}" in {section}')


def _data(entry: dict[str, Any], field: str, folder: pathlib.Path) -> bytes:
    inline = entry.get(f"{field}-data")
    if isinstance(inline, str) and inline:
        return base64.b64decode(inline)
    name = entry.get(field)
    return (folder / str(name)).read_bytes() if name else b""


def load(path: str | os.PathLike[str], context: str = "") -> Config:
    """The configuration of a kubeconfig's current (or named) context. KubeconfigError says what is wrong with it."""
    file = pathlib.Path(path)
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{file}: {error}") from None
    if not isinstance(document, dict):
        raise KubeconfigError(f"{file}: this is no kubeconfig")
    name = context or document.get("current-context") or ""
    chosen = _entry(document, "contexts", name, str(file))
    cluster = _entry(document, "clusters", chosen.get("cluster", ""), str(file))
    user = _entry(document, "users", chosen["user"], str(file)) if chosen.get("user") else {}
    return Config(
        server=str(cluster.get("server", "")).rstrip("/"),
        ca=_data(cluster, "certificate-authority", file.parent),
        certificate=_data(user, "client-certificate", file.parent),
        key=_data(user, "client-key", file.parent),
        token=user.get("token", ""),
        token_file=user.get("tokenFile", ""),
        server_name=cluster.get("tls-server-name", ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=chosen.get("namespace", "default"),
    )


def in_cluster() -> Config:
    """The configuration of a pod, from its mounted service account."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    return Config(
        server=f"https://{host}:{port}",
        ca=(SERVICE_ACCOUNT / "ca.crt").read_bytes(),
        token_file=str(SERVICE_ACCOUNT / "token"),
        namespace=(SERVICE_ACCOUNT / "namespace").read_text(),
    )


def render(config: Config, name: str = "navarch") -> str:
    """A kubeconfig file with everything inline."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    user: dict[str, str] = {}
    if config.certificate:
        user |= {"client-certificate-data": text(config.certificate), "client-key-data": text(config.key)}
    if config.token:
        user["token"] = config.token
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": config.server, "certificate-authority-data": text(config.ca)}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)
