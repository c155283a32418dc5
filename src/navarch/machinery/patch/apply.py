"""Server-side apply: a client says what it wants of an object, and owns exactly that.

In: the live object (None: there is none yet) and the configuration as builtin values, the schema, who applies. Out: the new
object, with its managedFields; the same object when nothing changed.

The configuration is laid over the live object; fields that this manager applied before and no longer names are taken out,
unless someone else owns them; fields that others own and this configuration changes are conflicts, unless forced.

Upstream counterpart: structured-merge-diff's merge.Updater and the managers around it in apimachinery's util/managedfields.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.machinery import codec, errors
from navarch.machinery.patch import fields as sets
from navarch.machinery.patch import managed, typed
from navarch.machinery.patch.fields import Fields
from navarch.machinery.patch.managed import Entry, Manager, Managers, Tree, Writer
from navarch.machinery.patch.strategic import failure
from navarch.machinery.schema import Schema

MOST_PROBLEMS = 100
"""Problems of a configuration that are told at once."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclasses.dataclass(frozen=True, slots=True)
class Conflicts:
    """Fields of the configuration that others own, by owner."""

    owners: dict[Manager, Fields]

    def without(self, allowed: Fields) -> Conflicts:
        left = {manager: sets.difference(fields, allowed) for manager, fields in self.owners.items()}
        return Conflicts({manager: fields for manager, fields in left.items() if fields})

    def error(self) -> errors.Conflict:
        """What the client is told."""
        found = [(who(manager), sets.text(path)) for manager in sorted(self.owners) for path in sets.paths(self.owners[manager])]
        causes = [meta_v1.StatusCause(reason="FieldManagerConflict", message=f"conflict with {who}", field=path) for who, path in found]
        if len(found) == 1:
            return errors.Conflict(f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}", causes=causes)
        lines: list[str] = []
        for owner in dict.fromkeys(who for who, _ in found):
            lines.append(f"conflicts with {owner}:")
            lines += [f"- {path}" for who, path in found if who == owner]
        return errors.Conflict(f"Apply failed with {len(found)} conflicts: " + "\n".join(lines), causes=causes)


def who(manager: Manager) -> str:
    """A manager as a conflict names it."""
    text = json.dumps(manager.name, ensure_ascii=False)
    if manager.subresource:
        text += f" with subresource {json.dumps(manager.subresource)}"
    return f"{text} using {manager.version}" if manager.operation == managed.UPDATE else text


def apply(live: Tree | None, config: Tree, schema: Schema, writer: Writer, *, force: bool = False) -> Tree:
    """The object after a configuration was applied; its `metadata.managedFields` are up to date.

    Raises BadRequest (wrong apiVersion, managedFields given), Conflict, and a bare 500 where the configuration does not fit the
    schema, as upstream does.
    """
    check(config, schema, writer)
    try:
        managers = managed.decode(managed.entries_of(live) if live else None)
    except (ValueError, AttributeError, TypeError) as error:
        raise failure(f"failed to decode managed fields: {error}") from None
    start = live if live is not None else {"apiVersion": config.get("apiVersion"), "kind": config.get("kind")}
    if not managers and live is not None:
        first = dataclasses.replace(writer, name=managed.BEFORE_FIRST_APPLY)
        managers = managed.noted({}, live, schema, {}, first)
    new, entries = applied(start, config, schema, writer, managers, force)
    return with_last_applied(with_entries(new, entries), config, writer)


def check(config: Tree, schema: Schema, writer: Writer) -> None:
    """Raises what is wrong with a configuration on its own."""
    version = config.get("apiVersion")
    if version != writer.version:
        raise errors.BadRequest(f"Incorrect version specified in apply patch. Specified patch version: {version}, expected: {writer.version}")
    if managed.entries_of(config) is not None:
        raise errors.BadRequest("metadata.managedFields must be nil")
    problems = list(itertools.islice(typed.problems(schema, config), MOST_PROBLEMS))
    if problems:
        text = str(problems[0]) if len(problems) == 1 else "errors:\n" + "\n".join(f"  {problem}" for problem in problems)
        raise failure(f"failed to create typed patch object ({named(config)}): {text}")


def named(tree: Tree) -> str:
    """An object as messages name it: `namespace/name; apps/v1, Kind=Deployment`, the core group as `/v1`."""
    metadata = tree.get("metadata") or {}
    version = str(tree.get("apiVersion"))
    version = version if "/" in version else f"/{version}"
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {version}, Kind={tree.get('kind')}"


