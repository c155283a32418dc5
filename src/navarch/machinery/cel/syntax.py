"""Expressions as trees.

A tree is made by `parse`, with macros expanded; `check` writes into each node its type, and into names and calls what they refer to.
A node's `at` is its offset in the text, in characters, where problems with it are shown.

Upstream counterpart: cel-go's common/ast.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from navarch.machinery.cel.types import Type


class Node:
    """Some part of an expression."""

    __slots__ = ("at", "type")

    def __init__(self, at: int) -> None:
        self.at = at
        self.type: Type | None = None

    def parts(self) -> Iterator[Node]:
        """The nodes directly below."""
        return iter(())


class Const(Node):
    """A literal, as the value it is when expressions run."""

    __slots__ = ("value",)

    def __init__(self, at: int, value: Any) -> None:
        super().__init__(at)
        self.value = value


class Ident(Node):
    __slots__ = ("name",)

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name


class Select(Node):
    """`operand.field`; with `test`, `has(operand.field)`."""

    __slots__ = ("field", "operand", "test")

    def __init__(self, at: int, operand: Node, field: str, test: bool = False) -> None:
        super().__init__(at)
        self.operand = operand
        self.field = field
        self.test = test

    def parts(self) -> Iterator[Node]:
        yield self.operand

    @property
    def whole(self) -> Ident | None:
        """The variable or type whose name has a dot that this stands for, once checked: the checker did not look at its parts."""
        if self.test or self.type is None or self.operand.type is not None:
            return None
        names = [self.field]
        node = self.operand
        while isinstance(node, Select):
            names.append(node.field)
            node = node.operand
        if not isinstance(node, Ident):
            return None
        made = Ident(self.at, ".".join([node.name.removeprefix("."), *reversed(names)]))
        made.type = self.type
        return made


class Call(Node):
    """A function or operator. `overloads`: the ids of those that may be meant, once checked."""

    __slots__ = ("args", "function", "overloads", "target")

    def __init__(self, at: int, function: str, args: list[Node], target: Node | None = None) -> None:
        super().__init__(at)
        self.function = function
        self.args = args
        self.target = target
        self.overloads: list[str] = []

    def operands(self) -> list[Node]:
        """The target, if there is one, and the arguments."""
        return self.args if self.target is None else [self.target, *self.args]

    def parts(self) -> Iterator[Node]:
        yield from self.operands()


class ListOf(Node):
    """`[a, ?b]`; `optional`: the positions of elements that may be left out."""

    __slots__ = ("elements", "optional")

    def __init__(self, at: int, elements: list[Node], optional: frozenset[int] = frozenset()) -> None:
        super().__init__(at)
        self.elements = elements
        self.optional = optional

    def parts(self) -> Iterator[Node]:
        yield from self.elements


class Entry:
    """One of a map's entries or of a message's fields; a field's key is its name."""

    __slots__ = ("at", "key", "optional", "value")

    def __init__(self, at: int, key: Node | str, value: Node, optional: bool) -> None:
        self.at = at
        self.key = key
        self.value = value
        self.optional = optional


class MapOf(Node):
    __slots__ = ("entries",)

    def __init__(self, at: int, entries: list[Entry]) -> None:
        super().__init__(at)
        self.entries = entries

    def parts(self) -> Iterator[Node]:
        for entry in self.entries:
            if isinstance(entry.key, Node):
                yield entry.key
            yield entry.value


class Message(Node):
    """`Name{field: value}`"""

    __slots__ = ("entries", "name")

    def __init__(self, at: int, name: str, entries: list[Entry]) -> None:
        super().__init__(at)
        self.name = name
        self.entries = entries

    def parts(self) -> Iterator[Node]:
        yield from (entry.value for entry in self.entries)


class Fold(Node):
    """A comprehension: what macros like `all` and `map` become.

    `result` is what comes of it, once `accumulator`, which starts as `start`, has become `step` for each of `over`, as long as `go_on`
    holds. `variable` is an element of a list or a key of a map; with `second`, it is the index or key and `second` the value.
    `macro`: the one it came from, whose shape is known and can be run faster: all, exists, exists_one, list, map.
    """

    __slots__ = ("accumulator", "go_on", "macro", "over", "result", "second", "start", "step", "variable")

    def __init__(
        self, at: int, over: Node, variable: str, second: str, accumulator: str, start: Node, go_on: Node, step: Node, result: Node, macro: str = ""
    ) -> None:
        super().__init__(at)
        self.over = over
        self.variable = variable
        self.second = second
        self.accumulator = accumulator
        self.start = start
        self.go_on = go_on
        self.step = step
        self.result = result
        self.macro = macro

    def parts(self) -> Iterator[Node]:
        yield from (self.over, self.start, self.go_on, self.step, self.result)

    @property
    def binds(self) -> bool:
        """Whether it only gives a value a name."""
        return isinstance(self.over, ListOf) and not self.over.elements and self.accumulator != RESULT


RESULT = "@result"
"""The accumulator of macros: a name nobody can write."""


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in the order of the text."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += reversed(list(current.parts()))
