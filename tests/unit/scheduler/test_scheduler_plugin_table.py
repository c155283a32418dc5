"""The table of plugins: each row is whole, and what a plugin is stands nowhere else."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

import navarch.scheduler
from navarch.scheduler.config import plugin_sets
from navarch.scheduler.core.arguments import Arguments
from navarch.scheduler.core.plugin import MOST, NORMALIZE, Plugin, Scope
from navarch.scheduler.core.plugins.table import BY_NAME, HELPS, TABLE, WEIGHTS, filters
from navarch.scheduler.core.plugins.table import scores as scores_of

ROOT = pathlib.Path(navarch.scheduler.__file__).parent


def rows() -> list[object]:
    return [pytest.param(row, id=row.name) for row in TABLE]


@pytest.mark.parametrize("row", rows())
def test_a_row_is_whole(row: Plugin) -> None:
    assert row.points and set(row.points) <= set(plugin_sets.POINTS) and len(set(row.points)) == len(row.points)
    assert row.filter is None or "filter" in row.points
    assert row.score is None or ("score" in row.points and 0 < row.weight <= MOST)
    assert row.normalize in NORMALIZE and (row.score is not None or not row.normalize)
    assert (row.filter is None and row.score is None) == (row.scope is Scope.ANYTHING), "a built-in plugin says what it looks at"
    for earlier in row.needs:
        assert {earlier, plugin_sets.LATER[earlier]} <= set(row.points)
    assert row.pre_filter is None or "preFilter" in row.points
    assert row.hint is None or row.filter is not None
    assert row.events is None or len(set(row.events)) == len(row.events)
    assert row.filter is None or row.events, "a filter names what may help a pod that it refused"


def test_every_filter_and_score_is_asked_once() -> None:
    assert len(BY_NAME) == len(TABLE)
    asked = [name for name, _ in (*filters(Scope.NODE, Scope.PODS), *filters(Scope.VOLUMES, Scope.DOMAINS))]
    assert asked == [row.name for row in TABLE if row.filter is not None], "and in the order of the table"
    scored = {name for name, _ in scores_of(*Scope)} | {row.name for row in TABLE if row.normalize}
    assert scored == set(WEIGHTS) == {row.name for row in TABLE if row.score is not None}
    assert set(HELPS) >= set(asked)


@pytest.mark.parametrize("row", [row for row in rows() if row.values[0].arguments is not None])  # type: ignore[attr-defined]
def test_arguments_that_say_nothing_change_nothing(row: Plugin) -> None:
    """What a reader takes for unsaid is what `Arguments` has by default, and no check minds it."""
    reader = row.arguments
    assert reader is not None
    found: list[object] = []
    reader.check(found, "args", reader.kind())  # type: ignore[arg-type]
    assert not found
    assert reader.read is None or reader.read(Arguments(), reader.kind()) == Arguments()


ELSEWHERE = {
    "config/profiles.py": {"DefaultPreemption", "SchedulingGates", "GangScheduling"},
    "core/decide.py": {"NodeAffinity"},
    "core/decider.py": {"GangScheduling"},
    "core/explain.py": {"NodeResourcesFit", "TaintToleration", "NodeUnschedulable"},
    "core/what_if.py": {"VolumeBinding"},
    "volume_binder.py": {"VolumeBinding"},
}
"""Modules that name a plugin: they do its work where that is neither a filter nor a score, or look for what it alone refused."""


def test_a_plugin_is_named_in_its_row_and_where_its_work_is_done() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        if path.name == "table.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in BY_NAME:
                found.setdefault(str(path.relative_to(ROOT)), set()).add(str(node.value))
    assert found == ELSEWHERE


ROW = """
    Plugin(
        "Dark",
        lambda view, at: [Refusal("node(s) were dark", node_selectors.has(view.columns, "light", ("off",))[at], True)],
        lambda view, at: node_selectors.has(view.columns, "light", ("dim",))[at].astype("int64"),
        "reversed",
        scope=Scope.NODE,
        points=("filter", "score"),
        weight=4,
        events=(Event.NODE_LABELS,),
        hint=lambda view, slot: "would fit if somebody lit it",
    ),
"""
WITH_ONE_MORE = """
import pathlib, sys, types

import navarch.scheduler.core.plugins as package

path = pathlib.Path(package.__file__).with_name("table.py")
text = path.read_text().replace('    Plugin("NodeName"', sys.argv[1] + '    Plugin("NodeName"', 1)
imports = "from navarch.scheduler.core import node_selectors\\nfrom navarch.scheduler.core.view import Refusal\\n"
text = text.replace("from navarch.scheduler.core import topology\\n", imports + "from navarch.scheduler.core import topology\\n", 1)
module = types.ModuleType("navarch.scheduler.core.plugins.table")
sys.modules[module.__name__] = package.table = module
exec(compile(text, str(path), "exec"), module.__dict__)

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.scheduler.config import configuration
from navarch.scheduler.core import explain
from navarch.scheduler.core.decide import Core
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.queue import helps
from navarch.scheduler.core.terms import Reader
from navarch.scheduler.core.view import View

amounts = {"cpu": "4", "memory": "8Gi", "pods": "10"}


def profile(**plugins):
    given = {"apiVersion": configuration.VERSION, "kind": configuration.KIND, "profiles": [{"plugins": plugins}]}
    return configuration.read(given).profiles["default-scheduler"]


def core(*lights):
    made = Core()
    for light in lights:
        metadata = meta_v1.ObjectMeta(name=light, labels={"light": light})
        made.columns.put_node(v1.Node(metadata=metadata, status=v1.NodeStatus(allocatable=amounts)))
    return made


pod = Reader().read(v1.Pod(metadata=meta_v1.ObjectMeta(name="p", namespace="d", uid="p"), spec=v1.PodSpec(containers=[v1.Container(name="c")])))
off = {"disabled": [{"name": "Dark"}]}
print(core("off", "dim", "on").schedule(pod, 0, profile()).node)
print(core("off", "dim").schedule(pod, 0, profile(score=off)).node)
print(core("off").schedule(pod, 0, profile(filter=off)).node)
cluster = core("off")
refused = cluster.schedule(pod, 0, profile())
(row,) = explain.rows(View(cluster.columns, pod.terms, profile().arguments), refused)
print(refused.message, row.lacks)
print([str(event) for event in Event if helps(event, refused.plugins)])
print(profile(score={"enabled": [{"name": "Dark", "weight": 9}]}).weights["Dark"], profile().weights["Dark"])
"""


def test_a_row_and_its_functions_are_all_that_a_new_plugin_takes() -> None:
    """In a process whose table has one row more: filter, score, weight, switches, events and hint all follow from it."""
    done = subprocess.run([sys.executable, "-c", WITH_ONE_MORE, ROW], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "on",
        "dim",
        "off",
        "0/1 nodes are available: 1 node(s) were dark. would fit if somebody lit it",
        "['NodeLabels', 'Any']",
        "9 4",
    ], done.stderr
