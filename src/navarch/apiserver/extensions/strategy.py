"""A kind's strategy, made from one version of a CustomResourceDefinition.

Objects are checked in the version they are written in: each has a schema of its own. Valid ones meet one quick test; only those that are
not are walked again for what is wrong with them. On an update what did not change need not be valid.

Upstream counterparts: apiextensions-apiserver's pkg/registry/customresource (strategy.go, status_strategy.go, validator.go).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.apiserver import background
from navarch.apiserver.extensions import columns
from navarch.apiserver.extensions.custom import CustomObject, Tree, steps
from navarch.apiserver.extensions.definition import Scale, Version
from navarch.apiserver.extensions.schemas import Schema
from navarch.apiserver.kinds import metadata as metadata_rules
from navarch.apiserver.kinds.strategy import Strategy, nothing_on_create
from navarch.machinery import codec, errors, field, goform, names
from navarch.machinery.cel import rules
from navarch.machinery.cel.expressions import LOOP_COST
from navarch.machinery.field import Problem
from navarch.machinery.structural import coerce, lists, validate
from navarch.machinery.structural.ratcheting import Correlated

Found = list[Problem]
_MOST_INT32 = 2**31 - 1
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})


def made(version: Version, held: Schema, *, plural: str, group: str, terminating: bool) -> Strategy:
    """The strategy of a version. `terminating`: the definition is going, and nothing new may come."""
    check = _Checks(held, version.scale)
    return Strategy(
        prepare_create=_refuse_creation(group, plural) if terminating else nothing_on_create,
        validate=check.create,
        validate_update=check.update,
        validate_status=check.status_update,
        warnings=warnings,
        columns=columns.of(version.additionalPrinterColumns),
        generation=True,
        conditional_update=True,
        any_finalizer=True,
    )


def _refuse_creation(group: str, plural: str) -> Callable[[CustomObject, float], None]:
    def run(obj: CustomObject, now: float) -> None:
        del now
        why = "create not allowed while custom resource definition is terminating"
        raise errors.forbidden(group, plural, obj.metadata.name or "", why)

    return run


def warnings(new: CustomObject, old: CustomObject | None) -> list[str]:
    """What is said of finalizers that a write adds and that others might choose too."""
    before = set(old.metadata.finalizers or ()) if old is not None else set()
    found: list[str] = []
    for name in sorted(set(new.metadata.finalizers or ()) - before):
        told = f"metadata.finalizers: {goform.quoted(name)}: "
        found += (told + problem for problem in names.qualified_name(name))
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            path = " including a path (/)" if "." in name else ""
            found.append(f"{told}prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers")
    return found


class _Checks:
    """The rules of one version."""

    def __init__(self, held: Schema, scale: Scale | None) -> None:
        self._held = held
        self._scale = scale

    def create(self, obj: CustomObject) -> Found:
        tree = self._tree(obj)
        held = self._held
        found = [] if held.test(tree) else validate.problems(tree, held.tree)
        found += self._replicas(obj)
        found += self._embedded(tree)
        found += lists.problems(tree, held.tree)
        return found + self._rules(found, tree, None, None)[0]

    def update(self, new: CustomObject, old: CustomObject) -> Found:
        tree = self._tree(new)
        held = self._held
        pair: Correlated | None = None
        found: Found = []
        if not held.test(tree):
            pair = Correlated(tree, self._tree(old), held.tree)
            found += validate.problems(tree, held.tree, "", pair)
        found += self._replicas(new)
        found += self._embedded(tree)
        return self._lists_and_rules(found, tree, old, pair)

    def status_update(self, new: CustomObject, old: CustomObject) -> Found:
        held = self._held
        tree = self._tree(new)
        pair: Correlated | None = None
        found: Found = []
        status = held.status
        if status is not None and "status" in new.content and held.status_test is not None and not held.status_test(new.content["status"]):
            pair = Correlated(tree, self._tree(old), held.tree)
            found += validate.problems(new.content["status"], status, "status", pair.key("status"))
        if self._scale is not None:
            found += self._replica_count(new.content, self._scale.statusReplicasPath)
            found += self._selector(new.content, self._scale)
        return self._lists_and_rules(found, tree, old, pair)

    def _lists_and_rules(self, found: Found, tree: Tree, old: CustomObject, pair: Correlated | None) -> Found:
        """What is there twice, unless it was before; then rules in CEL."""
        held = self._held
        if held.tree.below.lists and (twice := lists.problems(tree, held.tree)) and not lists.problems(self._tree(old), held.tree):
            found += twice
        if not held.tree.below.rules:
            return found
        before = self._tree(old) if pair is None else pair.old
        return found + self._rules(found, tree, before, pair or Correlated(tree, before, held.tree))[0]

    def _rules(self, found: Found, tree: Tree, old: Tree | None, pair: Correlated | None) -> tuple[Found, list[str]]:
        if not self._held.tree.below.rules:
            return [], []
        refusal = rules.blocked(found)
        if refusal is not None:
            return [refusal], []
        outcome = self._held.rules.validate(tree, old, pair=pair, patience=None if background.away() else LOOP_COST)
        return outcome.problems, outcome.warnings

    def _tree(self, obj: CustomObject) -> Tree:
        """The whole object. Metadata only where the schema speaks of it: making it a tree costs as much as checking a small object."""
        tree = self._held.tree
        metadata: Any = codec.to_tree(obj.metadata) if tree.rules or "metadata" in tree.properties else {}
        return {"apiVersion": obj.apiVersion, "kind": obj.kind, "metadata": metadata, **obj.content}

    def _embedded(self, tree: Tree) -> Found:
        return coerce.problems(tree, self._held.tree, metadata_rules.embedded) if self._held.tree.below.embedded else []

    # ---- scale -----------------------------------------------------------------------------------------------------

    def _replicas(self, obj: CustomObject) -> Found:
        if self._scale is None:
            return []
        found = self._replica_count(obj.content, self._scale.specReplicasPath)
        found += self._replica_count(obj.content, self._scale.statusReplicasPath)
        return found + self._selector(obj.content, self._scale)

    @staticmethod
    def _replica_count(content: Tree, path: str) -> Found:
        value, wrong = _nested(content, path, int)
        if wrong:
            return [field.invalid(path, 0, wrong)]
        if value is None:
            return []
        if value < 0:
            return [field.invalid(path, value, "should be a non-negative integer")]
        return [field.invalid(path, value, f"should be less than or equal to {_MOST_INT32}")] if value > _MOST_INT32 else []

    @staticmethod
    def _selector(content: Tree, scale: Scale) -> Found:
        if scale.labelSelectorPath is None:
            return []
        _, wrong = _nested(content, scale.labelSelectorPath, str)
        return [field.invalid(scale.labelSelectorPath, "", wrong)] if wrong else []


_GO_TYPES: dict[type, str] = {int: "int64", str: "string", bool: "bool", float: "float64", list: "[]interface {}", dict: "map[string]interface {}"}


def _nested(tree: Tree, path: str, wanted: type) -> tuple[Any, str]:
    """What stands at a simple path, and what is wrong with it, in the words of apimachinery's `unstructured`."""
    place: Any = tree
    passed: list[str] = []
    for name in steps(path):
        if place is None:
            return None, ""
        if not isinstance(place, dict):
            kind = _GO_TYPES.get(type(place), "<nil>")
            return None, f".{'.'.join([*passed, name])} accessor error: {goform.json(place)} is of the type {kind}, expected map[string]interface{{}}"
        if name not in place:
            return None, ""
        passed.append(name)
        place = place[name]
    if type(place) is not wanted:
        kind = _GO_TYPES.get(type(place), "<nil>")
        return None, f".{'.'.join(passed)} accessor error: {goform.json(place)} is of the type {kind}, expected {_GO_TYPES[wanted]}"
    return place, ""
