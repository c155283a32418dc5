"""Whether what a token is bound to is still there.

Asked on every request with a token, so only the few bytes of an object's metadata that matter are decoded.

Upstream counterpart: pkg/controller/serviceaccount/tokengetter.go, and the times in pkg/serviceaccount/claims.go.
"""

from __future__ import annotations

import time

import msgspec

from navarch.apiserver.authn.tokens import LEEWAY_SECONDS
from navarch.apiserver.served import Catalog
from navarch.machinery import timestamps


class _Metadata(msgspec.Struct):
    uid: str = ""
    deletionTimestamp: str | None = None


class _Object(msgspec.Struct):
    metadata: _Metadata


_DECODER = msgspec.json.Decoder(_Object)


class Living:
    """Looks into the caches."""

    def __init__(self, catalog: Catalog) -> None:
        self._served = {plural: catalog.of("", plural) for plural in ("serviceaccounts", "pods", "secrets", "nodes")}

    def __call__(self, plural: str, namespace: str, name: str, uid: str) -> bool:
        """Whether that very object is there, or went so lately that clocks may differ about it."""
        served = self._served[plural]
        entry = served.cache.get(served.key(name, namespace))
        if entry is None:
            return False
        metadata = _DECODER.decode(entry.body).metadata
        if metadata.uid != uid:
            return False
        deleted = metadata.deletionTimestamp
        return deleted is None or timestamps.parse(deleted) >= time.time() - LEEWAY_SECONDS
