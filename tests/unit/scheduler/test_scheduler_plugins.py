"""Plugins that a profile brings along: the documented example, how they are found, and what becomes of those that misbehave."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import sys
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.cli import decisions, scheduling
from navarch.machinery import codec
from navarch.scheduler.config import configuration, own_plugins
from navarch.scheduler.core import decide, explain
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.events import Event
from navarch.scheduler.core.plugin import NORMALIZE, Normalize, Plugin
from navarch.scheduler.core.plugins import own
from navarch.scheduler.core.preempt import Candidate, Preemptor
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.queue import helps, with_own
from navarch.scheduler.core.terms import PodInfo, Reader
from navarch.scheduler.core.view import At, Refusal, View
from navarch.scheduler.core.what_if import Simulation, Snapshot

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "scheduler-plugins.md"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.S)
    assert found is not None
    return found.group(1)


@pytest.fixture
def teams() -> Iterator[None]:
    """The documented module, importable."""
    module = types.ModuleType("teams")
    exec(block("python"), module.__dict__)
    sys.modules["teams"] = module
    yield
    del sys.modules["teams"]


def node(name: str, **labels: str) -> v1.Node:
    amounts: dict[str, str | int | float] = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    return v1.Node(metadata=meta_v1.ObjectMeta(name=name, labels=labels), status=v1.NodeStatus(allocatable=amounts))


def pod(name: str, priority: int = 0, **labels: str) -> v1.Pod:
    metadata = meta_v1.ObjectMeta(name=name, namespace="d", uid=name, labels=labels)
    container = v1.Container(name="c", resources=v1.ResourceRequirements(requests={"cpu": "1"}))
    return v1.Pod(metadata=metadata, spec=v1.PodSpec(containers=[container], priority=priority))


def info(name: str, priority: int = 0, **labels: str) -> PodInfo:
    return Reader().read(pod(name, priority, **labels))


def core(*nodes: v1.Node) -> Core:
    found = Core()
    for each in nodes:
        found.columns.put_node(each)
    return found


# ---- the documented example ---------------------------------------------------------------------------------------


def documented() -> Profile:
    return configuration.read(yaml.safe_load(block("yaml"))).profiles["default-scheduler"]


def test_the_documented_plugin_decides(teams: None) -> None:
    labels = {"rack": "r1", "example.com/team": "blue"}
    cluster = core(
        node("red", **{"example.com/team": "red"}), node("blue-1", **labels), node("blue-2", **{**labels, "rack": "r2"}), node("x", rack="r2")
    )
    outcome = cluster.schedule(info("a", team="blue"), 0, documented())
    assert isinstance(outcome, Chosen) and outcome.node == "blue-2"
    refused = cluster.schedule(info("b", team="green"), 0, documented())
    assert isinstance(refused, Unschedulable)
    assert refused.message == "0/4 nodes are available: 4 node(s) were not of team green."
    assert refused.plugins == {"Teams"}


def test_the_documented_plugin_explains_itself(teams: None) -> None:
    profile = documented()
    simulation = Simulation(Snapshot([node("n1", rack="r1"), node("n2", **{"example.com/team": "blue", "rack": "r1"})]), profile)
    wanted = simulation.read(pod("a", team="blue"))
    assert simulation.scores(wanted)["n2"]["Teams"] == 5 * 100
    refused = decide.explain(simulation.view(wanted), simulation.profile)
    (row,) = explain.rows(simulation.view(wanted), refused)
    assert (row.node, row.plugin, row.text) == ("n1", "Teams", "node(s) were not of team blue")
    (placed,) = simulation.place([pod("b", team="green")])
    assert "2 node(s) were not of team green" in placed.why


def test_the_commands_know_the_documented_plugin(teams: None, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`navarch explain`, `simulate` and `capacity` with `--config`, on a dump."""
    objects = [node("n1", rack="r1"), node("n2", **{"example.com/team": "blue", "rack": "r1"}), pod("blue", team="blue"), pod("green", team="green")]
    kinds = ["Node", "Node", "Pod", "Pod"]
    items = [{**codec.to_tree(o), "apiVersion": "v1", "kind": kind} for o, kind in zip(objects, kinds, strict=True)]
    (tmp_path / "dump.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    (tmp_path / "config.yaml").write_text(block("yaml"))
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(items[3]))
    common = ["--dump", str(tmp_path / "dump.yaml"), "--config", str(tmp_path / "config.yaml")]
    assert decisions.explain(["pod", "green", "-n", "d", *common]) == 0
    assert re.search(r"n1 +Teams +node\(s\) were not of team green", capsys.readouterr().out)
    assert scheduling.simulate(common) == 1
    said = capsys.readouterr().out
    assert re.search(r"d/blue +n2", said) and "pending: d/green: 0/2 nodes are available: 2 node(s) were not of team green." in said
    assert scheduling.capacity(["-f", str(tmp_path / "pod.yaml"), *common]) == 0
    assert "0 more fit." in capsys.readouterr().out


