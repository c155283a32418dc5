"""Service-account tokens: JWTs that are bound to objects and expire.

Issued by TokenRequest (and for pods' projected volumes), verified on every request: the signature once per token, whether
the account, pod, secret or node they are bound to still exists each time.

Upstream counterpart: pkg/serviceaccount (KEP-1205, KEP-4193).
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from navarch.apiserver.context import User
from navarch.lib import pki

_REMEMBERED = 4096
_LEEWAY_SECONDS = 10
_POD, _POD_UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
_NODE, _NODE_UID = "authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid"
_ID = "authentication.kubernetes.io/credential-id"

Exists = Callable[[str, str, str, str], bool]
"""(plural, namespace, name, uid) → whether that very object is there and not being deleted."""


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
    """Signs tokens with the cluster's service-account key."""

    def __init__(self, issuer: str, key_pem: bytes, audiences: tuple[str, ...]) -> None:
        self.issuer = issuer
        self.audiences = audiences
        self.public_pem = pki.public_key(key_pem)
        self._key = serialization.load_pem_private_key(key_pem, None)
        self._kid = key_id(self.public_pem)

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
        assert isinstance(self._key, rsa.RSAPrivateKey)
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._kid}), now + seconds

    def key_set(self) -> dict[str, Any]:
        """The public keys as a JSON Web Key Set, for /openid/v1/jwks."""
        public = serialization.load_pem_public_key(self.public_pem)
        assert isinstance(public, rsa.RSAPublicKey)
        numbers = public.public_numbers()

        def text(number: int) -> str:
            return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode().rstrip("=")

        key = {"use": "sig", "kty": "RSA", "kid": self._kid, "alg": "RS256", "n": text(numbers.n), "e": text(numbers.e)}
        return {"keys": [key]}

    def discovery(self) -> dict[str, Any]:
        """The OpenID provider's document."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }


class TokenVerifier:
    """Turns tokens into users."""

    def __init__(self, issuer: str, public_pems: tuple[bytes, ...], audiences: tuple[str, ...], exists: Exists) -> None:
        self._issuer = issuer
        self.audiences = audiences
        self._keys = {key_id(pem): serialization.load_pem_public_key(pem) for pem in public_pems}
        self._exists = exists
        self._claims: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def verify(self, token: str, audiences: tuple[str, ...] = ()) -> User | None:
        """The token's user, or None when it is not ours, not valid now, for somebody else, or bound to what is gone."""
        claims = self._claims.get(token)
        if claims is None:
            claims = self._decode(token)
            if claims is None:
                return None
            self._claims[token] = claims
            if len(self._claims) > _REMEMBERED:
                self._claims.popitem(last=False)
        now = time.time()
        if now > claims["exp"] + _LEEWAY_SECONDS or now < claims.get("nbf", 0) - _LEEWAY_SECONDS:
            return None
        if not set(claims["aud"]) & set(audiences or self.audiences):
            return None
        return self._user(claims)

    def audiences_of(self, token: str) -> tuple[str, ...]:
        claims = self._claims.get(token) or self._decode(token) or {}
        return tuple(claims.get("aud", ()))

    def _decode(self, token: str) -> Mapping[str, Any] | None:
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            key: Any = self._keys.get(kid)
            if key is None:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["RS256", "ES256"],
                issuer=self._issuer,
                options={
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "require": ["exp", "aud", "sub"],
                },
            )
        except jwt.PyJWTError:
            return None
        if isinstance(claims["aud"], str):
            claims["aud"] = [claims["aud"]]
        return claims if "kubernetes.io" in claims else None

    def _user(self, claims: Mapping[str, Any]) -> User | None:
        bound = claims["kubernetes.io"]
        namespace, account = bound["namespace"], bound["serviceaccount"]
        if not self._exists("serviceaccounts", namespace, account["name"], account["uid"]):
            return None
        extra: dict[str, tuple[str, ...]] = {_ID: (f"JTI={claims.get('jti', '')}",)}
        if pod := bound.get("pod"):
            if not self._exists("pods", namespace, pod["name"], pod["uid"]):
                return None
            extra |= {_POD: (pod["name"],), _POD_UID: (pod["uid"],)}
        if (secret := bound.get("secret")) and not self._exists("secrets", namespace, secret["name"], secret["uid"]):
            return None
        if node := bound.get("node"):
            if not pod and not self._exists("nodes", "", node["name"], node.get("uid", "")):
                return None
            extra[_NODE] = (node["name"],)
            if node.get("uid"):
                extra[_NODE_UID] = (node["uid"],)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(claims["sub"], groups, account["uid"], extra)
