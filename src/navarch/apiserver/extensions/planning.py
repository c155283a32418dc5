"""From the CustomResourceDefinitions there are to what is to be done about them. Pure.

In: all definitions, which of them changed, what is served now. Out: steps, in order. Which names a definition gets, and its conditions, are
decided here; a definition is served from when its names are accepted, and no more once its objects are gone.

Upstream counterparts: apiextensions-apiserver's pkg/controller/{status,establish,apiapproval,nonstructuralschema,finalizer}, which are one
loop each; here one look at a definition says all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from navarch.apiserver.extensions.definition import (
    CLEANUP,
    CONFORMANT,
    ESTABLISHED,
    NAMES_ACCEPTED,
    NON_STRUCTURAL,
    TERMINATING,
    Condition,
    Definition,
    Names,
    Status,
)
from navarch.apiserver.kinds import definitions as definitions_kind
from navarch.machinery import goform
from navarch.machinery.structural import structural
from navarch.machinery.structural.schema import Unsupported, parse

Definitions = Mapping[str, Definition]


@dataclass(frozen=True, slots=True)
class Serve:
    """Serve a definition's resource as it says now."""

    definition: Definition


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Serve a definition's resource no more."""

    name: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Tell in a definition's status what became of it."""

    name: str
    status: Status


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Delete a definition's objects, then let it go."""

    name: str


Step = Serve | Withdraw | WriteStatus | CleanUp


def plan(definitions: Definitions, changed: Collection[str], served: Definitions, now: str) -> list[Step]:
    """What is to be done after some definitions changed. `served`: what is served, as it was when it was said to be; `now`: RFC 3339."""
    known = dict(definitions)
    steps: list[Step] = []
    for name in _affected(known, changed, served):
        definition = known.get(name)
        if definition is None:
            steps += [Withdraw(name)] if name in served else []
            continue
        status = status_of(definition, (d for d in known.values() if d.group == definition.group and d.name != name), now)
        settled = known[name] = msgspec.structs.replace(definition, status=status)
        steps += _steps(settled, definition, served.get(name))
    return steps


def _affected(known: Definitions, changed: Collection[str], served: Definitions) -> Iterator[str]:
    """The definitions that changed, then those of their groups that wait for names."""
    yield from sorted(changed)
    groups = {d.group for name in changed if (d := known.get(name) or served.get(name)) is not None}
    for name in sorted(known):
        if name not in changed and known[name].group in groups and not known[name].holds(NAMES_ACCEPTED):
            yield name


def _steps(settled: Definition, before: Definition, served: Definition | None) -> Iterator[Step]:
    if settled.holds(NAMES_ACCEPTED) or settled.holds(ESTABLISHED):
        if served is None or _said(served) != _said(settled):
            yield Serve(settled)
    elif served is not None:
        yield Withdraw(settled.name)
    if settled.status != before.status:
        yield WriteStatus(settled.name, settled.status)
    if settled.metadata.deletionTimestamp is not None and CLEANUP in settled.metadata.finalizers:
        yield CleanUp(settled.name)


def _said(definition: Definition) -> object:
    """All that what is served depends on; the generation stands for the spec."""
    metadata = definition.metadata
    return metadata.uid, metadata.generation, definition.status.acceptedNames, definition.holds(TERMINATING)


# ---- status --------------------------------------------------------------------------------------------------------


def status_of(definition: Definition, others: Iterable[Definition], now: str) -> Status:
    """The status that a definition should have; the one it has, when there is nothing to say. `others`: those of its group."""
    accepted, naming = names_of(definition, others)
    wanted = [naming, _established(definition, naming)]
    wanted += (condition for condition in (_non_structural(definition), conformant(definition)) if condition is not None)
    conditions = definition.status.conditions
    for condition in wanted:
        conditions = with_condition(conditions, condition, now)
    return msgspec.structs.replace(definition.status, acceptedNames=accepted, conditions=conditions)


