"""Client certificates: who a connection belongs to.

Read once per connection; on each request only the time is compared, since a certificate may expire while its connection is open.
Two kinds of authority sign them: that of clients, whose certificates name a user, and that of front proxies, who name the user of
each request in headers. Which one signed is told by the chain's end, not by a name.

Upstream counterparts: apiserver's authentication/request/{x509,headerrequest}.
"""

from __future__ import annotations

import hashlib
import math
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from navarch.apiserver.authn.users import User, authenticated
from navarch.apiserver.call import Headers

_UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
_CREDENTIAL = "authentication.kubernetes.io/credential-id"
_EXTRA = "x-remote-extra-"


@dataclass(frozen=True, slots=True)
class Client:
    """What a connection's certificate says. `refused`: it names no user, and is not good; a front proxy's counts all the same."""

    user: User | None = None
    front_proxy: bool = False
    refused: bool = False
    expires: float = math.inf
    """Seconds since the epoch: the earliest end in the chain."""


NOBODY = Client()
UNVERIFIED = Client(refused=True)


class Authorities:
    """The two kinds of authority, each a PEM file with any number of certificates; "" is none."""

    def __init__(self, clients: str = "", front_proxies: str = "", front_proxy_names: tuple[str, ...] = ()) -> None:
        self.files = tuple(f for f in (clients, front_proxies) if f)
        self._clients = _certificates(clients)
        self._front_proxies = _certificates(front_proxies)
        self._names = front_proxy_names

    def client(self, chain: Sequence[bytes]) -> Client:
        """The client of a verified chain (DER, its certificate first, an authority last)."""
        if not chain:
            return UNVERIFIED
        certificates = [x509.load_der_x509_certificate(c) for c in chain]
        subject = certificates[0].subject
        names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        name = names[-1] if names else ""
        proxy = chain[-1] in self._front_proxies and (not self._names or name in self._names)
        user, refused = None, False
        if self._clients:
            if chain[-1] in self._clients:
                user, refused = _user(name, subject, chain[0])
            else:
                refused = True
        return Client(user, proxy, refused, min(c.not_valid_after_utc for c in certificates).timestamp())


def _certificates(file: str) -> frozenset[bytes]:
    if not file:
        return frozenset()
    return frozenset(c.public_bytes(Encoding.DER) for c in x509.load_pem_x509_certificates(pathlib.Path(file).read_bytes()))


def _user(name: str, subject: x509.Name, certificate: bytes) -> tuple[User | None, bool]:
    """The user a certificate names, if it names one; and whether it is malformed instead. Of several common names the last counts."""
    if not name:
        return None, False
    uids = [a.value for a in subject.get_attributes_for_oid(_UID)]
    if uids and (len(uids) > 1 or not isinstance(uids[0], str) or not uids[0]):
        return None, True
    organizations = tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    extra = {_CREDENTIAL: (f"X509SHA256={hashlib.sha256(certificate).hexdigest()}",)}
    return User(name, authenticated(name, organizations), str(uids[0]) if uids else "", extra), False


def forwarded(headers: Headers) -> User | None:
    """The user a front proxy names in its headers, if it does."""
    name = headers.get("X-Remote-User", "")
    if not name:
        return None
    groups = tuple(g for g in headers.getall("X-Remote-Group", ()) if g)
    return User(name, authenticated(name, groups), headers.get("X-Remote-Uid", ""), extra_of(headers, _EXTRA))


def extra_of(headers: Headers, prefix: str) -> dict[str, tuple[str, ...]]:
    """What headers that begin with a prefix (lower case) say of a user: the rest of the name, percent-decoded → values."""
    found: dict[str, tuple[str, ...]] = {}
    for header, value in headers.items():
        lower = header.lower()
        if lower.startswith(prefix):
            key = unescaped(lower[len(prefix) :])
            found[key] = (*found.get(key, ()), value)
    return found


def unescaped(key: str) -> str:
    """A percent-encoded key decoded; a malformed one as it is."""
    try:
        return unquote(key, errors="strict") if "%" in key and _escapes(key) else key
    except UnicodeDecodeError:
        return key


def _escapes(key: str) -> bool:
    return all(len(p) >= 2 and all(c in "0123456789abcdefABCDEF" for c in p[:2]) for p in key.split("%")[1:])