def test_only_its_events_bring_back_what_it_refused(teams: None) -> None:
    helping = with_own(documented().filters)
    assert helps(Event.NODE_LABELS, frozenset({"Teams"}), helping) and not helps(Event.POD_GONE, frozenset({"Teams"}), helping)
    assert helps(Event.POD_GONE, frozenset({"Teams", "NodeResourcesFit"}), helping)
    assert helps(Event.POD_GONE, frozenset({"Unknown"}), helping)


# ---- how they are found -------------------------------------------------------------------------------------------


class Nothing:
    name = "Nothing"

    def filter(self, view: View, at: At) -> list[Refusal]:
        return []


class Misnamed(Nothing):
    name = "Else"


class Weird(Nothing):
    name = "Weird"
    normalize = "sideways"


class Hopeful(Nothing):
    name = "Hopeful"
    events = ("NodeAdded", "Monday")


def picky(args: dict[str, Any]) -> Nothing:
    raise KeyError(args["wanted"])


HERE = "navarch_test_plugins"


@pytest.fixture
def here() -> Iterator[None]:
    module = types.ModuleType(HERE)
    vars(module).update(
        {"Misnamed": Misnamed(), "Weird": Weird(), "Hopeful": Hopeful(), "picky": picky, "kind": Nothing, "Nothing": Nothing(), "number": 7}
    )
    sys.modules[HERE] = module
    yield
    del sys.modules[HERE]


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("X", {"module": "nowhere.at.all:X"}, "No module named 'nowhere'"),
        ("X", {"module": "json"}, 'module "json" is not package.module:object'),
        ("X", {"module": "json:nothing"}, "has no attribute 'nothing'"),
        ("X", {"module": f"{HERE}:Misnamed"}, 'it calls itself "Else"'),
        ("X", {"module": f"{HERE}:number"}, "it has neither filter nor score"),
        ("Weird", {"module": f"{HERE}:Weird"}, "normalize is \"sideways\": supported values: '', 'scaled', 'reversed'"),
        ("Hopeful", {"module": f"{HERE}:Hopeful"}, 'event "Monday": supported values: Any, '),
        ("X", {"module": f"{HERE}:picky"}, "'wanted'"),
        ("Nothing", {"module": f"{HERE}:kind", "wanted": 1}, "it takes no arguments, but was given wanted"),
    ],
)
def test_what_cannot_be_loaded_is_refused(here: None, name: str, args: dict[str, Any], said: str) -> None:
    config = {"plugins": {"filter": {"enabled": [{"name": name}]}}, "pluginConfig": [{"name": name, "args": args}]}
    given = {"apiVersion": configuration.VERSION, "kind": configuration.KIND, "profiles": [config]}
    with pytest.raises(configuration.Unacceptable) as refused:
        configuration.read(given)
    assert f'initializing plugin "{name}": ' in str(refused.value) and said in str(refused.value)


def test_a_plugin_has_only_the_points_it_has(here: None) -> None:
    config = {
        "plugins": {"score": {"enabled": [{"name": "Nothing"}]}},
        "pluginConfig": [{"name": "Nothing", "args": {"module": f"{HERE}:Nothing"}}],
    }
    given = {"apiVersion": configuration.VERSION, "kind": configuration.KIND, "profiles": [config]}
    with pytest.raises(configuration.Unacceptable, match='plugin "Nothing" does not extend ScorePlugin plugin'):
        configuration.read(given)


