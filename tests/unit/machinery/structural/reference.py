"""What a structural schema means, said slowly: the reference that the fast walks are held to.

Every function looks at plain dicts, the schema's too, and makes new values; none knows the package under test.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
META = {"apiVersion", "kind", "metadata"}


def child_of(schema: Schema, key: str) -> tuple[bool, Schema | None]:
    """Whether a schema knows a field, and the field's schema, if it has one."""
    if key in schema.get("properties", {}):
        return True, schema["properties"][key]
    additional = schema.get("additionalProperties")
    if additional is None:
        return False, None
    return True, additional if isinstance(additional, dict) else None


def pruned(value: Any, schema: Schema | None, *, root: bool = False, kept: bool = False) -> Any:
    """`kept`: a list above keeps what its items do not name."""
    if schema is None:
        if isinstance(value, dict):
            return {}
        return [pruned(item, None) for item in value] if isinstance(value, list) else value
    keeps = kept or schema.get("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(value, list):
        if schema.get("items") is None:
            return value if keeps else [pruned(item, None) for item in value]
        return [pruned(item, schema["items"], kept=keeps) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, held in value.items():
        known, child = child_of(schema, key)
        if (root or schema.get("x-kubernetes-embedded-resource")) and key in META:
            made[key] = held
        elif known:
            made[key] = pruned(held, child)
        elif keeps:
            made[key] = held
    return made


def without_nulls(value: Any, schema: Schema | None) -> Any:
    if schema is None:
        return value
    if isinstance(value, list):
        return [without_nulls(item, schema.get("items")) for item in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, held in value.items():
        _, child = child_of(schema, key)
        if held is None and child is not None and not child.get("nullable") and child.get("default") is None:
            continue
        made[key] = without_nulls(held, child)
    return made


def defaulted(value: Any, schema: Schema | None) -> Any:
    if schema is None:
        return value
    if isinstance(value, list):
        items = schema.get("items")
        return [defaulted(unless_null(item, items), items) for item in value]
    if not isinstance(value, dict):
        return value
    made = dict(value)
    for key, child in schema.get("properties", {}).items():
        if child.get("default") is not None and (key not in made or (made[key] is None and not child.get("nullable"))):
            made[key] = child["default"]
    for key in made:
        _, child = child_of(schema, key)
        if key not in schema.get("properties", {}):
            made[key] = unless_null(made[key], child)
        made[key] = defaulted(made[key], child)
    return made


def unless_null(value: Any, schema: Schema | None) -> Any:
    return schema.get("default") if value is None and schema is not None and not schema.get("nullable") else value


# ---- validity ------------------------------------------------------------------------------------------------------


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def integer(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, float) and value.is_integer() and abs(value) < 2**53


def type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if integer(value):
        return "integer"
    return {int: "number", float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def equal(left: Any, right: Any) -> bool:
    """Equal as JSON values; numbers by value."""
    if number(left) or number(right):
        return number(left) and number(right) and left == right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return type(left) is type(right) and left == right


def valid(value: Any, schema: Schema) -> bool:
    return not any(failures(value, schema))


def failures(value: Any, schema: Schema) -> Iterator[bool]:
    """True for each thing wrong; formats and clauses that only upstream's words need are left out."""
    wanted = ["integer", "string"] if schema.get("x-kubernetes-int-or-string") else [schema["type"]] if schema.get("type") else []
    if value is None:
        yield bool(wanted) and not schema.get("nullable", False)
        yield "enum" in schema
        return
    has = type_name(value)
    yield bool(wanted) and has not in wanted and not (has == "integer" and "number" in wanted)
    if "enum" in schema:
        yield not any(one is not None and equal(value, one) for one in schema["enum"])
    if isinstance(value, str):
        yield len(value) > schema.get("maxLength", math.inf)
        yield len(value) < schema.get("minLength", 0)
        yield "pattern" in schema and re.search(schema["pattern"], value) is None
    elif number(value):
        high, low = schema.get("maximum", math.inf), schema.get("minimum", -math.inf)
        yield value > high or (value == high and schema.get("exclusiveMaximum", False))
        yield value < low or (value == low and schema.get("exclusiveMinimum", False))
        yield "multipleOf" in schema and value % schema["multipleOf"] != 0
    elif isinstance(value, list):
        yield len(value) > schema.get("maxItems", math.inf)
        yield len(value) < schema.get("minItems", 0)
        if schema.get("items") is not None:
            yield from (not valid(item, schema["items"]) for item in value)
    elif isinstance(value, dict):
        yield len(value) > schema.get("maxProperties", math.inf)
        yield len(value) < schema.get("minProperties", 0)
        yield any(name not in value for name in schema.get("required", []))
        for key, held in value.items():
            known, child = child_of(schema, key)
            yield not valid(held, child) if child is not None else known and schema["additionalProperties"] is False
    yield any(not valid(value, clause) for clause in schema.get("allOf", []))
    yield "anyOf" in schema and not any(valid(value, clause) for clause in schema["anyOf"])
    yield "oneOf" in schema and sum(valid(value, clause) for clause in schema["oneOf"]) != 1
    yield "not" in schema and valid(value, schema["not"])
