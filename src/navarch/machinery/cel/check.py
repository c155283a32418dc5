"""Whether an expression makes sense: what its names mean, which functions are called, of what type everything is.

In: a tree and an environment. Out: the type of the whole; the tree has types and overloads written into it. `problems.Invalid`, in
upstream's words, when it makes no sense.

Upstream counterpart: cel-go's checker (checker.go), and its validators of literals (cel/validator.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from navarch.machinery import regexp
from navarch.machinery.cel import times, types
from navarch.machinery.cel.environment import Environment, Overload
from navarch.machinery.cel.functions import strings
from navarch.machinery.cel.problems import Invalid, Problem
from navarch.machinery.cel.syntax import Call, Const, Entry, Fold, Ident, ListOf, MapOf, Message, Node, Select, walk
from navarch.machinery.cel.types import Type
from navarch.machinery.cel.values import EvaluationError, Uint

_LITERALS = {bool: types.BOOL, int: types.INT, Uint: types.UINT, float: types.DOUBLE, str: types.STRING, bytes: types.BYTES, type(None): types.NULL}
_TYPE_NAMES = {
    "bool": types.BOOL,
    "int": types.INT,
    "uint": types.UINT,
    "double": types.DOUBLE,
    "string": types.STRING,
    "bytes": types.BYTES,
    "null_type": types.NULL,
    "type": Type("type", (types.DYN,)),
    "list": types.list_of(types.DYN),
    "map": types.map_of(types.DYN, types.DYN),
    "dyn": types.DYN,
    "google.protobuf.Timestamp": types.TIMESTAMP,
    "google.protobuf.Duration": types.DURATION,
    "optional_type": types.optional(types.DYN),
}
"""Types that expressions can name."""


def check(text: str, tree: Node, environment: Environment) -> Type:
    checker = _Checker(environment)
    checker.visit(tree)
    if checker.wrong:
        raise Invalid(text, checker.wrong)
    for node in walk(tree):
        if node.type is not None:
            node.type = checker.bindings.resolve(node.type, dyn=True)
    wrong = _bad_literals(tree)
    if wrong:
        raise Invalid(text, wrong)
    assert tree.type is not None
    return tree.type


class _Checker:
    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.bindings = types.Bindings()
        self.wrong: list[Problem] = []
        self.scopes: list[dict[str, Type]] = []

    def complain(self, at: int, message: str) -> Type:
        self.wrong.append(Problem(at, message))
        return types.ERROR

    def visit(self, node: Node) -> Type:
        node.type = found = _VISITS[node.__class__](self, node)
        return found

    # ---- names -----------------------------------------------------------------------------------------------------

    def named(self, name: str) -> Type | None:
        """What a name stands for: the innermost variable, or a type."""
        if not name.startswith("."):
            for scope in reversed(self.scopes):
                if name in scope:
                    return scope[name]
        name = name.removeprefix(".")
        found = self.environment.variables.get(name)
        if found is None and name in _TYPE_NAMES:
            return types.type_of(_TYPE_NAMES[name])
        return found

    def ident(self, node: Ident) -> Type:
        found = self.named(node.name)
        return self.complain(node.at, f"undeclared reference to '{node.name}' (in container '')") if found is None else found

    def select(self, node: Select) -> Type:
        qualified = _qualified(node)
        if not node.test and qualified is not None and (found := self.named(qualified)) is not None and "." in qualified:
            return found
        operand = self.visit(node.operand)
        found = self.field(node.at, operand, node.field)
        return types.BOOL if node.test else found

    def field(self, at: int, operand: Type, name: str) -> Type:
        """The type of a field; of an optional one, if the operand is optional."""
        held = self.bindings.resolve(operand)
        if held.name == "optional_type":
            return types.optional(self.field(at, held.parameters[0], name))
        if held.name == "map":
            return held.parameters[1]
        if held.fields is not None:
            return held.fields[name] if name in held.fields else self.complain(at, f"undefined field '{name}'")
        if held.variable:
            self.bindings.assign(types.DYN, held)
            return types.DYN
        if not types.is_dyn(held):
            self.complain(at, f"type '{held}' does not support field selection")
        return types.DYN

    # ---- calls -----------------------------------------------------------------------------------------------------

    def call(self, node: Call) -> Type:
        if node.function == "_?._":
            return self.optional_select(node)
        if node.function in ("_&&_", "_||_"):
            return self.logical(node)
        given = [self.visit(arg) for arg in node.args]
        if node.target is not None:
            qualified = _qualified(node.target)
            name = f"{qualified}.{node.function}".removeprefix(".")
            if qualified is not None and name in self.environment.functions:
                node.function, node.target = name, None
            else:
                given = [self.visit(node.target), *given]
        node.function = node.function.removeprefix(".") if node.target is None else node.function
        overloads = self.environment.functions.get(node.function)
        if overloads is None:
            return self.complain(node.at, f"undeclared reference to '{node.function}' (in container '')")
        return self.resolved(node, overloads, given)

    def resolved(self, node: Call, overloads: Sequence[Overload], given: list[Type]) -> Type:
        result: Type | None = None
        member = node.target is not None
        for overload in overloads:
            if overload.member is not member or len(overload.parameters) != len(given):
                continue
            parameters, made = self.instance(overload)
            if self.bindings.assign_all(given, parameters):
                node.overloads.append(overload.id)
                made = self.bindings.resolve(made)
                if result is None:
                    result = made
                elif not types.is_dyn(result) and made != result:
                    result = types.DYN
        if result is not None:
            return result
        shown = [str(self.bindings.resolve(held, dyn=True)) for held in given]
        applied = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
        return self.complain(node.at, f"found no matching overload for '{node.function}' applied to '{applied}'")

    def logical(self, node: Call) -> Type:
        for arg in node.args:
            self.expect(arg, types.BOOL)
        node.overloads = ["logical_and" if node.function == "_&&_" else "logical_or"]
        return types.BOOL

    def instance(self, overload: Overload) -> tuple[list[Type], Type]:
        """An overload's parameters and result, with type parameters of their own."""
        own: dict[str, Type] = {}

        def fresh(held: Type) -> Type:
            if held.variable:
                if held.name not in own:
                    own[held.name] = self.bindings.fresh()
                return own[held.name]
            return Type(held.name, tuple(map(fresh, held.parameters)), held.fields, schema=held.schema) if held.parameters else held

        return [fresh(p) for p in overload.parameters], fresh(overload.result)

    def optional_select(self, node: Call) -> Type:
        operand = self.visit(node.args[0])
        name = node.args[1]
        name.type = types.STRING
        assert isinstance(name, Const)
        held = self.bindings.resolve(operand)
        inner = held.parameters[0] if held.name == "optional_type" else held
        node.overloads = ["select_optional_field"]
        found = self.field(node.at, inner, name.value)
        return found if found.name == "optional_type" else types.optional(found)

    # ---- aggregates ------------------------------------------------------------------------------------------------

    def list_of(self, node: ListOf) -> Type:
        element: Type | None = None
        for i, item in enumerate(node.elements):
            found = self.visit(item)
            element = self.joined(item.at, element, self.unwrapped(item.at, found) if i in node.optional else found)
        return types.list_of(self.bindings.fresh() if element is None else element)

    def map_of(self, node: MapOf) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            assert isinstance(entry.key, Node)
            key = self.joined(entry.key.at, key, self.visit(entry.key))
            found = self.visit(entry.value)
            value = self.joined(entry.value.at, value, self.unwrapped(entry.value.at, found) if entry.optional else found)
        if key is None or value is None:
            return types.map_of(self.bindings.fresh(), self.bindings.fresh())
        return types.map_of(key, value)

    def joined(self, at: int, before: Type | None, found: Type) -> Type:
        """What the elements of a literal have in common; that they must be of one type is looked at later."""
        if before is None:
            return found
        return types.more_general(before, found) if self.bindings.assign(before, found) else types.DYN

    def mismatch(self, at: int, wanted: Type, found: Type) -> Type:
        wanted, found = self.bindings.resolve(wanted, dyn=True), self.bindings.resolve(found, dyn=True)
        return self.complain(at, f"expected type '{wanted}' but found '{found}'")

    def unwrapped(self, at: int, held: Type) -> Type:
        """What an optional element holds."""
        held = self.bindings.resolve(held)
        if held.name == "optional_type":
            return held.parameters[0]
        if not types.is_dyn(held):
            self.mismatch(at, types.optional(held), held)
        return held

    def message(self, node: Message) -> Type:
        made = self.environment.objects.get(node.name)
        for entry in node.entries:
            self.entry(entry, made)
        if made is None:
            return self.complain(node.at, f"undeclared reference to '{node.name}' (in container '')")
        return made

    def entry(self, entry: Entry, made: Type | None) -> None:
        found = self.visit(entry.value)
        if made is None or made.fields is None:
            return
        assert isinstance(entry.key, str)
        wanted = made.fields.get(entry.key)
        if wanted is None:
            self.complain(entry.at, f"undefined field '{entry.key}'")
            return
        found = self.unwrapped(entry.value.at, found) if entry.optional else found
        if not self.bindings.assign(wanted, found):
            shown = self.bindings.resolve(found, dyn=True)
            self.complain(entry.at, f"expected type of field '{entry.key}' is '{wanted}' but provided type is '{shown}'")

    def fold(self, node: Fold) -> Type:
        over = self.bindings.resolve(self.visit(node.over))
        accumulated = self.visit(node.start)
        self.scopes.append({node.accumulator: accumulated})
        self.scopes.append(self.variables(node, over))
        self.expect(node.go_on, types.BOOL)
        self.expect(node.step, accumulated)
        self.scopes.pop()
        made = self.visit(node.result)
        self.scopes.pop()
        return self.bindings.resolve(made)

    def variables(self, node: Fold, over: Type) -> dict[str, Type]:
        found: tuple[Type, ...]
        if over.name == "list":
            found = (types.INT, over.parameters[0]) if node.second else (over.parameters[0],)
        elif over.name == "map":
            found = over.parameters if node.second else (over.parameters[0],)
        elif types.is_dyn(over) or over.variable:
            self.bindings.assign(types.DYN, over)
            found = (types.DYN, types.DYN)
        else:
            why = "cannot be range of a comprehension (must be list, map, or dynamic)"
            found = (self.complain(node.over.at, f"expression of type '{over}' {why}"), types.ERROR)
        return dict(zip([name for name in (node.variable, node.second) if name], found, strict=False))

    def expect(self, node: Node, wanted: Type) -> None:
        found = self.visit(node)
        if not self.bindings.assign(wanted, found):
            self.mismatch(node.at, wanted, found)


