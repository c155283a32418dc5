"""Namespaces: a deleted one is Terminating until its own finalizers, which one subresource alone changes, are gone.

Upstream counterparts: pkg/registry/core/namespace, pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, age_of, name_of, sheet, status_of
from navarch.apiserver.kinds.strategy import Key, Part, Strategy, selectable
from navarch.machinery import field, names


def default_namespace(obj: core_v1.Namespace) -> None:
    metadata = obj.metadata
    assert metadata is not None
    if metadata.name and (metadata.labels or {}).get("kubernetes.io/metadata.name") != metadata.name:
        metadata.labels = {**(metadata.labels or {}), "kubernetes.io/metadata.name": metadata.name}
    obj.spec = obj.spec or core_v1.NamespaceSpec()
    obj.status = obj.status or core_v1.NamespaceStatus()
    obj.status.phase = obj.status.phase or "Active"


def prepare_namespace(obj: core_v1.Namespace, now: float) -> None:
    default_namespace(obj)
    obj.status = core_v1.NamespaceStatus(phase="Active")
    spec = obj.spec = obj.spec or core_v1.NamespaceSpec()
    if "kubernetes" not in (spec.finalizers or ()):
        spec.finalizers = [*(spec.finalizers or ()), "kubernetes"]


def prepare_namespace_update(new: core_v1.Namespace, old: core_v1.Namespace, now: float) -> None:
    """Finalizers are changed by the subresource finalize alone."""
    new.spec, new.status = old.spec, old.status


def namespace_row(t: Tree, now: float) -> list[Any]:
    return [name_of(t, now), status_of(t).get("phase", ""), age_of(t, now)]


def prepare_finalize(new: core_v1.Namespace, old: core_v1.Namespace, now: float) -> None:
    new.status = old.status


def validate_finalize(new: core_v1.Namespace, old: core_v1.Namespace) -> Found:
    del old
    found: Found = []
    for i, name in enumerate((new.spec.finalizers or ()) if new.spec else ()):
        path = f"spec.finalizers[{i}]"
        checks.qualified(found, path, name)
        if "/" not in name and name != "kubernetes":
            found.append(field.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"))
    return found


def finalizers(obj: core_v1.Namespace) -> Sequence[str]:
    """What a deleted namespace waits for besides the finalizers of its metadata."""
    return (obj.spec.finalizers or ()) if obj.spec is not None else ()


def terminate(obj: core_v1.Namespace) -> None:
    """A deletion under way shows in the phase."""
    obj.status = obj.status or core_v1.NamespaceStatus()
    obj.status.phase = "Terminating"


KINDS: dict[Key, Strategy] = {
    ("", "namespaces"): Strategy(
        default=default_namespace,
        prepare_create=prepare_namespace,
        prepare_update=prepare_namespace_update,
        name=names.dns_label,
        subresources={"finalize": Part(prepare_finalize, validate_finalize)},
        finalizers=finalizers,
        terminate=terminate,
        returns_deleted=True,
        columns=sheet("Name|Status|Age", namespace_row),
        selectable=selectable("status.phase"),
    )
}
