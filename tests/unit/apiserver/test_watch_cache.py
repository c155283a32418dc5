"""The watch cache against a naive model: a dictionary and a list of everything that happened."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.apiserver.kinds.strategy import Selectable
from navarch.apiserver.watch_cache import Cache, Event, Scope, respliced, splice
from navarch.machinery import selectors
from navarch.store.interface import Change

PREFIX = "/registry/pods/"
NODES = st.sampled_from(["", "n1", "n2"])
LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"]), max_size=2)
KEYS = st.tuples(st.sampled_from(["x", "x0", "x-y", "y"]), st.sampled_from(["p", "q", "p0"]))
STEPS = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.tuples(LABELS, NODES))), max_size=25)
SCOPES = st.builds(
    lambda namespace, labels, name, node, negated: Scope(
        namespace,
        selectors.parse_labels(labels) if labels else selectors.EVERYTHING,
        tuple(selectors.FieldRequirement(f, not negated, v) for f, v in (("metadata.name", name), ("spec.nodeName", node)) if v is not None),
    ),
    st.sampled_from(["", "x", "x0", "y", "none"]),
    st.sampled_from(["", "app=a", "app in (a,b)", "app!=a", "!tier", "app=a,tier=b", "app=a,app=b"]),
    st.sampled_from([None, "p", "none"]),
    st.sampled_from([None, "", "n1"]),
    st.booleans(),
)


def value(namespace: str, name: str, labels: dict[str, str], node: str) -> bytes:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node}}, separators=(",", ":")).encode()


@dataclass
class Model:
    """Every state there was, by revision."""

    now: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    states: list[dict[str, tuple[bytes, int]]] = field(default_factory=lambda: [{}])
    changes: list[Change] = field(default_factory=list)

    def step(self, key: tuple[str, str], what: tuple[dict[str, str], str] | None) -> Change | None:
        text = "/".join(key)
        held = self.now.get(text)
        if what is None and held is None:
            return None
        body = value(*key, *what) if what is not None else None
        revision = len(self.states)
        change = Change(revision, PREFIX + text, body, held[0] if held else None, 1, held[1] if held else 0)
        self.now = {k: v for k, v in self.now.items() if k != text}
        if body is not None:
            self.now[text] = (body, revision)
        self.states.append(self.now)
        self.changes.append(change)
        return change


def matches(body: bytes, scope: Scope) -> bool:
    """What a scope says of an object, from its JSON alone."""
    obj = json.loads(body)
    metadata = obj["metadata"]
    if scope.namespace and metadata["namespace"] != scope.namespace:
        return False
    fields = {"metadata.name": metadata["name"], "spec.nodeName": obj["spec"]["nodeName"]}
    return scope.labels.matches(metadata["labels"]) and all((fields[f.field] == f.value) == f.equal for f in scope.fields)


def filled(steps: list[tuple[tuple[str, str], tuple[dict[str, str], str] | None]]) -> tuple[Cache, Model, list[Event]]:
    cache, model = Cache(PREFIX, [Selectable("spec.nodeName")], ["spec.nodeName"]), Model()
    events = [cache.apply(change) for key, what in steps if (change := model.step(key, what)) is not None]
    return cache, model, events


@given(STEPS, SCOPES)
@settings(max_examples=300, deadline=None)
def test_select_is_what_a_walk_over_everything_finds(steps: list[tuple[tuple[str, str], tuple[dict[str, str], str] | None]], scope: Scope) -> None:
    cache, model, _ = filled(steps)
    expected = [splice(body, revision) for _, (body, revision) in sorted(model.now.items()) if matches(body, scope)]
    assert [e.body for e in cache.select(scope)] == expected
    assert [e.key for e in cache.select_all()] == sorted(model.now)
    assert len(cache) == len(model.now)


@given(STEPS, SCOPES)
@settings(max_examples=200, deadline=None)
def test_events_turn_one_selection_into_the_next(steps: list[tuple[tuple[str, str], tuple[dict[str, str], str] | None]], scope: Scope) -> None:
    """Whoever lists and then follows the events of a scope holds what a new list would show."""
    cache, model = Cache(PREFIX, [Selectable("spec.nodeName")], ["spec.nodeName"]), Model()
    held: dict[str, bytes] = {}

    def receive(seen: list[tuple[str, Event]]) -> None:
        for kind, event in seen:
            body = event.body(kind)
            metadata = json.loads(body)["metadata"]
            assert metadata["resourceVersion"] == str(event.revision)
            assert json.loads(event.frame(kind)) == {"type": kind, "object": json.loads(body)}
            assert (kind == "ADDED") == (event.key not in held)
            if kind == "DELETED":
                del held[event.key]
            else:
                held[event.key] = body

    leave = cache.join(scope, receive)
    for key, what in steps:
        if (change := model.step(key, what)) is not None:
            cache.tell([cache.apply(change)])
            assert held == {e.key: e.body for e in cache.select(scope)}
    leave()
    leave()
    if (change := model.step(("x", "p"), ({"app": "a"}, "n1"))) is not None:
        before = dict(held)
        cache.tell([cache.apply(change)])
        assert held == before


@given(STEPS, st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_since_gives_every_later_event_or_says_it_cannot(
    steps: list[tuple[tuple[str, str], tuple[dict[str, str], str] | None]], revision: int
) -> None:
    cache, model, events = filled(steps)
    assert cache.since(revision) == [e for e in events if e.revision > revision]
    cache.complete_since = 5
    found = cache.since(revision)
    assert (found is None) == (revision < 5)
    del model


def test_history_that_was_forgotten_is_not_claimed() -> None:
    cache, model = Cache(PREFIX, [Selectable("spec.nodeName")], ["spec.nodeName"]), Model()
    for i in range(5000):
        change = model.step(("x", f"p{i % 7}"), ({"n": str(i)}, ""))
        assert change is not None
        cache.apply(change)
    oldest = cache.history[0].revision
    assert cache.complete_since == oldest - 1
    assert cache.since(oldest - 2) is None
    assert [e.revision for e in cache.since(oldest - 1) or []] == list(range(oldest, 5001))
    assert cache.since(5000) == []


def test_a_version_is_put_in_and_changed() -> None:
    cache = Cache(PREFIX, [Selectable("spec.nodeName")])
    entry = cache.entry("x/p", value("x", "p", {}, "n"), 7)
    assert json.loads(entry.body)["metadata"]["resourceVersion"] == "7"
    assert json.loads(respliced(entry, 9))["metadata"]["resourceVersion"] == "9"
    assert (entry.name, entry.namespace, entry.fields["spec.nodeName"]) == ("p", "x", "n")


@given(STEPS, st.integers(0, 25), st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_a_cache_that_is_filled_at_the_start_remembers_what_led_there(
    steps: list[tuple[tuple[str, str], tuple[dict[str, str], str] | None]], since: int, revision: int
) -> None:
    """Like one that has taken every change, from where on it was told of them."""
    cache, model, _ = filled(steps)
    since = min(since, len(model.changes))
    started = Cache(PREFIX, [Selectable("spec.nodeName")], ["spec.nodeName"])
    for key, (body, mod_revision) in model.now.items():
        started.load(key, body, mod_revision)
    started.remember(model.changes[since:], since)
    found = started.since(revision)
    if revision < since:
        assert found is None
        return
    expected = cache.since(revision)
    assert expected is not None and found is not None

    def told(events: list[Event]) -> list[tuple[int, str, bytes | None, bytes | None]]:
        return [(e.revision, e.key, e.new.body if e.new else None, e.old.body if e.old else None) for e in events]

    assert told(found) == told(expected)
    assert all(e.new is started.get(e.key) for e in found if e.new is not None and e.new.version == model.now.get(e.key, (b"", 0))[1])