_VISITS: dict[type[Node], Callable[[_Checker, Any], Type]] = {
    Const: lambda checker, node: _LITERALS[node.value.__class__],
    Ident: _Checker.ident,
    Select: _Checker.select,
    Call: _Checker.call,
    ListOf: _Checker.list_of,
    MapOf: _Checker.map_of,
    Message: _Checker.message,
    Fold: _Checker.fold,
}


def _qualified(node: Node) -> str | None:
    """`a.b.c`, if the node is no more than names."""
    names: list[str] = []
    while isinstance(node, Select) and not node.test:
        names.append(node.field)
        node = node.operand
    return ".".join([node.name, *reversed(names)]) if isinstance(node, Ident) else None


# ---- literals ------------------------------------------------------------------------------------------------------


def _is_pattern(text: str) -> None:
    if regexp.problem(text):
        raise EvaluationError


_CHECKED: dict[str, tuple[int, Callable[[str], object]]] = {
    "duration": (0, times.duration),
    "timestamp": (0, times.timestamp),
    "matches": (-1, _is_pattern),
}
"""Functions whose literal argument must be good: which argument, and what reads it."""
_MIXED = "format"
"""The function whose argument may be a list of anything."""


def _bad_literals(tree: Node) -> list[Problem]:
    found: list[Problem] = []
    waiting = [(tree, False)]
    while waiting:
        node, mixed = waiting.pop()
        if isinstance(node, Call):
            found += _bad_argument(node)
            found += _bad_format(node)
            mixed = mixed or node.function == _MIXED
        elif not mixed:
            found += _mixed_elements(node)
        waiting += ((part, mixed) for part in node.parts())
    return found


