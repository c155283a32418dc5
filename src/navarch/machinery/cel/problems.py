"""What is wrong with an expression, shown as upstream shows it: the line, and a mark under the place.

    ERROR: <input>:1:6: undefined field 'foo'
     | self.foo
     | ....^

Upstream counterpart: cel-go's common/error.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at an offset; an offset of None: with the whole."""

    at: int | None
    message: str


class Invalid(ValueError):
    """An expression that cannot be compiled; the message is upstream's, all problems of it."""

    def __init__(self, text: str, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda p: -1 if p.at is None else p.at)
        super().__init__("\n".join(shown(text, problem) for problem in self.problems))


def shown(text: str, problem: Problem) -> str:
    if problem.at is None:
        return f"ERROR: <input>:-1:0: {problem.message}"
    before = text[: problem.at]
    line, start = before.count("\n") + 1, before.rfind("\n") + 1
    column = problem.at - start
    if not text:
        return f"ERROR: <input>:1:0: {problem.message}"
    whole = text[start:].partition("\n")[0].replace("\t", " ")
    marks = "".join("." if c.isascii() else "．" for c in whole[:column]).ljust(column, ".")
    mark = "^" if whole[column : column + 1].isascii() else "＾"
    return f"ERROR: <input>:{line}:{column + 1}: {problem.message}\n | {whole}\n | {marks}{mark}"
