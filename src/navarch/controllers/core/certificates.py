"""What certificate requests may ask of Kubernetes' own signers, and for how long: a request in, what is wrong with it out.

Who may ask for which subject is admission's business, who may approve is RBAC's.

Upstream counterparts: pkg/controller/certificates/signer and pkg/apis/certificates/helpers.go.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection

from cryptography import x509
from cryptography.x509.oid import NameOID

from navarch.api.certificates import v1 as certificates_v1

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
_LEAST_SECONDS = 600.0
_PREFIX = "system:node:"


class Unsignable(ValueError):
    """A request that its signer does not sign; the message says why."""


def is_due(request: certificates_v1.CertificateSigningRequest) -> bool:
    """Whether a request is approved, and neither denied, failed nor signed yet."""
    spec, status = request.spec, request.status or certificates_v1.CertificateSigningRequestStatus()
    true = {c.type for c in status.conditions or () if c.status in (None, "", "True")}
    ours = spec is not None and spec.signerName in (CLIENT, KUBELET_CLIENT, KUBELET_SERVING)
    return ours and not status.certificate and "Approved" in true and not true & {"Denied", "Failed"}


def check(signer: str, request: x509.CertificateSigningRequest, usages: Collection[str]) -> None:
    """Unsignable, in upstream's words, when a request is not what its signer signs."""
    if signer == CLIENT:
        for usage in usages:
            if usage not in ("digital signature", "key encipherment", "client auth"):
                raise Unsignable(f"invalid usage for client certificate: {usage}")
        if "client auth" not in usages:
            raise Unsignable("missing required usage for client certificate: client auth")
    elif signer in (KUBELET_CLIENT, KUBELET_SERVING):
        _check_kubelet(signer, request, usages)


def _check_kubelet(signer: str, request: x509.CertificateSigningRequest, usages: Collection[str]) -> None:
    subject = request.subject
    if [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] != ["system:nodes"]:
        raise Unsignable("subject organization is not system:nodes")
    names = names_of(request)
    hosts = {"DNS": x509.DNSName, "IP": x509.IPAddress}
    if signer == KUBELET_SERVING and not any(isinstance(n, tuple(hosts.values())) for n in names):
        raise Unsignable("DNS or IP subjectAltName is required")
    forbidden = {"Email": x509.RFC822Name, "URI": x509.UniformResourceIdentifier, **(hosts if signer == KUBELET_CLIENT else {})}
    for what, kind in forbidden.items():
        if any(isinstance(n, kind) for n in names):
            raise Unsignable(f"{what} subjectAltNames are not allowed")
    common = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(common) != 1 or not common[0].startswith(_PREFIX):
        raise Unsignable("subject common name does not begin with system:node:")
    needed = {"digital signature", "client auth" if signer == KUBELET_CLIENT else "server auth"}
    if set(usages) not in (needed, needed | {"key encipherment"}):
        raise Unsignable(f"usages did not match [{' '.join(sorted(needed | {'key encipherment'}))}]")


def names_of(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def lifetime(asked: int | None, most: float) -> datetime.timedelta:
    """How long a certificate is good: what was asked for, within bounds."""
    return datetime.timedelta(seconds=most if asked is None else min(most, max(_LEAST_SECONDS, asked)))
