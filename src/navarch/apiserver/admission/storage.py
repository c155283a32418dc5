"""Storage and ingress: default classes, protection from deletion while in use, growing of claims.

Upstream counterparts: plugin/pkg/admission/storage/{storageclass/setdefault,storageobjectinuseprotection,persistentvolume/resize}
and network/defaultingressclass.
"""

from __future__ import annotations

from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.storage import v1 as storage_v1
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.served import Catalog
from navarch.machinery import codec, quantity

_CLAIMS, _VOLUMES = ("", "persistentvolumeclaims"), ("", "persistentvolumes")
_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_IS_DEFAULT_BETA = "storageclass.beta.kubernetes.io/is-default-class"
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"
_INGRESS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_FINALIZERS = {_CLAIMS: "kubernetes.io/pvc-protection", _VOLUMES: "kubernetes.io/pv-protection"}


def _creates(attributes: Attributes, *keys: tuple[str, str]) -> bool:
    return attributes.key in keys and attributes.operation == "CREATE" and not attributes.subresource


def _defaults(catalog: Catalog, group: str, plural: str, *notes: str) -> list[Any]:
    """Metadata of the classes marked as default, the newest first."""
    found = []
    for entry in catalog.of(group, plural).cache.select_all():
        metadata = codec.tree(entry.body)["metadata"]
        annotations = metadata.get("annotations") or {}
        if any(annotations.get(n) == "true" for n in notes):
            found.append(metadata)
    found.sort(key=lambda m: m["name"])
    found.sort(key=lambda m: m.get("creationTimestamp", ""), reverse=True)
    return found


async def default_class(attributes: Attributes, catalog: Catalog) -> None:
    """A claim that names no class gets the default one."""
    if not _creates(attributes, _CLAIMS):
        return
    claim: core_v1.PersistentVolumeClaim = attributes.obj
    assert claim.spec is not None and claim.metadata is not None
    if claim.spec.storageClassName is not None or _OLD_CLASS in (claim.metadata.annotations or {}):
        return
    found = _defaults(catalog, "storage.k8s.io", "storageclasses", _IS_DEFAULT, _IS_DEFAULT_BETA)
    if found:
        claim.spec.storageClassName = found[0]["name"]


async def default_ingress_class(attributes: Attributes, catalog: Catalog) -> None:
    """An Ingress that names no class gets the default one."""
    if not _creates(attributes, ("networking.k8s.io", "ingresses")):
        return
    ingress = attributes.obj
    if ingress.spec is None or ingress.spec.ingressClassName is not None:
        return
    if "kubernetes.io/ingress.class" in (ingress.metadata.annotations or {}):
        return
    found = _defaults(catalog, "networking.k8s.io", "ingressclasses", _INGRESS_DEFAULT)
    if found:
        ingress.spec.ingressClassName = found[0]["name"]


async def protect(attributes: Attributes) -> None:
    """Volumes and claims carry a finalizer that a controller takes off once nothing uses them."""
    if not _creates(attributes, _CLAIMS, _VOLUMES):
        return
    finalizer = _FINALIZERS[attributes.key]
    metadata = attributes.obj.metadata
    if finalizer not in (metadata.finalizers or ()):
        metadata.finalizers = [*(metadata.finalizers or ()), finalizer]


async def resize(attributes: Attributes, catalog: Catalog) -> None:
    """A claim grows only when it is bound and its class allows that."""
    if attributes.key != _CLAIMS or attributes.operation != "UPDATE" or attributes.subresource:
        return
    new, old = attributes.obj, attributes.old
    asked, held = _size(new), _size(old)
    if asked is None or held is None or quantity.compare(asked, held) <= 0:
        return
    if old.status is None or old.status.phase != "Bound":
        raise refuse(attributes, "Only bound persistent volume claims can be expanded")
    if not _expandable(catalog, new):
        why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
        raise refuse(attributes, why)


def _size(claim: core_v1.PersistentVolumeClaim) -> str | int | float | None:
    resources = claim.spec.resources if claim.spec else None
    return (resources.requests or {}).get("storage") if resources else None


def _expandable(catalog: Catalog, claim: core_v1.PersistentVolumeClaim) -> bool:
    name = claim.spec.storageClassName if claim.spec else None
    entry = catalog.of("storage.k8s.io", "storageclasses").cache.get(name) if name else None
    return entry is not None and bool(codec.decode(storage_v1.StorageClass, entry.body).allowVolumeExpansion)
