"""Imports run one way: no module imports, through others, what imports it; for type checking neither."""

from __future__ import annotations

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2] / "src" / "navarch"
PARTS = sorted(p.name for p in ROOT.iterdir() if (p / "__init__.py").exists())
TANGLED = frozenset({"apiserver", "kubelet"})
"""Parts that have circles still; the list only shrinks."""


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: pathlib.Path, known: set[str]) -> set[str]:
    """The modules of ours that a module imports, wherever in it that stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {full if (full := f"{node.module}.{alias.name}") in known else node.module for alias in node.names}
    return (found & known) - {name_of(path)}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """What is left once the modules are taken away that import nothing that is left, and those that nothing left imports."""
    left = {name: set(others) for name, others in graph.items()}
    while loose := {name for name, others in left.items() if not others & left.keys() or not any(name in o for o in left.values())}:
        left = {name: others & left.keys() for name, others in left.items() if name not in loose}
    return sorted(left)


@pytest.mark.parametrize("part", [part for part in PARTS if part not in TANGLED])
def test_no_circles(part: str) -> None:
    paths = sorted((ROOT / part).rglob("*.py"))
    known = {name_of(path) for path in paths}
    assert not circle({name_of(path): imports_of(path, known) for path in paths})


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": {"d"}}) == ["b", "c"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
