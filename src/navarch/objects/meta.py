"""Metadata of any object, and the key it is known by.

A key is `namespace/name`, or the name alone where the kind has no namespaces (client-go's MetaNamespaceKeyFunc).
"""

from __future__ import annotations

from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.lib import integers


def of(obj: Object) -> meta_v1.ObjectMeta:
    """An object's metadata; objects from the server have it."""
    found: meta_v1.ObjectMeta = getattr(obj, "metadata")  # noqa: B009
    return found


def key(obj: Object) -> str:
    """`namespace/name`, or the name alone."""
    m = of(obj)
    return f"{m.namespace}/{m.name}" if m.namespace else m.name or ""


def split(key: str) -> tuple[str, str]:
    """Namespace and name of a key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def namespace(obj: Object) -> list[str]:
    """An index by namespace."""
    return [of(obj).namespace or ""]


def deleted(obj: Object) -> bool:
    """Whether an object is being deleted."""
    return of(obj).deletionTimestamp is not None


def version(obj: Object) -> int:
    """The resourceVersion as the number it is; 0 for an object that no API server has."""
    return integers.parse(of(obj).resourceVersion, least=0) or 0
