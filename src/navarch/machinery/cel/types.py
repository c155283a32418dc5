"""The types of expressions.

A type is a name with parameters: `list(string)`. Types of one name and parameters are one type; what a schema says of a list or an
object beyond that (`schema`) does not tell types apart.

Upstream counterpart: cel-go's common/types (types.go), checker (types.go, format.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    name: str
    parameters: tuple[Type, ...] = ()
    fields: Mapping[str, Type] | None = field(default=None, compare=False, repr=False)
    """For an object: its fields, by the names expressions use."""
    variable: bool = False
    """A type parameter, to be found out."""
    schema: Any = field(default=None, compare=False, repr=False)
    """For what comes from a schema: the place it describes (`declared.Declared`)."""

    def __str__(self) -> str:
        """As upstream shows it in messages."""
        if self.name == "null_type":
            return "null"
        if self.variable or not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"


DYN, ANY, ERROR, NULL = Type("dyn"), Type("any"), Type("!error!"), Type("null_type")
BOOL, INT, UINT, DOUBLE, STRING, BYTES = (Type(name) for name in ("bool", "int", "uint", "double", "string", "bytes"))
TIMESTAMP, DURATION = Type("timestamp"), Type("duration")
NO_TYPES: Mapping[str, Type] = {}


def list_of(element: Type) -> Type:
    return Type("list", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", (key, value))


def type_of(held: Type) -> Type:
    return Type("type", (held,))


def optional(held: Type) -> Type:
    return Type("optional_type", (held,))


def parameter(name: str) -> Type:
    return Type(name, variable=True)


def is_dyn(held: Type) -> bool:
    """Whether any value may be of the type, as far as checking goes."""
    return held.name in ("dyn", "any", "!error!")


def is_object(held: Type) -> bool:
    return held.fields is not None


# ---- assigning -----------------------------------------------------------------------------------------------------


class Bindings:
    """What type parameters stand for."""

    def __init__(self) -> None:
        self.held: dict[str, Type] = {}
        self._fresh = 0

    def fresh(self) -> Type:
        """A parameter of its own."""
        self._fresh += 1
        return parameter(f"_var{self._fresh}")

    def resolve(self, held: Type, *, dyn: bool = False) -> Type:
        """A type with its parameters replaced by what they stand for. `dyn`: those that stand for nothing are dyn."""
        if held.variable:
            bound = self.held.get(held.name)
            if bound is None:
                return DYN if dyn else held
            return self.resolve(bound, dyn=dyn)
        if not held.parameters:
            return held
        parameters = tuple(self.resolve(p, dyn=dyn) for p in held.parameters)
        return held if parameters == held.parameters else Type(held.name, parameters, schema=held.schema)

    def assign(self, given: Type, wanted: Type) -> bool:
        """Whether a value of one type may stand where another is wanted; parameters are bound on the way, or all stay as they were."""
        return self.assign_all([given], [wanted])

    def assign_all(self, given: Sequence[Type], wanted: Sequence[Type]) -> bool:
        before = dict(self.held)
        if len(wanted) == len(given) and all(self._assign(g, w) for g, w in zip(given, wanted, strict=True)):
            return True
        self.held = before
        return False

    def _assign(self, given: Type, wanted: Type) -> bool:
        if wanted.variable:
            good, known = self._substitute(given, wanted)
            if good or known:
                return good
        if given.variable:
            return self._substitute(wanted, given)[0]
        if is_dyn(given) or is_dyn(wanted):
            return True
        if given.name == "null_type" or wanted.name == "null_type":
            return takes_null(wanted if given.name == "null_type" else given)
        if given.name == "type":
            return wanted.name == "type"
        if given.name != wanted.name or len(given.parameters) != len(wanted.parameters):
            return False
        return all(self._assign(g, w) for g, w in zip(given.parameters, wanted.parameters, strict=True))

    def _substitute(self, held: Type, variable: Type) -> tuple[bool, bool]:
        """Whether a type may stand for a parameter, and whether another already stood for it."""
        if held == variable:
            return True, True
        bound = self.held.get(variable.name)
        if bound is None:
            if self._within(variable, held):
                return False, False
            self.held[variable.name] = held
            return True, False
        if held == bound:
            return True, True
        if not self._assign(held, bound):
            return False, True
        general = more_general(held, bound)
        if not self._within(variable, general):
            self.held[variable.name] = general
        return True, True

    def _within(self, variable: Type, held: Type) -> bool:
        if held.variable:
            bound = self.held.get(held.name)
            return held.name == variable.name or (bound is not None and self._within(variable, bound))
        return any(self._within(variable, p) for p in held.parameters)


def takes_null(held: Type) -> bool:
    """Whether null may stand for a value of a type: objects, times and what libraries add."""
    return held.name not in ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "type")


def more_general(left: Type, right: Type) -> Type:
    return left if less_specific(left, right) else right


def less_specific(left: Type, right: Type) -> bool:
    """Whether the first type says no more than the second."""
    if is_dyn(left) or left.variable:
        return True
    if is_dyn(right) or right.variable or left.name != right.name or len(left.parameters) != len(right.parameters):
        return False
    return left.name == "type" or all(less_specific(one, other) for one, other in zip(left.parameters, right.parameters, strict=True))


# ---- types as text -------------------------------------------------------------------------------------------------


def read(text: str, named: Mapping[str, Type] = NO_TYPES) -> Type:
    """A type from its text: `map(string, list(T))`; one capital letter is a parameter."""
    found, rest = _read(text, named)
    if rest.strip():
        raise ValueError(f"not a type: {text}")
    return found


def _read(text: str, named: Mapping[str, Type]) -> tuple[Type, str]:
    text = text.strip()
    end = next((i for i, c in enumerate(text) if c in "(),"), len(text))
    name, rest = text[:end].strip(), text[end:]
    parameters: list[Type] = []
    if rest.startswith("("):
        while not rest.startswith(")"):
            found, rest = _read(rest[1:], named)
            parameters.append(found)
            rest = rest.strip()
        rest = rest[1:]
    if name in named:
        return named[name], rest
    return Type(name, tuple(parameters), variable=len(name) == 1 and name.isupper()), rest
