"""The signing of certificate requests: approved ones of Kubernetes' own signers get their certificate.

What a request may say is `core.certificates`' business.

Upstream counterparts: pkg/controller/certificates/{signer,authority}.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import logging
import pathlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from navarch.api.certificates import v1 as certificates_v1
from navarch.controllers.core import certificates
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.machinery import timestamps
from navarch.objects import meta

_log = logging.getLogger(__name__)
_BACKDATED = datetime.timedelta(minutes=5)
_SHORT = datetime.timedelta(hours=8)

_KEY_USAGES = {
    "signing": "digital_signature", "digital signature": "digital_signature", "content commitment": "content_commitment",
    "key encipherment": "key_encipherment", "key agreement": "key_agreement", "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign", "crl sign": "crl_sign", "encipher only": "encipher_only", "decipher only": "decipher_only",
}  # fmt: skip
_EXTENDED = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION, "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"), "ipsec tunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"), "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING, "microsoft sgc": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Authority:
    """What signs: a certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def load(certificate: str, key: str) -> Authority | None:
    """The authority of two PEM files; None when no files are named. ValueError says what is wrong with them."""
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise ValueError("--cluster-signing-cert-file and --cluster-signing-key-file must be given together")
    try:
        held = x509.load_pem_x509_certificate(pathlib.Path(certificate).read_bytes())
        private = serialization.load_pem_private_key(pathlib.Path(key).read_bytes(), None)
    except OSError as error:
        raise ValueError(f"--cluster-signing-cert-file and -key-file: {error.filename}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"--cluster-signing-cert-file {certificate} or --cluster-signing-key-file {key}: {error}") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise ValueError(f"--cluster-signing-key-file {key}: neither an RSA nor an elliptic curve key")
    if private.public_key() != held.public_key():
        raise ValueError(f"--cluster-signing-key-file {key} is not the key of {certificate}")
    return Authority(held, private)


def sign(
    authority: Authority, request: x509.CertificateSigningRequest, usages: Iterable[str], life: datetime.timedelta, now: datetime.datetime
) -> bytes:
    """The certificate, PEM: subject and names of the request, no longer good than the authority. certificates.Unsignable when that cannot be."""
    ends = authority.certificate.not_valid_after_utc
    if now >= ends:
        raise certificates.Unsignable(f"refusing to sign a certificate that expired in the past: NotAfter={ends}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + life - (_BACKDATED if life >= _SHORT else datetime.timedelta()), ends))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(usages := list(usages)), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if extended := list(dict.fromkeys(_EXTENDED[u] for u in usages if u in _EXTENDED)):
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if names := certificates.names_of(request):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    digest = None if isinstance(authority.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(authority.key, digest).public_bytes(serialization.Encoding.PEM)


def _key_usage(usages: Iterable[str]) -> x509.KeyUsage:
    chosen = {_KEY_USAGES[u] for u in usages if u in _KEY_USAGES}
    return x509.KeyUsage(**{name: name in chosen for name in dict.fromkeys(_KEY_USAGES.values())})


def parse(request: certificates_v1.CertificateSigningRequestSpec) -> x509.CertificateSigningRequest:
    """What a request asks for, signed by the key it is about. certificates.Unsignable when it is malformed."""
    try:
        found = x509.load_pem_x509_csr(base64.b64decode(request.request or ""))
        good = found.is_signature_valid
    except (ValueError, TypeError, binascii.Error, InvalidSignature) as error:
        raise certificates.Unsignable(f"unable to parse csr: {error}") from None
    if not good:
        raise certificates.Unsignable("unable to verify certificate request signature")
    return found


class SigningController(Reconciler):
    """Signs what is approved, with the key of `--cluster-signing-key-file`; without one it leaves requests to others."""

    name = "certificatesigningrequest-signing"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._context = context
        self._requests = context.informer(certificates_v1.CertificateSigningRequest)
        self._authority = load(context.settings.cluster_signing_cert_file, context.settings.cluster_signing_key_file)
        self._most = context.settings.cluster_signing_duration

    def watches(self) -> Iterable[Watch]:
        yield Watch(certificates_v1.CertificateSigningRequest, lambda r: [meta.key(r)])

    async def reconcile(self, key: str) -> float | None:
        request = self._requests.get(key)
        if self._authority is None or request is None or request.spec is None or not certificates.is_due(request):
            return None
        now = self._context.now()
        status = request.status or certificates_v1.CertificateSigningRequestStatus()
        changed = certificates_v1.CertificateSigningRequestStatus(conditions=list(status.conditions or ()))
        try:
            asked = parse(request.spec)
            usages = request.spec.usages or []
            certificates.check(request.spec.signerName or "", asked, usages)
            life = certificates.lifetime(request.spec.expirationSeconds, self._most)
            pem = sign(self._authority, asked, usages, life, datetime.datetime.fromtimestamp(now, datetime.UTC))
            changed.certificate = base64.b64encode(pem).decode()
        except ValueError as error:  # certificates.Unsignable, and what no certificate can say
            _log.info("certificate request %s: %s", key, error)
            stamp = timestamps.seconds(now)
            failed = certificates_v1.CertificateSigningRequestCondition(
                type="Failed", status="True", reason="SignerValidationFailure", message=str(error), lastUpdateTime=stamp, lastTransitionTime=stamp
            )
            changed.conditions = [*(changed.conditions or ()), failed]
        made = certificates_v1.CertificateSigningRequest(metadata=request.metadata, spec=request.spec, status=changed)
        await self._context.client.update_status(made)
        return None
