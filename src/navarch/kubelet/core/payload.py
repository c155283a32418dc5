"""What files a configMap, secret, downwardAPI or projected volume holds: paths, bytes and modes.

Pure: referred objects come in fetched. Upstream's counterparts: volume/configmap MakePayload, secret, downwardapi, projected.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from navarch.api.core import v1
from navarch.api.scalars import Quantity
from navarch.kubelet.core import downward

DEFAULT_MODE = 0o644
MAX_CONFIG_NAME = 253


class PayloadError(Exception):
    """The volume's content cannot be made; the message is what upstream shows."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume."""

    data: bytes
    mode: int


Payload = dict[str, File]


def config_map(held: v1.ConfigMap, items: Iterable[v1.KeyToPath] | None, mode: int, optional: bool) -> Payload:
    """The files of a ConfigMap: all keys, or the items with their paths."""
    data = {key: value.encode() for key, value in (held.data or {}).items()}
    data.update({key: base64.b64decode(value) for key, value in (held.binaryData or {}).items()})
    return _select(data, items, mode, optional, "configmap references non-existent config key: {}")


def secret(held: v1.Secret, items: Iterable[v1.KeyToPath] | None, mode: int, optional: bool) -> Payload:
    """The files of a Secret."""
    data = {key: base64.b64decode(value) for key, value in (held.data or {}).items()}
    return _select(data, items, mode, optional, "references non-existent secret key: {}")


def _select(data: Mapping[str, bytes], items: Iterable[v1.KeyToPath] | None, mode: int, optional: bool, missing: str) -> Payload:
    chosen = list(items or ())
    if not chosen:
        return {key: File(value, mode) for key, value in data.items()}
    result: Payload = {}
    for item in chosen:
        key = item.key or ""
        if key not in data:
            if optional:
                continue
            raise PayloadError(missing.format(key))
        result[item.path or key] = File(data[key], item.mode if item.mode is not None else mode)
    return result


def downward_api(pod: v1.Pod, items: Iterable[v1.DownwardAPIVolumeFile], mode: int, allocatable: Mapping[str, Quantity]) -> Payload:
    """Files with a pod's own fields and resources."""
    result: Payload = {}
    for item in items:
        try:
            if item.fieldRef is not None:
                text = downward.metadata_value(pod, item.fieldRef.fieldPath or "")
            elif item.resourceFieldRef is not None:
                text = downward.resource_value(pod, item.resourceFieldRef, "", allocatable)
            else:
                continue
        except downward.BadField as error:
            raise PayloadError(str(error)) from None
        result[item.path or ""] = File(text.encode(), item.mode if item.mode is not None else mode)
    return result


def check_path(path: str) -> None:
    """Files may lie in folders of the volume, never outside of it."""
    parts = path.split("/")
    if not path or path.startswith(("/", "..")) or ".." in parts:
        raise PayloadError(f"invalid path: {path!r}")
