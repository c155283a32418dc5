"""Custom resources: what a definition says of its objects, held by every verb."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from navarch.testing import server, waiting
from tests.component.apiserver.definitions import DEFINITIONS, WIDGET, condition, define, definition, redefine, version

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}
_numbers = iter(range(1000))


@pytest_asyncio.fixture(loop_scope="module")
async def group(http: Any) -> str:
    """A group of the test's own, with Widgets in it."""
    name = f"g{next(_numbers)}.example.com"
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.replicas"}, {"name": "Ready", "type": "string", "jsonPath": READY}]
    parts = {"status": {}, "scale": SCALE}
    fields = [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.replicas"}]
    await define(http, definition(name, version(subresources=parts, additionalPrinterColumns=columns, selectableFields=fields)))
    return name


READY = '.status.conditions[?(@.type=="Ready")].status'


def widget(group: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def path(group: str, ns: str, name: str = "", at: str = "v1", plural: str = "widgets") -> str:
    return f"/apis/{group}/{at}/namespaces/{ns}/{plural}" + (f"/{name}" if name else "")


# ---- objects -------------------------------------------------------------------------------------------------------


async def test_objects_are_defaulted_pruned_and_counted(http: Any, ns: str, group: str) -> None:
    sent = {**widget(group, "a", color="red", unknown=1), "extra": {"x": 1}, "status": {"replicas": 9}}
    made = await http("POST", path(group, ns), sent, query={"fieldValidation": "Warn"})
    assert made.status == 201, made.body
    assert made.json["spec"] == {"color": "red", "replicas": 1} and "extra" not in made.json and "status" not in made.json
    assert made.json["metadata"]["generation"] == 1
    assert [w.split('"')[1].replace("\\", "") for w in made.warnings] == ["unknown field ", "unknown field "]
    labelled = await http("PATCH", path(group, ns, "a"), {"metadata": {"labels": {"a": "b"}}}, media="application/merge-patch+json")
    assert labelled.json["metadata"]["generation"] == 1
    grown = await http("PATCH", path(group, ns, "a"), {"spec": {"replicas": 2}}, media="application/merge-patch+json")
    assert grown.json["metadata"]["generation"] == 2
    assert (await http("GET", path(group, ns, "a"))).json == grown.json


async def test_strict_readers_are_told_of_all_that_is_unknown_or_twice(http: Any, ns: str, group: str) -> None:
    text = json.dumps(widget(group, "a", color="red", foo=1, template={"apiVersion": "v1", "kind": "Pod", "metadata": {"bar": 1}}))
    text = text.replace('"color": "red"', '"color": "blue", "color": "red"').replace('"name": "a"', '"name": "a", "baz": 1')
    refused = await http("POST", path(group, ns), text, query={"fieldValidation": "Strict"})
    assert refused.status == 400
    assert refused.message == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: duplicate field "spec.color", '
        'unknown field "metadata.baz", unknown field "spec.foo", unknown field "spec.template.metadata.bar"'
    )
    assert (await http("POST", path(group, ns), text, query={"fieldValidation": "Ignore"})).warnings == []


async def test_what_is_wrong_is_said_in_upstream_s_words(http: Any, ns: str, group: str) -> None:
    async def told(**spec: Any) -> str:
        refused = await http("POST", path(group, ns), widget(group, "a", **spec))
        assert refused.status == 422, refused.body
        return str(refused.message)

    assert await told(color="green") == (
        f'Widget.{group} "a" is invalid: [spec.color: Unsupported value: "green": supported values: "red", "blue", <nil>: Invalid value: null: '
        "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]"
    )
    assert await told(replicas=11) == f'Widget.{group} "a" is invalid: spec: Invalid value: too many'
    assert "spec.replicas in body should be greater than or equal to 0" in await told(replicas=-1)
    assert 'spec.ports[1]: Duplicate value: {"name":"x"}' in await told(ports=[{"name": "x"}, {"name": "x"}])
    assert "spec.template.kind: Required value" in await told(template={"apiVersion": "v1"})


async def test_rules_compare_with_what_was_and_what_did_not_change_may_stay(http: Any, ns: str, group: str) -> None:
    assert (await http("POST", path(group, ns), widget(group, "a", color="red", replicas=9))).status == 201
    refused = await http("PATCH", path(group, ns, "a"), {"spec": {"color": "blue"}}, media="application/merge-patch+json")
    assert refused.status == 422 and "spec.color: Invalid value: color is kept" in refused.message
    rule = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations/0/rule"
    await redefine(http, f"widgets.{group}", [{"op": "replace", "path": rule, "value": "self.replicas <= 5"}])

    async def tightened() -> bool:
        return bool((await http("POST", path(group, ns), widget(group, "b", replicas=6), query={"dryRun": "All"})).status == 422)

    await waiting.until(tightened, 5, "the new rule")
    kept = await http("PATCH", path(group, ns, "a"), {"metadata": {"labels": {"x": "y"}}}, media="application/merge-patch+json")
    assert kept.status == 200, kept.body
    refused = await http("PATCH", path(group, ns, "a"), {"spec": {"replicas": 8}}, media="application/merge-patch+json")
    assert refused.status == 422, "what changed must be good"


async def test_status_and_scale_change_their_part_alone(http: Any, ns: str, group: str) -> None:
    held = (await http("POST", path(group, ns), widget(group, "a", replicas=2))).json
    changed = {**held, "spec": {"replicas": 7}, "status": {"replicas": 2, "selector": "a=b"}}
    changed["metadata"] = {**held["metadata"], "labels": {"x": "y"}}
    done = await http("PUT", path(group, ns, "a") + "/status", changed)
    assert (done.json["spec"], done.json["status"]) == ({"replicas": 2}, {"replicas": 2, "selector": "a=b"})
    assert "labels" not in done.json["metadata"] and done.json["metadata"]["generation"] == 1
    scale = await http("GET", path(group, ns, "a") + "/scale")
    assert (scale.json["spec"], scale.json["status"]) == ({"replicas": 2}, {"replicas": 2, "selector": "a=b"})
    body = {"spec": {"replicas": 4}}
    assert (await http("PATCH", path(group, ns, "a") + "/scale", body, media="application/merge-patch+json")).json["spec"] == {"replicas": 4}
    after = (await http("GET", path(group, ns, "a"))).json
    assert after["spec"]["replicas"] == 4 and after["status"]["replicas"] == 2 and after["metadata"]["generation"] == 2


async def test_apply_merges_by_the_schema(http: Any, ns: str, group: str) -> None:
    async def apply(manager: str, force: bool = False, **spec: Any) -> Any:
        query = {"fieldManager": manager, **({"force": "true"} if force else {})}
        return await http("PATCH", path(group, ns, "a"), widget(group, "a", **spec), query=query, media="application/apply-patch+yaml")

    assert (await apply("one", ports=[{"name": "x", "port": 1}])).status == 201
    merged = await apply("two", ports=[{"name": "y", "port": 2}])
    assert [p["name"] for p in merged.json["spec"]["ports"]] == ["x", "y"], "a list of list-type map"
    conflict = await apply("two", ports=[{"name": "x", "port": 3}])
    assert conflict.status == 409 and 'conflict with "one": .spec.ports[name="x"].port' in conflict.message
    assert (await apply("two", force=True, ports=[{"name": "x", "port": 3}])).json["spec"]["ports"] == [{"name": "x", "port": 3}]
    strategic = await http("PATCH", path(group, ns, "a"), {}, media="application/strategic-merge-patch+json")
    assert strategic.status == 415


async def test_tables_and_selectors_follow_the_definition(http: Any, ns: str, group: str) -> None:
    for name, color in (("a", "red"), ("b", "blue")):
        assert (await http("POST", path(group, ns), widget(group, name, color=color))).status == 201
    table = (await http("GET", path(group, ns), accept="application/json;as=Table;v=v1;g=meta.k8s.io")).json
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Ready"]
    assert [row["cells"] for row in table["rows"]] == [["a", 1, None], ["b", 1, None]]
    assert (await http("GET", path(group, ns))).json["kind"] == "WidgetList"
    for selector, names in (("spec.color=blue", ["b"]), ("spec.replicas=1", ["a", "b"]), ("spec.color!=blue", ["a"])):
        listed = await http("GET", path(group, ns), query={"fieldSelector": selector})
        assert [o["metadata"]["name"] for o in listed.json["items"]] == names
    refused = await http("GET", path(group, ns), query={"fieldSelector": "spec.foo=1"})
    assert (refused.status, refused.message) == (400, "field label not supported: spec.foo")


async def test_finalizers_of_any_name_are_taken_and_warned_of(http: Any, ns: str, group: str) -> None:
    sent = widget(group, "a")
    sent["metadata"]["finalizers"] = ["mine.example.com"]
    made = await http("POST", path(group, ns), sent)
    assert made.status == 201 and "prefer a domain-qualified finalizer name including a path (/)" in made.warnings[0]
    waiting_for = (await http("DELETE", path(group, ns, "a"))).json
    assert waiting_for["metadata"]["deletionTimestamp"]
    assert (await http("PATCH", path(group, ns, "a"), {"metadata": {"finalizers": None}}, media="application/merge-patch+json")).status == 200
    assert (await http("GET", path(group, ns, "a"))).status == 404


# ---- definitions ---------------------------------------------------------------------------------------------------


async def test_a_definition_without_names_of_its_own_waits_for_them(http: Any, ns: str, group: str) -> None:
    taken = definition(group, kind="Gadget")
    taken["spec"]["names"] |= {"shortNames": ["widgets"]}
    assert (await http("POST", DEFINITIONS, taken)).status == 201

    async def state() -> tuple[tuple[str, str], tuple[str, str]]:
        held = (await http("GET", f"{DEFINITIONS}/gadgets.{group}")).json
        return condition(held, "NamesAccepted"), condition(held, "Established")

    async def refused() -> bool:
        return await state() == (("False", "ShortNamesConflict"), ("False", "NotAccepted"))

    await waiting.until(refused, 5, "the conflict")
    assert (await http("GET", path(group, ns, plural="gadgets"))).status == 404
    assert (await http("DELETE", f"{DEFINITIONS}/widgets.{group}")).status == 200

    async def accepted() -> bool:
        return await state() == (("True", "NoConflicts"), ("True", "InitialNamesAccepted"))

    await waiting.until(accepted, 5, "the name that became free")
    assert (await http("GET", path(group, ns, plural="gadgets"))).status == 200


async def test_a_definition_goes_after_its_objects(http: Any, ns: str, group: str) -> None:
    sent = widget(group, "a")
    sent["metadata"]["finalizers"] = ["example.com/wait"]
    assert (await http("POST", path(group, ns), sent)).status == 201
    assert (await http("POST", path(group, ns), widget(group, "b"))).status == 201
    assert (await http("DELETE", f"{DEFINITIONS}/widgets.{group}")).status == 200

    async def one_left() -> bool:
        return [o["metadata"]["name"] for o in (await http("GET", path(group, ns))).json["items"]] == ["a"]

    await waiting.until(one_left, 5, "what has no finalizer to go")
    held = (await http("GET", f"{DEFINITIONS}/widgets.{group}")).json
    assert held["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert condition(held, "Terminating")[0] == "True"
    refused = await http("POST", path(group, ns), widget(group, "c"))
    assert refused.status == 403 and "create not allowed while custom resource definition is terminating" in refused.message
    verbs = (await http("GET", f"/apis/{group}/v1")).json["resources"][0]["verbs"]
    assert verbs == ["delete", "deletecollection", "get", "list", "watch"]
    await http("PATCH", path(group, ns, "a"), {"metadata": {"finalizers": None}}, media="application/merge-patch+json")

    async def gone() -> bool:
        answers = [await http("GET", f"{DEFINITIONS}/widgets.{group}"), await http("GET", path(group, ns))]
        return [answer.status for answer in answers] == [404, 404]

    await waiting.until(gone, 5, "the definition to go")
    assert group not in [g["name"] for g in (await http("GET", "/apis")).json["groups"]]


async def test_what_is_stored_is_read_by_the_schema_there_is_now(http: Any, ns: str, group: str) -> None:
    """Defaults are there on objects from before, what is no longer known is not, and comes back with the schema that knows it."""
    assert (await http("POST", path(group, ns), widget(group, "a", color="red"))).status == 201
    properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties"
    fields = "/spec/versions/0/selectableFields"
    rules = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"
    size = {"type": "string", "default": "small"}
    await redefine(
        http,
        f"widgets.{group}",
        [
            {"op": "add", "path": f"{properties}/size", "value": size},
            {"op": "remove", "path": f"{properties}/color"},
            {"op": "remove", "path": fields},
            {"op": "remove", "path": rules},
        ],
    )

    async def spec() -> Any:
        return (await http("GET", path(group, ns, "a"))).json["spec"]

    async def read_anew() -> bool:
        return bool(await spec() == {"replicas": 1, "size": "small"})

    await waiting.until(read_anew, 5, "the new schema")
    await redefine(http, f"widgets.{group}", [{"op": "add", "path": f"{properties}/color", "value": {"type": "string"}}])

    async def back() -> bool:
        return bool(await spec() == {"color": "red", "replicas": 1, "size": "small"})

    await waiting.until(back, 5, "the field that is known again")


async def test_watches_end_when_the_schema_changes_and_go_on_from_there(http: Any, ns: str, group: str) -> None:
    seen: list[Any] = []

    async def watch() -> None:
        async with http.stream(path(group, ns), {"watch": "true"}) as response:
            async for line in response.content:
                seen.append(json.loads(line))

    task = asyncio.ensure_future(watch())
    await asyncio.sleep(0.05)
    assert (await http("POST", path(group, ns), widget(group, "a"))).status == 201
    await waiting.until(lambda: bool(seen), 5, "an event")
    place = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size"
    await redefine(http, f"widgets.{group}", [{"op": "add", "path": place, "value": {"type": "string"}}])
    await asyncio.wait_for(task, 5)
    assert [e["type"] for e in seen] == ["ADDED"]


async def test_a_change_that_touches_no_object_ends_no_watch(http: Any, ns: str, group: str) -> None:
    async with http.stream(path(group, ns), {"watch": "true"}) as response:
        names = [{"op": "add", "path": "/spec/names/shortNames", "value": ["wi"]}]
        await redefine(http, f"widgets.{group}", names)

        async def told() -> bool:
            return bool((await http("GET", f"/apis/{group}/v1")).json["resources"][0].get("shortNames") == ["wi"])

        await waiting.until(told, 5, "the short name in discovery")
        assert (await http("POST", path(group, ns), widget(group, "a"))).status == 201
        assert json.loads(await asyncio.wait_for(response.content.readline(), 5))["type"] == "ADDED"


# ---- versions ------------------------------------------------------------------------------------------------------


async def test_versions_without_conversion_differ_in_name_and_schema(http: Any, ns: str) -> None:
    group = f"g{next(_numbers)}.example.com"
    other = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string", "maxLength": 4}}}}}
    beta = version("v1beta1", other, storage=False, deprecated=True)
    await define(http, definition(group, version(), beta))
    assert (await http("POST", path(group, ns), widget(group, "a", color="red", replicas=3))).status == 201
    shown = await http("GET", path(group, ns, "a", "v1beta1"))
    assert (shown.json["apiVersion"], shown.json["spec"]) == (f"{group}/v1beta1", {"color": "red"})
    assert f"{group}/v1beta1 Widget is deprecated; use {group}/v1 Widget" in shown.warnings[0]
    sent = {**widget(group, "b", color="longer"), "apiVersion": f"{group}/v1beta1"}
    refused = await http("POST", path(group, ns, at="v1beta1"), sent)
    assert "spec.color: Too long: may not be more than 4 bytes" in refused.message, "each version has its own rules"
    sent["spec"] = {"color": "blue"}
    made = await http("POST", path(group, ns, at="v1beta1"), sent)
    assert made.json["apiVersion"] == f"{group}/v1beta1" and made.json["spec"] == {"color": "blue"}
    assert (await http("GET", path(group, ns, "b"))).json["spec"] == {"color": "blue", "replicas": 1}
    assert [o["apiVersion"] for o in (await http("GET", path(group, ns, at="v1beta1"))).json["items"]] == [f"{group}/v1beta1"] * 2
    async with http.stream(path(group, ns, at="v1beta1"), {"watch": "true", "resourceVersion": made.json["metadata"]["resourceVersion"]}) as response:
        assert (await http("DELETE", path(group, ns, "a"))).status == 200
        event = json.loads(await asyncio.wait_for(response.content.readline(), 5))
        assert (event["type"], event["object"]["apiVersion"]) == ("DELETED", f"{group}/v1beta1")


async def test_the_storage_version_changes_and_old_objects_stay_readable(http: Any, ns: str, api: server.ApiServer) -> None:
    group = f"g{next(_numbers)}.example.com"
    await define(http, definition(group, version(), version("v2", storage=False)))
    assert (await http("POST", path(group, ns), widget(group, "a", color="red"))).status == 201
    await redefine(
        http,
        f"widgets.{group}",
        [{"op": "replace", "path": f"/spec/versions/{i}/storage", "value": stored} for i, stored in ((0, False), (1, True))],
    )
    held = (await http("GET", f"{DEFINITIONS}/widgets.{group}")).json
    assert held["status"]["storedVersions"] == ["v1", "v2"]

    async def changed() -> bool:
        listed = (await http("GET", f"/apis/{group}/v2")).json["resources"][0]["storageVersionHash"]
        return bool(listed == (await http("GET", f"/apis/{group}/v1")).json["resources"][0]["storageVersionHash"]) and await stored("a", "v1")

    async def stored(name: str, at: str) -> bool:
        record = await api.parts.storage.store.get(f"/registry/widgets.{group}/{ns}/{name}")
        return record is not None and json.loads(record.value)["apiVersion"] == f"{group}/{at}"

    await waiting.until(changed, 5, "the new storage version")
    for at in ("v1", "v2"):
        assert (await http("GET", path(group, ns, "a", at))).json["apiVersion"] == f"{group}/{at}"
    rewritten = await http("PATCH", path(group, ns, "a"), {"metadata": {"labels": {"x": "y"}}}, media="application/merge-patch+json")
    assert rewritten.json["apiVersion"] == f"{group}/v1"
    assert await stored("a", "v2")
    gone = [{"op": "remove", "path": "/spec/versions/0"}]
    refused = await http("PATCH", f"{DEFINITIONS}/widgets.{group}", gone, media="application/json-patch+json")
    assert refused.status == 422 and "v1 was previously a storage version" in refused.message


async def test_they_are_there_after_a_restart(tmp_path: Any) -> None:
    from tests.component.apiserver.conftest import Http

    async with server.running(tmp_path) as api:
        http = Http(api)
        await define(http, definition("again.example.com", version(), version("v2", storage=False)))
        assert (await http("POST", path("again.example.com", "default"), widget("again.example.com", "a"))).status == 201
        await http.close()
    async with server.running(tmp_path) as api:
        http = Http(api)
        for at in ("v1", "v2"):
            listed = await http("GET", path("again.example.com", "default", at=at))
            assert [o["metadata"]["name"] for o in listed.json["items"]] == ["a"]
        await http.close()


# ---- documents -----------------------------------------------------------------------------------------------------


async def test_documents_tell_of_what_is_served_now(http: Any, group: str) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    before = await http("GET", "/apis", accept=accept)
    found = next(i for i in before.json["items"] if i["metadata"]["name"] == group)["versions"][0]
    assert found["freshness"] == "Current" and [r["resource"] for r in found["resources"]] == ["widgets"]
    assert [s["subresource"] for s in found["resources"][0]["subresources"]] == ["scale", "status"]
    again = await http("GET", "/apis", accept=accept, headers={"If-None-Match": before.headers["ETag"]})
    assert again.status == 304
    place = f"apis/{group}/v1"
    index = (await http("GET", "/openapi/v3")).json["paths"]
    document = await http("GET", index[place]["serverRelativeURL"].partition("?")[0])
    name = ".".join(reversed(group.split("."))) + ".v1.Widget"
    assert document.json["components"]["schemas"][name]["properties"]["spec"]["properties"]["color"]["enum"] == ["red", "blue"]
    assert name in (await http("GET", "/openapi/v2")).json["definitions"]
    column = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size"
    await redefine(http, f"widgets.{group}", [{"op": "add", "path": column, "value": {"type": "string"}}])

    async def told() -> bool:
        now = (await http("GET", "/openapi/v3")).json["paths"]
        return bool(now[place] != index[place] and {p for p in now if now[p] != index.get(p)} == {place})

    await waiting.until(told, 5, "the changed document, and no other")
    v2 = await http("GET", "/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert v2.status == 200 and b"size" in v2.body and name.encode() in v2.body


async def test_definitions_are_refused_for_what_they_say(http: Any) -> None:
    bad = definition("k8s.io", version(schema={**WIDGET, "properties": {"spec": {"properties": {}}}}))
    refused = await http("POST", DEFINITIONS, bad)
    assert refused.status == 422
    assert "spec.validation.openAPIV3Schema.properties[spec].type: Required value" in refused.message
    assert 'protected groups must have approval annotation "api-approved.kubernetes.io"' in refused.message
