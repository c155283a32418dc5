"""managedFields and server-side apply, against what kube-apiserver v1.36.2 answered to the same requests.

`managed_fields.json` holds requests and answers in order. For a create, update or patch, the entries follow from the object before
and after; for an apply, from the object before and the configuration. "previous" stands for the object of the case before.
"""

from __future__ import annotations

import copy
import json
import pathlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.machinery import errors, schema
from navarch.machinery.patch import apply, fields, managed, typed
from navarch.machinery.patch.managed import Writer

RECORDED = json.loads(pathlib.Path(__file__).with_name("managed_fields.json").read_text())
CUSTOM = schema.custom(RECORDED["crd"])


def resolved() -> list[dict[str, Any]]:
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for case in RECORDED["cases"]:
        tree = case["after"] if case["code"] < 300 else case["body"]
        name = (tree["kind"], tree["metadata"]["name"])
        if case["before"] == "previous":
            case["before"] = last[name]
        if case["code"] < 300:
            last[name] = case["after"]
    return list(RECORDED["cases"])


CASES = resolved()


def schema_of(tree: dict[str, Any]) -> schema.Schema:
    group, _, version = tree["apiVersion"].rpartition("/")
    if group == "x.io":
        return CUSTOM
    for name, declared in schema.builtin().types.items():
        for gvk in declared.get("gvk", []):
            if (gvk[0], gvk[1], gvk[2]) == (group, version, tree["kind"]) if isinstance(gvk, list) else gvk == tree["kind"]:
                return schema.named(name)
    raise KeyError(tree["kind"])


def writer(case: dict[str, Any], tree: dict[str, Any]) -> Writer:
    now = max([entry.get("time", "") for entry in tree["metadata"].get("managedFields", [])], default="")
    ignored: fields.Fields = {"f:spec": {}} if case["subresource"] else {"f:status": {}}
    return Writer(name=case["manager"], version=tree["apiVersion"], now=now, subresource=case["subresource"], ignored=ignored)


@pytest.mark.parametrize("case", [c for c in CASES if c["kind"] != "apply"], ids=lambda case: str(case["title"]))
def test_entries_after_a_write(case: dict[str, Any]) -> None:
    after = case["after"]
    metadata = {key: value for key, value in after["metadata"].items() if key != "managedFields"}
    if case["title"] == "entries reset":
        metadata["managedFields"] = [{}]
    new = {**after, "metadata": metadata}
    before = copy.deepcopy(case["before"])
    assert managed.updated(case["before"], new, schema_of(after), writer(case, after)) == after["metadata"].get("managedFields", [])
    assert case["before"] == before


@pytest.mark.parametrize("case", [c for c in CASES if c["kind"] == "apply" and c["code"] < 300], ids=lambda case: str(case["title"]))
def test_apply(case: dict[str, Any]) -> None:
    after, before = case["after"], copy.deepcopy(case["before"])
    made = apply.apply(case["before"], case["body"], schema_of(after), writer(case, after), force=case["force"])
    assert made["metadata"].get("managedFields", []) == after["metadata"].get("managedFields", [])
    assert case["before"] == before
    # Everything the configuration says holds, and what upstream took out is out (what it then defaults is not seen here).
    assert list(missing(made, after)) == []
    if before is not None:
        assert [path for path in missing(after, made) if path not in case.get("defaulted", DEFAULTED)] == []


DEFAULTED = (".spec.replicas", ".metadata.generation", ".metadata.resourceVersion")


