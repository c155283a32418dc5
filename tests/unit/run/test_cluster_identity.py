"""Certificates and kubeconfigs of a cluster, and the settings it keeps."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import stat

import pytest
from cryptography import x509

from navarch.client import kubeconfig
from navarch.lib import pki
from navarch.run import cluster
from navarch.run import settings as where
from navarch.run.settings import Settings

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def settings(tmp_path: pathlib.Path) -> Settings:
    return Settings(tmp_path, tmp_path / "run", "n1", "192.0.2.7")


def _names(path: pathlib.Path) -> set[str]:
    parsed = x509.load_pem_x509_certificate(path.read_bytes())
    found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_everything_is_made_once_and_kept(settings: Settings) -> None:
    cluster.prepare(settings, NOW)
    first = {p: p.read_bytes() for p in settings.data_dir.rglob("*") if p.is_file()}
    assert {"ca.crt", "front-proxy-ca.key", "apiserver.crt", "kubelet.key", "sa.pub"} <= {p.name for p in first}
    assert {"kubernetes.default.svc.cluster.local", "10.96.0.1", "192.0.2.7", "n1"} <= _names(settings.pki / "apiserver.crt")
    cluster.prepare(settings, NOW + datetime.timedelta(days=100))
    assert {p: p.read_bytes() for p in first} == first
    for path in first:
        if path.suffix in (".key", ".kubeconfig"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_certificates_are_renewed_in_time_and_authorities_stay(settings: Settings) -> None:
    cluster.prepare(settings, NOW)
    authority, serving = (settings.pki / "ca.crt").read_bytes(), (settings.pki / "apiserver.crt").read_bytes()
    admin = settings.admin_kubeconfig.read_bytes()
    cluster.prepare(settings, NOW + datetime.timedelta(days=340))
    assert (settings.pki / "ca.crt").read_bytes() == authority
    assert (settings.pki / "apiserver.crt").read_bytes() != serving
    assert settings.admin_kubeconfig.read_bytes() != admin


def test_a_new_address_makes_new_serving_certificates(settings: Settings) -> None:
    cluster.prepare(settings, NOW)
    moved = dataclasses.replace(settings, node_address="192.0.2.8")
    cluster.prepare(moved, NOW)
    assert "192.0.2.8" in _names(settings.pki / "apiserver.crt")
    assert "192.0.2.8" in _names(settings.pki / "kubelet.crt")


@pytest.mark.parametrize(
    ("name", "user", "groups"),
    [
        ("kubelet", "system:node:n1", ["system:nodes"]),
        ("scheduler", "system:kube-scheduler", []),
        ("proxy", "system:kube-proxy", []),
        ("dns", "system:coredns", []),
    ],
)
def test_users(settings: Settings, name: str, user: str, groups: list[str]) -> None:
    cluster.prepare(settings, NOW)
    config = kubeconfig.load(settings.kubeconfig(name))
    subject = x509.load_pem_x509_certificate(config.certificate).subject
    assert [a.value for a in subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)] == [user]
    assert [a.value for a in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)] == groups
    assert config.server == "https://127.0.0.1:6443"


def test_broken_files_are_replaced(settings: Settings) -> None:
    cluster.prepare(settings, NOW)
    (settings.pki / "kubelet.crt").write_text("garbage")
    settings.kubeconfig("proxy").write_text("{not yaml")
    cluster.prepare(settings, NOW)
    assert x509.load_pem_x509_certificate((settings.pki / "kubelet.crt").read_bytes())
    assert kubeconfig.load(settings.kubeconfig("proxy")).certificate


def test_settings_are_saved(settings: Settings) -> None:
    settings.save()
    loaded = where.load(settings.data_dir)
    assert loaded == dataclasses.replace(settings, run_dir=where.run_dir(settings.data_dir))
    assert where.load(settings.data_dir / "none") is None
    assert len(str(where.run_dir(pathlib.Path("/a" * 60)))) < 40


def test_key_pairs_match(settings: Settings) -> None:
    cluster.prepare(settings, NOW)
    assert (settings.pki / "sa.pub").read_bytes() == pki.public_key((settings.pki / "sa.key").read_bytes())
