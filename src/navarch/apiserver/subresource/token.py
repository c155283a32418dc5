"""serviceaccounts/token: TokenRequest, a token bound to an object and a time.

Upstream counterpart: pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from navarch.api.authentication import v1 as authentication_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.authn.tokens import Binding, TokenIssuer
from navarch.apiserver.call import Call
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.verbs import get
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.machinery import codec, errors, field, timestamps

_LEAST, _MOST, _DEFAULT = 600, 2**32, 3600


@dataclass(frozen=True, slots=True)
class Tokens:
    """What tokens are issued with."""

    catalog: Catalog
    writer: Writer
    issuer: TokenIssuer
    most_seconds: float
    """How long a token may live, 0: as long as is asked."""


async def handle(tokens: Tokens, call: Call, served: Served) -> Answer:
    if call.info.verb != "create":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    info = call.info
    data = await writing.body(call)
    try:
        request = await writing.decode(call, authentication_v1.TokenRequest, data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f'TokenRequest in version "v1" cannot be handled as a TokenRequest: {error}') from None
    entry = get.entry_of(served, info.name, info.namespace)
    account = codec.decode(core_v1.ServiceAccount, entry.body)
    assert account.metadata is not None
    request.metadata = meta_v1.ObjectMeta(name=info.name, namespace=info.namespace)
    request.apiVersion, request.kind = "authentication.k8s.io/v1", "TokenRequest"

    def check(asked: authentication_v1.TokenRequest) -> None:
        _check(info.name, _seconds(asked))

    request = await tokens.writer.admit(author_of(call), served, "CREATE", info.name, info.namespace, request, "token", check)
    spec = request.spec or authentication_v1.TokenRequestSpec()
    seconds = _seconds(request)
    most = int(tokens.most_seconds)
    if 0 < most < seconds:
        call.warnings.append(f"requested expiration of {seconds} seconds shortened to {most} seconds")
        seconds = most
    bound = _binding(tokens, info.namespace, info.name, spec.boundObjectRef)
    audiences = tuple(spec.audiences or ()) or tokens.issuer.audiences
    token, expires = tokens.issuer.issue(info.namespace, info.name, account.metadata.uid or "", audiences, seconds, bound)
    spec.audiences, spec.expirationSeconds = list(audiences), seconds
    request.spec = spec
    request.metadata = meta_v1.ObjectMeta(name=info.name, namespace=info.namespace, creationTimestamp=timestamps.seconds(writing.now()))
    request.status = authentication_v1.TokenRequestStatus(token=token, expirationTimestamp=timestamps.seconds(expires))
    return answers.of_object(call, request, 201)


def _seconds(request: authentication_v1.TokenRequest) -> int:
    """How long the token is to live."""
    return (request.spec.expirationSeconds if request.spec else None) or _DEFAULT


def _check(name: str, seconds: int) -> None:
    problem: field.Problem | None = None
    if seconds < _LEAST:
        problem = field.invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds > _MOST:
        problem = field.invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if problem is not None:
        raise field.invalid_error("authentication.k8s.io", "TokenRequest", name, [problem])


def _binding(tokens: Tokens, namespace: str, account: str, reference: authentication_v1.BoundObjectReference | None) -> Binding | None:
    """What the token is to be bound to. NotFound, Conflict, BadRequest when that cannot be."""
    if reference is None:
        return None
    kind, name = reference.kind or "", reference.name or ""
    plural = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
    if plural is None:
        raise errors.BadRequest(f"cannot bind token to object of type {reference.apiVersion}, Kind={kind}")
    served = tokens.catalog.of("", plural)
    entry = get.entry_of(served, name, namespace)
    obj = served.decode(entry.body)
    uid = obj.metadata.uid or ""
    if reference.uid and reference.uid != uid:
        held = f"the UID in the bound object reference ({reference.uid}) does not match the UID in record."
        why = f"{held} The object might have been deleted and then recreated"
        raise errors.conflict("", plural, name, why)
    node, node_uid = "", ""
    if kind == "Pod":
        if (obj.spec.serviceAccountName or "") != account:
            raise errors.BadRequest(f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.')
        node = obj.spec.nodeName or ""
        holder = tokens.catalog.of("", "nodes").cache.get(node) if node else None
        if holder is not None:
            node_uid = codec.tree(holder.body)["metadata"].get("uid", "")
    return Binding(kind, name, uid, node, node_uid)
