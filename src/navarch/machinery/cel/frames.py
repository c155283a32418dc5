"""What an evaluation works on: a list of the cost so far, the limit, the variables, and a slot for each variable of a comprehension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Frame = list[Any]
Run = Callable[[Frame], Any]
Compiled = tuple[Run, int]
"""What evaluates a node, and what it costs whenever it does."""
COST, LIMIT, VARIABLES, SLOTS = 0, 1, 2, 3
MAX_COST = 1_000_000
"""Of one evaluation; upstream's PerCallLimit."""


class CostExceeded(Exception):
    """The expression costs more than it may."""

    cost = 0


def count(frame: Frame, cost: int) -> None:
    """Charges an element of a loop, and stops the loop at the limit."""
    frame[COST] += cost
    if frame[COST] > frame[LIMIT]:
        raise CostExceeded
