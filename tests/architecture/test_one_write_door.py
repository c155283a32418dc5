"""What is stored goes through one door."""

from __future__ import annotations

import ast

from tests.architecture.test_layers import ROOT

DOOR = "apiserver/verbs/write.py"
BESIDE = frozenset({"apiserver/admission/quota.py", "apiserver/numbers/repair.py"})
"""Where the API server stores something without the door. A quota's usage is written in the middle of another write, by the server itself:
to admit that, too, would call every webhook twice for each object created. What stands for a Service's numbers is written with the Service,
which was admitted, or put right afterwards. This set only ever becomes smaller."""
WRITES = frozenset({"put", "delete", "delete_damaged", "txn", "commit"})


def test_nobody_else_writes_to_storage() -> None:
    found = set()
    for path in sorted((ROOT / "apiserver").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITES:
                owner = ast.unparse(node.func.value)
                if owner.endswith("storage") and name not in (DOOR, "apiserver/storage.py"):
                    found.add(name)
    assert found == BESIDE
