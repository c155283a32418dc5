"""Schemas and objects with what kube-apiserver 1.36 says of them: its words, its paths, its forms.

`answers.json` holds one case a line: what is asked, the schema, the object (for an update: the new and the old one), the answer. Problems
are written with their reason before them and sorted; objects that upstream would refuse in random order are not among them.
"""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

import pytest

from navarch.machinery.field import Problem
from navarch.machinery.structural import check, default, definition, lists, prune, publish, ratcheting, schema, validate

CASES: list[Any] = json.loads(pathlib.Path(__file__).with_name("answers.json").read_text())
PATH = "spec.validation.openAPIV3Schema"


def of(asked: str) -> list[Any]:
    return [pytest.param(*case[1:], id=f"{asked}-{i}") for i, case in enumerate(c for c in CASES if c[0] == asked)]


def told(problems: list[Problem]) -> list[str]:
    return sorted(f"{p.reason}|{p}" for p in problems)


@pytest.mark.parametrize("held, obj, answer", of("validate"))
def test_what_is_wrong_with_an_object(held: Any, obj: Any, answer: list[str]) -> None:
    tree = schema.parse(held)
    assert told(validate.problems(obj, tree)) == answer
    assert not check.compiled(tree)(obj)


@pytest.mark.parametrize("held, objects, answer", of("update"))
def test_what_is_wrong_with_a_change(held: Any, objects: Any, answer: list[str]) -> None:
    tree = schema.parse(held)
    new, old = objects
    assert told(validate.problems(new, tree, pair=ratcheting.Correlated(new, old, tree))) == answer


@pytest.mark.parametrize("held, obj, answer", of("prune"))
def test_what_is_pruned(held: Any, obj: Any, answer: Any) -> None:
    tree = schema.parse(held)
    made = copy.deepcopy(obj)
    paths = prune.prune(made, tree, nulls=True)
    assert [paths, made] == answer


@pytest.mark.parametrize("held, obj, answer", of("default"))
def test_what_is_defaulted(held: Any, obj: Any, answer: Any) -> None:
    made = copy.deepcopy(obj)
    default.default(made, schema.parse(held))
    assert made == answer


@pytest.mark.parametrize("held, obj, answer", of("lists"))
def test_what_is_there_twice(held: Any, obj: Any, answer: list[str]) -> None:
    assert told(lists.problems(obj, schema.parse(held))) == answer


@pytest.mark.parametrize("held, obj, answer", of("definition"))
def test_what_is_wrong_with_a_schema(held: Any, obj: None, answer: list[str]) -> None:
    assert told(definition.problems(held, PATH, lambda metadata, path: [])) == answer


@pytest.mark.parametrize("held, obj, answer", of("publish"))
def test_what_is_published(held: Any, obj: None, answer: Any) -> None:
    """Without apiVersion, kind and metadata, which the documents add to whole objects."""
    tree = schema.parse(held)
    assert [own(publish.v2(tree)), own(publish.v3(tree))] == [own(form) for form in answer]


def own(form: Any, *, root: bool = True) -> Any:
    if isinstance(form, list):
        return [own(inner, root=False) for inner in form]
    if not isinstance(form, dict):
        return form
    made = {key: own(held, root=False) for key, held in form.items()}
    if root or form.get("x-kubernetes-embedded-resource") is True:
        properties = {k: v for k, v in made.pop("properties", {}).items() if k not in schema.META_FIELDS}
        made |= {"properties": properties} if properties else {}
        if form.get("x-kubernetes-embedded-resource") is True:
            made.pop("required", None)
    return made
