"""Integers that others wrote are read in one place."""

from __future__ import annotations

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[2] / "src" / "navarch"

ALLOWED = frozenset(
    {
        "lib/integers.py",
        "cri/containerd.py",  # names of folders in /proc, which the kernel writes
        "run/host.py",
        "run/status.py",
        "cri/leftovers.py",
        "kubelet/machine_facts.py",
        "apiserver/http/tunnel.py",  # bytes, of which only ASCII digits are digits
    }
)


def test_nobody_asks_a_text_whether_it_is_digits() -> None:
    """`"²".isdigit()` is true and `int("²")` raises; `int` refuses more than 4,300 digits. `lib.integers` knows."""
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("isdigit", "isdecimal", "isnumeric") and name not in ALLOWED:
                wrong.append(f"{name}:{node.lineno}")
    assert not wrong, "\n".join(wrong)