def missing(part: Any, whole: Any, path: str = "") -> Any:
    """What `part` has and `whole` has not."""
    if isinstance(part, dict) and isinstance(whole, dict):
        for key, value in part.items():
            if key in ("managedFields", "resourceVersion", "generation") or value is None or value in ([], {}):
                continue
            if key in whole:
                yield from missing(value, whole[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(part, list) and isinstance(whole, list):
        if len(part) > len(whole):
            yield f"{path}[{len(whole)}]"
        for n, (one, other) in enumerate(zip(part, whole, strict=False)):
            if isinstance(one, dict):
                yield from (p for p in missing({k: one[k] for k in ("name", "port", "k") if k in one}, other, f"{path}[{n}]"))
            elif one != other:
                yield f"{path}[{n}]"
    elif part != whole:
        yield path


@pytest.mark.parametrize("case", [c for c in CASES if c["kind"] == "apply" and c["code"] >= 300], ids=lambda case: str(case["title"]))
def test_apply_refused(case: dict[str, Any]) -> None:
    with pytest.raises(errors.ApiError) as caught:
        apply.apply(case["before"], case["body"], schema_of(case["before"]), writer(case, case["before"]), force=case["force"])
    status = msgspec.to_builtins(caught.value.status)
    assert (status["code"], status["message"]) == (case["code"], case["after"]["message"])
    # Upstream lists the causes of several managers in no particular order.
    assert by_field(status.get("details", {})) == by_field(case["after"].get("details", {}))


def by_field(details: dict[str, Any]) -> dict[str, Any]:
    return {**details, "causes": sorted(details.get("causes", []), key=lambda cause: (cause["field"], cause["message"]))}


def test_a_write_that_changes_nothing_keeps_the_very_entries() -> None:
    before = next(case for case in CASES if case["title"] == "pod patch of an image")["after"]
    again = {**before, "metadata": {**before["metadata"], "resourceVersion": "9"}}
    who = Writer(name="someone", version="v1", now="2030-01-01T00:00:00Z")
    assert managed.updated(before, again, schema.named("io.k8s.api.core.v1.Pod"), who) == before["metadata"]["managedFields"]


# ---- sets ----------------------------------------------------------------------------------------------------------

steps = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"s"'])
path_sets = st.sets(st.lists(steps, min_size=1, max_size=3).map(tuple), max_size=8)


@given(path_sets, path_sets)
def test_sets_are_sets(left: set[fields.Path], right: set[fields.Path]) -> None:
    one, other = fields.of_paths(*left), fields.of_paths(*right)
    assert set(fields.paths(one)) == left
    assert set(fields.paths(fields.union(one, other))) == left | right
    assert set(fields.paths(fields.difference(one, other))) == left - right
    assert set(fields.paths(fields.intersection(one, other))) == left & right
    below = {path for path in left if not any(path[:n] in right for n in range(1, len(path) + 1))}
    assert set(fields.paths(fields.without(one, other))) == below
    assert all(fields.has(one, path) for path in left)
    assert fields.decode(json.loads(json.dumps(one))) == one
    assert one == fields.of_paths(*left)


def test_paths_as_text() -> None:
    found = fields.of_paths(("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}', "f:name"), ("f:x", 'v:"q"'))
    assert list(map(fields.text, fields.paths(found))) == ['.spec.ports[containerPort=80,protocol="TCP"].name', '.x[="q"]']


def test_a_clients_spelling_of_steps_is_made_ours() -> None:
    spelled: fields.Fields = {"f:ports": {'k:{"protocol": "TCP", "containerPort": 80}': {".": {}}}, "q:new": {}}
    assert fields.decode(spelled) == {"f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}}}}


# ---- laws of apply over made-up objects ----------------------------------------------------------------------------

scalars = st.sampled_from(["1", "2"])
specs = st.fixed_dictionaries(
    {"a": scalars},
    optional={
        "list": st.lists(scalars, min_size=1, max_size=2),
        "set": st.lists(st.sampled_from("pqr"), min_size=1, max_size=3, unique=True),
        "items": st.lists(
            st.fixed_dictionaries({"k": st.sampled_from("ab")}, optional={"v": scalars}), min_size=1, max_size=2, unique_by=lambda item: item["k"]
        ),
        "atomic": st.dictionaries(st.sampled_from("zy"), scalars, min_size=1, max_size=2),
        "map": st.dictionaries(st.sampled_from("mn"), st.fixed_dictionaries({"q": st.integers(1, 2)}), min_size=1, max_size=2),
        "any": st.fixed_dictionaries({"s": scalars}, optional={"t": st.dictionaries(st.sampled_from("uv"), scalars, min_size=1)}),
    },
)


def custom(spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "f"}, "spec": spec}


def who(name: str) -> Writer:
    return Writer(name=name, version="x.io/v1", now="2030-01-01T00:00:00Z")


@given(specs, specs)
def test_applying_twice_changes_nothing_and_gives_what_was_asked(first: Any, second: Any) -> None:
    live = apply.apply(None, custom(first), CUSTOM, who("one"))
    after = apply.apply(live, custom(second), CUSTOM, who("one"))
    assert apply.apply(after, custom(second), CUSTOM, who("one")) == after
    assert fields.difference(typed.field_set(CUSTOM, custom(second)), typed.field_set(CUSTOM, after)) == {}
    entries = after["metadata"].get("managedFields", [])
    assert [entry["manager"] for entry in entries] == (["one"] if second else [])


@given(specs, specs, specs)
def test_nobody_loses_what_another_gives_up(first: Any, second: Any, third: Any) -> None:
    live = apply.apply(None, custom(first), CUSTOM, who("one"))
    live = apply.apply(live, custom(second), CUSTOM, who("two"), force=True)
    mine = fields.difference(typed.field_set(CUSTOM, custom(second)), {})
    after = apply.apply(live, custom(third), CUSTOM, who("one"), force=True)
    before_fields = managed.decode(live["metadata"].get("managedFields"))
    after_fields = managed.decode(after["metadata"].get("managedFields"))
    two = managed.Manager("two", "Apply", "", "")
    if two in before_fields:
        kept = after_fields[two].fields if two in after_fields else {}
        lost = fields.difference(before_fields[two].fields, kept)
        # It lost only what the first now forces upon it.
        assert fields.difference(lost, typed.field_set(CUSTOM, custom(third))) == {}
        assert fields.difference(kept, mine) == {}
        assert fields.difference(kept, typed.field_set(CUSTOM, after)) == {}


def unordered(obj: dict[str, Any]) -> dict[str, Any]:
    """The object with its set and its items by key in order: their order is nobody's field."""
    spec = dict(obj["spec"])
    if "set" in spec:
        spec["set"] = sorted(spec["set"])
    if "items" in spec:
        spec["items"] = sorted(spec["items"], key=lambda item: str(item["k"]))
    return {**obj, "spec": spec}


@given(specs, specs)
def test_differences_are_told_from_both_sides(first: Any, second: Any) -> None:
    one, other = custom(first), custom(second)
    changed, gone = typed.compare(CUSTOM, one, other)
    assert bool(changed or gone) == (unordered(one) != unordered(other))
    assert fields.intersection(changed, gone) == {}
