"""managedFields on writes: who set which field.

The bookkeeping is `machinery.patch.managed`; here it meets a request: the manager's name, the time, the subresource.
"""

from __future__ import annotations

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.writing import now
from navarch.machinery import codec, timestamps
from navarch.machinery.patch import managed

Entries = list[meta_v1.ManagedFieldsEntry]


def writer(manager: str, served: Served, subresource: str = "") -> managed.Writer:
    """Who writes."""
    return managed.Writer(name=manager, version=served.resource.group_version, now=timestamps.seconds(now()), subresource=subresource)


def on_create(manager: str, served: Served, obj: Obj) -> None:
    """Notes the creator as the manager of everything the object has."""
    _note(manager, served, obj, None, "")


def on_update(manager: str, served: Served, new: Obj, old: Obj, subresource: str) -> None:
    """Notes the updater as the manager of what it changed."""
    _note(manager, served, new, old, subresource)


def _note(manager: str, served: Served, new: Obj, old: Obj | None, subresource: str) -> None:
    before = codec.to_tree(served.external(old)) if old is not None else None
    after = codec.to_tree(served.external(new))
    entries = managed.updated(before, after, served.schema(), writer(manager, served, subresource))
    new.metadata.managedFields = msgspec.convert(entries, Entries) or None


def only_times_differ(new: Obj, old: Obj) -> bool:
    """Whether two objects are equal but for the times in managedFields."""
    ours, theirs = new.metadata.managedFields, old.metadata.managedFields
    if len(ours or ()) != len(theirs or ()):
        return False
    new.metadata.managedFields = old.metadata.managedFields = None
    try:
        if codec.encode(new) != codec.encode(old):
            return False
    finally:
        new.metadata.managedFields, old.metadata.managedFields = ours, theirs
    return managed.same_but_times(msgspec.to_builtins(ours or []), msgspec.to_builtins(theirs or []))
