"""What a reader relies on: who may import whom, what is pure, that every module stands alone, that the command starts fast."""

from __future__ import annotations

import ast
import importlib
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2] / "src" / "navarch"
LAYERS = ("lib", "api", "machinery", "objects", "store", "client")
COMPONENTS = ("apiserver", "scheduler", "controllers", "kubelet", "cri", "network", "addons")
ROOTS = ("cli", "run", "testing")

ALLOWED: dict[str, frozenset[str]] = {
    "lib": frozenset(),
    "api": frozenset(),
    "machinery": frozenset({"lib", "api"}),
    "objects": frozenset({"lib", "api", "machinery"}),
    "store": frozenset({"lib"}),
    "client": frozenset({"lib", "api", "machinery", "objects"}),
    "apiserver": frozenset({"lib", "api", "machinery", "objects", "store"}),
    "scheduler": frozenset({"lib", "api", "machinery", "objects", "client"}),
    "controllers": frozenset({"lib", "api", "machinery", "objects", "client"}),
    "cri": frozenset({"lib", "api"}),
    "kubelet": frozenset({"lib", "api", "machinery", "objects", "client", "cri"}),
    "network": frozenset({"lib", "api", "machinery", "objects", "client"}),
    "addons": frozenset({"lib", "api", "machinery", "objects", "client"}),
}
"""Only the API server knows the store; no component knows another. The roots (cli, run, testing) put them together."""

IMPURE = frozenset({"asyncio", "time", "random", "socket", "subprocess", "threading", "logging", "aiohttp", "secrets", "os", "shutil", "tempfile"})
IMPURE_CALLS = frozenset({"open", "print", "input"})


def modules() -> list[pathlib.Path]:
    return sorted(ROOT.rglob("*.py"))


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_go_down_only(part: str) -> None:
    wrong = []
    for path in sorted((ROOT / part).rglob("*.py")):
        for name in imports(ast.parse(path.read_text())):
            pieces = name.split(".")
            if pieces[0] == "navarch" and len(pieces) > 1 and (ROOT / pieces[1]).is_dir():
                other = pieces[1]
                if other != part and other not in ALLOWED[part]:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(sorted(set(wrong)))


def core_modules() -> list[pathlib.Path]:
    """What decides: every `core/`, what objects mean and how they behave, and the store's ledger."""

    def pure(parts: tuple[str, ...]) -> bool:
        return "core" in parts[:-1] or parts[0] in ("machinery", "objects") or parts == ("store", "ledger.py")

    return [p for p in modules() if p.relative_to(ROOT).parts[0] != "api" and pure(p.relative_to(ROOT).parts)]


def test_there_are_cores_to_look_at() -> None:
    assert len({p.parent for p in core_modules()}) >= 4


@pytest.mark.parametrize("path", core_modules(), ids=name_of)
def test_core_is_pure(path: pathlib.Path) -> None:
    """No await, I/O, clock, randomness or logging in what decides."""
    tree = ast.parse(path.read_text())
    found = [f"imports {name}" for name in imports(tree) if name.split(".")[0] in IMPURE]
    for node in ast.walk(tree):
        if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
            found.append(f"line {node.lineno}: async")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            found.append(f"line {node.lineno}: {node.func.id}()")
        if isinstance(node, ast.Global):
            found.append(f"line {node.lineno}: global")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_module_says_what_it_is(path: pathlib.Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} does not open with prose"


def test_every_module_imports_alone() -> None:
    """Each in a process of its own would take minutes; a fork after nothing but the interpreter's start does the same."""
    script = (
        "import importlib, os, sys\n"
        "bad = []\n"
        "for name in sys.argv[1:]:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        try:\n"
        "            importlib.import_module(name)\n"
        "            os._exit(0)\n"
        "        except BaseException as error:\n"
        "            sys.stderr.write(f'{name}: {error!r}\\n')\n"
        "            os._exit(1)\n"
        "    _, status = os.waitpid(pid, 0)\n"
        "    bad += [name] if status else []\n"
        "sys.exit(1 if bad else 0)\n"
    )
    names = [name_of(p) for p in modules() if p.stem != "__main__"]
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_help_starts_fast() -> None:
    """`navarch --help` imports in under 150 ms (the best of five: other work shares the machine)."""
    best = 10.0
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import navarch.cli.main"], check=True)
        bare = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        best = min(best, (bare - start) - (time.perf_counter() - bare))
    assert best < 0.150, f"{best * 1000:.0f} ms"


def test_generated_types_are_what_the_generator_makes() -> None:
    generate = importlib.import_module("navarch.api.generate")
    types = json.loads((ROOT / "api" / "facts" / "types.json").read_text())
    for name, text in generate.sources(types).items():
        made = subprocess.run(
            [sys.executable, "-m", "ruff", "format", "--stdin-filename", name, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT.parents[1],
        ).stdout
        assert made == (ROOT / "api" / name).read_text(), f"{name} is not what `python -m navarch.api.generate` makes"


def test_tasks_start_through_one_door() -> None:
    """asyncio.create_task and ensure_future are for lib.tasks (rule 7)."""
    wrong = []
    for path in modules():
        if path.relative_to(ROOT).parts[0] == "lib":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("create_task", "ensure_future"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)
