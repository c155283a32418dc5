"""Image names and registry credentials: parsing only.

Upstream's counterparts: pkg/util/parsers, pkg/credentialprovider. Names are kept as the user wrote them, with a tag added where there is
none; the runtime normalises them further.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.kubelet.core.image_access import Secret

_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"^(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH}(?:/{_PATH})*)(?::(?P<tag>[\w][\w.-]{{0,127}}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?$"
)
_ID = re.compile(r"^(?:sha256:)?[0-9a-f]{64}$")
DEFAULT_REGISTRY = "docker.io"


class BadName(ValueError):
    """Not an image name; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A login for registries whose address matches `pattern`."""

    pattern: str
    username: str
    password: str
    secret: Secret | None = None
    """The pull secret it comes from."""


def with_tag(name: str) -> str:
    """The name with `:latest` where it has neither tag nor digest. `BadName` when it is none."""
    if _ID.match(name):
        return name
    match = _REFERENCE.match(name)
    if match is None:
        why = "invalid reference format"
        if _REFERENCE.match(name.lower()):
            why = f"invalid reference format: repository name ({name.split(':')[0]}) must be lowercase"
        raise BadName(f'couldn\'t parse image name "{name}": {why}')
    return name if match["tag"] or match["digest"] else f"{name}:latest"


def repository(name: str) -> str:
    """Registry and path, without tag and digest: what credentials are matched with."""
    match = _REFERENCE.match(name)
    if match is None:
        return name
    domain, path = match["domain"], match["path"]
    if domain is None or not ("." in domain or ":" in domain or domain == "localhost"):
        whole = f"{domain}/{path}" if domain else path
        return f"{DEFAULT_REGISTRY}/{whole if '/' in whole else f'library/{whole}'}"
    return f"{domain}/{path}"


def credentials(secrets: Iterable[v1.Secret]) -> list[Credential]:
    """Logins of pull secrets of both kinds; what cannot be read is passed over."""
    result: list[Credential] = []
    for secret in secrets:
        for key in (".dockerconfigjson", ".dockercfg"):
            data = (secret.data or {}).get(key)
            if data is None:
                continue
            try:
                held = msgspec.json.decode(base64.b64decode(data))
                entries = held.get("auths", {}) if key == ".dockerconfigjson" else held
                result.extend(_credential(secret, address, entry) for address, entry in entries.items())
            except (msgspec.DecodeError, ValueError, AttributeError, binascii.Error):
                continue
    return sorted(result, key=lambda c: len(c.pattern), reverse=True)


def _credential(secret: v1.Secret, address: str, entry: dict[str, str]) -> Credential:
    pattern = address.removeprefix("https://").removeprefix("http://").rstrip("/")
    pattern = re.sub(r"/v[12]$", "", pattern)
    if pattern == "index.docker.io":
        pattern = DEFAULT_REGISTRY
    username, password = entry.get("username", ""), entry.get("password", "")
    if not username and "auth" in entry:
        username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    meta = secret.metadata or meta_v1.ObjectMeta()
    digest = hashlib.sha256(msgspec.json.encode([username, password])).hexdigest()
    return Credential(pattern, username, password, Secret(meta.namespace or "", meta.name or "", meta.uid or "", digest))


def matching(held: Iterable[Credential], name: str) -> list[Credential]:
    """Logins for an image, the most specific first."""
    wanted = repository(name)
    host, _, path = wanted.partition("/")
    result = []
    for credential in held:
        pattern_host, _, pattern_path = credential.pattern.partition("/")
        if fnmatch.fnmatchcase(host, pattern_host) and (path + "/").startswith(pattern_path and pattern_path.rstrip("/") + "/"):
            result.append(credential)
    return result
