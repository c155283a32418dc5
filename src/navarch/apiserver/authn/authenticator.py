"""The authenticator: asks, in order, whoever can tell who sends a request.

In order: a front proxy's headers, a client certificate signed by the clients' authority, a bearer token (the static file, then
service-account tokens), a token in a WebSocket's protocols, and else nobody: `system:anonymous`. Whoever brings a certificate or
token that is not good, and nothing that is, is refused and never treated as anonymous.

Upstream counterparts: pkg/kubeapiserver/authenticator, apiserver's authentication/request/{bearertoken,websocket,union}.
"""

from __future__ import annotations

import base64
import binascii
import logging
import time
from collections.abc import Sequence

from navarch.apiserver.authn import certificates
from navarch.apiserver.authn.static import TokenFile
from navarch.apiserver.authn.tokens import TokenVerifier
from navarch.apiserver.authn.users import ANONYMOUS, User
from navarch.apiserver.call import Call
from navarch.lib import tls
from navarch.machinery import errors

_log = logging.getLogger(__name__)
_EXTRA_SPACE = "the provided Authorization header contains extra space before the bearer token, and is ignored"
_TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


class Authenticator:
    """Finds a request's user."""

    def __init__(self, static: TokenFile, verifier: TokenVerifier, authorities: certificates.Authorities) -> None:
        self._static = static
        self.verifier = verifier
        self._authorities = authorities

    def authenticate(self, call: Call) -> User:
        """The user of a request. Unauthorized when what it brings is not good. Warnings tell what the client should know."""
        headers = call.headers
        client = self._client(call.incoming.security)
        refused = client.refused
        if client is not certificates.NOBODY:
            if client.expires <= time.time():
                refused = True
            elif client.front_proxy and (named := certificates.forwarded(headers)) is not None:
                return named
            elif client.user is not None:
                return client.user
        token = bearer(headers.get("Authorization", ""), call.warnings)
        if token:
            if (user := self._known(token)) is not None:
                return user
            refused = True
        if "Sec-WebSocket-Protocol" in headers:
            token = socket_token(headers.getall("Sec-WebSocket-Protocol", ()))
            if token:
                if (user := self._known(token)) is not None:
                    return user
                refused = True
        if refused:
            raise errors.Unauthorized("Unauthorized")
        return ANONYMOUS

    def by_token(self, token: str, audiences: tuple[str, ...]) -> tuple[User, tuple[str, ...]] | None:
        """The user a bearer token stands for, and for which of these audiences it is good; None when it is not."""
        if (user := self._static.users.get(token)) is not None:
            held = tuple(a for a in self.verifier.audiences if a in audiences)
            return (user, held) if held else None
        return self.verifier.verify(token, audiences)

    def _known(self, token: str) -> User | None:
        """The user of a token that is good for this server."""
        if (user := self._static.users.get(token)) is not None:
            return user
        found = self.verifier.verify(token, self.verifier.audiences)
        return found[0] if found is not None else None

    def _client(self, connection: object) -> certificates.Client:
        """Whose connection a request came on."""
        if not isinstance(connection, tls.Connection):
            return certificates.NOBODY
        client: certificates.Client | None = connection.client
        if client is None:
            client = connection.client = self._read(connection)
        return client

    def _read(self, connection: tls.Connection) -> certificates.Client:
        if not self._authorities.files or not connection.presented:
            return certificates.NOBODY
        try:
            return self._authorities.client(connection.verified_chain())
        except ValueError as error:
            _log.info("a client's certificate cannot be read: %s", error)
            return certificates.UNVERIFIED


def bearer(header: str, warnings: list[str]) -> str:
    """The token of an Authorization header, "" when it has none. What follows the token is ignored."""
    parts = header.strip().split(" ", 2)
    if len(parts) < 2 or parts[0].lower() != "bearer":
        return ""
    if not parts[1] and len(parts) == 3:
        warnings.append(_EXTRA_SPACE)
    return parts[1]


def socket_token(headers: Sequence[str]) -> str:
    """The token among the protocols a WebSocket offers: browsers cannot set other headers. Unauthorized when it is malformed."""
    protocols = [p.strip() for header in headers for p in header.split(",")]
    tokens = [p.removeprefix(_TOKEN_PROTOCOL) for p in protocols if p.startswith(_TOKEN_PROTOCOL)]
    if not tokens:
        return ""
    if len(tokens) > 1 or len(protocols) == 1:
        raise errors.Unauthorized("Unauthorized")
    try:
        text = tokens[0].encode("ascii")
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise errors.Unauthorized("Unauthorized") from None


def without_token(header: str) -> str:
    """The protocols of a WebSocket without the one that is a token, for the next hop."""
    return ",".join(p for p in (q.strip() for q in header.split(",")) if not p.startswith(_TOKEN_PROTOCOL))
