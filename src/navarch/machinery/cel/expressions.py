"""An expression, from its text to something that can be evaluated.

In: a text, the environment it is written for, and how large values may be. Out: an `Expression`; `CompileError` when there is none, whose
message is the one that users of the API see.

Upstream counterparts: apiserver's pkg/admission/plugin/cel/compile.go, apiextensions-apiserver's pkg/apiserver/schema/cel/compilation.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.machinery.cel import charges, check, cost, parse
from navarch.machinery.cel.environment import Environment
from navarch.machinery.cel.frames import MAX_COST
from navarch.machinery.cel.problems import Invalid
from navarch.machinery.cel.program import Program, Unfit
from navarch.machinery.cel.syntax import Call, Fold, Ident, Node, Select, walk
from navarch.machinery.cel.types import Type

BUDGET = 10_000_000
"""What all rules of one object, or all expressions of one policy binding, may cost together."""
LOOP_COST = 30_000
"""What expressions may cost where others wait for them: some ten milliseconds."""
COMPILING = 1_000
"""What compiling one counts as, where others wait."""
MATCH_CONDITIONS_BUDGET = 2_500_000
"""What the match conditions of one webhook or policy may cost for one object."""


class CompileError(ValueError):
    """The expression is none; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class Expression:
    """Thread-safe, and made once: compiling costs hundreds of microseconds, evaluating few."""

    text: str
    type: Type
    cost: cost.Range
    """What evaluating can cost."""
    names: frozenset[str]
    """The variables it uses."""
    program: Program
    asked: int = 0
    """What of its cost stands for asking the authorizer, if each question in it is asked once: it takes hardly any time."""

    def evaluate(self, variables: Mapping[str, Any], limit: int = MAX_COST) -> tuple[Any, int]:
        """The value and what it cost. EvaluationError and CostExceeded tell their cost too."""
        return self.program.evaluate(variables, limit)


def compile(
    text: str,
    environment: Environment,
    wanted: Sequence[Type] = (),
    size_of: cost.SizeOf = cost.nothing_known,
    must: str = "",
) -> Expression:
    """`wanted`: the types the value may have, none for any; `must`: what to say when it has another, if not what policies say."""
    try:
        tree = parse.parse(text)
        found = check.check(text, tree, environment)
    except Invalid as error:
        raise CompileError(f"compilation failed: {error}") from None
    if wanted and found not in wanted:
        raise CompileError(must or _must(wanted, found))
    names = frozenset(_names(tree, frozenset()))
    estimate = cost.estimate(tree, size_of)
    try:
        program = Program(text, tree, environment)
    except Unfit as error:
        raise CompileError(f"program instantiation failed: {error}") from None
    asked = charges.AUTHORIZATION * sum(isinstance(node, Call) and node.function == "check" for node in walk(tree))
    return Expression(text, found, estimate, names & environment.variables.keys(), program, asked)


def _must(wanted: Sequence[Type], found: Type) -> str:
    if len(wanted) == 1:
        return f"must evaluate to {_go(wanted[0])} but got {_go(found)}"
    return f"must evaluate to one of [{' '.join(map(_go, wanted))}] but got {_go(found)}"


def _go(held: Type) -> str:
    """A type as Go prints it, which differs from how messages of the checker show it."""
    return f"{held.name}({', '.join(map(_go, held.parameters))})" if held.parameters else held.name


def _names(node: Node, local: frozenset[str]) -> set[str]:
    """The names that stand for variables of the environment."""
    if isinstance(node, Ident):
        return set() if node.name in local else {node.name.removeprefix(".")}
    if isinstance(node, Select) and (whole := node.whole) is not None:
        return {whole.name}
    if isinstance(node, Fold):
        within = local | {node.accumulator}
        loop = within | {node.variable, node.second}
        found = _names(node.over, local) | _names(node.start, local) | _names(node.result, within)
        return found | _names(node.go_on, loop) | _names(node.step, loop)
    found = set()
    for part in node.parts():
        found |= _names(part, local)
    return found
