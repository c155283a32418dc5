"""Certificate requests get their certificate from the authority that the flags name, when they are approved and what they say they are."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from navarch.api.certificates import v1 as certificates_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers import loop
from navarch.controllers.core import certificates
from navarch.controllers.identity import signing
from navarch.lib import pki, tasks
from navarch.testing import server, waiting

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
DNS, IP = x509.DNSName("n1"), x509.IPAddress(ipaddress.ip_address("10.0.0.1"))
URI, EMAIL = x509.UniformResourceIdentifier("spiffe://x"), x509.RFC822Name("a@b.c")
NODE = (("O", "system:nodes"), ("CN", "system:node:n1"))
KUBELET, SERVING, CLIENT = certificates.KUBELET_CLIENT, certificates.KUBELET_SERVING, certificates.CLIENT
CLIENT_USAGES, SERVER_USAGES = ("digital signature", "client auth"), ("digital signature", "server auth", "key encipherment")


def asked(subject: tuple[tuple[str, str], ...], *names: x509.GeneralName) -> x509.CertificateSigningRequest:
    oids = {"O": NameOID.ORGANIZATION_NAME, "CN": NameOID.COMMON_NAME}
    built = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(oids[k], v) for k, v in subject]))
    if names:
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return built.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


@pytest.mark.parametrize(
    ("signer", "subject", "names", "usages", "why"),
    [
        (KUBELET, NODE, (), CLIENT_USAGES, ""),
        (KUBELET, NODE, (), (*CLIENT_USAGES, "key encipherment"), ""),
        (KUBELET, NODE[1:], (), CLIENT_USAGES, "subject organization is not system:nodes"),
        (KUBELET, (("O", "system:masters"), *NODE), (), CLIENT_USAGES, "subject organization is not system:nodes"),
        (KUBELET, (NODE[0], ("CN", "bob")), (), CLIENT_USAGES, "subject common name does not begin with system:node:"),
        (KUBELET, (*NODE, ("CN", "system:node:n2")), (), CLIENT_USAGES, "subject common name does not begin with system:node:"),
        (KUBELET, NODE, (DNS,), CLIENT_USAGES, "DNS subjectAltNames are not allowed"),
        (KUBELET, NODE, (IP,), CLIENT_USAGES, "IP subjectAltNames are not allowed"),
        (KUBELET, NODE, (URI,), CLIENT_USAGES, "URI subjectAltNames are not allowed"),
        (KUBELET, NODE, (EMAIL,), CLIENT_USAGES, "Email subjectAltNames are not allowed"),
        (KUBELET, NODE, (), SERVER_USAGES, "usages did not match [client auth digital signature key encipherment]"),
        (SERVING, NODE, (DNS, IP), SERVER_USAGES, ""),
        (SERVING, NODE, (), SERVER_USAGES, "DNS or IP subjectAltName is required"),
        (SERVING, NODE, (DNS, URI), SERVER_USAGES, "URI subjectAltNames are not allowed"),
        (SERVING, NODE, (IP, EMAIL), SERVER_USAGES, "Email subjectAltNames are not allowed"),
        (SERVING, NODE, (DNS,), CLIENT_USAGES, "usages did not match [digital signature key encipherment server auth]"),
        (CLIENT, (("CN", "bob"),), (), CLIENT_USAGES, ""),
        (CLIENT, (("CN", "bob"),), (), ("digital signature",), "missing required usage for client certificate: client auth"),
        (CLIENT, (("CN", "bob"),), (), (*CLIENT_USAGES, "cert sign"), "invalid usage for client certificate: cert sign"),
    ],
)
async def test_what_each_signer_signs(signer: str, subject: Any, names: Any, usages: tuple[str, ...], why: str) -> None:
    request = asked(subject, *names)
    if not why:
        certificates.check(signer, request, usages)
        return
    with pytest.raises(certificates.Unsignable) as raised:
        certificates.check(signer, request, usages)
    assert str(raised.value) == why


def authority(tmp_path: pathlib.Path, years: int = 10, now: datetime.datetime = NOW) -> signing.Authority:
    pki.authority("ca", now, years).write(tmp_path / "ca.crt", tmp_path / "ca.key")
    found = signing.load(str(tmp_path / "ca.crt"), str(tmp_path / "ca.key"))
    assert found is not None
    return found


async def test_what_is_in_a_certificate(tmp_path: pathlib.Path) -> None:
    signer = authority(tmp_path)
    request = asked(NODE, DNS, IP)
    pem = signing.sign(signer, request, SERVER_USAGES, certificates.lifetime(None, 86400.0), NOW)
    made = x509.load_pem_x509_certificate(pem)
    made.verify_directly_issued_by(signer.certificate)
    assert (made.subject, made.public_key()) == (request.subject, request.public_key())
    minute = datetime.timedelta(minutes=1)
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (NOW - 5 * minute, NOW + datetime.timedelta(days=1) - 5 * minute)
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)
    assert list(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [DNS, IP]


async def test_how_long_it_is_good(tmp_path: pathlib.Path) -> None:
    day = 86400.0
    lives = [certificates.lifetime(seconds, day).total_seconds() for seconds in (None, 3600, 60, 10**9)]
    assert lives == [day, 3600, 600, day]
    signer = authority(tmp_path, years=1)
    late = x509.load_pem_x509_certificate(signing.sign(signer, asked(NODE), CLIENT_USAGES, 2 * pki.YEAR, NOW))
    assert late.not_valid_after_utc == signer.certificate.not_valid_after_utc
    with pytest.raises(certificates.Unsignable, match="refusing to sign"):
        signing.sign(signer, asked(NODE), CLIENT_USAGES, pki.YEAR, NOW + 2 * pki.YEAR)


async def test_files_that_do_not_fit_are_refused(tmp_path: pathlib.Path) -> None:
    assert signing.load("", "") is None
    authority(tmp_path)
    (tmp_path / "other.key").write_bytes(pki.authority("x", NOW).key)
    ca, key = str(tmp_path / "ca.crt"), str(tmp_path / "ca.key")
    for files, why in (
        ((ca, ""), "must be given together"), (("", key), "must be given together"), ((ca, str(tmp_path / "gone")), "No such file"),
        ((ca, str(tmp_path / "other.key")), "is not the key of"), ((key, key), "ca.key"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            signing.load(*files)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[server.ApiServer]:
    folder = tmp_path_factory.mktemp("signing")
    ready, stop = asyncio.Event(), asyncio.Event()
    found: list[server.ApiServer] = []

    async def play() -> None:
        async with server.running() as made:
            found.append(made)
            ca = pathlib.Path(made.parts.options.client_ca_file)
            options = loop.Options(
                str(made.write_kubeconfig(folder / "config", "system:kube-controller-manager")),
                leader_elect=False,
                controllers=("certificatesigningrequest-signing-controller",),
                cluster_signing_cert_file=str(ca),
                cluster_signing_key_file=str(ca.with_name("ca.key")),
            )
            async with tasks.Group() as group:
                group.start("controllers", loop.run(options, ready.set))
                await stop.wait()
                group.cancel()

    task = asyncio.create_task(play())
    await ready.wait()
    yield found[0]
    stop.set()
    await task


async def submit(api: server.ApiServer, name: str, subject: tuple[tuple[str, str], ...], *conditions: str) -> None:
    pem = asked(subject).public_bytes(serialization.Encoding.PEM)
    spec = certificates_v1.CertificateSigningRequestSpec(
        request=base64.b64encode(pem).decode(), signerName=KUBELET, usages=list(CLIENT_USAGES), expirationSeconds=3600
    )
    made = await api.client.create(certificates_v1.CertificateSigningRequest(metadata=meta_v1.ObjectMeta(name=name), spec=spec))
    held = [certificates_v1.CertificateSigningRequestCondition(type=c, status="True", reason="r", message="m") for c in conditions]
    if held:
        made.status = certificates_v1.CertificateSigningRequestStatus(conditions=held)
        await api.client.update(made, "approval")


async def held(api: server.ApiServer, name: str) -> certificates_v1.CertificateSigningRequestStatus:
    return (await api.client.get(certificates_v1.CertificateSigningRequest, name)).status or certificates_v1.CertificateSigningRequestStatus()


async def test_an_approved_request_gets_a_certificate_that_the_server_takes(api: server.ApiServer) -> None:
    await submit(api, "good", NODE, "Approved")
    await submit(api, "bad", (("CN", "bob"),), "Approved")
    await submit(api, "denied", NODE, "Denied")
    await submit(api, "waiting", NODE)

    async def settled() -> bool:
        good, bad = await held(api, "good"), await held(api, "bad")
        return bool(good.certificate) and any(c.type == "Failed" for c in bad.conditions or ())

    await waiting.until(settled)
    failed = next(c for c in (await held(api, "bad")).conditions or () if c.type == "Failed")
    assert (failed.reason, failed.message) == ("SignerValidationFailure", "subject organization is not system:nodes")
    assert [(await held(api, n)).certificate for n in ("bad", "denied", "waiting")] == [None, None, None]
    pem = base64.b64decode((await held(api, "good")).certificate or "")
    made = x509.load_pem_x509_certificate(pem)
    assert made.subject.rfc4514_string() == "CN=system:node:n1,O=system:nodes"
    authorities = x509.load_pem_x509_certificates(pathlib.Path(api.parts.options.client_ca_file).read_bytes())
    made.verify_directly_issued_by(authorities[0])
