"""Match conditions: expressions that must all hold for a webhook to be called, or a policy to count.

One that is false decides, whatever others come to. One that fails does as the failure policy says.

Upstream counterpart: apiserver's pkg/admission/plugin/webhook/matchconditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from navarch.machinery.cel import admission
from navarch.machinery.cel.expressions import MATCH_CONDITIONS_BUDGET, Expression
from navarch.machinery.cel.program import CostExceeded
from navarch.machinery.cel.values import EvaluationError

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class ConditionFields(Protocol):
    @property
    def name(self) -> str | None: ...
    @property
    def expression(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition; `error` says why there is no expression."""

    name: str
    text: str
    expression: Expression | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether all hold; `errors` are what some came to instead, when none is false."""

    matches: bool
    errors: tuple[str, ...] = ()
    excluded_by: str = ""
    """The name of the condition that is false."""


_MATCHES = Outcome(True)


def compiled(held: Iterable[ConditionFields]) -> tuple[Condition, ...]:
    """Conditions as they are stored: one that does not compile any more is one that fails."""
    return tuple(_compiled(c.name or "", (c.expression or "").strip()) for c in held)


def _compiled(name: str, text: str) -> Condition:
    found = admission.compiled(text)
    return Condition(name, text, None, found) if isinstance(found, str) else Condition(name, text, found)


def asks(conditions: Sequence[Condition]) -> bool:
    """Whether conditions ask the authorizer: then they are no pure function of the request."""
    return any(name.startswith("authorizer") for c in conditions if c.expression is not None for name in c.expression.names)


def evaluate(conditions: Sequence[Condition], variables: Mapping[str, Any], budget: int = MATCH_CONDITIONS_BUDGET) -> Outcome:
    """What conditions come to, for the variables of one request."""
    failures: list[str] = []
    for condition in conditions:
        if condition.expression is None:
            failures.append(f"compilation error: {condition.error}")
            continue
        try:
            held, cost = condition.expression.evaluate(variables)
        except (EvaluationError, CostExceeded) as error:
            held, cost = None, error.cost
            failures.append(f"expression '{condition.text}' resulted in error: {error}")
        if cost > budget:
            return Outcome(False, (OUT_OF_BUDGET,))
        budget -= cost
        if held is False:
            return Outcome(False, (), condition.name)
    return Outcome(False, tuple(failures)) if failures else _MATCHES
