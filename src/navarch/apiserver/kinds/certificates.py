"""certificates.k8s.io: CertificateSigningRequests.

Upstream counterparts: pkg/apis/certificates/validation, pkg/registry/certificates.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from navarch.api.certificates import v1 as certificates_v1
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, Tree, age_of, duration, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Part, Strategy, selectable
from navarch.machinery import field, timestamps


def default_signing_request(obj: certificates_v1.CertificateSigningRequest) -> None:
    spec = obj.spec = obj.spec or certificates_v1.CertificateSigningRequestSpec()
    spec.usages = spec.usages or None


def prepare_signing_request_update(
    new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest, now: float
) -> None:
    """What was asked for stays as it was."""
    new.spec, new.status = old.spec, old.status


def prepare_signing_request_status(
    new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest, now: float
) -> None:
    """Approved and Denied are set by the subresource approval alone; the certificate by status alone."""
    status = new.status = new.status or certificates_v1.CertificateSigningRequestStatus()
    held = (old.status.conditions or []) if old.status else []
    kept = [c for c in held if c.type in ("Approved", "Denied")]
    status.conditions = [*kept, *(c for c in status.conditions or () if c.type not in ("Approved", "Denied"))] or None
    _stamp(status.conditions, held, now)


def _stamp(
    conditions: list[certificates_v1.CertificateSigningRequestCondition] | None,
    held: list[certificates_v1.CertificateSigningRequestCondition],
    now: float,
) -> None:
    """Conditions get the times they lack."""
    stamp = timestamps.seconds(now)
    since = {c.type: c.lastTransitionTime for c in held}
    for condition in conditions or ():
        condition.status = condition.status or "True"
        condition.lastUpdateTime = condition.lastUpdateTime or stamp
        condition.lastTransitionTime = condition.lastTransitionTime or since.get(condition.type) or stamp


_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only",
    "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement",
    "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip


def validate_signing_request(obj: certificates_v1.CertificateSigningRequest) -> Found:
    found: Found = []
    spec = obj.spec
    assert spec is not None
    _request(found, spec.request or "")
    if not spec.usages:
        found.append(field.required("spec.usages"))
    for i, usage in enumerate(spec.usages or ()):
        if usage not in _USAGES:
            found.append(field.not_supported(f"spec.usages[{i}]", usage, _USAGES))
        if usage in (spec.usages or ())[:i]:
            found.append(field.duplicate(f"spec.usages[{i}]", usage))
    signer = spec.signerName or ""
    if not signer:
        found.append(field.required("spec.signerName"))
    elif signer == "kubernetes.io/legacy-unknown":
        found.append(field.invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version"))
    elif "/" not in signer:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        found.append(field.invalid("spec.signerName", signer, why))
    if spec.expirationSeconds is not None and spec.expirationSeconds < 600:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(field.invalid("spec.expirationSeconds", spec.expirationSeconds, why))
    return found


def _request(found: Found, text: str) -> None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in data:
        found.append(field.invalid("spec.request", text, "PEM block type must be CERTIFICATE REQUEST"))
        return
    from cryptography import x509

    try:
        x509.load_pem_x509_csr(data)
    except ValueError as error:
        found.append(field.invalid("spec.request", text, str(error)))


def validate_signing_request_status(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest) -> Found:
    found: Found = []
    made, held = (s.status.certificate if s.status else None for s in (new, old))
    if held and made != held:
        found.append(field.forbidden("status.certificate", "updates may not modify certificate content"))
    if made and not held:
        try:
            data = base64.b64decode(made, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if b"-----BEGIN CERTIFICATE-----" not in data:
            found.append(field.invalid("status.certificate", "<certificate data>", "must contain at least one CERTIFICATE PEM block"))
    return found


def signing_request_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    kinds = {c.get("type") for c in status.get("conditions") or ()}
    word = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    word += ",Failed" if "Failed" in kinds else ""
    word += ",Issued" if status.get("certificate") else ""
    seconds = spec.get("expirationSeconds")
    asked = NOTHING if seconds is None else duration(seconds)
    return [name_of(t, now), age_of(t, now), spec.get("signerName") or NOTHING, spec.get("username", ""), asked, word]


def prepare_approval(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest, now: float) -> None:
    wanted = (new.status.conditions or []) if new.status else []
    new.spec = old.spec
    new.status = certificates_v1.CertificateSigningRequestStatus(certificate=old.status.certificate if old.status else None)
    new.status.conditions = list(wanted) or None
    _stamp(new.status.conditions, (old.status.conditions or []) if old.status else [], now)


def validate_approval(new: certificates_v1.CertificateSigningRequest, old: certificates_v1.CertificateSigningRequest) -> Found:
    found: Found = []
    kinds = [c.type for c in (new.status.conditions or ())] if new.status else []
    held = {c.type for c in (old.status.conditions or ())} if old.status else set()
    if "Approved" in kinds and "Denied" in kinds:
        found.append(field.invalid("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive"))
    for kind in ("Approved", "Denied", "Failed"):
        if kind in held and kind not in kinds:
            found.append(field.forbidden("status.conditions", f'updates may not remove a condition of type "{kind}"'))
    return found


KINDS: dict[Key, Strategy] = {
    ("certificates.k8s.io", "certificatesigningrequests"): Strategy(
        default=default_signing_request,
        prepare_update=prepare_signing_request_update,
        prepare_status=prepare_signing_request_status,
        validate=validate_signing_request,
        validate_status=validate_signing_request_status,
        subresources={"approval": Part(prepare_approval, validate_approval)},
        columns=sheet("Name|Age|SignerName|Requestor|RequestedDuration|Condition", signing_request_row),
        selectable=selectable("spec.signerName"),
    )
}
