"""Schemas, and objects that fit them more or less, for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(["a", "b", "spec", "kind", "metadata", "x-y"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**40, 0.5, 1.0, "", "a", "ab", "b", "é"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
_FLAG = st.just(True)
_BOUNDS: dict[str, st.SearchStrategy[Any]] = {
    "enum": st.lists(SCALARS, min_size=1, max_size=3),
    "maxLength": st.integers(0, 2),
    "minLength": st.integers(0, 2),
    "pattern": st.sampled_from(["^a*$", "b", "^[ab]{1,2}$"]),
    "maximum": st.integers(-2, 2),
    "minimum": st.integers(-2, 2),
    "exclusiveMaximum": _FLAG,
    "exclusiveMinimum": _FLAG,
    "multipleOf": st.sampled_from([1, 2]),
    "maxItems": st.integers(0, 2),
    "minItems": st.integers(0, 2),
    "maxProperties": st.integers(0, 3),
    "minProperties": st.integers(0, 2),
    "required": st.lists(NAMES, min_size=1, max_size=2, unique=True),
}


@st.composite
def bounds(draw: st.DrawFn, depth: int = 1) -> dict[str, Any]:
    """Value validations, few at a time."""
    made = {name: draw(_BOUNDS[name]) for name in draw(st.lists(st.sampled_from(sorted(_BOUNDS)), max_size=2, unique=True))}
    if depth and draw(st.integers(0, 5)) == 0:
        junctor = draw(st.sampled_from(["allOf", "anyOf", "oneOf", "not"]))
        inner = bounds(depth - 1)
        made[junctor] = draw(inner) if junctor == "not" else draw(st.lists(inner, min_size=1, max_size=3))
    return made


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3, kind: str = "") -> dict[str, Any]:
    """Structural schemas; the root is an object."""
    made = draw(bounds()) if draw(st.booleans()) else {}
    kind = kind or draw(st.sampled_from(["string", "integer", "number", "boolean", *(["object", "array"] * 2 if depth else [])]))
    made["type"] = kind
    inner = schemas(depth=depth - 1)
    if kind == "array":
        made["items"] = draw(inner)
    elif kind == "object":
        match draw(st.integers(0, 5)):
            case 0:
                made["additionalProperties"] = draw(st.one_of(inner, st.booleans()))
            case 1:
                made["x-kubernetes-preserve-unknown-fields"] = True
            case _:
                made["properties"] = draw(st.dictionaries(NAMES, inner, max_size=4))
    if kind in ("integer", "string") and draw(st.integers(0, 7)) == 0:
        made["x-kubernetes-int-or-string"] = made.pop("type") != ""
    if draw(st.integers(0, 4)) == 0:
        made["nullable"] = True
    if draw(st.integers(0, 3)) == 0:
        made["default"] = draw(VALUES)
    return made


@st.composite
def fitting(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    """A value of about the right shape."""
    if draw(st.integers(0, 9)) == 0:
        return draw(VALUES)
    match schema.get("type"):
        case "object":
            made = {name: draw(fitting(child)) for name, child in schema.get("properties", {}).items() if draw(st.integers(0, 4))}
            extra = schema.get("additionalProperties")
            if isinstance(extra, dict):
                made |= {name: draw(fitting(extra)) for name in draw(st.lists(NAMES, max_size=2, unique=True))}
            return made | draw(st.dictionaries(NAMES, SCALARS, max_size=1))
        case "array":
            return [draw(fitting(schema["items"])) for _ in range(draw(st.integers(0, 3)))]
        case "string":
            return draw(st.sampled_from(["", "a", "ab", "b"]))
        case "boolean":
            return draw(st.booleans())
        case _:
            return draw(st.sampled_from([-1, 0, 1, 2, 1.0, 0.5]))


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema and an object for it."""
    schema = draw(schemas(kind="object"))
    value = draw(fitting(schema))
    return schema, value if isinstance(value, dict) else {"a": value}