def with_condition(conditions: tuple[Condition, ...], wanted: Condition, now: str) -> tuple[Condition, ...]:
    """Conditions with one of them set; its time changes when its status does."""
    for i, held in enumerate(conditions):
        if held.type == wanted.type:
            when = held.lastTransitionTime if held.status == wanted.status and held.lastTransitionTime else now
            return (*conditions[:i], msgspec.structs.replace(wanted, lastTransitionTime=when), *conditions[i + 1 :])
    return (*conditions, msgspec.structs.replace(wanted, lastTransitionTime=now))


def names_of(definition: Definition, others: Iterable[Definition]) -> tuple[Names, Condition]:
    """The names a definition gets (of those it asks for, what no other has), and the condition that says so."""
    taken = [d.status.acceptedNames for d in others]
    resources = {name for names in taken for name in (names.plural, names.singular, *names.shortNames)} - {""}
    kinds = {name for names in taken for name in (names.kind, names.listKind)} - {""}
    asked, held = definition.spec.names, definition.status.acceptedNames
    got: dict[str, str] = {}
    conflict: tuple[str, str] | None = None
    for part, used in (("plural", resources), ("singular", resources), ("kind", kinds), ("listKind", kinds)):
        wanted, has = getattr(asked, part), getattr(held, part)
        got[part] = wanted
        if part == "kind" and (lost := [name for name in asked.shortNames if name not in held.shortNames and name in resources]):
            conflict = ("ShortNamesConflict", _in_use(lost))
        if wanted != has and wanted in used:
            got[part] = has
            conflict = (f"{part[0].upper()}{part[1:]}Conflict", _in_use([wanted]))
    short = held.shortNames if any(name not in held.shortNames and name in resources for name in asked.shortNames) else asked.shortNames
    names = Names(**got, shortNames=short, categories=asked.categories)
    if conflict is not None:
        return names, Condition(NAMES_ACCEPTED, "False", None, *conflict)
    return names, Condition(NAMES_ACCEPTED, "True", None, "NoConflicts", "no conflicts found")


def _in_use(names: list[str]) -> str:
    told = [f"{goform.quoted(name)} is already in use" for name in names]
    return told[0] if len(told) == 1 else f"[{', '.join(told)}]"


def _established(definition: Definition, naming: Condition) -> Condition:
    held = definition.condition(ESTABLISHED)
    if held is not None and held.status == "True":
        return held
    if naming.status == "True":
        return Condition(ESTABLISHED, "True", None, "InitialNamesAccepted", "the initial names have been accepted")
    return held or Condition(ESTABLISHED, "False", None, "NotAccepted", "not all names are accepted")


def _non_structural(definition: Definition) -> Condition | None:
    """What old definitions are told, that keep unknown fields everywhere; others are held to structural schemas when they are written."""
    if not definition.spec.preserveUnknownFields:
        return None
    told = ["spec.preserveUnknownFields: Invalid value: true: must be false"]
    for i, version in enumerate(definition.spec.versions):
        if version.document is None:
            continue
        try:
            tree = parse(msgspec.json.decode(version.document))
        except Unsupported as error:
            why = f"failed to check validation schema for version {version.name}: {error}"
            return Condition(NON_STRUCTURAL, "Unknown", None, "StructuralError", why)
        told += map(str, structural.problems(tree, f"spec.versions[{i}].schema.openAPIV3Schema"))
    return Condition(NON_STRUCTURAL, "True", None, "Violations", told[0] if len(told) == 1 else f"[{', '.join(told)}]")


_APPROVALS = {
    "Missing": ("False", "MissingAnnotation"),
    "Bypassed": ("False", "UnapprovedAnnotation"),
    "Approved": ("True", "ApprovedAnnotation"),
    "Invalid": ("False", "InvalidAnnotation"),
}


def conformant(definition: Definition) -> Condition | None:
    """What is said of the approval of a community group's API."""
    if not definitions_kind.protected(definition.group):
        return None
    state, words = definitions_kind.approval(definition.metadata.annotations)
    status, reason = _APPROVALS[state]
    return Condition(CONFORMANT, status, None, reason, words)
