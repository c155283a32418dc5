"""Who may use the kubelet's own API: client certificates and tokens, checked with the API server as upstream's kubelet does.

In: a request. Out: the user, or a refusal with upstream's words. Answers of the API server are kept for a while. Upstream's counterparts:
pkg/kubelet/server/auth.go, the webhook authenticator and authorizer.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from navarch.api.authentication import v1 as authentication_v1
from navarch.api.authorization import v1 as authorization_v1
from navarch.client.rest import Client, Unreachable
from navarch.lib import tls
from navarch.machinery import errors

ALLOWED_FOR, REFUSED_FOR, TOKEN_FOR = 300.0, 30.0, 120.0
VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
FINE = {"/pods": "pods", "/runningpods": "pods", "/healthz": "healthz", "/configz": "configz"}
COARSE = {"/stats": "stats", "/metrics": "metrics", "/logs": "log", "/checkpoint": "checkpoint"}


@dataclass(frozen=True)
class User:
    """An authenticated user."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Certificate:
    """What a connection's client certificate says. `refused`: there is one, and it does not verify."""

    user: User | None = None
    refused: bool = False
    expires: float = math.inf


NOBODY = Certificate()
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Access:
    """Authentication and authorization with their memories."""

    def __init__(self, client: Client, node: str, anonymous: bool, always_allow: bool) -> None:
        self._client = client
        self._node = node
        self._anonymous = anonymous
        self._always_allow = always_allow
        self._tokens: dict[str, tuple[float, User | None]] = {}
        self._verdicts: dict[tuple[User, str, str], tuple[float, bool]] = {}

    async def check(self, request: web.Request) -> User:
        """The user, if it may do this. Raises HTTPUnauthorized or HTTPForbidden."""
        user = await self._user(request)
        if user is None:
            raise web.HTTPUnauthorized(text="Unauthorized")
        if self._always_allow:
            return user
        verb = VERBS.get(request.method, request.method.lower())
        names = subresources(request.path)
        for name in names:
            if await self._allowed(user, verb, name):
                return user
        what = f"resource=nodes, subresource={names[-1]}"
        text = f"Forbidden (user={user.name}, verb={verb}, {what})"
        raise web.HTTPForbidden(text=text)

    async def _user(self, request: web.Request) -> User | None:
        transport = request.transport
        client = _client(transport.get_extra_info("ssl_object")) if transport is not None else NOBODY
        refused = client.refused or client.expires <= time.time()
        if client.user is not None and not refused:
            return client.user
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return await self._token_user(token.strip())
        return ANONYMOUS if self._anonymous and not refused else None

    async def _token_user(self, token: str) -> User | None:
        now = time.monotonic()
        held = self._tokens.get(token)
        if held is not None and held[0] > now:
            return held[1]
        review = authentication_v1.TokenReview(
            apiVersion="authentication.k8s.io/v1", kind="TokenReview", spec=authentication_v1.TokenReviewSpec(token=token)
        )
        try:
            answer = await self._client.create(review)
        except (errors.ApiError, Unreachable):
            return None
        status = answer.status
        user = None
        if status is not None and status.authenticated and status.user is not None:
            found = status.user
            extra = tuple(sorted((key, tuple(values)) for key, values in (found.extra or {}).items()))
            user = User(found.username or "", tuple(found.groups or ()), found.uid or "", extra)
        if len(self._tokens) > 1000:
            self._tokens.clear()
        self._tokens[token] = (now + TOKEN_FOR, user)
        return user

    async def _allowed(self, user: User, verb: str, subresource: str) -> bool:
        key = (user, verb, subresource)
        now = time.monotonic()
        held = self._verdicts.get(key)
        if held is not None and held[0] > now:
            return held[1]
        attributes = authorization_v1.ResourceAttributes(verb=verb, version="v1", resource="nodes", subresource=subresource, name=self._node)
        spec = authorization_v1.SubjectAccessReviewSpec(
            user=user.name,
            groups=list(user.groups) or None,
            uid=user.uid or None,
            extra={key: list(values) for key, values in user.extra} or None,
            resourceAttributes=attributes,
        )
        review = authorization_v1.SubjectAccessReview(apiVersion="authorization.k8s.io/v1", kind="SubjectAccessReview", spec=spec)
        try:
            answer = await self._client.create(review)
        except (errors.ApiError, Unreachable) as error:
            raise web.HTTPInternalServerError(text=f"Authorization error: {error}") from None
        allowed = bool(answer.status and answer.status.allowed)
        if len(self._verdicts) > 1000:
            self._verdicts.clear()
        self._verdicts[key] = (now + (ALLOWED_FOR if allowed else REFUSED_FOR), allowed)
        return allowed


def subresources(path: str) -> Sequence[str]:
    """The subresources of `nodes` any of which lets a request pass: the fine one first, then what upstream falls back to."""
    for prefix, name in COARSE.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return (name,)
    for prefix, name in FINE.items():
        if path.rstrip("/") == prefix or path.startswith(f"{prefix}/"):
            return (name, "proxy")
    return ("proxy",)


def _client(connection: object) -> Certificate:
    """Who a connection belongs to, read once; whether the certificate has expired since is asked on each request."""
    if not isinstance(connection, tls.Connection) or not connection.presented:
        return NOBODY
    if connection.client is None:
        held: dict[str, Any] = connection.getpeercert() or {} if connection.verified_chain() else {}
        ends = ssl.cert_time_to_seconds(held["notAfter"]) if held else math.inf
        connection.client = Certificate(certificate_user(held), not held, ends)
    client: Certificate = connection.client
    return client


def certificate_user(certificate: dict[str, Any]) -> User | None:
    """The user of a verified client certificate: its last common name, in the groups of its organizations; None when it names nobody."""
    names: list[str] = []
    groups: list[str] = []
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                names.append(value)
            elif key == "organizationName":
                groups.append(value)
    return User(names[-1], (*groups, "system:authenticated")) if names and names[-1] else None
