"""Create, update, patch and delete over HTTP: what is kept, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import errors, protobuf
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")


def config(name: str, ns: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": ns}, "data": data}


def pod(name: str, ns: str, **spec: Any) -> dict[str, Any]:
    made = {"containers": [{"name": "c", "image": "i"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": ns}, "spec": made}


def deployment(name: str, ns: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": ns}, "spec": spec}


def at(ns: str, plural: str, name: str = "", sub: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/{plural}" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")


def deployments(ns: str, name: str = "", sub: str = "") -> str:
    return f"/apis/apps/v1/namespaces/{ns}/deployments" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")


# ---- create -------------------------------------------------------------------------------------------------------


async def test_what_is_created_is_read_back(api: server.ApiServer, ns: str) -> None:
    made = await api.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="a", namespace=ns), data={"k": "v"}))
    assert made.metadata is not None
    assert made.metadata.uid and made.metadata.creationTimestamp and int(made.metadata.resourceVersion or "0") > 0
    found = await api.client.get(core_v1.ConfigMap, "a", ns)
    assert found == made
    assert (found.apiVersion, found.kind, found.data) == ("v1", "ConfigMap", {"k": "v"})


async def test_a_second_of_a_name_is_refused(http: Any, ns: str) -> None:
    assert (await http("POST", at(ns, "configmaps"), config("a", ns))).status == 201
    again = await http("POST", at(ns, "configmaps"), config("a", ns))
    assert (again.status, again.reason, again.message) == (409, "AlreadyExists", 'configmaps "a" already exists')
    assert again.json["details"] == {"name": "a", "kind": "configmaps"}


async def test_generated_names_differ(api: server.ApiServer, ns: str) -> None:
    made = await asyncio.gather(
        *(api.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(generateName="gen-", namespace=ns))) for _ in range(20))
    )
    names = {m.metadata.name for m in made if m.metadata is not None}
    assert len(names) == 20
    assert all(n is not None and n.startswith("gen-") and len(n) == 9 for n in names)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b'{"kind"', 400, "the object provided is unrecognized (must be of type ConfigMap)"),
        (b"", 400, "the object provided is unrecognized (must be of type ConfigMap)"),
        (b"[1]", 400, "the object provided is unrecognized (must be of type ConfigMap)"),
        (b"\xff\xfe\x00", 400, "the object provided is unrecognized (must be of type ConfigMap)"),
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}, 400, 'Secret in version "v1" cannot be handled as a ConfigMap'),
        ({"apiVersion": "v2", "kind": "ConfigMap"}, 400, 'no kind "ConfigMap" is registered for version "v2" in scheme'),
        ({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": 1}}, 400, 'ConfigMap in version "v1" cannot be handled as a ConfigMap: '),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}, 422, 'ConfigMap "" is invalid: metadata.name: Required value: name or '),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "No_"}}, 422, 'metadata.name: Invalid value: "No_": a lowercase RFC 1123'),
        (
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "other"}},
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "5"}},
            400,
            "resourceVersion should not be set on objects to be created",
        ),
    ],
)
async def test_wrong_bodies_are_refused_in_upstreams_words(http: Any, ns: str, body: object, status: int, text: str) -> None:
    answer = await http("POST", at(ns, "configmaps"), body)
    assert answer.status == status
    assert text in answer.message
    assert answer.json["kind"] == "Status" and answer.json["code"] == status


async def test_a_body_can_be_too_large(http: Any, ns: str) -> None:
    big = await http("POST", at(ns, "configmaps"), config("big", ns, k="x" * (3 * 1024 * 1024)))
    assert (big.status, big.reason) == (413, "RequestEntityTooLarge")
    assert "limit is 3145728" in big.message


async def test_a_body_can_come_in_yaml_and_without_a_type(http: Any, ns: str) -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: yml, namespace: {ns}}}\ndata: {{k: v}}\n"
    assert (await http("POST", at(ns, "configmaps"), text, media="application/yaml")).json["data"] == {"k": "v"}
    assert (await http("POST", at(ns, "configmaps"), config("bare", ns), media="")).status == 201
    refused = await http("POST", at(ns, "configmaps"), "x", media="text/html")
    assert (refused.status, refused.reason) == (415, "UnsupportedMediaType")
    assert refused.message.startswith("the body of the request was in an unknown format - accepted media types include: application/json")


async def test_a_body_can_come_in_protobuf(http: Any, ns: str) -> None:
    body = protobuf.encode(pod("pb", ns))
    answer = await http("POST", at(ns, "pods"), body, media="application/vnd.kubernetes.protobuf")
    assert answer.status == 201
    assert answer.json["spec"]["containers"][0]["image"] == "i"
    torn = await http("POST", at(ns, "pods"), body[:-5], media="application/vnd.kubernetes.protobuf")
    assert torn.status == 400


async def test_a_namespace_must_exist(http: Any) -> None:
    answer = await http("POST", at("nowhere", "configmaps"), config("a", "nowhere"))
    assert (answer.status, answer.message) == (404, 'namespaces "nowhere" not found')


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/api/v1/nonsense", 404, "the server could not find the requested resource"),
        ("GET", "/apis/no.such/v1/things", 404, "the server could not find the requested resource"),
        ("GET", "/api/v1/namespaces/default/pods/none", 404, 'pods "none" not found'),
        ("GET", "/api/v1/namespaces/default/pods/none/status", 404, 'pods "none" not found'),
        ("GET", "/api/v1/namespaces/default/pods/none/nonsense", 404, "the server could not find the requested resource"),
        ("PUT", "/api/v1/namespaces/default/pods", 405, "the server does not allow this method on the requested resource"),
        ("POST", "/api/v1/namespaces/default/pods/none", 405, "the server does not allow this method on the requested resource"),
        ("PATCH", "/api/v1/namespaces", 405, "the server does not allow this method on the requested resource"),
    ],
)
async def test_paths_that_are_none(http: Any, method: str, path: str, status: int, text: str) -> None:
    answer = await http(method, path, {} if method in ("PUT", "POST", "PATCH") else None)
    assert (answer.status, answer.message) == (status, text)


async def test_a_path_outside_the_api(http: Any) -> None:
    answer = await http("GET", "/nowhere")
    assert (answer.status, answer.body) == (404, b"404 page not found\n")


# ---- field validation ---------------------------------------------------------------------------------------------


async def test_unknown_and_doubled_fields_are_warned_of(http: Any, ns: str) -> None:
    text = json.dumps(config("w", ns, k="v"))[:-1] + ', "spoec": 1, "data": {"k": "w"}}'
    answer = await http("POST", at(ns, "configmaps"), text)
    assert answer.status == 201
    assert sorted(answer.warnings) == ['299 - "duplicate field \\"data\\""', '299 - "unknown field \\"spoec\\""']
    assert answer.json["data"] == {"k": "w"}


async def test_strict_refuses_and_ignore_is_silent(http: Any, ns: str) -> None:
    body = {**pod("s", ns), "spoec": 1}
    body["spec"] = {**body["spec"], "nope": True}
    strict = await http("POST", at(ns, "pods"), body, query={"fieldValidation": "Strict"})
    assert (strict.status, strict.reason) == (400, "BadRequest")
    assert strict.message == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.nope", unknown field "spoec"'
    )
    ignored = await http("POST", at(ns, "pods"), body, query={"fieldValidation": "Ignore"})
    assert (ignored.status, ignored.warnings) == (201, [])
    wrong = await http("POST", at(ns, "pods"), body, query={"fieldValidation": "Maybe"})
    assert wrong.status == 422
    assert 'fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn"' in wrong.message


async def test_strict_patches(http: Any, ns: str) -> None:
    await http("POST", deployments(ns), deployment("d", ns))
    answer = await http(
        "PATCH", deployments(ns, "d"), {"spec": {"foo": 1}}, media="application/merge-patch+json", query={"fieldValidation": "Strict"}
    )
    assert answer.status in (400, 422)
    assert 'unknown field "spec.foo"' in answer.message


# ---- update -------------------------------------------------------------------------------------------------------


async def test_of_two_writers_one_wins(api: server.ApiServer, ns: str) -> None:
    made = await api.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="a", namespace=ns), data={"n": "0"}))
    tries = await asyncio.gather(*(api.client.update(msgspec.structs.replace(made, data={"n": str(i)})) for i in range(1, 9)), return_exceptions=True)
    assert sum(isinstance(t, core_v1.ConfigMap) for t in tries) == 1
    lost = [t for t in tries if isinstance(t, errors.Conflict)]
    assert len(lost) == 7
    assert str(lost[0]) == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again'
    )


async def test_without_a_version_the_last_writer_wins(http: Any, ns: str) -> None:
    await http("POST", at(ns, "configmaps"), config("a", ns, n="1"))
    answer = await http("PUT", at(ns, "configmaps", "a"), config("a", ns, n="2"))
    assert (answer.status, answer.json["data"]) == (200, {"n": "2"})


async def test_an_update_that_changes_nothing_is_no_change(http: Any, ns: str) -> None:
    first = (await http("POST", at(ns, "configmaps"), config("a", ns, n="1"))).json
    again = (await http("PUT", at(ns, "configmaps", "a"), config("a", ns, n="1"))).json
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_wrong_updates(http: Any, ns: str) -> None:
    made = (await http("POST", at(ns, "configmaps"), config("a", ns))).json
    other = await http("PUT", at(ns, "configmaps", "a"), config("b", ns))
    assert (other.status, other.message) == (400, "the name of the object (b) does not match the name on the URL (a)")
    gone = await http("PUT", at(ns, "configmaps", "none"), config("none", ns))
    assert (gone.status, gone.message) == (404, 'configmaps "none" not found')
    made["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
    uid = await http("PUT", at(ns, "configmaps", "a"), made)
    assert uid.status == 409
    assert "Precondition failed: UID in precondition: 11111111-1111-1111-1111-111111111111, UID in object meta: " in uid.message
    made["metadata"]["resourceVersion"] = "banana"
    assert (await http("PUT", at(ns, "configmaps", "a"), made)).status in (400, 409, 422)


async def test_generation_counts_changes_of_the_spec_alone(http: Any, ns: str) -> None:
    made = (await http("POST", deployments(ns), deployment("d", ns))).json
    assert made["metadata"]["generation"] == 1
    labelled = await http("PATCH", deployments(ns, "d"), {"metadata": {"labels": {"a": "b"}}}, media="application/merge-patch+json")
    assert labelled.json["metadata"]["generation"] == 1
    status = await http("PATCH", deployments(ns, "d", "status"), {"status": {"replicas": 2}}, media="application/merge-patch+json")
    assert (status.json["metadata"]["generation"], status.json["status"]["replicas"]) == (1, 2)
    scaled = await http("PATCH", deployments(ns, "d"), {"spec": {"replicas": 3}}, media="application/merge-patch+json")
    assert scaled.json["metadata"]["generation"] == 2
    assert scaled.json["status"]["replicas"] == 2


async def test_status_and_spec_are_written_apart(http: Any, ns: str) -> None:
    made = (await http("POST", deployments(ns), {**deployment("d", ns), "status": {"replicas": 9}})).json
    assert made["status"] == {}
    made["spec"]["replicas"] = 7
    made["status"] = {"replicas": 5}
    status = (await http("PUT", deployments(ns, "d", "status"), made)).json
    assert (status["spec"]["replicas"], status["status"]["replicas"]) == (2, 5)
    status["spec"]["replicas"], status["status"]["replicas"] = 4, 1
    spec = (await http("PUT", deployments(ns, "d"), status)).json
    assert (spec["spec"]["replicas"], spec["status"]["replicas"]) == (4, 5)


async def test_dry_run_shows_and_keeps_nothing(http: Any, ns: str) -> None:
    dry = {"dryRun": "All"}
    shown = await http("POST", at(ns, "configmaps"), config("a", ns), query=dry)
    assert shown.status == 201 and shown.json["metadata"]["uid"]
    assert (await http("GET", at(ns, "configmaps", "a"))).status == 404
    await http("POST", at(ns, "configmaps"), config("a", ns, k="1"))
    assert (await http("POST", at(ns, "configmaps"), config("a", ns), query=dry)).status == 409
    changed = await http("PATCH", at(ns, "configmaps", "a"), {"data": {"k": "2"}}, media="application/merge-patch+json", query=dry)
    assert changed.json["data"] == {"k": "2"}
    assert (await http("DELETE", at(ns, "configmaps", "a"), query=dry)).status == 200
    assert (await http("GET", at(ns, "configmaps", "a"))).json["data"] == {"k": "1"}
    wrong = await http("DELETE", at(ns, "configmaps", "a"), query={"dryRun": "Some"})
    assert wrong.status == 422 and 'dryRun: Unsupported value: ["Some"]: supported values: "All"' in wrong.message


# ---- patch --------------------------------------------------------------------------------------------------------


async def test_json_patch(http: Any, ns: str) -> None:
    await http("POST", at(ns, "configmaps"), config("a", ns, k="1", gone="x"))
    media = "application/json-patch+json"
    steps = [
        {"op": "test", "path": "/data/k", "value": "1"},
        {"op": "replace", "path": "/data/k", "value": "2"},
        {"op": "remove", "path": "/data/gone"},
    ]
    assert (await http("PATCH", at(ns, "configmaps", "a"), steps, media=media)).json["data"] == {"k": "2"}
    failed = await http("PATCH", at(ns, "configmaps", "a"), steps[:1], media=media)
    assert failed.status == 422
    missing = await http("PATCH", at(ns, "configmaps", "a"), [{"op": "remove", "path": "/data/none"}], media=media)
    assert missing.status == 422
    assert (await http("PATCH", at(ns, "configmaps", "a"), b"{", media=media)).status == 400
    assert (await http("GET", at(ns, "configmaps", "a"))).json["data"] == {"k": "2"}


async def test_merge_patch(http: Any, ns: str) -> None:
    await http("POST", at(ns, "configmaps"), config("a", ns, k="1", gone="x"))
    patch = {"data": {"k": "2", "gone": None}, "metadata": {"labels": {"a": "b"}}}
    found = (await http("PATCH", at(ns, "configmaps", "a"), patch, media="application/merge-patch+json")).json
    assert (found["data"], found["metadata"]["labels"]) == ({"k": "2"}, {"a": "b"})
    wrong = await http("PATCH", at(ns, "configmaps", "a"), [1], media="application/merge-patch+json")
    assert wrong.status == 400
    stale = await http("PATCH", at(ns, "configmaps", "a"), {"metadata": {"resourceVersion": "1"}}, media="application/merge-patch+json")
    assert (stale.status, stale.reason) == (409, "Conflict")


async def test_strategic_patch_merges_containers_by_name(http: Any, ns: str) -> None:
    await http("POST", deployments(ns), deployment("d", ns))
    media = "application/strategic-merge-patch+json"
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}, {"name": "c", "image": "j"}]}}}}
    found = (await http("PATCH", deployments(ns, "d"), patch, media=media)).json
    assert {c["name"]: c["image"] for c in found["spec"]["template"]["spec"]["containers"]} == {"c": "j", "side": "s"}
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}
    found = (await http("PATCH", deployments(ns, "d"), patch, media=media)).json
    assert [c["name"] for c in found["spec"]["template"]["spec"]["containers"]] == ["c"]


async def test_patches_side_by_side_all_land(http: Any, ns: str) -> None:
    await http("POST", at(ns, "configmaps"), config("a", ns))
    done = await asyncio.gather(
        *(http("PATCH", at(ns, "configmaps", "a"), {"data": {f"k{i}": "v"}}, media="application/merge-patch+json") for i in range(20))
    )
    assert [d.status for d in done] == [200] * 20
    assert len((await http("GET", at(ns, "configmaps", "a"))).json["data"]) == 20


async def test_a_patch_of_no_known_kind(http: Any, ns: str) -> None:
    await http("POST", at(ns, "configmaps"), config("a", ns))
    refused = await http("PATCH", at(ns, "configmaps", "a"), {}, media="application/json")
    assert refused.status == 415
    assert refused.message == "415: Unsupported Media Type"


async def test_apply_creates_owns_and_conflicts(http: Any, ns: str) -> None:
    media = "application/apply-patch+yaml"
    path = at(ns, "configmaps", "a")
    first = await http("PATCH", path, config("a", ns, x="1"), media=media, query={"fieldManager": "one"})
    assert first.status == 201
    assert first.json["metadata"]["managedFields"][0]["operation"] == "Apply"
    same = await http("PATCH", path, config("a", ns, x="1"), media=media, query={"fieldManager": "one"})
    assert same.status == 200
    assert same.json["metadata"]["resourceVersion"] == first.json["metadata"]["resourceVersion"]
    conflict = await http("PATCH", path, config("a", ns, x="2", y="1"), media=media, query={"fieldManager": "two"})
    assert (conflict.status, conflict.reason) == (409, "Conflict")
    assert conflict.message == 'Apply failed with 1 conflict: conflict with "one": .data.x'
    assert conflict.json["details"]["causes"] == [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.x"}]
    forced = await http("PATCH", path, config("a", ns, x="2", y="1"), media=media, query={"fieldManager": "two", "force": "true"})
    assert forced.json["data"] == {"x": "2", "y": "1"}
    less = await http("PATCH", path, config("a", ns, x="2"), media=media, query={"fieldManager": "two"})
    assert less.json["data"] == {"x": "2"}
    nameless = await http("PATCH", path, config("a", ns), media=media)
    assert nameless.status == 422
    assert "fieldManager: Required value: is required for apply patch" in nameless.message


# ---- delete -------------------------------------------------------------------------------------------------------


async def test_delete_answers_with_what_went(http: Any, ns: str) -> None:
    made = (await http("POST", at(ns, "configmaps"), config("a", ns))).json
    gone = await http("DELETE", at(ns, "configmaps", "a"))
    assert gone.status == 200
    assert gone.json["status"] == "Success"
    assert gone.json["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    again = await http("DELETE", at(ns, "configmaps", "a"))
    assert (again.status, again.message) == (404, 'configmaps "a" not found')


async def test_preconditions(api: server.ApiServer, ns: str) -> None:
    made = await api.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="a", namespace=ns)))
    assert made.metadata is not None
    with pytest.raises(errors.Conflict, match="the UID in the precondition"):
        await api.client.delete(core_v1.ConfigMap, "a", ns, uid="other")
    with pytest.raises(errors.Conflict, match=r"the ResourceVersion in the precondition \(1\) does not match the ResourceVersion in record"):
        await api.client.delete(core_v1.ConfigMap, "a", ns, resource_version="1")
    await api.client.delete(core_v1.ConfigMap, "a", ns, uid=made.metadata.uid, resource_version=made.metadata.resourceVersion)


async def test_a_finalizer_holds_an_object_until_it_is_off(http: Any, ns: str) -> None:
    body = config("a", ns)
    body["metadata"]["finalizers"] = ["example.com/wait"]
    await http("POST", at(ns, "configmaps"), body)
    marked = (await http("DELETE", at(ns, "configmaps", "a"))).json
    assert marked["metadata"]["deletionTimestamp"] and marked["metadata"]["deletionGracePeriodSeconds"] == 0
    more = await http(
        "PATCH", at(ns, "configmaps", "a"), {"metadata": {"finalizers": ["example.com/wait", "e.com/b"]}}, media="application/merge-patch+json"
    )
    assert more.status == 422
    assert "no new finalizers can be added if the object is being deleted" in more.message
    revived = (await http("PUT", at(ns, "configmaps", "a"), body)).json
    assert revived["metadata"]["deletionTimestamp"] == marked["metadata"]["deletionTimestamp"]
    off = await http("PATCH", at(ns, "configmaps", "a"), {"metadata": {"finalizers": None}}, media="application/merge-patch+json")
    assert off.status == 200
    assert (await http("GET", at(ns, "configmaps", "a"))).status == 404


async def test_pods_on_a_node_go_gracefully(http: Any, ns: str) -> None:
    await http("POST", at(ns, "pods"), pod("p", ns, nodeName="n1", terminationGracePeriodSeconds=7))
    first = (await http("DELETE", at(ns, "pods", "p"))).json
    assert first["metadata"]["deletionGracePeriodSeconds"] == 7
    again = (await http("DELETE", at(ns, "pods", "p"))).json
    assert again["metadata"]["deletionTimestamp"] == first["metadata"]["deletionTimestamp"]
    shorter = (await http("DELETE", at(ns, "pods", "p"), {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 2})).json
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 2
    longer = (await http("DELETE", at(ns, "pods", "p"), query={"gracePeriodSeconds": "60"})).json
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 2
    assert (await http("DELETE", at(ns, "pods", "p"), query={"gracePeriodSeconds": "0"})).status == 200
    assert (await http("GET", at(ns, "pods", "p"))).status == 404


async def test_pods_without_a_node_go_at_once(http: Any, ns: str) -> None:
    await http("POST", at(ns, "pods"), pod("p", ns))
    assert (await http("DELETE", at(ns, "pods", "p"))).json["metadata"]["name"] == "p"
    assert (await http("GET", at(ns, "pods", "p"))).status == 404


async def test_deletion_policies_become_finalizers(http: Any, ns: str) -> None:
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        await http("POST", deployments(ns), deployment(policy.lower(), ns))
        found = (await http("DELETE", deployments(ns, policy.lower()), query={"propagationPolicy": policy})).json
        assert found["metadata"]["finalizers"] == [finalizer]
    both = await http("DELETE", deployments(ns, "orphan"), query={"propagationPolicy": "Orphan", "orphanDependents": "true"})
    assert both.status == 422
    assert "orphanDependents and deletionPropagation cannot be both set" in both.message


async def test_deletecollection_takes_what_is_selected(http: Any, ns: str) -> None:
    for i in range(6):
        body = config(f"c{i}", ns)
        body["metadata"]["labels"] = {"half": str(i % 2)}
        await http("POST", at(ns, "configmaps"), body)
    gone = await http("DELETE", at(ns, "configmaps"), query={"labelSelector": "half=1"})
    assert sorted(i["metadata"]["name"] for i in gone.json["items"]) == ["c1", "c3", "c5"]
    left = (await http("GET", at(ns, "configmaps"))).json["items"]
    assert [i["metadata"]["name"] for i in left] == ["c0", "c2", "c4"]
