"""Authentication: who sends a request.

In order: a client certificate signed by the cluster's CA, a bearer token (the static file, then service-account tokens), and
else nobody: `system:anonymous`. A token that is not good is refused, never treated as anonymous.

Upstream counterparts: apiserver's authentication/request/{x509,bearertoken,headerrequest} and pkg/serviceaccount.
"""

from __future__ import annotations

import logging
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from navarch.apiserver.authn.static import TokenFile
from navarch.apiserver.authn.tokens import TokenVerifier
from navarch.apiserver.context import ANONYMOUS, User
from navarch.machinery import errors

_log = logging.getLogger(__name__)
AUTHENTICATED = "system:authenticated"


class Authenticator:
    """Finds a request's user. Certificates are read once per connection."""

    def __init__(self, static: TokenFile, verifier: TokenVerifier, front_proxy_subject: str = "", front_proxy_names: tuple[str, ...] = ()) -> None:
        self._static = static
        self.verifier = verifier
        self._front_proxy_subject = front_proxy_subject
        self._front_proxy_names = front_proxy_names
        self._connections: WeakKeyDictionary[Any, User | None] = WeakKeyDictionary()

    def authenticate(self, request: web.BaseRequest) -> User:
        """The user of a request. Unauthorized when it carries a token that is not good."""
        transport = request.transport
        connection = transport.get_extra_info("ssl_object") if transport is not None else None
        if connection is not None:
            try:
                known = self._connections[connection]
            except KeyError:
                known = self._connections[connection] = self._by_certificate(connection.getpeercert())
            if known is not None:
                return self._forwarded(request, known)
        header = request.headers.get("Authorization", "")
        if header[:7].lower() == "bearer " and (token := header[7:].strip()):
            return self.by_token(token)
        return ANONYMOUS

    def by_token(self, token: str, audiences: tuple[str, ...] = ()) -> User:
        """The user a bearer token stands for. Unauthorized when it is not good."""
        user = self._static.users.get(token) or self.verifier.verify(token, audiences)
        if user is None:
            raise errors.Unauthorized("Unauthorized")
        return user

    def _by_certificate(self, certificate: dict[str, Any] | None) -> User | None:
        if not certificate:
            return None
        subject = _attributes(certificate.get("subject", ()))
        issuer = _attributes(certificate.get("issuer", ()))
        name = next(iter(subject.get("commonName", ())), "")
        if self._front_proxy_subject and issuer.get("commonName") == [self._front_proxy_subject]:
            if name in self._front_proxy_names or not self._front_proxy_names:
                return _FRONT_PROXY
            return None
        if not name:
            return None
        return User(name, (*subject.get("organizationName", ()), AUTHENTICATED))

    @staticmethod
    def _forwarded(request: web.BaseRequest, known: User) -> User:
        """The user a trusted front proxy names in its headers."""
        if known is not _FRONT_PROXY:
            return known
        name = request.headers.get("X-Remote-User", "")
        if not name:
            return ANONYMOUS
        groups = tuple(request.headers.getall("X-Remote-Group", ()))
        return User(name, groups if AUTHENTICATED in groups else (*groups, AUTHENTICATED))


_FRONT_PROXY = User("system:front-proxy")


def _attributes(name: Any) -> dict[str, list[str]]:
    """A certificate's distinguished name as Python's ssl gives it: attribute → values in order."""
    found: dict[str, list[str]] = {}
    for part in name:
        for key, value in part:
            found.setdefault(key, []).append(value)
    return found
