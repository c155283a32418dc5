"""The web library is known in one place of the API server: what is above it gets calls and gives answers as values."""

from __future__ import annotations

import ast

from tests.architecture.test_layers import ROOT, imports

LIBRARY = frozenset({"aiohttp", "multidict", "yarl", "propcache", "frozenlist"})
ALONE = ROOT / "apiserver" / "http"


def test_only_http_imports_the_web_library() -> None:
    wrong = []
    for path in sorted((ROOT / "apiserver").rglob("*.py")):
        if not path.is_relative_to(ALONE):
            wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in imports(ast.parse(path.read_text())) if name.split(".")[0] in LIBRARY]
    assert not wrong, "\n".join(wrong)


def test_nothing_but_composition_imports_http() -> None:
    """Else what is above would know how answers are written after all."""
    wrong = []
    for path in sorted((ROOT / "apiserver").rglob("*.py")):
        if path.is_relative_to(ALONE) or path.name == "loop.py":
            continue
        wrong += [str(path.relative_to(ROOT)) for name in imports(ast.parse(path.read_text())) if name.startswith("navarch.apiserver.http")]
    assert not wrong, "\n".join(wrong)


def test_parts_are_put_together_in_one_place() -> None:
    """A part that was given all parts could reach everything: composition is imported by the loop alone."""
    importing = set()
    for path in sorted((ROOT / "apiserver").rglob("*.py")):
        if any(name.startswith("navarch.apiserver.parts") for name in imports(ast.parse(path.read_text()))):
            importing.add(path.name)
    assert importing == {"loop.py"}
