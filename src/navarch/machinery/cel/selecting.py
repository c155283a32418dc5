"""Fields and elements of values: selected, looked for, and where they may be missing.

Upstream counterpart: cel-go's interpreter/attributes.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.machinery.cel import schema_values, values
from navarch.machinery.cel.frames import VARIABLES, Frame, Run
from navarch.machinery.cel.syntax import Call, Ident, Node, Select
from navarch.machinery.cel.values import NONE, EvaluationError, Optional


def select(run: Run, name: str, asked: str, hides_null: bool) -> Run:
    def select(frame: Frame) -> Any:
        held = run(frame)
        if held.__class__ is dict and name in held:
            value = held[name]
            if value is not None or not hides_null:
                return value
        return _other_field(held, name, asked)

    return select


def select_path(path: Sequence[str], slow: Run) -> Run:
    """`variable.a.b` in one step; what is missing or of another kind is looked at again, step by step."""
    match path:
        case (variable, a):

            def select(frame: Frame) -> Any:
                try:
                    value = frame[VARIABLES][variable][a]
                except (KeyError, TypeError):
                    return slow(frame)
                return slow(frame) if value is None else value
        case (variable, a, b):

            def select(frame: Frame) -> Any:
                try:
                    value = frame[VARIABLES][variable][a][b]
                except (KeyError, TypeError):
                    return slow(frame)
                return slow(frame) if value is None else value
        case (variable, a, b, c):

            def select(frame: Frame) -> Any:
                try:
                    value = frame[VARIABLES][variable][a][b][c]
                except (KeyError, TypeError):
                    return slow(frame)
                return slow(frame) if value is None else value
        case _:
            return slow
    return select


def _other_field(held: Any, name: str, asked: str) -> Any:
    """A field of what is no dict, or not in it."""
    if held.__class__ is Optional:
        return optional(held, name)
    if held.__class__ is list:
        raise EvaluationError("unsupported index type 'string' in list")
    field = getattr(held, "field", None)
    if field is not None:
        return field(name)
    raise EvaluationError(f"no such key: {asked}")


def present(held: Any, name: str, hides_null: bool) -> bool:
    if held.__class__ is dict:
        return name in held and (held[name] is not None or not hides_null)
    if held.__class__ is Optional:
        return held.present and present(held.held, name, hides_null)
    if held.__class__ is list:
        raise EvaluationError("unsupported index type 'string' in list")
    has = getattr(held, "has", None)
    return bool(has is not None and has(name))


def indexed(held: Any, index: Any) -> Any:
    if held.__class__ is dict:
        if index.__class__ is str:
            if index in held:
                return held[index]
        else:
            found, value = values.lookup(held, index)
            if found:
                return value
        raise EvaluationError(f"no such key: {schema_values.shown(index)}")
    if held.__class__ is list:
        return held[_position(held, index)]
    if held.__class__ is Optional:
        return optional(held, index)
    field = getattr(held, "field", None)
    if field is not None:
        return field(index)
    raise EvaluationError(f"no such key: {schema_values.shown(index)}")


def _position(held: list[Any], index: Any) -> int:
    if index.__class__ is float and index.is_integer():
        index = int(index)
    if not values.is_number(index):
        raise EvaluationError(f"unsupported index type '{values.type_name(index)}' in list")
    if index.__class__ is float or not 0 <= index < len(held):
        raise EvaluationError(f"index out of bounds: {schema_values.shown(index)}")
    return int(index)


def optional(held: Any, index: Any) -> Optional:
    """What may be missing; of what is missing, nothing."""
    if held.__class__ is Optional:
        return optional(held.held, index) if held.present else NONE
    if held.__class__ is dict:
        found, value = values.lookup(held, index)
        return Optional(value) if found else NONE
    if held.__class__ is list:
        if values.is_number(index):
            at = int(index)
            return Optional(held[at]) if at == index and 0 <= at < len(held) else NONE
        raise EvaluationError(f"unsupported index type '{values.type_name(index)}' in list")
    has = getattr(held, "has", None)
    return Optional(held.field(index)) if has is not None and has(index) else NONE


def _selects(node: Node) -> bool:
    return (isinstance(node, Select) and not node.test) or (isinstance(node, Call) and node.function in ("_[_]", "_?._", "_[?_]"))


def names(node: Node) -> bool:
    """Whether a node only names something: a variable, or what is selected from one."""
    while _selects(node):
        node = next(node.parts())
    return isinstance(node, Ident) and node.type is not None and node.type.name != "type"


def starts(node: Node) -> int:
    """One, where something is selected from what is computed: cel-go looks that up as a variable without a name."""
    conditional = isinstance(node, Call) and node.function == "_?_:_"
    return 0 if isinstance(node, Ident) or _selects(node) or conditional else 1