def applied(live: Tree, config: Tree, schema: Schema, writer: Writer, managers: Managers, force: bool) -> tuple[Tree, Managers]:
    """The object and the entries after an apply. Conflict."""
    me = writer.manager(managed.APPLY)
    last = managers.get(me)
    try:
        new = typed.merged(schema, live, config)
    except typed.TypeProblem as problem:
        raise failure(f"failed to merge config: {problem}") from None
    fields = sets.without(typed.field_set(schema, config), writer.ignored)
    managers = {**managers, me: Entry(writer.version, fields, last.time if last else "")}
    if last is not None and sets.difference(last.fields, fields):
        new = pruned(schema, new, managers, last.fields)
    changed, gone = typed.compare(schema, live, new)
    if writer.ignored:
        changed, gone = (sets.without(found, writer.ignored) for found in (changed, gone))
    conflicts = found_conflicts(managers, me, changed)
    if conflicts.owners and not force:
        conflicts = allowed_by_kubectl(conflicts, live, schema, writer)
        if conflicts.owners:
            raise conflicts.error()
    managers = managed.lessened(managers, changed, gone, but=me)
    mine = managed.stripped(fields)
    if not mine:
        managers.pop(me, None)
    else:
        same = last is not None and last.fields == mine and new == live
        managers[me] = Entry(writer.version, mine, last.time if same and last else writer.now)
    return new, managers


def found_conflicts(managers: Managers, me: Manager, changed: Fields) -> Conflicts:
    owners = {manager: sets.intersection(entry.fields, changed) for manager, entry in managers.items() if manager != me}
    return Conflicts({manager: fields for manager, fields in owners.items() if fields})


def allowed_by_kubectl(conflicts: Conflicts, live: Tree, schema: Schema, writer: Writer) -> Conflicts:
    """Conflicts without those that are none to a user who moves from client-side to server-side apply.

    kubectl's client-side apply left its configuration in an annotation. What that says and the object still holds was the
    same user's, whatever manager wrote it. All conflicts stay when there is one it does not explain.
    """
    if writer.name != "kubectl":
        return conflicts
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        before = codec.tree(codec.well_formed(text.encode())) if text else None
    except ValueError:
        return conflicts
    if not isinstance(before, dict) or before.get("apiVersion") != writer.version:
        return conflicts
    if next(typed.problems(schema, before), None) is not None:
        return conflicts
    allowed = typed.field_set(schema, before)
    for differs in typed.compare(schema, before, live):
        allowed = sets.difference(allowed, differs)
    return conflicts.without(allowed)


def pruned(schema: Schema, merged: Tree, managers: Managers, last: Fields) -> Tree:
    """The object without what this manager applied last time and nobody names now."""
    last = typed.with_named(schema, last)
    smaller = typed.removed(schema, merged, last)
    everything = typed.with_named(schema, typed.field_set(schema, merged))
    left = typed.with_named(schema, typed.field_set(schema, smaller))
    owned: Fields = {}
    for entry in managers.values():
        owned = sets.union(owned, entry.fields)
    # Back come fields below what was removed that someone owns...
    smaller = typed.removed(schema, merged, sets.difference(everything, sets.union(left, typed.with_named(schema, owned))))
    # ...and fields that this manager never applied.
    left = typed.with_named(schema, typed.field_set(schema, smaller))
    made: Tree = typed.removed(schema, merged, sets.intersection(sets.difference(everything, left), last))
    return made


def with_entries(tree: Tree, managers: Managers) -> Tree:
    metadata = dict(tree.get("metadata") or {})
    entries = managed.encode(managers)
    if entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)
    return {**tree, "metadata": metadata}


def with_last_applied(tree: Tree, config: Tree, writer: Writer) -> Tree:
    """Keeps kubectl's annotation of client-side apply true, where an object has it, so that users can go back."""
    annotations: dict[str, Any] = tree["metadata"].get("annotations") or {}
    if writer.name != "kubectl" or not annotations.get(LAST_APPLIED):
        return tree
    metadata = dict(config.get("metadata") or {})
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != LAST_APPLIED}
    text = json.dumps({**config, "metadata": metadata}, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    if annotations[LAST_APPLIED] == text:
        return tree
    return {**tree, "metadata": {**tree["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}}
