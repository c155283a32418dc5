"""Schemas and objects made to hurt: deep, wide, with patterns that explode where patterns can, with bounds beyond all numbers."""

from __future__ import annotations

import time
from typing import Any

import pytest

from navarch.machinery import regexp
from navarch.machinery.structural import check, default, definition, prune, ratcheting, schema, structural, validate


def nested(depth: int) -> dict[str, Any]:
    held: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        held = {"type": "object", "properties": {"a": held}}
    return held


def nested_object(depth: int) -> dict[str, Any]:
    obj: Any = "x"
    for _ in range(depth):
        obj = {"a": obj}
    made: dict[str, Any] = obj
    return made


def test_a_schema_has_a_depth() -> None:
    tree = schema.parse(nested(schema.MAX_DEPTH - 1))
    obj = nested_object(schema.MAX_DEPTH - 1)
    assert structural.problems(tree, "x") == []
    assert prune.prune(obj, tree) == []
    default.default(obj, tree)
    assert check.compiled(tree)(obj)
    assert validate.problems(obj, tree, pair=ratcheting.Correlated(obj, nested_object(schema.MAX_DEPTH - 1), tree)) == []
    with pytest.raises(schema.Unsupported, match="128 levels"):
        schema.parse(nested(schema.MAX_DEPTH + 1))
    for key in ("allOf", "not", "items", "additionalProperties"):
        held: Any = {}
        for _ in range(2000):
            held = {key: [held] if key == "allOf" else held}
        with pytest.raises(schema.Unsupported, match="128 levels"):
            schema.parse(held)


def test_a_definition_that_is_too_deep_is_refused_with_a_word() -> None:
    found = definition.problems(nested(schema.MAX_DEPTH + 1), "p", lambda metadata, path: [])
    assert [str(p) for p in found] == ['p: Invalid value: "": OpenAPIV3Schema is nested more than 128 levels deep; flatten it']


def test_objects_may_be_deeper_than_their_schemas() -> None:
    tree = schema.parse({"type": "object", "properties": {"a": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}})
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    obj = {"a": {"b": deep}}
    assert prune.prune(obj, tree) == []
    lists = {"a": deep}
    assert prune.prune(lists, schema.parse({"type": "object", "additionalProperties": True})) == []
    assert check.compiled(tree)(obj)


def test_a_wide_object_takes_time_by_its_size() -> None:
    tree = schema.parse({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}})
    obj = {f"k{i}": i for i in range(100_000)}
    test = check.compiled(tree)
    start = time.perf_counter()
    assert test(obj)
    assert prune.prune(obj, tree) == []
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(.*a){12}$", "^([a-z]+)*$"])
def test_a_pattern_takes_time_by_the_text(pattern: str) -> None:
    """Each of these takes Python's own engine longer than anyone waits."""
    tree = schema.parse({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}})
    start = time.perf_counter()
    check.compiled(tree)({"a": "a" * 50_000 + "!"})
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "pattern, told",
    [
        ("(", "missing closing ): `(`"),
        ("[a", "missing closing ]: `[a`"),
        ("a)", "unexpected ): `a)`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("\\8", "invalid escape sequence: `\\8`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("a\\", "trailing backslash at end of expression"),
        ("\\C", "invalid escape sequence: `\\C`"),
        ("((a{100}){100}){100}", "invalid repeat count: `{100}`"),
    ],
)
def test_what_is_no_pattern_is_told_in_go_s_words(pattern: str, told: str) -> None:
    assert regexp.problem(pattern) == f"error parsing regexp: {told}"
    tree = schema.parse({"type": "string", "pattern": pattern})
    assert not check.compiled(tree)("a")
    assert "but pattern is invalid: error parsing regexp: " in str(validate.problems("a", tree)[0])


def test_patterns_mean_what_they_mean_to_go() -> None:
    """Where Python's own would say otherwise: $ is the very end, \\d is ASCII, \\pL and \\z are known."""
    assert not regexp.pattern("^a$").matches("a\n")
    assert not regexp.pattern(r"^\d$").matches("٣")
    assert regexp.pattern(r"^\pL\z").matches("é")
    assert regexp.pattern("(?i)^STRASSE$").matches("strasse")
    assert regexp.pattern("b").matches("abc"), "patterns are not anchored"
    assert not regexp.pattern("^a$").matches("\ud800")


def test_bounds_beyond_all_numbers() -> None:
    for bound in (1e300, -1e300, 2**70, float(2**63)):
        for kind in ("integer", "number"):
            tree = schema.parse({"type": kind, "maximum": bound, "minimum": -bound, "multipleOf": abs(bound)})
            for value in (0, 2**62, 2**64, 0.5, 1e308):
                assert check.compiled(tree)(value) == (not validate.problems(value, tree)), (kind, bound, value)
    tree = schema.parse({"type": "array", "maxItems": 2**62, "minItems": 0, "items": {"type": "string", "maxLength": 2**62}})
    assert check.compiled(tree)(["a"])
