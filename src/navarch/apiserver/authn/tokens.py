"""Service-account tokens: JWTs that are bound to objects and expire.

Issued by TokenRequest (and for pods' projected volumes), verified on every request: the signature once per token, whether
the account, pod, secret or node they are bound to still exists each time.

Upstream counterpart: pkg/serviceaccount (KEP-1205, KEP-4193).
"""

from __future__ import annotations

import base64
import hashlib
import pathlib
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from navarch.apiserver.authn.users import User
from navarch.lib import pki

_REMEMBERED = 4096
_LONGEST = 64 * 1024
LEEWAY_SECONDS = 60.0
"""How far clocks may be apart, and how long a token outlives the deletion of what it is bound to."""

_SIGNATURE_ONLY: Any = {f"verify_{claim}": False for claim in ("aud", "exp", "nbf", "iat", "iss", "sub", "jti")}
_POD, _POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
_NODE, _NODE_UID = "authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid"
_ID = "authentication.kubernetes.io/credential-id"

Lives = Callable[[str, str, str, str], bool]
"""(plural, namespace, name, uid) → whether that very object is there, and not deleted longer ago than `LEEWAY_SECONDS`."""

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def algorithm(public_pem: bytes) -> str:
    """How a key signs, told by the key alone: a token's header does not choose. ValueError for keys that cannot sign tokens."""
    key = serialization.load_pem_public_key(public_pem)
    if isinstance(key, rsa.RSAPublicKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    raise ValueError("service account keys are RSA, or ECDSA on P-256, P-384 or P-521")


def key_id(public_pem: bytes) -> str:
    """The `kid` of a key: a hash of its public half, as upstream makes it."""
    key = serialization.load_pem_public_key(public_pem)
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Binding:
    """What a token is bound to besides its account: a Pod, Secret or Node, and the node of the pod."""

    kind: str
    name: str
    uid: str
    node: str = ""
    node_uid: str = ""


class TokenIssuer:
    """Signs tokens with the cluster's service-account key, and publishes the keys that tokens are verified with."""

    def __init__(self, issuer: str, key_pem: bytes, audiences: tuple[str, ...], published: Sequence[bytes] = ()) -> None:
        self.issuer = issuer
        self.audiences = audiences
        public = pki.public_key(key_pem)
        self.published = tuple(dict.fromkeys((*published, public)))
        self._key: Any = serialization.load_pem_private_key(key_pem, None)
        self._kid, self._algorithm = key_id(public), algorithm(public)

    def issue(self, namespace: str, name: str, uid: str, audiences: tuple[str, ...], seconds: int, bound: Binding | None = None) -> tuple[str, int]:
        """A token and the time it expires (seconds since the epoch)."""
        now = int(time.time())
        kubernetes: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        if bound is not None:
            kubernetes[bound.kind.lower()] = {"name": bound.name, "uid": bound.uid}
            if bound.node:
                kubernetes["node"] = {"name": bound.node, "uid": bound.node_uid} if bound.node_uid else {"name": bound.node}
        claims = {
            "aud": list(audiences or self.audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": kubernetes,
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers={"kid": self._kid}), now + seconds

    def key_set(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set, for /openid/v1/jwks."""
        return {"keys": [_web_key(pem) for pem in self.published]}

    def discovery(self) -> dict[str, Any]:
        """The OpenID provider's document."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({algorithm(pem) for pem in self.published}),
        }


def _web_key(pem: bytes) -> dict[str, Any]:
    public: Any = serialization.load_pem_public_key(pem)
    name = algorithm(pem)
    made: dict[str, Any] = jwt.get_algorithm_by_name(name).to_jwk(public, as_dict=True)
    made.pop("key_ops", None)
    return {"use": "sig", "kid": key_id(pem), "alg": name, **made}


_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)


def public_keys(file: str) -> tuple[bytes, ...]:
    """The public keys of a PEM file that holds any number of keys, private or public, or certificates. ValueError names the file."""
    found = []
    try:
        for block in _BLOCK.finditer(pathlib.Path(file).read_bytes()):
            pem = block[0]
            if block[1] == b"CERTIFICATE":
                key = x509.load_pem_x509_certificate(pem).public_key()
                pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            elif block[1].endswith(b"PRIVATE KEY"):
                pem = pki.public_key(pem)
            elif block[1] == b"EC PARAMETERS":
                continue
            algorithm(pem)
            found.append(pem)
    except OSError as error:
        raise ValueError(f"--service-account-key-file {file}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"--service-account-key-file {file}: {error}") from None
    if not found:
        raise ValueError(f"--service-account-key-file {file}: data does not contain any valid RSA or ECDSA public keys")
    return tuple(found)


class _Reference(msgspec.Struct):
    name: str
    uid: str = ""


class _Kubernetes(msgspec.Struct):
    namespace: str
    serviceaccount: _Reference
    pod: _Reference | None = None
    secret: _Reference | None = None
    node: _Reference | None = None


class _Claims(msgspec.Struct, rename={"kubernetes": "kubernetes.io"}):
    """What a token says that we act on."""

    sub: str
    exp: float
    aud: list[str] | str
    kubernetes: _Kubernetes
    nbf: float = 0.0
    iat: float = 0.0
    jti: str = ""

    @property
    def audiences(self) -> tuple[str, ...]:
        return (self.aud,) if isinstance(self.aud, str) else tuple(self.aud)


class TokenVerifier:
    """Turns tokens into users. The keys are PEM, public or private; the first issuer signs, the others are still believed."""

    def __init__(self, issuers: tuple[str, ...], keys: Sequence[bytes], audiences: tuple[str, ...], lives: Lives) -> None:
        self._issuers = frozenset(issuers)
        self.audiences = audiences
        self._keys = {key_id(pem): (serialization.load_pem_public_key(pem), algorithm(pem)) for pem in keys}
        self._lives = lives
        self._claims: OrderedDict[str, _Claims] = OrderedDict()

    def verify(self, token: str, audiences: tuple[str, ...]) -> tuple[User, tuple[str, ...]] | None:
        """The token's user and for which of the audiences it is good; None when it is not ours, not valid now, or bound to what is gone."""
        claims = self._claims.get(token)
        if claims is None:
            claims = self._decode(token)
            if claims is None:
                return None
            self._claims[token] = claims
            if len(self._claims) > _REMEMBERED:
                self._claims.popitem(last=False)
        now = time.time()
        if now > claims.exp + LEEWAY_SECONDS or now + LEEWAY_SECONDS < max(claims.nbf, claims.iat):
            return None
        held = tuple(a for a in claims.audiences if a in audiences)
        if not held:
            return None
        user = self._user(claims)
        return (user, held) if user is not None else None

    def _decode(self, token: str) -> _Claims | None:
        """What a token claims, when one of our keys signed it. What a stranger sends may be anything, and is None."""
        if len(token) > _LONGEST or token.count(".") != 2:
            return None
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        known = self._keys.get(kid)
        for key, name in self._keys.values() if not kid else (known,) if known is not None else ():
            if (claims := self._claimed(token, key, name)) is not None:
                return claims
        return None

    def _claimed(self, token: str, key: Any, name: str) -> _Claims | None:
        try:
            claims = jwt.decode(token, key, algorithms=[name], options=_SIGNATURE_ONLY)
            if claims.get("iss") not in self._issuers:
                return None
            return msgspec.convert(claims, _Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError, TypeError, RecursionError):
            return None

    def _user(self, claims: _Claims) -> User | None:
        bound = claims.kubernetes
        namespace, account = bound.namespace, bound.serviceaccount
        if not self._lives("serviceaccounts", namespace, account.name, account.uid):
            return None
        extra: dict[str, tuple[str, ...]] = {}
        if claims.jti:
            extra[_ID] = (f"JTI={claims.jti}",)
        if (pod := bound.pod) is not None:
            if not self._lives("pods", namespace, pod.name, pod.uid):
                return None
            extra |= {_POD: (pod.name,), _POD_UID: (pod.uid,)}
        if (secret := bound.secret) is not None and not self._lives("secrets", namespace, secret.name, secret.uid):
            return None
        if (node := bound.node) is not None:
            if pod is None and not self._lives("nodes", "", node.name, node.uid):
                return None
            extra[_NODE] = (node.name,)
            if node.uid:
                extra[_NODE_UID] = (node.uid,)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(f"system:serviceaccount:{namespace}:{account.name}", groups, account.uid, extra)
