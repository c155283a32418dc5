"""JSON paths in kubectl's dialect: `.status.conditions[?(@.type=="Ready")].status`. What printer columns are made of.

In: a path as text, without the braces of templates. Out: a `Path`, whose `find` gives all that stands there in an object as builtin values.
What is missing is not there; what cannot be looked into (an index beyond a list, a comparison of a number with a text) is an `Unanswerable`.

Upstream counterpart: k8s.io/client-go/util/jsonpath, with missing keys allowed.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MOST_RESULTS = 10_000
"""How many places one step may lead to: `..` doubles what it meets."""


class Invalid(ValueError):
    """The text is no path."""


class Unanswerable(ValueError):
    """The path leads where nothing can be looked up."""


Values = list[Any]
Step = Callable[[Any], Iterable[Any]]
_NAME = re.compile(r"(?:\\.|[^.\[\]\s\\|(){}@$?*,:'\"=!<>])+")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?\Z")
_SLICE = re.compile(r"([+-]?\d*)(?::([+-]?\d*))?(?::([+-]?\d*))?\Z")
_FILTER = re.compile(r"""((?:'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|[^!<>='"])+?)\s*(==|!=|<=|>=|<|>)\s*(.+)\Z""", re.S)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was understood."""

    steps: tuple[Step, ...]

    def find(self, tree: Any) -> Values:
        """All that stands there, in order. Unanswerable."""
        held: Values = [tree]
        for step in self.steps:
            found: Values = []
            for value in held:
                found += step(value)
                if len(found) > MOST_RESULTS:
                    raise Unanswerable(f"the path leads to more than {MOST_RESULTS} places")
            held = found
        return held


def parse(text: str) -> Path:
    """A path. Invalid when the text is none."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        step, at = _step(text, at)
        if step is not None:
            steps.append(step)
    return Path(tuple(steps))


def _step(text: str, at: int) -> tuple[Step | None, int]:
    """The step that begins at a place, and where the next begins."""
    sign = text[at]
    if sign in "$@ ":
        return None, at + 1
    if text.startswith("..", at):
        return _recursive, at + 1 if text[at + 2 : at + 3] not in ("[", "") else at + 2
    if sign == "[":
        end = _closing(text, at)
        return _bracket(text[at + 1 : end].strip()), end + 1
    if sign != ".":
        raise Invalid(f"unrecognized character in action: {sign}")
    if text[at + 1 : at + 2] == "*":
        return _wildcard, at + 2
    if text[at + 1 : at + 2] in ("", "["):
        return None, at + 1
    match = _NAME.match(text, at + 1)
    if match is None:
        raise Invalid(f"unrecognized character in action: {text[at + 1]}")
    return _field(re.sub(r"\\(.)", r"\1", match[0])), match.end()


def _closing(text: str, at: int) -> int:
    """Where a bracket closes: brackets within it, and in quotes, are its own."""
    depth, quote = 0, ""
    place = at
    while place < len(text):
        sign = text[place]
        if quote:
            if sign == "\\":
                place += 1
            elif sign == quote:
                quote = ""
        elif sign in "'\"":
            quote = sign
        elif sign == "[":
            depth += 1
        elif sign == "]":
            depth -= 1
            if depth == 0:
                return place
        place += 1
    raise Invalid("unterminated array")


def _bracket(inside: str) -> Step:
    if inside == "*":
        return _wildcard
    if inside.startswith("?(") and inside.endswith(")"):
        return _filter(inside[2:-1].strip())
    if inside[:1] in ("'", '"'):
        return _union([_field(name) for name in _quoted(inside)])
    parts = [_slice(part.strip()) for part in inside.split(",")]
    return parts[0] if len(parts) == 1 else _union(parts)


def _quoted(text: str) -> list[str]:
    names = re.findall(r"""\s*(?:'((?:\\.|[^'])*)'|"((?:\\.|[^"])*)")\s*(?:,|\Z)""", text)
    if not names:
        raise Invalid(f"invalid array index {text}")
    return [re.sub(r"\\(.)", r"\1", single or double) for single, double in names]


# ---- steps ---------------------------------------------------------------------------------------------------------


def _field(name: str) -> Step:
    def run(value: Any) -> Iterable[Any]:
        return (value[name],) if isinstance(value, dict) and name in value else ()

    return run


def _wildcard(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _recursive(value: Any) -> Iterator[Any]:
    """A place and all below it."""
    yield value
    for below in _wildcard(value):
        if isinstance(below, dict | list):
            yield from _recursive(below)


def _union(steps: Sequence[Step]) -> Step:
    return lambda value: [found for step in steps for found in step(value)]


def _slice(text: str) -> Step:
    match = _SLICE.match(text)
    if match is None or not text:
        raise Invalid(f"invalid array index {text}")
    if ":" not in text:
        return _index(int(text))
    first, last, width = (int(part) if part else None for part in match.groups())
    if width is not None and width <= 0:
        raise Invalid("step must be > 0")

    def run(value: Any) -> Iterable[Any]:
        return _list(value)[first:last:width]

    return run


def _index(number: int) -> Step:
    def run(value: Any) -> Iterable[Any]:
        items = _list(value)
        if not -len(items) <= number < len(items):
            raise Unanswerable(f"array index out of bounds: index {number}, length {len(items)}")
        return (items[number],)

    return run


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unanswerable(f"{value} is not array or slice")
    return value


def _filter(text: str) -> Step:
    match = _FILTER.match(text)
    left = _operand(match[1] if match else text)
    right = _operand(match[3]) if match else None
    compare = _OPERATORS[match[2]] if match else None

    def keeps(item: Any) -> bool:
        found = left(item)
        if compare is None or right is None:
            return bool(found)
        wanted = right(item)
        if not found or not wanted:
            return False
        if len(found) > 1 or len(wanted) > 1:
            raise Unanswerable("can only compare one element at a time")
        return _compared(compare, found[0], wanted[0])

    return lambda value: [item for item in _list(value) if keeps(item)]


def _operand(text: str) -> Callable[[Any], Values]:
    """One side of a comparison: a path from the item, or a value."""
    text = text.strip()
    if text[:1] in ("@", "."):
        return parse(text.removeprefix("@")).find
    if text[:1] in ("'", '"'):
        value: Any = _quoted(text)[0]
    elif text in ("true", "false"):
        value = text == "true"
    elif _NUMBER.match(text):
        value = float(text) if "." in text else int(text)
    else:
        raise Invalid(f"unrecognized identifier {text}")
    return lambda item: [value]


def _compared(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    numbers = isinstance(left, int | float) and isinstance(right, int | float) and not isinstance(left, bool) and not isinstance(right, bool)
    if not numbers and left.__class__ is not right.__class__:
        raise Unanswerable("incompatible types for comparison")
    return compare(left, right)
