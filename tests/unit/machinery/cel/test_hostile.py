"""Expressions made to hurt: deep, long, with loops in loops, with patterns that explode where patterns can, over objects that are large."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from navarch.machinery.cel import expressions, frames, libraries, rules, types, values
from navarch.machinery.structural import definition, schema

ENVIRONMENT = libraries.BASE.extended({"x": types.DYN, "self": types.DYN})
PATH = "spec.validation.openAPIV3Schema"


def evaluated(text: str, **variables: Any) -> Any:
    return expressions.compile(text, ENVIRONMENT).evaluate(variables)[0]


NESTED = {
    "parentheses": ("(", "1", ")"),
    "lists": ("[", "1", "]"),
    "maps": ("{1: ", "1", "}"),
    "signs": ("-(", "1", ")"),
    "negations": ("!(", "true", ")"),
    "calls": ("dyn(", "1", ")"),
    "conditions": ("true ? (", "1", ") : 1"),
    "sums": ("1 + (", "1", ")"),
    "indexes": ("[1][", "0", "] * 0"),
    "loops": ("[1].all(i, ", "true", ")"),
    "maps of maps": ("[1].map(i, ", "1", ")"),
    "optionals": ("optional.of(", "1", ")"),
}


@pytest.mark.parametrize("kind", NESTED)
def test_nesting_has_a_bound(kind: str) -> None:
    """Below the bound all goes well, beyond it all is refused, and nothing else happens in between."""
    before, core, after = NESTED[kind]
    refused = 0
    for depth in (10, 20, 40, 45, 49, 60, 80, 90, 98, 100, 101, 110, 200, 1000, 4000):
        text = before * depth + core + after * depth
        try:
            expressions.compile(text, ENVIRONMENT).evaluate({})
        except expressions.CompileError as error:
            assert "max recursion depth exceeded" in str(error), error
            assert depth > 30
            refused += 1
        except (values.EvaluationError, frames.CostExceeded):
            pass
    assert refused >= 3


CHAINS = {
    "sum": "1" + " + 1" * 3000,
    "conjunction": "true" + " && true" * 3000,
    "selection": "x" + ".a" * 3000,
    "index": "x" + "[0]" * 3000,
    "calls": "'a'" + ".trim()" * 3000,
    "conditions": "true ? 1 : " * 3000 + "1",
    "list": "[" + "1, " * 3000 + "1]",
    "map": "{" + "".join(f"{i}: 1, " for i in range(3000)) + "}",
    "signs": "-" * 3001 + "1",
    "text": "'" + "a" * 100_000 + "'",
    "open": "[" * 5000,
    "garbage": "?" * 50_000,
}


@pytest.mark.parametrize("kind", CHAINS)
def test_long_expressions_end(kind: str) -> None:
    started = time.thread_time()
    with contextlib.suppress(expressions.CompileError, values.EvaluationError, frames.CostExceeded):
        expressions.compile(CHAINS[kind], ENVIRONMENT).evaluate({"x": {"a": 1}})
    assert time.thread_time() - started < 3


def test_loops_in_loops_run_out_of_cost() -> None:
    items = list(range(1000))
    for text in (
        "x.all(a, x.all(b, x.all(c, a + b + c >= 0)))",
        "x.map(a, x.map(b, x.map(c, c))).size() > 0",
        "x.exists(a, x.exists(b, x.exists(c, a < 0)))",
        "x.transformMap(i, a, x.map(b, x.map(c, c))).size() > 0",
    ):
        started = time.thread_time()
        with pytest.raises(frames.CostExceeded):
            evaluated(text, x=items)
        assert time.thread_time() - started < 5


def test_what_makes_much_of_little_runs_out_of_cost() -> None:
    texts = [
        "[1].map(a, lists.range(1000000)).size() > 0",
        "['" + "a" * 1000 + "'].all(s, " + "(s" + " + s" * 60 + ")" + ".size() > 0)",
        "x.replace('', x.replace('', x)).size() > 0",
        "x.split('').join(x).split('').join(x).size() > 0",
    ]
    for text in texts:
        started = time.thread_time()
        with contextlib.suppress(frames.CostExceeded, values.EvaluationError):
            evaluated(text, x="a" * 3000)
        assert time.thread_time() - started < 5


SHARED = "[[1]]" + ".map(a, [a, a])" * 45
"""A list of 2^45 numbers, which is made in 45 steps."""


@pytest.mark.parametrize(
    "text",
    [
        f"{SHARED} == {SHARED}",
        f"{SHARED} in [{SHARED}]",
        f"[{SHARED}].indexOf({SHARED}) == 0",
        f"{SHARED}.flatten(50).size() > 1",
        f"'%s'.format([{SHARED}]) == ''",
        f"sets.contains([{SHARED}], [{SHARED}])",
        f"[{SHARED}, {SHARED}].distinct().size() == 1",
        f"optional.of({SHARED}) == optional.of({SHARED})",
        "[[1]]" + ".map(a, a + a)" * 60,
        "['a']" + ".map(a, a + a)" * 60,
        "['a']" + ".map(a, a.replace('a', 'aaaaaaaa'))" * 30,
        "['a']" + ".map(a, [a, a, a, a].join('x'))" * 30,
        "sets.equivalent(lists.range(400000), lists.range(400000))",
        "lists.range(900000).distinct().size() > 1",
        "[lists.range(90000)].map(a, lists.range(90000).map(b, a)).flatten(3).size() > 1",
        "'" + "%.999999f" * 50 + "'.format([" + "1.0, " * 49 + "1.0]) == ''",
        "int('" + "9" * 90_000 + "')",
        "double('" + "9" * 90_000 + "')",
        "uint('" + "9" * 90_000 + "')",
        "duration('" + "9" * 90_000 + "h')",
        "timestamp('" + "9" * 90_000 + "')",
        "quantity('" + "9" * 90_000 + "').asInteger()",
        "quantity('1e900000000').asInteger()",
        "semver('" + "9" * 90_000 + ".1.1').major()",
        "ip('" + "9" * 90_000 + "')",
        "cidr('1.1.1.1/" + "9" * 90_000 + "')",
        "url('http://" + "[" * 9_000 + "')",
        "9" * 90_000,
        "1e" + "9" * 90_000,
    ],
    ids=lambda text: text[:50],
)
def test_little_that_becomes_much_is_stopped_or_quick(text: str) -> None:
    started = time.thread_time()
    with contextlib.suppress(frames.CostExceeded, values.EvaluationError, expressions.CompileError):
        evaluated(text)
    assert time.thread_time() - started < 3


def test_a_range_has_a_bound() -> None:
    with pytest.raises((values.EvaluationError, frames.CostExceeded)):
        evaluated("lists.range(9223372036854775807).size() > 0")


def test_patterns_do_not_explode() -> None:
    started = time.thread_time()
    assert evaluated("x.matches('^(a+)+$')", x="a" * 50_000 + "b") is False
    assert evaluated("x.matches('(a|a)*(a|a)*(a|a)*b')", x="a" * 50_000) is False
    with pytest.raises(expressions.CompileError, match="invalid matches argument"):
        evaluated("x.matches('((a{100}){100}){100}')", x="a")
    with pytest.raises(values.EvaluationError):
        evaluated("x.matches(x + '{1000}{1000}')", x="(((a{1000}){1000}){1000})")
    assert time.thread_time() - started < 5


def test_numbers_stay_in_their_bounds() -> None:
    for text in (
        "9223372036854775807 + 1",
        "-9223372036854775808 - 1",
        "9223372036854775807 * 2",
        "-(-9223372036854775807 - 1)",
        "(-9223372036854775807 - 1) / -1",
        "1u - 2u",
        "18446744073709551615u + 1u",
        "int(1e19)",
        "1 / 0",
        "1 % 0",
        "duration('1000000h') * 2 == duration('1h')",
        "timestamp('9999-12-31T23:59:59Z') + duration('1s')",
        "timestamp('0001-01-01T00:00:00Z') - duration('1s')",
    ):
        with pytest.raises((values.EvaluationError, expressions.CompileError)):
            evaluated(text)


def test_objects_of_any_shape_do_no_harm() -> None:
    """What is not as the schema says is an error of the rule, never of the evaluator."""
    texts = ["self.a.b.c", "self.a[0]", "self.all(i, i > 1)", "self.a + 1 > 2", "has(self.a.b)", "self.size() > 1", "'a' in self", "self == self"]
    texts += ["self.a.matches('a')", "self.a.exists(k, v, v == k)", "self.a.?b.orValue(1) == 1", "self.map(i, i)", "self.a.split(',')"]
    shapes: list[Any] = [
        None,
        1,
        "a",
        [],
        {},
        {"a": None},
        {"a": {"b": {}}},
        {"a": [[]]},
        {"a": 1.5},
        {"a": "x"},
        [1, "a", None],
        {"a": {"b": None}},
        True,
    ]
    for text in texts:
        compiled = expressions.compile(text, ENVIRONMENT)
        for shape in shapes:
            with contextlib.suppress(values.EvaluationError, frames.CostExceeded):
                compiled.evaluate({"self": shape})


def test_a_definition_with_costly_rules_is_refused() -> None:
    held: dict[str, Any] = {"type": "string", "x-kubernetes-validations": [{"rule": "self.matches('" + "a?" * 200 + "')"}]}
    for _ in range(4):
        held = {"type": "array", "items": held, "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, a == b)))"}]}
    problems = definition.problems({"type": "object", "properties": {"a": held}}, PATH, lambda value, path: [], rules=rules.DefinitionRules())
    told = [str(problem) for problem in problems]
    assert any("estimated rule cost exceeds budget" in one for one in told)
    assert any("contributed to estimated rule cost total exceeding cost limit" in one for one in told)


def test_an_object_cannot_cost_more_than_its_budget() -> None:
    held = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= 0"}]}}},
    }
    outcome = rules.Validator(schema.parse(held)).validate({"a": list(range(10_000))}, budget=1000)
    assert outcome.remaining < 0
    assert [str(problem).rpartition(": ")[2] for problem in outcome.problems] == [
        "validation failed due to running out of cost budget, no further validation rules will be run"
    ]
