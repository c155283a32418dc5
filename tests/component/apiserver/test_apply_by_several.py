"""Server-side apply of a custom resource by several managers, over the wire, against a slow reference.

The reference knows nothing of field sets in trees: an object is a dictionary from paths to values, and who manages what is a set of
paths for each manager. The schema has what merging depends on: a granular object, an atomic one, a map, a set, a list by key, an atomic list.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.machinery.patch import fields
from navarch.testing import server
from tests.component.apiserver.conftest import Http
from tests.component.apiserver.definitions import define, definition, version

APPLY = "application/apply-patch+yaml"
GROUP = "applied.example.com"
TEXT = {"type": "string"}
ITEM = {"type": "object", "required": ["k"], "properties": {"k": TEXT, "v": TEXT, "w": TEXT}}
SPEC = {
    "a": TEXT,
    "b": TEXT,
    "plain": {"type": "object", "properties": {"p": TEXT, "q": TEXT}},
    "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"p": TEXT, "q": TEXT}},
    "map": {"type": "object", "additionalProperties": TEXT},
    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT},
    "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": ITEM},
    "list": {"type": "array", "items": TEXT},
}
SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": SPEC}}}
MANAGERS = ("one", "two", "three")

Path = tuple[str, ...]
Tree = dict[str, Any]
Leaves = dict[Path, Any]

# ---- the reference -------------------------------------------------------------------------------------------------


def leaves(spec: Tree) -> Leaves:
    """What a configuration says, by path. Items and elements have a path of their own; only their presence is said there."""
    found: Leaves = {}
    for key, value in spec.items():
        if key in ("plain", "map"):
            found.update({(key, inner): held for inner, held in value.items()})
        elif key == "set":
            found.update({(key, element): None for element in value})
        elif key == "items":
            for item in value:
                found.update({(key, item["k"], inner): held for inner, held in item.items() if inner != "k"})
                found[key, item["k"]] = None
        else:
            found[(key,)] = value
    return found


class Reference:
    """The object and its managers as the documentation of server-side apply tells of them."""

    def __init__(self) -> None:
        self.held: Leaves = {}
        self.managed: dict[str, set[Path]] = {}

    def conflicts(self, who: str, said: Leaves) -> set[tuple[str, Path]]:
        """Another manages a field that would get another value."""
        return {
            (other, path)
            for other, theirs in self.managed.items()
            if other != who
            for path, value in said.items()
            if path in theirs and path in self.held and self.held[path] != value
        }

    def apply(self, who: str, said: Leaves) -> None:
        """By force: what differs is taken from others; what `who` no longer says, and nobody else manages, goes."""
        for other, path in self.conflicts(who, said):
            self.managed[other].discard(path)
        gone = self.managed.get(who, set()) - set(said)
        self.managed[who] = set(said)
        self.held |= said
        kept = set().union(*self.managed.values())
        for path in gone:
            if not any(other[: len(path)] == path for other in kept):
                for below in [other for other in self.held if other[: len(path)] == path and (other == path or other not in kept)]:
                    del self.held[below]
        self.managed = {manager: paths for manager, paths in self.managed.items() if paths}


# ---- what the server says ------------------------------------------------------------------------------------------


def managed_by(entry: Tree) -> set[Path]:
    """The leaves of an entry in `managedFields`, as the reference names them."""
    return {
        named for path in fields.paths(fields.decode(entry["fieldsV1"])) if (named := tuple(map(_step, path[1:]))) and named[-1] not in (".", "k")
    }


def _step(step: str) -> str:
    kind, _, rest = step.partition(":")
    return rest if kind == "f" else json.loads(rest)["k"] if kind == "k" else str(json.loads(rest)) if kind == "v" else step


def _key(item: Any) -> str:
    return str(item["k"])


configurations = st.fixed_dictionaries(
    {},
    optional={
        "a": st.sampled_from("12"),
        "b": st.sampled_from("12"),
        "plain": st.dictionaries(st.sampled_from("pq"), st.sampled_from("12"), min_size=1),
        "atomic": st.dictionaries(st.sampled_from("pq"), st.sampled_from("12"), min_size=1),
        "map": st.dictionaries(st.sampled_from("xy"), st.sampled_from("12"), min_size=1),
        "set": st.lists(st.sampled_from("stu"), min_size=1, unique=True),
        "items": st.lists(
            st.fixed_dictionaries({"k": st.sampled_from("ij")}, optional={"v": st.sampled_from("12"), "w": st.sampled_from("12")}),
            min_size=1,
            unique_by=_key,
        ),
        "list": st.lists(st.sampled_from("12"), min_size=1, max_size=2),
    },
)
steps = st.lists(st.tuples(st.sampled_from(MANAGERS), st.booleans(), configurations), min_size=1, max_size=6)
NUMBERS = itertools.count()


async def run(http: Http, history: list[tuple[str, bool, Tree]]) -> None:
    """A history on a fresh object, each step held against the reference."""
    path = f"/apis/{GROUP}/v1/namespaces/default/widgets/w{next(NUMBERS)}"
    reference = Reference()
    for who, force, spec in history:
        said = leaves(spec)
        sent = {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "metadata": {"name": path.rpartition("/")[2]}, "spec": {**spec}}
        query = {"fieldManager": who, **({"force": "true"} if force else {})}
        expected = reference.conflicts(who, said)
        answer = await http("PATCH", path, sent, media=APPLY, query=query)
        if expected and not force:
            assert answer.status == 409, (answer.body, expected)
            causes = answer.json["details"]["causes"]
            assert {cause["message"] for cause in causes} == {f'conflict with "{other}"' for other, _ in expected}
            assert len(causes) == len(expected)
            continue
        assert answer.status in (200, 201), answer.body
        reference.apply(who, said)
        held = answer.json
        assert leaves(held.get("spec", {})) == reference.held
        entries = {entry["manager"]: managed_by(entry) for entry in held["metadata"].get("managedFields", [])}
        assert {manager: paths for manager, paths in entries.items() if paths} == reference.managed
        again = await http("PATCH", path, sent, media=APPLY, query=query)
        assert again.json == held, "the same again changes nothing"
    await http("DELETE", path)


@pytest.fixture(scope="module")
def served() -> Any:
    """A server on a loop of its own, for tests that are not coroutines."""
    with asyncio.Runner() as runner:

        async def start() -> tuple[Any, Http]:
            running = server.running()
            api = await running.__aenter__()
            http = Http(api)
            await define(http, definition(GROUP, version(schema=SCHEMA)))
            return running, http

        running, http = runner.run(start())
        try:
            yield lambda history: runner.run(run(http, history))
        finally:
            runner.run(http.close())
            runner.run(running.__aexit__(None, None, None))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=steps)
def test_appliers_meet_as_the_documentation_says(served: Callable[[Any], None], history: list[tuple[str, bool, Tree]]) -> None:
    served(history)
