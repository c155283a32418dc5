"""Certificate requests: who may approve, who may sign, and which subjects may not be asked for.

Upstream counterpart: plugin/pkg/admission/certificates.
"""

from __future__ import annotations

import base64
import binascii

from cryptography import x509

from navarch.api.certificates import v1 as certificates_v1
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question

_KEY = ("certificates.k8s.io", "certificatesigningrequests")
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


async def identity(attributes: Attributes) -> None:
    """A request says who made it: not the client, the server writes that down."""
    if attributes.key != _KEY or attributes.operation != "CREATE" or attributes.subresource:
        return
    spec: certificates_v1.CertificateSigningRequestSpec = attributes.obj.spec
    user = attributes.user
    spec.username, spec.uid, spec.groups = user.name or None, user.uid or None, list(user.groups) or None
    spec.extra = {k: list(v) for k, v in user.extra.items()} or None


async def subject(attributes: Attributes) -> None:
    """Nobody becomes a member of system:masters by certificate."""
    if attributes.key != _KEY or attributes.operation != "CREATE" or attributes.subresource:
        return
    spec: certificates_v1.CertificateSigningRequestSpec = attributes.obj.spec
    if spec.signerName != _CLIENT_SIGNER:
        return
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(spec.request or ""))
    except (ValueError, binascii.Error) as error:
        raise refuse(attributes, f"failed to parse CSR: {error}") from None
    groups = [a.value for a in request.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
    if "system:masters" in groups:
        raise refuse(attributes, f"use of {_CLIENT_SIGNER} signer with system:masters group is not allowed")


def _may(attributes: Attributes, authorizer: Authorizer, verb: str, signer: str) -> bool:
    """On the signer itself, or on all signers of its domain."""
    user = attributes.user
    for name in (signer, f"{signer.split('/')[0]}/*"):
        question = Question(verb, "certificates.k8s.io", "signers", "", "", name)
        if authorizer.decide(user, question).allowed:
            return True
    return False


async def approval(attributes: Attributes, authorizer: Authorizer) -> None:
    if attributes.key != _KEY or attributes.operation != "UPDATE" or attributes.subresource != "approval":
        return
    signer = attributes.old.spec.signerName or ""
    if not _may(attributes, authorizer, "approve", signer):
        raise refuse(attributes, f'user not permitted to approve requests with signerName "{signer}"')


async def signing(attributes: Attributes, authorizer: Authorizer) -> None:
    if attributes.key != _KEY or attributes.operation != "UPDATE" or attributes.subresource != "status":
        return
    new, old = attributes.obj.status, attributes.old.status
    same = (new.certificate if new else None) == (old.certificate if old else None)
    failed = any(c.type == "Failed" for c in (new.conditions or ())) if new else False
    was_failed = any(c.type == "Failed" for c in (old.conditions or ())) if old else False
    if same and failed == was_failed:
        return
    signer = attributes.old.spec.signerName or ""
    if not _may(attributes, authorizer, "sign", signer):
        raise refuse(attributes, f'user not permitted to sign requests with signerName "{signer}"')
