"""managedFields: who set which field of an object, kept up on every write.

In: the object before and after a write as builtin values, its schema, and who writes (`Writer`). Out: the list for
`metadata.managedFields`. `updated` is for create, update and the ordinary patches; `apply.apply` is server-side apply.

Each entry is one manager's (its name, the operation, the subresource, and for updates the version): the fields it has set
since others last changed them. A write takes fields that changed from all other entries and gives them to the writer; fields
that went are taken from all. An entry's time changes only when its manager writes something.

Upstream counterpart: apimachinery's util/managedfields. Two things it does that this leaves out: it converts objects to the
versions of other entries before comparing (here paths are taken to mean the same in each version), and it adjusts entries
when a schema turned atomic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from navarch.machinery.patch import fields as sets
from navarch.machinery.patch import typed
from navarch.machinery.patch.fields import Fields
from navarch.machinery.schema import Schema

MAX_UPDATE_MANAGERS = 10
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
UPDATE, APPLY = "Update", "Apply"

Tree = dict[str, Any]
SKIPPED = frozenset(("apiVersion", "kind", "metadata"))
SKIPPED_METADATA = frozenset(
    ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion")
)
"""What nobody manages: it says which object this is, or the server sets it."""
STRIPPED: Fields = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{"f:" + name: {} for name in sorted(SKIPPED_METADATA)}},
}


class Manager(NamedTuple):
    """Whose an entry is. `version` is "" for an applier: it stays the same one when it moves to another version."""

    name: str
    operation: str
    version: str
    subresource: str


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One manager's fields. `time` is RFC 3339, "" for none."""

    version: str
    fields: Fields
    time: str = ""


Managers = dict[Manager, Entry]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes: the manager's name, the object's apiVersion, the subresource ("" for none), and the time (RFC 3339).

    `ignored` are fields that a write through here does not set (the status, for an update of the object itself).
    """

    name: str
    version: str
    now: str
    subresource: str = ""
    ignored: Fields = dataclasses.field(default_factory=dict)

    def manager(self, operation: str) -> Manager:
        version = "" if operation == APPLY else self.version
        return Manager(self.name or "unknown", operation, version, self.subresource)


# ---- the form in objects -------------------------------------------------------------------------------------------


def decode(entries: Any) -> Managers:
    """Entries as they stand in an object that was stored: taken as they are. ValueError when they cannot be read."""
    managers: Managers = {}
    for n, entry in enumerate(entries or ()):
        operation, version = entry.get("operation"), entry.get("apiVersion", "")
        if operation not in (UPDATE, APPLY):
            raise ValueError("operation must be `Apply` or `Update`")
        if not version:
            raise ValueError("apiVersion must not be empty")
        if entry.get("fieldsType") != "FieldsV1":
            what = f"invalid fieldsType {entry['fieldsType']!r}" if entry.get("fieldsType") else "missing fieldsType"
            raise ValueError(f"{what} in managed fields entry {n}")
        manager = Manager(entry.get("manager", ""), operation, "" if operation == APPLY else version, entry.get("subresource", ""))
        managers[manager] = Entry(version, entry.get("fieldsV1") or {}, entry.get("time", ""))
    return managers


def encode(managers: Managers) -> list[Tree]:
    """The list for an object, in upstream's order: by operation, time, manager."""
    made = []
    for manager, entry in managers.items():
        tree: Tree = {"manager": manager.name, "operation": manager.operation, "apiVersion": entry.version}
        if entry.time:
            tree["time"] = entry.time
        tree["fieldsType"] = "FieldsV1"
        tree["fieldsV1"] = sets.ordered(entry.fields)
        if manager.subresource:
            tree["subresource"] = manager.subresource
        made.append(tree)
    if len(made) > 1:
        made.sort(key=_order)
    return made


def _order(tree: Tree) -> tuple[str, ...]:
    return tree["operation"], tree.get("time", ""), tree["manager"], tree["apiVersion"], tree.get("subresource", "")


def entries_of(tree: Tree) -> Any:
    metadata = tree.get("metadata")
    return metadata.get("managedFields") if isinstance(metadata, dict) else None


