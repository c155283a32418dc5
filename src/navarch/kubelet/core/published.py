"""What the API server has of a pod's status beside what the kubelet says: whether it differs, and the patch that brings it in line. Pure.

Conditions of others, claims and nominations are not the kubelet's: they are neither compared nor sent. Upstream's counterparts:
isPodStatusByKubeletEqual and needsReconcile of pkg/kubelet/status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.api.core import v1
from navarch.kubelet.core.status import OWN_CONDITIONS, RESIZING
from navarch.machinery import codec

FOREIGN = ("resourceClaimStatuses", "extendedResourceClaimStatus", "nominatedNodeName")
_OF_CONDITION = ("status", "reason", "message", "observedGeneration")
_MAY_GO = ("reason", "message", "lastProbeTime")


def differs(held: v1.PodStatus | None, said: v1.PodStatus) -> bool:
    """Whether the API's copy is not what the kubelet said: somebody else has written, or our own write was lost."""
    return bool(_own(held) != _own(said))


def _own(status: v1.PodStatus | None) -> Any:
    tree = {} if status is None else codec.to_tree(status)
    conditions = {c["type"]: [c.get(key) for key in _OF_CONDITION] for c in tree.pop("conditions", ()) if c["type"] in OWN_CONDITIONS}
    return conditions, _without_empty({key: value for key, value in tree.items() if key not in FOREIGN})


def _without_empty(value: Any) -> Any:
    """A tree without empty objects, lists and texts: whether they are written is a matter of form."""
    if isinstance(value, Mapping):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ({}, [], "", None)}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value


def patch(held: v1.PodStatus | None, said: v1.PodStatus) -> dict[str, Any]:
    """A strategic merge patch that makes the kubelet's part of the API's copy what it said: what is gone becomes null."""
    tree = codec.to_tree(said)
    before = codec.to_tree(held) if held is not None else {}
    for key in before:
        if key not in tree and key != "conditions":
            tree[key] = None
    tree["conditions"] = _conditions(tree.get("conditions", ()), before.get("conditions", ()))
    for key in ("podIPs", "hostIPs"):
        if tree.get(key) == before.get(key):
            tree.pop(key, None)
        elif tree.get(key) is not None and before.get(key):
            tree[key] = [*tree[key], {"$patch": "replace"}]
    for key in FOREIGN:
        tree.pop(key, None)
    return tree


def _conditions(said: Any, held: Any) -> list[dict[str, Any]]:
    """Ours, each with its fields that are gone as nulls: a list is merged by type, and what is not named stays."""
    before = {c["type"]: c for c in held}
    result = []
    for condition in said:
        if condition["type"] in (*OWN_CONDITIONS, "DisruptionTarget"):
            gone = {key: None for key in _MAY_GO if key in before.get(condition["type"], {}) and key not in condition}
            result.append({**condition, **gone})
    if RESIZING in before and all(c["type"] != RESIZING for c in result):
        result.append({"type": RESIZING, "$patch": "delete"})
    return result
