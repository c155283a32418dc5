"""The history of a StatefulSet's or DaemonSet's pod template, kept in ControllerRevisions. Pure.

A revision holds a patch that puts one template back; `kubectl rollout undo` applies it. In: the revisions an owner has and its template.
Out: which of them the template is, and what has to be written for that to be so.

Upstream counterparts: pkg/controller/history, getPatch and newRevision of pkg/controller/statefulset and pkg/controller/daemon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.machinery import codec, names
from navarch.objects import meta, ownership

HASH_LABEL = "controller-revision-hash"
"""The label of a pod that says which revision it was made from."""
_MOST_PREFIX = 223


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The newest revision is the template's."""

    revision: apps_v1.ControllerRevision


@dataclass(frozen=True, slots=True)
class Renumber:
    """The template is that of an older revision, which becomes the newest."""

    revision: apps_v1.ControllerRevision
    number: int


@dataclass(frozen=True, slots=True)
class Create:
    """No revision has this template."""

    number: int


def data_of(template: core_v1.PodTemplateSpec) -> dict[str, Any]:
    """The patch that puts a template back, its keys in order: Go's clients compare the text with what they would have written."""
    patch = {"spec": {"template": {**codec.to_tree(template), "$patch": "replace"}}}
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(patch, order="sorted"))
    return made


def template_of(revision: apps_v1.ControllerRevision) -> core_v1.PodTemplateSpec:
    """The template that a revision holds. codec.DecodeError when somebody wrote something else into it."""
    held = ((revision.data or {}).get("spec") or {}).get("template") or {}
    return codec.from_tree(core_v1.PodTemplateSpec, {k: v for k, v in held.items() if k != "$patch"})


def ordered(revisions: Iterable[apps_v1.ControllerRevision]) -> list[apps_v1.ControllerRevision]:
    """By number, the oldest first; ties by age and name."""
    return sorted(revisions, key=lambda r: (r.revision or 0, meta.of(r).creationTimestamp or "", meta.of(r).name or ""))


def decide(revisions: Sequence[apps_v1.ControllerRevision], template: core_v1.PodTemplateSpec) -> Unchanged | Renumber | Create:
    """What the template is among `ordered` revisions."""
    data = data_of(template)
    newest = revisions[-1] if revisions else None
    number = ((newest.revision or 0) if newest is not None else 0) + 1
    if newest is not None and newest.data == data:
        return Unchanged(newest)
    same = next((r for r in reversed(revisions) if r.data == data), None)
    return Renumber(same, number) if same is not None else Create(number)


def made(owner: Object, template: core_v1.PodTemplateSpec, number: int, collisions: int, hash_label: str) -> apps_v1.ControllerRevision:
    """A new revision. `collisions` tells templates with equal hashes apart; `hash_label` is where the owner's kind keeps the hash."""
    data = data_of(template)
    digest = hashlib.sha256(codec.encode(data) + b"%d" % collisions).digest()
    hashed = "".join(names.ALPHABET[int(c) % len(names.ALPHABET)] for c in str(int.from_bytes(digest[:4], "big")))
    m = meta.of(owner)
    labels = (template.metadata.labels if template.metadata else None) or {}
    metadata = meta_v1.ObjectMeta(
        name=f"{(m.name or '')[:_MOST_PREFIX]}-{hashed}",
        namespace=m.namespace,
        labels={**labels, hash_label: hashed},
        annotations=dict(m.annotations) if m.annotations else None,
        ownerReferences=[ownership.reference(owner)],
    )
    return apps_v1.ControllerRevision(apiVersion="apps/v1", kind="ControllerRevision", metadata=metadata, data=data, revision=number)


def surplus(revisions: Sequence[apps_v1.ControllerRevision], live: Collection[str], limit: int) -> list[apps_v1.ControllerRevision]:
    """The revisions past a history limit, the oldest of the `ordered` ones first; those whose names are `live` stay and do not count."""
    old = [r for r in revisions if meta.of(r).name not in live]
    return old[: max(0, len(old) - limit)]
