"""The tables of functions, walked: every row is read, means something, and is told apart from the others."""

from __future__ import annotations

from collections import Counter

import pytest

from navarch.machinery.cel import expressions, libraries, types
from navarch.machinery.cel.environment import Library
from navarch.machinery.cel.types import Type

LIBRARIES = [pytest.param(library, id=next(iter(library))) for library in libraries.ALL]
LAZY = {"_&&_", "_||_", "_?_:_", "_[_]", "_?._", "_[?_]", "@not_strictly_false"}
"""What evaluates its arguments itself."""


def flat(held: Type) -> list[Type]:
    return [held, *(inner for one in held.parameters for inner in flat(one))]


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_row_is_read_and_callable(library: Library) -> None:
    for name, overloads in library.items():
        assert overloads, name
        for overload in overloads:
            assert callable(overload.call), overload
            given = {one.name for parameter in overload.parameters for one in flat(parameter) if one.variable}
            made = {one.name for one in flat(overload.result) if one.variable}
            assert made <= given or name in LAZY or not overload.parameters or name in ("optional.none",), overload


def test_ids_are_told_apart() -> None:
    ids = Counter(overload.id for overloads in libraries.BASE.functions.values() for overload in overloads)
    assert [one for one, times in ids.items() if times > 1] == []


def test_no_two_forms_of_a_function_are_the_same() -> None:
    for name, overloads in libraries.BASE.functions.items():
        forms = Counter((overload.member, tuple(map(str, overload.parameters))) for overload in overloads)
        assert [form for form, times in forms.items() if times > 1] == [], name


def test_a_wrong_call_names_the_function() -> None:
    """Each function exists for the checker, and none takes seven arguments."""
    for name, overloads in libraries.BASE.functions.items():
        if name[0] in "_-!" or "@" in name or name in ("has", "all", "exists"):
            continue
        call = f"'x'.{name}(1, 2, 3, 4, 5, 6, 7)" if any(overload.member for overload in overloads) else f"{name}(1, 2, 3, 4, 5, 6, 7)"
        with pytest.raises(expressions.CompileError, match="no matching overload"):
            expressions.compile(call, libraries.BASE)


def test_json_patches_have_one_function_more() -> None:
    text = "jsonpatch.escapeKey('a/b~c')"
    assert expressions.compile(text, libraries.JSON_PATCH, (types.STRING,)).evaluate({})[0] == "a~1b~0c"
    with pytest.raises(expressions.CompileError, match="undeclared reference"):
        expressions.compile(text, libraries.BASE)
