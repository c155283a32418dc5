"""Rules of ObjectMeta: names, labels, annotations, owners, finalizers, and what an update may not touch.

Upstream counterpart: k8s.io/apimachinery/pkg/api/validation/objectmeta.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from navarch.api.meta import v1 as meta_v1
from navarch.machinery import codec, field, names
from navarch.machinery.field import Problem

MOST_ANNOTATION_BYTES = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_IMMUTABLE = "field is immutable"


def validate(
    metadata: meta_v1.ObjectMeta, namespaced: bool, name_form: Callable[[str], Sequence[str]], *, any_finalizer: bool = False
) -> list[Problem]:
    """Problems of an object's metadata. `any_finalizer`: finalizers need not be qualified by a domain."""
    found: list[Problem] = []
    if metadata.generateName:
        prefix = metadata.generateName.removesuffix("-") or metadata.generateName
        found += (field.invalid("metadata.generateName", metadata.generateName, p) for p in name_form(prefix))
    if not metadata.name:
        found.append(field.required("metadata.name", "name or generateName is required"))
    else:
        found += (field.invalid("metadata.name", metadata.name, p) for p in name_form(metadata.name))
    if namespaced:
        if not metadata.namespace:
            found.append(field.required("metadata.namespace"))
        else:
            found += (field.invalid("metadata.namespace", metadata.namespace, p) for p in names.dns_label(metadata.namespace))
    elif metadata.namespace:
        found.append(field.forbidden("metadata.namespace", "not allowed on this type"))
    if metadata.labels:
        found += labels(metadata.labels, "metadata.labels")
    if metadata.annotations:
        found += annotation_map(metadata.annotations, "metadata.annotations")
    if metadata.ownerReferences:
        found += _owners(metadata.ownerReferences)
    if metadata.finalizers:
        found += _finalizers(metadata.finalizers, any_finalizer)
    return found


def embedded(metadata: meta_v1.ObjectMeta, path: str) -> list[Problem]:
    """Problems of the metadata of an object within an object, which stands at a path and need not have a name."""
    nameless = structs.replace(metadata, name=metadata.name or "fakename")
    found = validate(nameless, metadata.namespace is not None, names.path_segment, any_finalizer=True)
    return [Problem(p.reason, path + p.field.removeprefix("metadata"), p.value, p.detail) for p in found]


def labels(values: Mapping[str, str], path: str) -> list[Problem]:
    """Problems of a label map."""
    found: list[Problem] = []
    for key, value in values.items():
        found += (field.invalid(path, key, p) for p in names.qualified_name(key))
        found += (field.invalid(path, value, p) for p in names.label_value(value))
    return found


def annotation_map(values: Mapping[str, str], path: str) -> list[Problem]:
    found = [field.invalid(path, key, p) for key in values for p in names.qualified_name(key.lower())]
    if sum(len(k) + len(v.encode()) for k, v in values.items()) > MOST_ANNOTATION_BYTES:
        found.append(field.too_long(path, MOST_ANNOTATION_BYTES))
    return found


def _owners(owners: Sequence[meta_v1.OwnerReference]) -> list[Problem]:
    found: list[Problem] = []
    controller = ""
    for i, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{i}]"
        if not owner.apiVersion:
            found.append(field.invalid(f"{path}.apiVersion", owner.apiVersion or "", "version must not be empty"))
        for name in ("kind", "name", "uid"):
            if not getattr(owner, name):
                found.append(field.invalid(f"{path}.{name}", "", "must not be empty"))
        if owner.controller:
            if controller:
                both = f"{controller} and {owner.kind}/{owner.name}"
                detail = f'Only one reference can have Controller set to true. Found "true" in references for {both}'
                found.append(field.invalid("metadata.ownerReferences", codec.to_tree(owner), detail))
            controller = f"{owner.kind}/{owner.name}"
    return found


def _finalizers(values: Sequence[str], any_name: bool) -> list[Problem]:
    found: list[Problem] = []
    for i, value in enumerate(values):
        found += (field.invalid(f"metadata.finalizers[{i}]", value, p) for p in names.qualified_name(value))
        if not any_name and "/" not in value and value not in _STANDARD_FINALIZERS and not names.qualified_name(value):
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(field.invalid(f"metadata.finalizers[{i}]", value, detail))
    if "orphan" in values and "foregroundDeletion" in values:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(field.invalid("metadata.finalizers", list(values), detail))
    return found


def validate_update(new: meta_v1.ObjectMeta, old: meta_v1.ObjectMeta) -> list[Problem]:
    """Problems of a change of metadata."""
    found: list[Problem] = []
    if old.deletionTimestamp is not None and (added := set(new.finalizers or ()) - set(old.finalizers or ())):
        detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {_go_list(sorted(added))}"
        found.append(field.forbidden("metadata.finalizers", detail))
    for name in ("name", "namespace", "uid", "creationTimestamp"):
        if getattr(new, name) != getattr(old, name):
            found.append(field.invalid(f"metadata.{name}", getattr(new, name), _IMMUTABLE))
    if new.deletionTimestamp != old.deletionTimestamp and old.deletionTimestamp is not None:
        found.append(field.invalid("metadata.deletionTimestamp", new.deletionTimestamp, _IMMUTABLE))
    return found


def _go_list(values: Sequence[str]) -> str:
    quoted = ", ".join(f'"{v}"' for v in values)
    return f"[]string{{{quoted}}}"
