"""Macros: calls that become other expressions before anything is checked.

In: a call as it was written. Out: what it stands for, or the call itself. `Unfit` says why a macro's arguments will not do.

Upstream counterparts: cel-go's parser/macro.go, ext/comprehensions.go (two variables), cel/library.go (optionals), ext/lists.go (sortBy).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from navarch.machinery.cel.syntax import RESULT, Call, Const, Fold, Ident, ListOf, MapOf, Node, Select

UNUSED = "#unused"
_SORTED = "@__sortBy_input__"


class Unfit(ValueError):
    def __init__(self, at: int, message: str) -> None:
        self.at = at
        super().__init__(message)


Expander = Callable[[Call], Node]


def expand(call: Call) -> Node:
    expander = MACROS.get((call.function, len(call.args), call.target is not None))
    return call if expander is None else expander(call)


def _has(call: Call) -> Node:
    field = call.args[0]
    if not isinstance(field, Select) or field.test:
        raise Unfit(field.at, "invalid argument to has() macro")
    return Select(call.at, field.operand, field.field, test=True)


def _name(node: Node, message: str = "argument must be a simple name") -> str:
    if not isinstance(node, Ident):
        raise Unfit(node.at, message)
    return node.name


def _variables(call: Call, count: int) -> tuple[str, str]:
    first = _name(call.args[0])
    second = _name(call.args[1]) if count == 2 else ""
    if first == second:
        raise Unfit(call.args[1].at, f"duplicate variable name: {first}")
    for node, name in zip(call.args, (first, second), strict=False):
        if name in (RESULT, "__result__"):
            raise Unfit(node.at, "iteration variable overwrites accumulator variable")
    return first, second


def _fold(call: Call, count: int, macro: str, start: Node, go_on: Node, step: Node, result: Node) -> Fold:
    assert call.target is not None
    first, second = _variables(call, count)
    return Fold(call.at, call.target, first, second, RESULT, start, go_on, step, result, macro)


def _accumulator(call: Call) -> Node:
    return Ident(call.at, RESULT)


def _all(count: int) -> Expander:
    def expander(call: Call) -> Node:
        go_on = Call(call.at, "@not_strictly_false", [_accumulator(call)])
        step = Call(call.at, "_&&_", [_accumulator(call), call.args[count]])
        return _fold(call, count, "all", Const(call.at, True), go_on, step, _accumulator(call))

    return expander


def _exists(count: int) -> Expander:
    def expander(call: Call) -> Node:
        go_on = Call(call.at, "@not_strictly_false", [Call(call.at, "!_", [_accumulator(call)])])
        step = Call(call.at, "_||_", [_accumulator(call), call.args[count]])
        return _fold(call, count, "exists", Const(call.at, False), go_on, step, _accumulator(call))

    return expander


def _exists_one(count: int) -> Expander:
    def expander(call: Call) -> Node:
        one_more = Call(call.at, "_+_", [_accumulator(call), Const(call.at, 1)])
        step = Call(call.at, "_?_:_", [call.args[count], one_more, _accumulator(call)])
        result = Call(call.at, "_==_", [_accumulator(call), Const(call.at, 1)])
        return _fold(call, count, "exists_one", Const(call.at, 0), Const(call.at, True), step, result)

    return expander


def _gather(call: Call, count: int, start: Node, one_more: Node, condition: Node | None) -> Node:
    """A list or map made of what each step adds, where a condition holds."""
    step = one_more if condition is None else Call(call.at, "_?_:_", [condition, one_more, _accumulator(call)])
    macro = "list" if isinstance(start, ListOf) else "map"
    return _fold(call, count, macro, start, Const(call.at, True), step, _accumulator(call))


def _list(count: int) -> Expander:
    """`map` and `transformList`: a condition may stand before what is gathered."""

    def expander(call: Call) -> Node:
        *conditions, made = call.args[count:]
        one_more = Call(call.at, "_+_", [_accumulator(call), ListOf(call.at, [made])])
        return _gather(call, count, ListOf(call.at, []), one_more, conditions[0] if conditions else None)

    return expander


def _filter(call: Call) -> Node:
    _variables(call, 1)
    one_more = Call(call.at, "_+_", [_accumulator(call), ListOf(call.at, [call.args[0]])])
    return _gather(call, 1, ListOf(call.at, []), one_more, call.args[1])


def _transform_map(call: Call) -> Node:
    *conditions, made = call.args[2:]
    key = Ident(call.at, _name(call.args[0]))
    one_more = Call(call.at, "cel.@mapInsert", [_accumulator(call), key, made])
    return _gather(call, 2, MapOf(call.at, []), one_more, conditions[0] if conditions else None)


def _transform_map_entry(call: Call) -> Node:
    *conditions, made = call.args[2:]
    one_more = Call(call.at, "cel.@mapInsert", [_accumulator(call), made])
    return _gather(call, 2, MapOf(call.at, []), one_more, conditions[0] if conditions else None)


def _bind(at: int, name: str, value: Node, result: Node) -> Fold:
    """`result`, in which a name stands for a value: a fold over nothing."""
    return Fold(at, ListOf(at, []), UNUSED, "", name, value, Const(at, False), Ident(at, name), result)


def _optional_map(flat: bool) -> Expander:
    def expander(call: Call) -> Node:
        assert call.target is not None
        name = _name(call.args[0], f"{call.function}() variable name must be a simple identifier")
        bound: Node = _bind(call.at, name, Call(call.at, "value", [], copy.deepcopy(call.target)), call.args[1])
        then = bound if flat else Call(call.at, "optional.of", [bound])
        none = Call(call.at, "optional.none", [])
        return Call(call.at, "_?_:_", [Call(call.at, "hasValue", [], call.target), then, none])

    return expander


def _sort_by(call: Call) -> Node:
    target = call.target
    if target is None or not isinstance(target, ListOf | Select | Ident | Fold | Call):
        message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression"
        raise Unfit(call.at if target is None else target.at, message)
    keys = _list(1)(Call(call.at, "map", call.args, Ident(call.at, _SORTED)))
    return _bind(call.at, _SORTED, target, Call(call.at, "@sortByAssociatedKeys", [keys], Ident(call.at, _SORTED)))


MACROS: Mapping[tuple[str, int, bool], Expander] = {
    ("has", 1, False): _has,
    ("all", 2, True): _all(1),
    ("all", 3, True): _all(2),
    ("exists", 2, True): _exists(1),
    ("exists", 3, True): _exists(2),
    ("exists_one", 2, True): _exists_one(1),
    ("exists_one", 3, True): _exists_one(2),
    ("existsOne", 2, True): _exists_one(1),
    ("existsOne", 3, True): _exists_one(2),
    ("map", 2, True): _list(1),
    ("map", 3, True): _list(1),
    ("filter", 2, True): _filter,
    ("transformList", 3, True): _list(2),
    ("transformList", 4, True): _list(2),
    ("transformMap", 3, True): _transform_map,
    ("transformMap", 4, True): _transform_map,
    ("transformMapEntry", 3, True): _transform_map_entry,
    ("transformMapEntry", 4, True): _transform_map_entry,
    ("optMap", 2, True): _optional_map(flat=False),
    ("optFlatMap", 2, True): _optional_map(flat=True),
    ("sortBy", 2, True): _sort_by,
}
"""Name, number of arguments, whether it is called on something → what it becomes."""