def test_an_installed_package_brings_plugins(here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("Nothing", f"{HERE}:Nothing", own_plugins.GROUP)

    def entry_points(group: str, name: str) -> list[importlib.metadata.EntryPoint]:
        return [entry] if (group, name) == (own_plugins.GROUP, "Nothing") else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    found = own_plugins.find("Nothing", None)
    assert found is not None and own_plugins.points(found) == {"filter"}
    assert own_plugins.find("Other", None) is None


def test_the_order_of_a_profile_decides_whose_refusal_is_told(here: None) -> None:
    def refuse(view: View, at: At) -> list[Refusal]:
        return [Refusal("never", np.ones(view.size(at), np.bool_), True)]

    cluster = core(node("n1"))
    cluster.columns.unschedulable[:] = True
    told = {}
    for order in ((), ("Mine", "NodeUnschedulable")):
        profile = Profile(f"p{len(order)}", filters=(Plugin("Mine", refuse),), order=order)
        outcome = cluster.schedule(info("a"), 0, profile)
        assert isinstance(outcome, Unschedulable)
        told[order] = outcome.message
    assert list(told.values()) == [
        "0/1 nodes are available: 1 node(s) were unschedulable.",
        "0/1 nodes are available: 1 never.",
    ]


# ---- misbehaviour -------------------------------------------------------------------------------------------------


def raising(view: View, at: At) -> Any:
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        (Plugin("P", filter=raising), 'running "P" filter plugin: boom'),
        (
            Plugin("P", filter=lambda view, at: [Refusal("x", np.ones(1, np.bool_), True)]),
            'running "P" filter plugin: a refusal\'s nodes are no mask of',
        ),
        (Plugin("P", filter=lambda view, at: None), 'running "P" filter plugin: '),  # type: ignore[arg-type, return-value]
        (Plugin("P", score=raising), 'running Score plugins: plugin "P" failed with: boom'),
        (Plugin("P", score=lambda view, at: np.ones(3, np.int64)), "scores are no"),
        (Plugin("P", score=lambda view, at: np.ones(view.size(at))), "scores are no"),  # type: ignore[arg-type, return-value]
        (
            Plugin("P", score=lambda view, at: np.full(view.size(at), 101)),
            'running Score plugins: plugin "P" returns an invalid score 101, it should in the range of [0, 100] after normalizing',
        ),
        (Plugin("P", score=lambda view, at: np.full(view.size(at), -1), normalize="scaled"), "returns an invalid score -1"),
    ],
)
def test_a_plugin_that_misbehaves_fails_the_attempt(plugin: Plugin, said: str) -> None:
    profile = Profile(filters=(plugin,) if plugin.filter else (), scorers=(plugin,) if plugin.score else ())
    with pytest.raises(own.PluginFailed) as failed:
        core(node("n1")).schedule(info("a"), 0, profile)
    assert said in str(failed.value)


def test_eviction_asks_plugins_too_and_puts_everything_back_when_one_raises() -> None:
    cluster = core(node("n1"))
    for number in range(4):
        cluster.columns.put_pod(info(f"low{number}"), "n1")

    def crowded(view: View, at: At) -> list[Refusal]:
        used = view.columns.requested[view.columns.resources["pods"]][at]
        return [Refusal("node(s) were crowded", used > 1, False)]

    profile = Profile(filters=(Plugin("Crowd", crowded),))
    wanted = info("high", 10)
    refused = cluster.schedule(wanted, 0, profile)
    assert isinstance(refused, Unschedulable)
    plan = Preemptor(cluster.columns).preempt(wanted, refused, profile, (), None, 0)
    assert isinstance(plan, Candidate) and len(plan.victims) == 3
    before = cluster.columns.requested.copy()
    with pytest.raises(own.PluginFailed):
        Preemptor(cluster.columns).preempt(wanted, refused, Profile("q", filters=(Plugin("P", raising),)), (), None, 0)
    assert (cluster.columns.requested == before).all() and len(cluster.columns.placed) == 4


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), min_size=1, max_size=8), st.sampled_from(NORMALIZE), st.integers(1, 9))
def test_a_plugin_s_masks_and_scores_count_like_built_in_ones(nodes: list[tuple[bool, int]], how: Normalize, weight: int) -> None:
    """Against the plain meaning: refused nodes are out; points are added, weighted, normalized over the nodes that are left."""
    cluster = core(*(node(f"n{i}") for i in range(len(nodes))))
    slots = [cluster.columns.slots[f"n{i}"] for i in range(len(nodes))]

    def refuse(view: View, at: At) -> list[Refusal]:
        mask = np.zeros(view.columns.capacity, np.bool_)
        mask[slots] = [out for out, _ in nodes]
        return [Refusal("out", mask[at], True)]

    def score(view: View, at: At) -> Any:
        found = np.zeros(view.columns.capacity, np.int64)
        found[slots] = [points for _, points in nodes]
        return found[at]

    plugin = Plugin("P", refuse, score, how)
    profile = Profile(filters=(plugin,), scorers=(plugin,), weights={"P": weight})
    outcome = cluster.schedule(info("a"), 0, profile)
    left = {f"n{i}": points for i, (out, points) in enumerate(nodes) if not out}
    if not left:
        assert isinstance(outcome, Unschedulable) and outcome.plugins == {"P"}
        return
    assert isinstance(outcome, Chosen)
    most = max(left.values())
    scaled = {n: p * 100 // most if most else 0 for n, p in left.items()}
    normal = {"": left, "scaled": scaled, "reversed": {n: 100 - p for n, p in scaled.items()}}[how]
    assert normal[outcome.node] == max(normal.values()) and outcome.score == max(normal.values()) * weight
