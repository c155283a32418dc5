"""Ownership: which controller an object belongs to, and how owners mark what they control.

Upstream counterparts: metav1.GetControllerOf and NewControllerRef.
"""

from __future__ import annotations

from collections.abc import Callable

from navarch.api import resources
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.objects import meta


def controller_of(obj: Object) -> meta_v1.OwnerReference | None:
    """The owner that controls an object, if one does."""
    return next((o for o in meta.of(obj).ownerReferences or () if o.controller), None)


def controller_key(kind: type[Object]) -> Callable[[Object], list[str]]:
    """From an object to the key of the controller of a kind that it belongs to, whatever version of the kind its reference names."""
    version, name = resources.group_version_kind(kind)
    group = version.rpartition("/")[0]

    def keys(obj: Object) -> list[str]:
        owner = controller_of(obj)
        if owner is None or owner.kind != name or (owner.apiVersion or "").rpartition("/")[0] != group:
            return []
        namespace = meta.of(obj).namespace
        return [f"{namespace}/{owner.name}" if namespace else owner.name or ""]

    return keys


def by_controller(obj: Object) -> list[str]:
    """An index by the uid of the controller an object belongs to; orphans stand under `orphans_of` their namespace."""
    owner = controller_of(obj)
    return [owner.uid or ""] if owner is not None else [orphans_of(meta.of(obj).namespace)]


def orphans_of(namespace: str | None) -> str:
    """The value under which `by_controller` lists what has no controller in a namespace."""
    return f"orphan/{namespace}"


def reference(owner: Object) -> meta_v1.OwnerReference:
    """The reference with which an owner marks what it controls."""
    version, kind = resources.group_version_kind(type(owner))
    m = meta.of(owner)
    return meta_v1.OwnerReference(apiVersion=version, kind=kind, name=m.name, uid=m.uid, controller=True, blockOwnerDeletion=True)