def _bad_argument(node: Call) -> Iterator[Problem]:
    if node.function not in _CHECKED or not node.args:
        return
    position, reads = _CHECKED[node.function]
    literal = node.args[position]
    if not isinstance(literal, Const):
        return
    if node.function == "timestamp" and not isinstance(literal.value, str):
        return
    try:
        reads(literal.value if isinstance(literal.value, str) else "")
    except EvaluationError:
        yield Problem(literal.at, f"invalid {node.function} argument")


def _bad_format(node: Call) -> Iterator[Problem]:
    """`'%d'.format(['a'])`"""
    if node.function != _MIXED or not isinstance(node.target, Const) or not isinstance(node.args[0], ListOf):
        return
    elements = node.args[0].elements
    kinds = [element.type.name if element.type is not None and not element.type.variable else "dyn" for element in elements]
    for position, message in strings.literal_problems(str(node.target.value), kinds):
        yield Problem(node.at if position is None else elements[position].at, message)


def _mixed_elements(node: Node) -> Iterator[Problem]:
    """Elements, keys and values of a literal that are not of the first one's type. Of a list the first is told."""
    if isinstance(node, ListOf):
        yield from list(_unlike([(item, i in node.optional) for i, item in enumerate(node.elements)]))[:1]
    elif isinstance(node, MapOf):
        yield from _unlike([(entry.key, False) for entry in node.entries if isinstance(entry.key, Node)])
        yield from _unlike([(entry.value, entry.optional) for entry in node.entries])


def _unlike(items: Sequence[tuple[Node, bool]]) -> Iterator[Problem]:
    held = [(item.at, item.type.parameters[0] if optional and item.type.parameters else item.type) for item, optional in items if item.type]
    yield from (Problem(at, f"expected type '{held[0][1]}' but found '{other}'") for at, other in held[1:] if other != held[0][1])
