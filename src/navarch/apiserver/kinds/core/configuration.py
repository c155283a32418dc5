"""What pods are configured with: ConfigMaps, Secrets and ServiceAccounts.

Upstream counterparts: pkg/registry/core/{configmap,secret,serviceaccount}, pkg/apis/core/validation.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import PLAIN, Tree, age_of, name_of, sheet
from navarch.apiserver.kinds.strategy import Key, Strategy, selectable
from navarch.machinery import field, names


def default_config_map(obj: core_v1.ConfigMap) -> None:
    _base64(obj.binaryData)


def _base64(data: dict[str, str] | None) -> None:
    """Bytes are base64 in JSON: what is none cannot be read."""
    for value in (data or {}).values():
        try:
            base64.b64decode(value, validate=True)
        except ValueError:
            at = next((i for i, c in enumerate(value) if not (c.isascii() and (c.isalnum() or c in "+/="))), len(value) - len(value) % 4)
            raise ValueError(f"illegal base64 data at input byte {at}") from None


_MOST_DATA = 1024 * 1024


def validate_config_map(obj: core_v1.ConfigMap) -> Found:
    found: Found = []
    _keys(found, "data", obj.data)
    for key in obj.data or ():
        if key in (obj.binaryData or ()):
            found.append(field.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    _keys(found, "binaryData", obj.binaryData)
    size = sum(len(v.encode()) if not v.isascii() else len(v) for v in (obj.data or {}).values())
    size += sum(len(v) * 3 // 4 for v in (obj.binaryData or {}).values())
    if size > _MOST_DATA:
        found.append(field.too_long("[]", _MOST_DATA))
    return found


def _keys(found: Found, path: str, data: dict[str, str] | None) -> None:
    for key in data or ():
        found += (field.invalid(f"{path}[{key}]", key, p) for p in names.config_map_key(key))


_SEALED = "field is immutable when `immutable` is set"


def validate_config_map_update(new: core_v1.ConfigMap, old: core_v1.ConfigMap) -> Found:
    found: Found = []
    if old.immutable:
        if not new.immutable:
            found.append(field.forbidden("immutable", _SEALED))
        for part in ("data", "binaryData"):
            if (getattr(new, part) or {}) != (getattr(old, part) or {}):
                found.append(field.forbidden(part, _SEALED))
    return found + validate_config_map(new)


def config_map_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), len(t.get("data") or ()) + len(t.get("binaryData") or ()), age_of(t, now)]


def default_secret(obj: core_v1.Secret) -> None:
    """`stringData` goes into `data`."""
    obj.type = obj.type or "Opaque"
    _base64(obj.data)
    if obj.stringData:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in obj.stringData.items()}
        obj.data = {**(obj.data or {}), **encoded}
    obj.stringData = None


_NEEDED = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def validate_secret(obj: core_v1.Secret) -> Found:
    found: Found = []
    data = obj.data or {}
    _keys(found, "data", data)
    if sum(len(v) * 3 // 4 - v[-2:].count("=") for v in data.values()) > _MOST_DATA:
        found.append(field.too_long("data", _MOST_DATA))
    for key in _NEEDED.get(obj.type or "", ()):
        if key not in data:
            found.append(field.required(f"data[{key}]"))
        elif key.startswith(".docker"):
            _docker(found, key, data[key])
    if obj.type == "kubernetes.io/service-account-token":
        note = "kubernetes.io/service-account.name"
        annotations = (obj.metadata.annotations if obj.metadata else None) or {}
        if not annotations.get(note):
            found.append(field.required(f"metadata.annotations[{note}]"))
    elif obj.type == "kubernetes.io/basic-auth" and not ({"username", "password"} & data.keys()):
        found += [field.required("data[username]"), field.required("data[password]")]
    return found


def _docker(found: Found, key: str, value: str) -> None:
    text = base64.b64decode(value)
    why = ""
    try:
        if not isinstance(json.loads(text), dict):
            why = "json: cannot unmarshal into Go value of type map[string]interface {}"
    except ValueError:
        first = text.lstrip()[:1].decode("utf-8", "replace")
        why = f"invalid character '{first}' looking for beginning of value" if first not in '{["' else "unexpected end of JSON input"
    if why:
        found.append(field.invalid(f"data[{key}]", "<secret contents redacted>", why))


def validate_secret_update(new: core_v1.Secret, old: core_v1.Secret) -> Found:
    found: Found = []
    checks.same(found, "type", new.type, old.type)
    if old.immutable:
        if not new.immutable:
            found.append(field.forbidden("immutable", _SEALED))
        if (new.data or {}) != (old.data or {}):
            found.append(field.forbidden("data", _SEALED))
    return found + validate_secret(new)


def secret_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), t.get("type", ""), len(t.get("data") or ()), age_of(t, now)]


KINDS: dict[Key, Strategy] = {
    ("", "configmaps"): Strategy(
        default=default_config_map,
        validate=validate_config_map,
        validate_update=validate_config_map_update,
        columns=sheet("Name|Data|Age", config_map_row),
    ),
    ("", "secrets"): Strategy(
        default=default_secret,
        validate=validate_secret,
        validate_update=validate_secret_update,
        columns=sheet("Name|Type|Data|Age", secret_row),
        selectable=selectable("type"),
    ),
    ("", "serviceaccounts"): Strategy(returns_deleted=True, columns=PLAIN),
}
