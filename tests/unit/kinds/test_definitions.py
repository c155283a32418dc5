"""What makes a CustomResourceDefinition invalid: upstream's own cases, with what upstream says of each."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from navarch.api.apiextensions import v1 as extensions_v1
from navarch.apiserver.kinds import apiextensions, definitions
from navarch.machinery import codec

CASES: list[dict[str, Any]] = json.loads((pathlib.Path(__file__).parent / "definitions.json").read_text())


def definition(tree: dict[str, Any]) -> extensions_v1.CustomResourceDefinition:
    made = codec.from_tree(extensions_v1.CustomResourceDefinition, tree)
    apiextensions.default_definition(made)
    return made


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_problems_are_upstream_s(case: dict[str, Any]) -> None:
    new = definition(case["new"])
    found = definitions.validate_update(new, definition(case["old"])) if "old" in case else definitions.validate(new)
    assert sorted(map(str, found)) == sorted(case["errors"])


def test_formats_that_say_nothing_are_warned_of_once() -> None:
    def of(*formats: str) -> extensions_v1.CustomResourceDefinition:
        properties = {f"f{i}": {"type": "string", "format": name} for i, name in enumerate(formats)}
        schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
        return definition({"metadata": {}, "spec": {"versions": [{"name": "v1", "schema": schema}]}})

    assert apiextensions.warn_of_formats(of("date", "foo", "foo"), None) == ['unrecognized format "foo"']
    assert apiextensions.warn_of_formats(of("foo", "bar"), of("foo")) == ['unrecognized format "bar"']
