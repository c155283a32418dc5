"""Calls of functions: plain, charged by what they are given, and told apart by the types of values.

Upstream counterparts: cel-go's interpreter (interpretable.go, runtimecost.go).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from navarch.machinery.cel import charges, values
from navarch.machinery.cel.environment import Implementation
from navarch.machinery.cel.frames import COST, LIMIT, CostExceeded, Frame, Run, count
from navarch.machinery.cel.values import EvaluationError


def plain(call: Implementation, runs: Sequence[Run]) -> Run:
    match runs:
        case [one]:
            return lambda frame: call(one(frame))
        case [one, two]:
            return lambda frame: call(one(frame), two(frame))
        case _:
            return lambda frame: call(*[run(frame) for run in runs])


def charged(call: Implementation, runs: Sequence[Run], charge: charges.Charge) -> Run:
    """What a call costs is known before it is made, but for what it costs to make a result: then it is seen to after."""

    def after(frame: Frame) -> Any:
        args = [one(frame) for one in runs]
        result = call(*args)
        count(frame, charge(args, result))
        return result

    def before(frame: Frame) -> Any:
        args = [one(frame) for one in runs]
        cost = charge(args, None)
        if frame[COST] + cost > frame[LIMIT]:
            frame[COST] += cost
            raise CostExceeded
        result = call(*args)
        frame[COST] += cost
        return result

    return after if charge in charges.OF_RESULT else before


_QUIET = frozenset({"contains", "endsWith", "startsWith", "matches"})


def dispatch(function: str, forms: Sequence[tuple[tuple[Callable[[Any], bool], ...], Implementation]]) -> Implementation:
    """Calls the form whose parameters take the values."""

    def call(*args: Any) -> Any:
        for accepted, implementation in forms:
            if all(accepts(arg) for accepts, arg in zip(accepted, args, strict=True)):
                return implementation(*args)
        if not function[0].isalpha() or function in _QUIET:
            raise values.no_such_overload()
        shown = "" if function == "size" else f"({', '.join(map(values.type_name, args))})"
        raise EvaluationError(f"no such overload: {function}{shown}")

    return call
