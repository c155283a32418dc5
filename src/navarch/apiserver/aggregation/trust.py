"""How extension servers know this one, and its users: the ConfigMap kube-system/extension-apiserver-authentication.

It holds what every API server of the cluster wants in it; what others wrote there stays, but for certificates that have expired.

Upstream counterpart: pkg/controlplane/controller/clusterauthenticationtrust.
"""

from __future__ import annotations

import datetime
import json
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import writing
from navarch.apiserver.served import Catalog
from navarch.apiserver.verbs.write import Writer, by_server
from navarch.machinery import codec, errors

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
_CLIENTS, _PROXIES = "client-ca-file", "requestheader-client-ca-file"
_NAMES = "requestheader-allowed-names"
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "requestheader-username-headers": ("X-Remote-User",),
    "requestheader-uid-headers": ("X-Remote-Uid",),
    "requestheader-group-headers": ("X-Remote-Group",),
    "requestheader-extra-headers-prefix": ("X-Remote-Extra-",),
}


def data(held: Mapping[str, str], clients: bytes, proxies: bytes, names: Iterable[str], now: datetime.datetime) -> dict[str, str]:
    """What the ConfigMap is to hold: what it holds, and what is ours. ValueError when it holds what cannot be read."""
    found = {}
    if authorities := _bundle(held.get(_CLIENTS, ""), clients, now):
        found[_CLIENTS] = authorities
    if authorities := _bundle(held.get(_PROXIES, ""), proxies, now):
        found[_PROXIES] = authorities
        found[_NAMES] = _joined(held.get(_NAMES, ""), names)
        found |= {key: _joined(held.get(key, ""), headers) for key, headers in _HEADERS.items()}
    return found


def _joined(held: str, ours: Iterable[str]) -> str:
    known = json.loads(held) if held else []
    if not isinstance(known, list) or not all(isinstance(each, str) for each in known):
        raise ValueError("json: cannot unmarshal into Go value of type []string")
    return json.dumps(list(dict.fromkeys([*known, *ours])), separators=(",", ":"))


def _bundle(held: str, ours: bytes, now: datetime.datetime) -> str:
    """Certificates as PEM, each once, those that hold still."""
    certificates = [*(x509.load_pem_x509_certificates(held.encode()) if held else ()), *(x509.load_pem_x509_certificates(ours) if ours else ())]
    found = [c.public_bytes(Encoding.PEM).decode() for c in certificates if c.not_valid_after_utc > now]
    return "".join(dict.fromkeys(found))


@dataclass(slots=True)
class TrustPublisher:
    """Keeps the ConfigMap. The files are those of the server's flags."""

    catalog: Catalog
    writer: Writer
    client_ca_file: str
    requestheader_client_ca_file: str
    names: tuple[str, ...]
    _clients: bytes = field(init=False)
    _proxies: bytes = field(init=False)

    def __post_init__(self) -> None:
        self._clients = pathlib.Path(self.client_ca_file).read_bytes() if self.client_ca_file else b""
        self._proxies = pathlib.Path(self.requestheader_client_ca_file).read_bytes() if self.requestheader_client_ca_file else b""

    async def publish(self) -> None:
        """Writes the ConfigMap where it is not as it is to be. ApiError."""
        served = self.catalog.of("", "configmaps")
        entry = served.cache.get(f"{NAMESPACE}/{NAME}")
        held = (codec.decode(core_v1.ConfigMap, entry.body).data if entry is not None else None) or {}
        wanted = self._wanted(held)
        if entry is None:
            metadata = meta_v1.ObjectMeta(name=NAME, namespace=NAMESPACE)
            made = core_v1.ConfigMap(metadata=metadata, data=wanted or None)
            await self.writer.create(by_server(), served, NAMESPACE, writing.settle(served, made))
        elif wanted != held:

            async def make(old: core_v1.ConfigMap) -> core_v1.ConfigMap:
                new: core_v1.ConfigMap = served.decode(codec.encode(old))
                new.data = self._wanted(old.data or {})
                return new

            await self.writer.change(by_server(), served, NAME, NAMESPACE, make, patch=True)

    def _wanted(self, held: Mapping[str, str]) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC)
        try:
            return data(held, self._clients, self._proxies, self.names, now)
        except ValueError as error:
            raise errors.internal(f"configmaps/{NAME}: {error}") from None
