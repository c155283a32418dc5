"""JSON, merge and strategic merge patches. `tests/component/machinery` compares the same cases with the real kubectl."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.machinery import errors, schema
from navarch.machinery.patch import json_patch, merge, strategic

POD = schema.named("io.k8s.api.core.v1.Pod")
DEPLOYMENT = schema.named("io.k8s.api.apps.v1.Deployment")


def ops(*steps: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(("op", "path", "value"), step, strict=False)) for step in steps]


@pytest.mark.parametrize(
    ("document", "patch", "wanted"),
    [
        ({"a": 1}, ops(("add", "/b", 2)), {"a": 1, "b": 2}),
        ({"a": [1, 3]}, ops(("add", "/a/1", 2)), {"a": [1, 2, 3]}),
        ({"a": [1]}, ops(("add", "/a/-", 2)), {"a": [1, 2]}),
        ({"a": [1, 2]}, ops(("add", "/a/-1", 3)), {"a": [1, 2, 3]}),
        ({"a": [1, 2]}, ops(("remove", "/a/-1")), {"a": [1]}),
        ({"a": {"b": 1}}, ops(("remove", "/a/b")), {"a": {}}),
        ({"a": 1}, ops(("replace", "/new", 2)), {"a": 1, "new": 2}),
        ({"a": 1}, ops(("replace", "", {"x": 1})), {"x": 1}),
        ({"x/y": {"~": 1}}, ops(("replace", "/x~1y/~0", 2)), {"x/y": {"~": 2}}),
        ({"a": 1}, ops(("test", "/a", 1), ("test", "/none", None), ("add", "/b")), {"a": 1, "b": None}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}, {"op": "add", "path": "/b/y", "value": 2}],
         {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        ({"a": [{"n": 1}, {"n": 2}]}, [{"op": "move", "from": "/a/0", "path": "/a/1"}], {"a": [{"n": 2}, {"n": 1}]}),
    ],
)  # fmt: skip
def test_json_patch(document: Any, patch: Any, wanted: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patch.apply(document, patch) == wanted
    assert document == before


@pytest.mark.parametrize(
    ("patch", "because"),
    [
        (ops(("test", "/a", 2)), "test failed"),
        (ops(("test", "/a", True)), "test failed"),
        (ops(("test", "/a", 1.0)), "test failed"),
        (ops(("remove", "/none")), "nonexistent key: none"),
        (ops(("remove", "/l/2")), "invalid index"),
        (ops(("add", "/l/3", 0)), "invalid index"),
        (ops(("replace", "/l/2", 0)), "invalid index"),
        (ops(("add", "/l/x", 0)), "not a proper array index"),
        (ops(("add", "/none/x", 0)), "missing path"),
        (ops(("add", "/a/x", 0)), "missing path"),
        (ops(("frob", "/a", 0)), "Unexpected kind: frob"),
        ([{"op": "add", "value": 1}], "missing path field"),
        ([{"op": "move", "path": "/b"}], "missing from field"),
    ],
)
def test_json_patch_that_does_not_apply(patch: Any, because: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        json_patch.apply({"a": 1, "l": [1, 2]}, patch)
    assert caught.value.status.code == 422
    assert caught.value.message == "the server rejected our request due to an error in our request"
    assert because in str(caught.value.__cause__)


def test_json_patch_that_cannot_be_read() -> None:
    with pytest.raises(errors.BadRequest, match=r"cannot unmarshal object into Go value of type \[\]handlers\.jsonPatchOp"):
        json_patch.apply({}, {"op": "add"})
    with pytest.raises(errors.RequestEntityTooLarge, match="allowed maximum operations in a JSON patch is 10000, got 10001"):
        json_patch.apply({}, [{"op": "test", "path": "/a"}] * 10_001)


@pytest.mark.parametrize(
    ("document", "patch", "wanted"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "x"}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    ],
)
def test_merge_patch(document: Any, patch: Any, wanted: Any) -> None:
    assert merge.apply(document, patch) == wanted


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abc"), json, max_size=3)


@given(objects, objects)
def test_merge_patch_means_what_the_rfc_says(document: Any, patch: Any) -> None:
    def rfc(target: Any, change: Any) -> Any:
        if not isinstance(change, dict):
            return change
        made = dict(target) if isinstance(target, dict) else {}
        for key, value in change.items():
            if value is None:
                made.pop(key, None)
            else:
                made[key] = rfc(made.get(key), value)
        return made

    def sparse(value: Any) -> Any:  # the library drops nulls inside lists that are new; the RFC keeps them
        if isinstance(value, dict):
            return {k: sparse(v) for k, v in value.items() if v is not None}
        return [sparse(v) for v in value] if isinstance(value, list) else value

    assert sparse(merge.apply(document, patch)) == sparse(rfc(document, patch))


def pod(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


CONTAINERS: list[dict[str, Any]] = [
    {"name": "a", "image": "x", "env": [{"name": "K", "value": "1"}], "args": ["1", "2"]},
    {"name": "b", "image": "y"},
]
STRATEGIC: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("merge by key", pod(containers=CONTAINERS), pod(containers=[{"name": "b", "image": "z"}]),
     pod(containers=[CONTAINERS[0], {"name": "b", "image": "z"}])),
    ("a new item comes first", pod(containers=CONTAINERS), pod(containers=[{"name": "c", "image": "z"}]),
     pod(containers=[{"name": "c", "image": "z"}, *CONTAINERS])),
    ("an item goes", pod(containers=CONTAINERS), pod(containers=[{"name": "a", "$patch": "delete"}]), pod(containers=[CONTAINERS[1]])),
    ("the list is replaced", pod(containers=CONTAINERS), pod(containers=[{"$patch": "replace"}, {"name": "q", "image": "q"}]),
     pod(containers=[{"name": "q", "image": "q"}])),
    ("an object is replaced", pod(securityContext={"runAsUser": 1}), pod(securityContext={"$patch": "replace", "fsGroup": 2}),
     pod(securityContext={"fsGroup": 2})),
    ("an object is emptied", pod(securityContext={"runAsUser": 1}), pod(securityContext={"$patch": "delete"}), pod(securityContext={})),
    ("null removes", pod(nodeName="n", restartPolicy="Always"), pod(nodeName=None), pod(restartPolicy="Always")),
    ("an atomic list", pod(containers=[{"name": "a", "args": ["1", "2"]}]), pod(containers=[{"name": "a", "args": ["3"]}]),
     pod(containers=[{"name": "a", "args": ["3"]}])),
    ("nested keys", pod(containers=CONTAINERS), pod(containers=[{"name": "a", "env": [{"name": "L", "value": "2"}]}]),
     pod(containers=[{**CONTAINERS[0], "env": [{"name": "L", "value": "2"}, {"name": "K", "value": "1"}]}, CONTAINERS[1]])),
    ("order", pod(containers=CONTAINERS), pod(**{"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
     pod(containers=[CONTAINERS[1], CONTAINERS[0]])),
    ("order with a new item", pod(containers=CONTAINERS),
     pod(**{"$setElementOrder/containers": [{"name": "a"}, {"name": "n"}, {"name": "b"}], "containers": [{"name": "n", "image": "n"}]}),
     pod(containers=[CONTAINERS[0], {"name": "n", "image": "n"}, CONTAINERS[1]])),
    ("order keeps what only the server has", pod(containers=[{"name": n} for n in "abcd"]),
     pod(**{"$setElementOrder/containers": [{"name": "d"}, {"name": "b"}]}), pod(containers=[{"name": n} for n in "acdb"])),
    ("a set of scalars",
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["a/a", "b/b"]}},
     {"metadata": {"finalizers": ["c/c"]}},
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["c/c", "a/a", "b/b"]}}),
    ("out of a set of scalars",
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["a/a", "b/b"]}},
     {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"], "$setElementOrder/finalizers": ["b/b"]}},
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["b/b"]}}),
    ("retained keys", pod(volumes=[{"name": "v", "emptyDir": {}}]),
     pod(volumes=[{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]),
     pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}])),
    ("nulls in what is new go", pod(), pod(securityContext={"runAsUser": None, "fsGroup": 1}), pod(securityContext={"fsGroup": 1})),
    ("labels merge", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "1", "b": "2"}}},
     {"metadata": {"labels": {"b": None, "c": "3"}}},
     {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "1", "c": "3"}}}),
]  # fmt: skip


@pytest.mark.parametrize(("document", "patch", "wanted"), [case[1:] for case in STRATEGIC], ids=[case[0] for case in STRATEGIC])
def test_strategic_merge(document: Any, patch: Any, wanted: Any) -> None:
    before, asked = copy.deepcopy(document), copy.deepcopy(patch)
    assert strategic.apply(document, patch, POD) == wanted
    assert (document, patch) == (before, asked)


def test_strategic_merge_retains_keys_of_a_strategy() -> None:
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic.apply(document, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        ([], 400, "cannot unmarshal array"),
        (pod(containers=[{"image": "x", "ports": [{"containerPort": 1}]}]), 500,
         "map: map[image:x ports:[map[containerPort:1]]] does not contain declared merge key: name"),
        (pod(containers=[{"$patch": "merge", "name": "a"}]), 500, "merging lists cannot yet be specified in the patch"),
        (pod(securityContext={"$patch": "frob"}), 500, "unknown patch type: frob in map: map[$patch:frob]"),
        (pod(securityContext={"$retainKeys": ["fsGroup"], "runAsUser": 1}), 400, "invalid patch format of retainKeys"),
        (pod(containers=[{"name": "a", "args": [["x"]]}], **{"$setElementOrder/containers": [{"name": "b"}]}), 500,
         "doesn't match $setElementOrder list"),
        (pod(containers=[["x"]]), 422, "the server rejected our request due to an error in our request"),
    ],
)  # fmt: skip
def test_strategic_merge_refuses(patch: Any, code: int, message: str) -> None:
    with pytest.raises(errors.ApiError) as caught:
        strategic.apply(pod(containers=CONTAINERS, securityContext={"runAsUser": 2}), patch, POD)
    assert (caught.value.status.code, message in caught.value.message) == (code, True), caught.value.message
