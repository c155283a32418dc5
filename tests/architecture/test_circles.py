"""No module imports another that leads back to it, not for type checking either; packages hold prose."""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator, Mapping

import pytest

from tests.architecture.test_layers import ROOT, modules, name_of

OPEN: frozenset[str] = frozenset()
"""Packages that still have a circle. This set only ever becomes smaller."""

TELLS_THE_VERSION = frozenset({"navarch"})


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """module → the modules of ours that it imports, wherever in it the import stands."""
    found: dict[str, set[str]] = {}
    for name, source in sources.items():
        of = found[name] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                of.update(alias.name for alias in node.names if alias.name in sources)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                whole = (f"{node.module}.{alias.name}" for alias in node.names)
                of.update(w if w in sources else node.module for w in whole if w in sources or node.module in sources)
        of.discard(name)
    return found


def circles(of: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """The sets of modules that all lead to each other (Tarjan's strongly connected components, without recursion)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    for root in of:
        if root in order:
            continue
        work = [(root, iter(sorted(of[root])))]
        order[root] = low[root] = len(order)
        stack.append(root)
        while work:
            at, rest = work[-1]
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[at])
                if low[at] == order[at]:
                    cut = stack.index(at)
                    found, stack[cut:] = stack[cut:], []
                    if len(found) > 1:
                        yield sorted(found)
            elif following not in order:
                order[following] = low[following] = len(order)
                stack.append(following)
                work.append((following, iter(sorted(of[following]))))
            elif following in stack:
                low[at] = min(low[at], order[following])


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}}, [["a", "b", "c"], ["d", "e"]]),
    ],
)
def test_circles_are_found(edges: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert sorted(circles(edges)) == expected


def test_an_import_for_type_checking_counts() -> None:
    made = graph({"p.a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import b\n", "p.b": "def f():\n    import p.a\n"})
    assert made == {"p.a": {"p.b"}, "p.b": {"p.a"}}


def test_imports_run_one_way() -> None:
    found = list(circles(graph({name_of(p): p.read_text() for p in modules()})))
    closed = [c for c in found if not any(all(name.startswith(o) for name in c) for o in OPEN)]
    assert not closed, "\n".join(" ↔ ".join(c) for c in closed)


def defines(path: pathlib.Path) -> bool:
    body = ast.parse(path.read_text()).body
    return any(not isinstance(n, ast.Expr) for n in body)


def test_packages_hold_prose() -> None:
    holding = {name_of(p) for p in modules() if p.name == "__init__.py" and p.is_relative_to(ROOT) and defines(p)}
    assert holding == TELLS_THE_VERSION
