"""Service-account tokens for pods: asked for, kept, asked for again before they expire.

Upstream's counterpart is pkg/kubelet/token: a token is renewed when 80% of its life or 24 hours have passed. In: the pod and its
projection. Out: the token's text. Never written anywhere here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from navarch.api.authentication import v1 as authentication_v1
from navarch.api.core import v1
from navarch.client.rest import Client
from navarch.machinery import timestamps

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    made: float
    expires: float

    def fresh(self, now: float) -> bool:
        age, life = now - self.made, self.expires - self.made
        return age < min(DAY, life * 0.8)


class Tokens:
    """Tokens by pod, account, audience and lifetime."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: dict[tuple[str, str, str, int], _Held] = {}

    async def get(self, pod: v1.Pod, audience: str, seconds: int) -> str:
        """A token bound to the pod. Raises ApiError and Unreachable."""
        meta, spec = pod.metadata, pod.spec
        assert meta is not None and spec is not None
        account = spec.serviceAccountName or "default"
        key = (meta.uid or "", account, audience, seconds)
        now = time.time()
        held = self._held.get(key)
        if held is not None and held.fresh(now):
            return held.token
        bound = authentication_v1.BoundObjectReference(kind="Pod", apiVersion="v1", name=meta.name, uid=meta.uid)
        wanted = authentication_v1.TokenRequestSpec(audiences=[audience] if audience else [], expirationSeconds=seconds, boundObjectRef=bound)
        request = authentication_v1.TokenRequest(apiVersion="authentication.k8s.io/v1", kind="TokenRequest", spec=wanted)
        answer = await self._client.create_subresource(v1.ServiceAccount, account, "token", request, meta.namespace or "")
        status = answer.status
        assert status is not None
        expires = timestamps.parse(status.expirationTimestamp) if status.expirationTimestamp else now + seconds
        self._held[key] = _Held(status.token or "", now, expires)
        return status.token or ""

    def forget(self, uid: str) -> None:
        """Drops a pod's tokens."""
        self._held = {key: held for key, held in self._held.items() if key[0] != uid}
