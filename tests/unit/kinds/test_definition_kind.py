"""CustomResourceDefinitions: defaults, and what makes one invalid."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api.apiextensions import v1 as extensions_v1
from navarch.apiserver.kinds import table
from navarch.machinery import codec

NOW = 1767225600.0
STRATEGY = table.of("apiextensions.k8s.io", "customresourcedefinitions")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"spec": {"type": "object"}}}


def definition(name: str = "foos.a.b", schema: dict[str, Any] | None = SCHEMA, **spec: Any) -> extensions_v1.CustomResourceDefinition:
    version: dict[str, Any] = {"name": "v1", "served": True, "storage": True}
    if schema is not None:
        version["schema"] = {"openAPIV3Schema": schema}
    full = {"group": "a.b", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"}, "versions": [version], **spec}
    tree = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": full,
    }
    made = codec.from_tree(extensions_v1.CustomResourceDefinition, tree)
    STRATEGY.default(made)
    STRATEGY.prepare_create(made, NOW)
    return made


def test_names_are_filled_in() -> None:
    made = definition()
    assert made.spec is not None and made.spec.names is not None and made.status is not None
    assert (made.spec.names.singular, made.spec.names.listKind) == ("foo", "FooList")
    assert codec.to_tree(made.spec)["conversion"] == {"strategy": "None"}
    assert made.status.storedVersions == ["v1"]
    assert STRATEGY.validate(made) == []


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (definition("x"), 'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'),
        (definition(scope="X"), 'spec.scope: Unsupported value: "X": supported values: "Cluster", "Namespaced"'),
        (definition(schema=None), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (definition(schema={}), "spec.validation.openAPIV3Schema.type: Required value: must not be empty at the root"),
        (
            definition(schema={"type": "object", "properties": {"a": {}}}),
            "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            definition(schema={"type": "object", "properties": {"a": {"type": "array"}}}),
            "spec.validation.openAPIV3Schema.properties[a].items: Required value: must be specified",
        ),
        (definition(versions=[]), "spec.versions: Invalid value: null: must have exactly one version marked as storage version"),
    ],
)
def test_problems(made: extensions_v1.CustomResourceDefinition, message: str) -> None:
    assert message in [str(p) for p in STRATEGY.validate(made)]


def test_free_fields_need_no_type() -> None:
    schema = {"type": "object", "properties": {"a": {"x-kubernetes-preserve-unknown-fields": True}, "b": {"x-kubernetes-int-or-string": True}}}
    assert STRATEGY.validate(definition(schema=schema)) == []
