"""The table of plugins: each row is whole, and what a plugin is stands nowhere else."""

from __future__ import annotations

import ast
import pathlib

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