def chosen(old: Tree | None, new: Tree, subresource: str) -> Managers:
    """The entries a write starts from: those the client sent if it sent any, else those that are there.

    A client resets them by sending an empty list, or a list of one empty entry.
    """
    present = entries_of(old) if old else None
    sent = entries_of(new)
    if not subresource and sent is not None and sent is not present and sent != present:
        if sent in ([], [{}]):
            return {}
        try:
            managers = decode([{**entry, "fieldsV1": sets.decode(entry.get("fieldsV1") or {})} for entry in sent])
        except (ValueError, AttributeError, TypeError):
            managers = {}
        if managers:
            return managers
    try:
        return decode(present)
    except (ValueError, AttributeError, TypeError):
        return {}


# ---- writes --------------------------------------------------------------------------------------------------------


def updated(old: Tree | None, new: Tree, schema: Schema, writer: Writer) -> list[Tree]:
    """The managedFields of an object written by create (`old` None), update or an ordinary patch.

    An object that has no entries although it exists stays without: nobody has ever applied it.
    """
    managers = chosen(old, new, writer.subresource)
    if not managers and old and old.get("metadata", {}).get("uid"):
        return []
    return encode(capped(noted(old or {}, new, schema, managers, writer)))


def noted(old: Tree, new: Tree, schema: Schema, managers: Managers, writer: Writer) -> Managers:
    """The entries after an update by a writer."""
    changed, gone = compared(schema, old, new)
    if writer.ignored:
        changed, gone = (sets.without(fields, writer.ignored) for fields in (changed, gone))
    if not changed and not gone:
        return managers
    managers = lessened(managers, changed, gone)
    if changed:
        manager = writer.manager(UPDATE)
        before = managers.get(manager)
        fields = changed if before is None else sets.union(changed, before.fields)
        managers[manager] = Entry(writer.version, fields, writer.now)
    return managers


def compared(schema: Schema, old: Tree, new: Tree) -> tuple[Fields, Fields]:
    """What of the managed parts of an object changed, and what went."""
    changed: Fields = {}
    gone: Fields = {}
    for name in {**old, **new}:
        if name not in SKIPPED:
            typed.note_field(schema, name, old, new, changed, gone)
    before, after = old.get("metadata") or {}, new.get("metadata") or {}
    place = schema.field("metadata")
    assert place is not None
    more: Fields = {}
    less: Fields = {}
    for name in {**before, **after}:
        if name not in SKIPPED_METADATA:
            typed.note_field(place, name, before, after, more, less)
    if more:
        changed["f:metadata"] = more
    if less:
        gone["f:metadata"] = less
    return changed, gone


def lessened(managers: Managers, *taken: Fields, but: Manager | None = None) -> Managers:
    """The entries without fields that someone else has changed or that went; empty entries are dropped."""
    made: Managers = {}
    for manager, entry in managers.items():
        fields = entry.fields
        if manager != but:
            for gone in taken:
                fields = sets.difference(fields, gone)
        if fields:
            made[manager] = entry if fields is entry.fields else Entry(entry.version, fields, entry.time)
    return made


def stripped(fields: Fields) -> Fields:
    return sets.difference(fields, STRIPPED)


def capped(managers: Managers) -> Managers:
    """At most ten entries of updates: the oldest of each version are put together."""
    updates = [manager for manager in managers if manager.operation == UPDATE]
    excess = len(updates) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return managers
    made = dict(managers)
    first: dict[str, Manager] = {}
    for manager in sorted(updates, key=lambda m: (managers[m].time, m)):
        if excess <= 0:
            break
        entry = made[manager]
        bucket = Manager(ANCIENT, UPDATE, entry.version, "")
        earlier = first.get(entry.version)
        if earlier is None:
            first[entry.version] = manager
            continue
        if bucket not in made:
            made[bucket] = made.pop(earlier)
        if manager != bucket:
            del made[manager]
        made[bucket] = Entry(entry.version, sets.union(entry.fields, made[bucket].fields), entry.time)
        excess -= 1
    return made


def same_but_times(left: Iterable[Tree] | None, right: Iterable[Tree] | None) -> bool:
    """Whether two lists of entries differ in nothing but their times: such a write changes nothing."""
    return [_timeless(entry) for entry in left or ()] == [_timeless(entry) for entry in right or ()]


def _timeless(entry: Tree) -> Tree:
    return {key: value for key, value in entry.items() if key != "time"}
