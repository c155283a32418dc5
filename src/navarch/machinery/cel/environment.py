"""What an expression may use: functions, variables, types by name.

A function is declared as a row of a library's table: its name, and for each overload an id, a signature and what it does. Ids are
cel-go's: costs go by them.

    Overload("starts_with_string", "string.(string) -> bool", str.startswith)

Upstream counterparts: cel-go's cel.Env, apiserver's pkg/cel/environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from navarch.machinery.cel import types
from navarch.machinery.cel.types import Type

Implementation = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Overload:
    """One form of a function: `signature` is `(int, int) -> int`, or `string.(int) -> string` for what is called on a value."""

    id: str
    signature: str
    call: Implementation
    parameters: tuple[Type, ...] = field(init=False, default=())
    result: Type = field(init=False, default=types.DYN)
    member: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        before, _, after = self.signature.rpartition("->")
        target, _, rest = before.strip().partition("(") if not before.strip().startswith("(") else ("", "", before.strip()[1:])
        target, rest = _split_target(before.strip())
        found = types.read(f"of({rest})").parameters if rest else ()
        object.__setattr__(self, "parameters", (*((types.read(target),) if target else ()), *found))
        object.__setattr__(self, "result", types.read(after))
        object.__setattr__(self, "member", bool(target))


def _split_target(text: str) -> tuple[str, str]:
    """`list(T).(T)` → `list(T)`, `T`."""
    if text.startswith("("):
        return "", text[1:-1].strip()
    target, _, rest = text.rpartition(".(") if text.endswith(")") else (text, "", "")
    return target, rest[:-1].strip()


Library = Mapping[str, tuple[Overload, ...]]
"""A function's name → its overloads."""


@dataclass(frozen=True)
class Environment:
    """Functions, variables and named types. Made once, extended by variables."""

    functions: Mapping[str, tuple[Overload, ...]]
    variables: Mapping[str, Type] = field(default_factory=dict)
    objects: Mapping[str, Type] = field(default_factory=dict)
    """Types that may be written as `Name{…}`."""

    def extended(self, variables: Mapping[str, Type] = types.NO_TYPES, objects: Mapping[str, Type] = types.NO_TYPES) -> Environment:
        """With more variables; `objects` stand in the place of those it had."""
        return replace(self, variables={**self.variables, **variables}, objects=objects or self.objects)


def of(libraries: Iterable[Library]) -> Environment:
    """An environment with the functions of libraries. Two may have overloads of one function."""
    functions: dict[str, tuple[Overload, ...]] = {}
    for library in libraries:
        for name, overloads in library.items():
            functions[name] = (*functions.get(name, ()), *overloads)
    return Environment(functions)
