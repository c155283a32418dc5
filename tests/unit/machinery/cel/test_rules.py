"""Rules of schemas with what kube-apiserver 1.36 says of objects that break them, of what they cost, and of definitions that hold them.

One case a line. `rules.json`: schema, object, old object, budget (0: the usual), problems with their reasons, what evaluating cost (null where
upstream's figure for what fails is off by a few). `costs.json`: schema, the cost estimated for its one rule, for its messageExpression,
whether it compares, what is wrong with either. `definitions.json`: schema, problems.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from navarch.lib.patience import Impatient
from navarch.machinery import field
from navarch.machinery.cel import expressions, rules
from navarch.machinery.cel.declared import declare
from navarch.machinery.structural import definition, schema
from navarch.machinery.structural.ratcheting import Correlated

HERE = pathlib.Path(__file__)
PATH = "spec.validation.openAPIV3Schema"


def cases(name: str) -> list[Any]:
    return [pytest.param(*case, id=str(i)) for i, case in enumerate(json.loads(HERE.with_name(name).read_text()))]


@pytest.mark.parametrize("held, obj, old, budget, answer, used", cases("rules.json"))
def test_what_an_object_breaks(held: Any, obj: Any, old: Any, budget: int, answer: list[str], used: int | None) -> None:
    tree = schema.parse(held)
    pair = None if old is None else Correlated(obj, old, tree)
    outcome = rules.Validator(tree).validate(obj, old, pair=pair, budget=budget or expressions.BUDGET)
    assert sorted(f"{problem.reason}|{problem}" for problem in outcome.problems) == answer
    if used is not None:
        assert (budget or expressions.BUDGET) - outcome.remaining == used


@pytest.mark.parametrize("held, most, message_most, compares, error, message_error", cases("costs.json"))
def test_what_a_rule_can_cost(held: Any, most: int, message_most: int, compares: bool, error: str, message_error: str) -> None:
    tree = schema.parse(held)
    (rule,) = rules.compiled(tree, declare(tree, root=True))
    assert (rule.error, rule.message_error, rule.uses_old) == (error, message_error, compares)
    assert (rule.expression.cost.most if rule.expression else 0) == most
    assert (rule.message.cost.most if rule.message else 0) == message_most


@pytest.mark.parametrize("held, answer", cases("definitions.json"))
def test_what_is_wrong_with_a_definition(held: Any, answer: list[str]) -> None:
    problems = definition.problems(held, PATH, lambda value, path: [], rules=rules.DefinitionRules())
    assert sorted(f"{problem.reason}|{problem}" for problem in problems) == answer


# ---- what is not in the answers ------------------------------------------------------------------------------------


def of_rule(rule: str, properties: Any, **more: Any) -> schema.Structural:
    return schema.parse({"type": "object", "properties": properties, "x-kubernetes-validations": [{"rule": rule, **more}]})


def test_what_did_not_change_is_warned_of() -> None:
    tree = of_rule("self.a > 5", {"a": {"type": "integer"}})
    old = {"a": 1}
    validator = rules.Validator(tree)
    outcome = validator.validate({"a": 1}, old, pair=Correlated({"a": 1}, old, tree))
    assert (outcome.problems, outcome.warnings) == ([], ["<nil>: Invalid value: failed rule: self.a > 5"])
    assert validator.validate({"a": 1}, old).problems
    assert validator.validate({"a": 2}, old, pair=Correlated({"a": 2}, old, tree)).problems


def test_an_old_value_keeps_its_meaning_behind_an_optional() -> None:
    """Upstream forgets the schema there: a date is a string, a set has an order, an escaped name is not found."""
    at = {"type": "string", "format": "date-time"}
    new, old = {"in": "2020-01-01T00:00:00Z"}, {"in": "2020-01-01T01:00:00+01:00"}
    for rule in ("oldSelf.value() == self", "oldSelf.value().__in__ == self.__in__", "has(oldSelf.__in__)", "oldSelf.?__in__.hasValue()"):
        tree = of_rule(rule, {"in": at}, optionalOldSelf=True)
        assert rules.Validator(tree).validate(new, old).problems == []


def test_without_rules_nothing_is_done() -> None:
    validator = rules.Validator(schema.parse({"type": "object", "properties": {"a": {"type": "string"}}}))
    assert validator.validate({"a": "x"}, budget=7) == rules.Outcome([], [], 7)


def test_rules_of_an_invalid_object_are_not_checked() -> None:
    assert rules.blocked([field.invalid("a", 1, "too small")]) is None
    blocked = rules.blocked([field.required("a", "")])
    assert blocked is not None and "some validation rules were not checked" in str(blocked)


def test_a_schema_that_stands_may_cost_what_it_costs() -> None:
    held = {"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]}
    whole = {"type": "object", "properties": {"a": held}}
    new = definition.problems(whole, PATH, lambda value, path: [], rules=rules.DefinitionRules())
    assert any("exceeds budget by factor of more than 100x" in str(problem) for problem in new)
    known = definition.problems(whole, PATH, lambda value, path: [], rules=rules.DefinitionRules(known=True))
    assert not any("estimated rule cost exceeds budget" in str(problem) for problem in known)


def test_what_takes_long_is_given_up_where_others_wait() -> None:
    rule = {"rule": "self.all(a, self.all(b, a + b >= 0))"}
    tree = schema.parse({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [rule]}}})
    held, large = rules.Validator(tree), {"l": list(range(300))}
    with pytest.raises(Impatient):
        held.validate(large, patience=expressions.LOOP_COST)
    assert not held.validate(large).problems
    assert not held.validate({"l": [1, 2]}, patience=expressions.LOOP_COST).problems


def test_compiling_counts_where_others_wait() -> None:
    many = [{"rule": f"self.size() < {n}"} for n in range(100, 150)]
    tree = schema.parse({"type": "object", "properties": {"s": {"type": "string", "maxLength": 9, "x-kubernetes-validations": many}}})
    held = rules.Validator(tree)
    with pytest.raises(Impatient):
        held.validate({"s": "a"}, patience=expressions.LOOP_COST)
    assert not held.validate({"s": "a"}).problems
    assert not held.validate({"s": "a"}, patience=expressions.LOOP_COST).problems
