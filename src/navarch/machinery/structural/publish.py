"""A structural schema as the OpenAPI documents publish it.

In: a tree. Out: plain dicts, in v3 with all that the tree says, in v2 without what v2 does not know or kubectl, reading v2, would
misunderstand. The envelope (apiVersion, kind, metadata) of the object and of those in it is added by `machinery.openapi`.

Upstream counterparts: apiextensions-apiserver's pkg/apiserver/schema/kubeopenapi.go, pkg/controller/openapi/v2, schema/unfold.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.machinery.structural import structural
from navarch.machinery.structural.schema import Rule, Structural, Values

Tree = dict[str, Any]
_SIMPLE = {
    "format": "format",
    "maximum": "maximum",
    "exclusive_maximum": "exclusiveMaximum",
    "minimum": "minimum",
    "exclusive_minimum": "exclusiveMinimum",
    "max_length": "maxLength",
    "min_length": "minLength",
    "pattern": "pattern",
    "max_items": "maxItems",
    "min_items": "minItems",
    "unique_items": "uniqueItems",
    "multiple_of": "multipleOf",
    "max_properties": "maxProperties",
    "min_properties": "minProperties",
}
_CLAUSES = {"all_of": "allOf", "any_of": "anyOf", "one_of": "oneOf"}
_INT_OR_STRING: list[Tree] = [{"type": "integer"}, {"type": "string"}]


def v3(schema: Structural) -> Tree:
    """All that the tree says; an integer or a string is told in JSON schema's words too."""
    return _node(schema, expand=True)


def _node(schema: Structural, *, expand: bool) -> Tree:
    made = _structure(schema)
    made |= {
        step: inner
        for step, inner in (
            ("properties", {name: _node(child, expand=expand) for name, child in sorted(schema.properties.items())}),
            ("items", None if schema.items is None else _node(schema.items, expand=expand)),
        )
        if inner or (step == "items" and inner is not None)
    }
    if schema.additional is not None:
        additional = schema.additional
        made["additionalProperties"] = _node(additional, expand=expand) if isinstance(additional, Structural) else additional
    made |= _values(schema.values)
    if expand and schema.int_or_string and not structural.tells_types(schema.values):
        _tell_types(made)
    return made


def _tell_types(made: Tree) -> None:
    if "anyOf" in made:
        made["allOf"] = [{"anyOf": _INT_OR_STRING}, *made.get("allOf", [])]
    else:
        made["anyOf"] = _INT_OR_STRING


def _structure(schema: Structural) -> Tree:
    made: Tree = dict(schema.prose or {})
    said = {
        "type": schema.type or None,
        "nullable": schema.nullable or None,
        "default": schema.default,
        "x-kubernetes-preserve-unknown-fields": schema.preserve or None,
        "x-kubernetes-embedded-resource": schema.embedded or None,
        "x-kubernetes-int-or-string": schema.int_or_string or None,
        "x-kubernetes-list-map-keys": list(schema.list_keys) or None,
        "x-kubernetes-list-type": schema.list_type,
        "x-kubernetes-map-type": schema.map_type,
        "x-kubernetes-validations": [_rule(rule) for rule in schema.rules] or None,
    }
    return made | {key: value for key, value in said.items() if value is not None}


def _rule(rule: Rule) -> Tree:
    said = {
        "rule": rule.rule,
        "message": rule.message or None,
        "messageExpression": rule.message_expression or None,
        "reason": rule.reason,
        "fieldPath": rule.field_path or None,
        "optionalOldSelf": rule.optional_old_self,
    }
    return {key: value for key, value in said.items() if value is not None}


def _values(values: Values) -> Tree:
    made: Tree = {}
    for ours, key in _SIMPLE.items():
        value = getattr(values, ours)
        if value is not None and value is not False and value != "":
            made[key] = int(value) if isinstance(value, float) and value.is_integer() else value
    if values.enum:
        made["enum"] = list(values.enum)
    if values.required:
        made["required"] = list(values.required)
    for ours, key in _CLAUSES.items():
        if held := getattr(values, ours):
            made[key] = [_node(clause, expand=False) for clause in held]
    if values.not_ is not None:
        made["not"] = _node(values.not_, expand=False)
    return made


# ---- v2 ------------------------------------------------------------------------------------------------------------


def v2(schema: Structural) -> Tree:
    """The tree without clauses and nulls. What may be null, or may hold anything, says nothing of its inside: kubectl would hold
    objects to it."""
    made = _structure(schema)
    made.pop("nullable", None)
    made |= {key: value for key, value in _values(schema.values).items() if key not in (*_CLAUSES.values(), "not")}
    if isinstance(schema.additional, Structural):
        made["additionalProperties"] = v2(schema.additional)
    elif schema.additional is not None:
        made["additionalProperties"] = schema.additional
    if not schema.nullable and not schema.preserve:
        if schema.properties:
            made["properties"] = {name: v2(child) for name, child in sorted(schema.properties.items())}
        if schema.items is not None:
            made["items"] = v2(schema.items)
    if schema.nullable or (schema.type == "array" and "items" not in made) or (schema.preserve and schema.type == "object"):
        made.pop("type", None)
    _require(made, schema, made.get("properties", {}))
    return made


def _require(made: Tree, schema: Structural, published: Mapping[str, Any]) -> None:
    """Nothing that may be null is required: in v2 it could not be given."""
    required = [name for name in made.pop("required", []) if name not in published or not schema.properties[name].nullable]
    if required and not (schema.additional_schema is not None and schema.additional_schema.nullable):
        made["required"] = required
