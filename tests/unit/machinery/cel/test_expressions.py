"""Expressions with what the CEL of kube-apiserver 1.36 makes of them: its words, types, values and costs.

`expressions.json` holds one case a line: the expression; `compile` or `program` (it cannot be compiled), `error` (it cannot be evaluated) or
`value`; the words, or the type and the value as Go prints it; for values, what evaluating cost; the type that was checked and the costs
that were estimated.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from navarch.machinery.cel import expressions, frames, libraries, types, values
from navarch.machinery.cel.functions import standard

CASES: list[Any] = json.loads(pathlib.Path(__file__).with_name("expressions.json").read_text())
VARIABLES = {"i": 5, "s": "abc", "l": [1, 2], "m": {"a": 1, "b": {"c": [1]}}, "n": None, "b": True, "d": 1.5, "t": "x"}
ENVIRONMENT = libraries.BASE.extended(dict.fromkeys(VARIABLES, types.DYN))


def of(*asked: str) -> list[Any]:
    return [pytest.param(case[0], *case[2:], id=case[0][:60]) for case in CASES if case[1] in asked]


def compiled(text: str) -> expressions.Expression:
    return expressions.compile(text, ENVIRONMENT)


def printed(value: Any) -> str | None:
    """A simple value as Go prints it; None for all others."""
    match value:
        case None:
            return "NULL_VALUE"
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return standard.text_of_double(value)
        case str():
            return value
    return None


@pytest.mark.parametrize("text, words, _", of("compile"))
def test_what_does_not_compile(text: str, words: str, _: Any) -> None:
    with pytest.raises(expressions.CompileError) as refused:
        compiled(text)
    assert str(refused.value) == f"compilation failed: {words}"


@pytest.mark.parametrize("text, words, _", of("program"))
def test_what_cannot_be_made_ready(text: str, words: str, _: Any) -> None:
    with pytest.raises(expressions.CompileError) as refused:
        compiled(text)
    assert str(refused.value) == f"program instantiation failed: {words}"


@pytest.mark.parametrize("text, words, known", of("error"))
def test_what_cannot_be_evaluated(text: str, words: str, known: Any) -> None:
    expression = compiled(text)
    assert str(expression.type) == known["type"]
    with pytest.raises((values.EvaluationError, frames.CostExceeded)) as failed:
        expression.evaluate(VARIABLES)
    if isinstance(failed.value, values.EvaluationError):
        assert str(failed.value) == words
    else:
        assert words == "operation cancelled: actual cost limit exceeded"


@pytest.mark.parametrize("text, answer, cost, known", of("value"))
def test_what_an_expression_gives(text: str, answer: str, cost: int, known: Any) -> None:
    expression = compiled(text)
    assert str(expression.type) == known["type"]
    value, spent = expression.evaluate(VARIABLES)
    kind, _, shown = answer.partition(" ")
    assert values.type_name(value) == kind
    assert printed(value) in (None, shown)
    assert spent == cost


ESTIMATED = [case for case in CASES if case[1] in ("value", "error") and "estimate" in case[-1]]


@pytest.mark.parametrize("text, least, most", [pytest.param(case[0], *case[-1]["estimate"], id=case[0][:60]) for case in ESTIMATED])
def test_what_an_expression_can_cost(text: str, least: int, most: int) -> None:
    estimate = compiled(text).cost
    assert (estimate.least, estimate.most) == (least, most)


@pytest.mark.parametrize("text, _, cost, __", of("value"))
def test_the_cost_is_kept_to(text: str, _: Any, cost: int, __: Any) -> None:
    """What costs more than the limit is stopped, and what costs as much is not."""
    expression = compiled(text)
    assert expression.evaluate(VARIABLES, cost)[1] == cost
    if cost > 0:
        with pytest.raises(frames.CostExceeded):
            expression.evaluate(VARIABLES, cost - 1)


def test_the_type_that_is_wanted() -> None:
    with pytest.raises(expressions.CompileError, match=r"^must evaluate to bool but got int$"):
        expressions.compile("1", ENVIRONMENT, (types.BOOL,))
    with pytest.raises(expressions.CompileError, match=r"^as I say$"):
        expressions.compile("i", ENVIRONMENT, (types.BOOL,), must="as I say")
    assert expressions.compile("true", ENVIRONMENT, (types.BOOL, types.STRING)).evaluate({}) == (True, 0)


def test_the_variables_an_expression_uses() -> None:
    assert compiled("l.all(i, i > d) && m.a == 1").names == {"l", "d", "m"}
    assert compiled("i + l.map(i, i)[0]").names == {"i", "l"}
