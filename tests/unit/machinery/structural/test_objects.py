"""Objects by their schema: pruned, defaulted, found valid or not, as the slow reference has it."""

from __future__ import annotations

import copy
import importlib.util
import pathlib
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.machinery.structural import check, default, prune, ratcheting, schema, validate


def _beside(name: str) -> Any:
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"structural_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


reference, strategies = _beside("reference"), _beside("strategies")
Case = tuple[dict[str, Any], dict[str, Any]]
MANY = settings(max_examples=300, deadline=None)


def exact(value: Any) -> Any:
    """A value in which 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: exact(held) for key, held in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value).__name__, value


@MANY
@given(strategies.cases())
def test_pruned_as_the_reference_has_it(case: Case) -> None:
    held, obj = case
    made = copy.deepcopy(obj)
    unknown = prune.prune(made, schema.parse(held))
    assert exact(made) == exact(reference.pruned(obj, held, root=True))
    assert bool(unknown) == (exact(made) != exact(obj))
    assert prune.prune(made, schema.parse(held)) == []


@MANY
@given(strategies.cases())
def test_nulls_are_dropped_as_the_reference_has_it(case: Case) -> None:
    held, obj = case
    made = copy.deepcopy(obj)
    prune.drop_nulls(made, schema.parse(held))
    assert exact(made) == exact(reference.without_nulls(obj, held))
    both = copy.deepcopy(obj)
    prune.prune(both, schema.parse(held), nulls=True)
    assert exact(both) == exact(reference.without_nulls(reference.pruned(obj, held, root=True), held))


@MANY
@given(strategies.cases())
def test_defaulted_as_the_reference_has_it(case: Case) -> None:
    held, obj = case
    made, before = copy.deepcopy(obj), copy.deepcopy(held)
    tree = schema.parse(held)
    default.default(made, tree)
    assert exact(made) == exact(reference.defaulted(obj, held))
    again = copy.deepcopy(made)
    default.default(again, tree)
    assert exact(again) == exact(made)
    for value in made.values():
        if isinstance(value, dict):
            value["changed"] = True
    assert held == before, "a default was handed out, not a copy of it"


@MANY
@given(strategies.cases())
def test_valid_as_the_reference_has_it(case: Case) -> None:
    held, obj = case
    tree = schema.parse(held)
    found = validate.problems(obj, tree)
    assert (not found) == reference.valid(obj, held), found
    assert check.compiled(tree)(obj) == (not found)


@MANY
@given(strategies.cases(), st.data())
def test_what_did_not_change_need_not_be_valid(case: Case, data: st.DataObject) -> None:
    held, obj = case
    tree = schema.parse(held)
    assert validate.problems(obj, tree, pair=ratcheting.Correlated(obj, copy.deepcopy(obj), tree)) == [] or _unseen(obj, held)
    old = data.draw(strategies.fitting(held))
    if isinstance(old, dict):
        told = {str(p) for p in validate.problems(obj, tree)}
        assert {str(p) for p in validate.problems(obj, tree, pair=ratcheting.Correlated(obj, old, tree))} <= told


def _unseen(obj: dict[str, Any], held: dict[str, Any]) -> bool:
    """Whether the object has fields that its schema does not know: those count as changed."""
    return exact(reference.pruned(obj, {**held, "x-kubernetes-preserve-unknown-fields": False})) != exact(obj) or _has_bare_places(held)


def _has_bare_places(held: Any) -> bool:
    """Whether some place keeps or allows what it does not describe, or is a whole object's own apiVersion or kind."""
    if isinstance(held, dict):
        keeps = held.get("x-kubernetes-preserve-unknown-fields") or isinstance(held.get("additionalProperties"), bool)
        return bool(keeps) or "kind" in held.get("properties", {}) or any(map(_has_bare_places, held.values()))
    return isinstance(held, list) and any(map(_has_bare_places, held))
