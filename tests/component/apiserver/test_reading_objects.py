"""Lists and watches over HTTP: chunks, versions, selectors, bookmarks, and the forms an answer can have."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def maps(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/configmaps" + (f"/{name}" if name else "")


async def make(api: server.ApiServer, ns: str, name: str, **labels: str) -> core_v1.ConfigMap:
    return await api.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name, namespace=ns, labels=labels or None)))


def version(obj: core_v1.ConfigMap) -> int:
    assert obj.metadata is not None
    return int(obj.metadata.resourceVersion or "")


def names(listed: Any) -> list[str]:
    return [i["metadata"]["name"] for i in listed["items"]]


class Events:
    """The events of a watch, one at a time."""

    def __init__(self, response: Any) -> None:
        self._lines: AsyncIterator[bytes] = response.content
        self.status: int = response.status

    async def next(self) -> tuple[str, Any]:
        async with asyncio.timeout(20):
            event = json.loads(await anext(aiter(self._lines)))
        return event["type"], event["object"]

    async def named(self) -> tuple[str, str]:
        kind, obj = await self.next()
        return kind, obj["metadata"]["name"]


# ---- lists --------------------------------------------------------------------------------------------------------


async def test_chunks_show_one_moment(api: server.ApiServer, http: Any, ns: str) -> None:
    for i in range(10):
        await make(api, ns, f"m{i}")
    first = (await http("GET", maps(ns), query={"limit": "4"})).json
    assert names(first) == ["m0", "m1", "m2", "m3"]
    assert first["metadata"]["remainingItemCount"] == 6
    await api.client.delete(core_v1.ConfigMap, "m5", ns)
    await make(api, ns, "m55")
    await api.client.patch(core_v1.ConfigMap, "m6", {"data": {"late": "yes"}}, ns)
    second = (await http("GET", maps(ns), query={"limit": "4", "continue": first["metadata"]["continue"]})).json
    assert names(second) == ["m4", "m5", "m6", "m7"]
    assert "data" not in second["items"][2]
    third = (await http("GET", maps(ns), query={"limit": "4", "continue": second["metadata"]["continue"]})).json
    assert names(third) == ["m8", "m9"]
    assert "continue" not in third["metadata"] and "remainingItemCount" not in third["metadata"]
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]


async def test_chunks_stay_consistent_while_others_write(api: server.ApiServer, http: Any, ns: str) -> None:
    for i in range(30):
        await make(api, ns, f"m{i:02}")
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await make(api, ns, f"m{number % 30:02}-{number}")
            await api.client.patch(core_v1.ConfigMap, f"m{number % 30:02}", {"data": {"n": str(number)}}, ns)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for _ in range(5):
            whole = (await http("GET", maps(ns), query={"limit": "7"})).json
            at = whole["metadata"]["resourceVersion"]
            exact = (await http("GET", maps(ns), query={"resourceVersion": at, "resourceVersionMatch": "Exact"})).json
            items, page = whole["items"], whole["metadata"].get("continue")
            while page:
                part = (await http("GET", maps(ns), query={"limit": "7", "continue": page})).json
                items, page = items + part["items"], part["metadata"].get("continue")
            assert items == exact["items"]
        stop.set()


async def test_a_label_selection_counts_nothing_beyond_the_chunk(api: server.ApiServer, http: Any, ns: str) -> None:
    for i in range(4):
        await make(api, ns, f"m{i}", a="b")
    found = (await http("GET", maps(ns), query={"limit": "2", "labelSelector": "a=b"})).json
    assert "remainingItemCount" not in found["metadata"] and found["metadata"]["continue"]


async def test_wrong_list_questions(http: Any, ns: str) -> None:
    async def ask(**query: str) -> tuple[int, str]:
        answer = await http("GET", maps(ns), query=query)
        return answer.status, answer.message

    assert (await ask(limit="x"))[0] == 400
    assert (await ask(**{"continue": "%%%"}))[0] == 400
    assert "continue key is not valid" in (await ask(**{"continue": base64.b64encode(b"{}").decode()}))[1]
    assert (await ask(resourceVersion="x"))[0] == 400
    assert "resourceVersionMatch is forbidden unless resourceVersion is provided" in (await ask(resourceVersionMatch="Exact"))[1]
    assert 'supported values: "Exact", "NotOlderThan"' in (await ask(resourceVersionMatch="Foo", resourceVersion="1"))[1]
    assert (await ask(labelSelector="a=b=c"))[0] == 400
    assert '"spec.nope" is not a known field selector: only "metadata.name", "metadata.namespace"' in (await ask(fieldSelector="spec.nope=1"))[1]
    pods = await http("GET", f"/api/v1/namespaces/{ns}/pods", query={"fieldSelector": "spec.nope=1"})
    assert (pods.status, "field label not supported: spec.nope" in pods.message) == (400, True)
    status, message = await ask(resourceVersion="99999999")
    assert status == 504 and "Too large resource version: 99999999, current: " in message


async def test_exact_versions_are_the_past(api: server.ApiServer, http: Any, ns: str) -> None:
    first = await make(api, ns, "a")
    second = await make(api, ns, "b")
    await api.client.delete(core_v1.ConfigMap, "a", ns)

    async def at(revision: int) -> list[str]:
        query = {"resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
        listed = (await http("GET", maps(ns), query=query)).json
        assert listed["metadata"]["resourceVersion"] == str(revision)
        return names(listed)

    assert await at(version(first)) == ["a"]
    assert await at(version(second)) == ["a", "b"]
    not_older = (await http("GET", maps(ns), query={"resourceVersion": str(version(second)), "resourceVersionMatch": "NotOlderThan"})).json
    assert names(not_older) == ["b"]


async def test_selectors(api: server.ApiServer, http: Any, ns: str) -> None:
    await make(api, ns, "a", tier="web", env="prod")
    await make(api, ns, "b", tier="web")
    await make(api, ns, "c", tier="db")

    async def chosen(**query: str) -> list[str]:
        return names((await http("GET", maps(ns), query=query)).json)

    assert await chosen(labelSelector="tier=web") == ["a", "b"]
    assert await chosen(labelSelector="tier in (db,web),env!=prod") == ["b", "c"]
    assert await chosen(labelSelector="!env") == ["b", "c"]
    assert await chosen(labelSelector="tier notin (web)") == ["c"]
    assert await chosen(fieldSelector="metadata.name=b") == ["b"]
    assert await chosen(fieldSelector="metadata.name!=b", labelSelector="tier=web") == ["a"]
    assert await chosen(fieldSelector=f"metadata.namespace={ns}") == ["a", "b", "c"]
    assert await chosen(fieldSelector="metadata.namespace=other") == []


async def test_an_expired_continue_token_offers_an_inconsistent_one(api: server.ApiServer, http: Any, ns: str) -> None:
    for i in range(5):
        await make(api, ns, f"m{i}")
    token = (await http("GET", maps(ns), query={"limit": "2"})).json["metadata"]["continue"]
    await make(api, ns, "m10")
    await api.store.compact(api.parts.storage.revision)
    answer = await http("GET", maps(ns), query={"limit": "2", "continue": token})
    assert (answer.status, answer.reason) == (410, "Expired")
    assert answer.message.startswith("The provided continue parameter is too old to display a consistent list result.")
    rest = (await http("GET", maps(ns), query={"limit": "10", "continue": answer.json["metadata"]["continue"]})).json
    assert names(rest) == ["m10", "m2", "m3", "m4"]
    old = await http("GET", maps(ns), query={"resourceVersion": "3", "resourceVersionMatch": "Exact"})
    assert (old.status, old.reason) == (410, "Expired")
    assert "The resourceVersion for the provided list is too old: 3" in old.message


# ---- watches ------------------------------------------------------------------------------------------------------


async def test_a_watch_tells_what_happens_after_its_version(api: server.ApiServer, http: Any, ns: str) -> None:
    first = await make(api, ns, "a")
    await make(api, ns, "b")
    await api.client.patch(core_v1.ConfigMap, "b", {"data": {"k": "v"}}, ns)
    query = {"watch": "1", "resourceVersion": str(version(first))}
    async with http.stream(maps(ns), query) as response:
        events = Events(response)
        assert await events.named() == ("ADDED", "b")
        assert await events.named() == ("MODIFIED", "b")
        await api.client.delete(core_v1.ConfigMap, "a", ns)
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["name"]) == ("DELETED", "a")
        assert int(obj["metadata"]["resourceVersion"]) > version(first)


async def test_a_watch_without_a_version_begins_with_what_there_is(api: server.ApiServer, http: Any, ns: str) -> None:
    await make(api, ns, "b")
    await make(api, ns, "a")
    for query in ({"watch": "true"}, {"watch": "true", "resourceVersion": "0"}):
        async with http.stream(maps(ns), query) as response:
            events = Events(response)
            assert [await events.named(), await events.named()] == [("ADDED", "a"), ("ADDED", "b")]


async def test_what_stops_matching_is_deleted_for_the_watcher(api: server.ApiServer, http: Any, ns: str) -> None:
    made = await make(api, ns, "a", color="red")
    query = {"watch": "1", "resourceVersion": str(version(made)), "labelSelector": "color=red"}
    async with http.stream(maps(ns), query) as response:
        events = Events(response)
        changed = await api.client.patch(core_v1.ConfigMap, "a", {"metadata": {"labels": {"color": "blue"}}}, ns)
        kind, obj = await events.next()
        assert (kind, obj["metadata"]["labels"]) == ("DELETED", {"color": "red"})
        assert obj["metadata"]["resourceVersion"] == str(version(changed))
        await api.client.patch(core_v1.ConfigMap, "a", {"data": {"unseen": "yes"}}, ns)
        await api.client.patch(core_v1.ConfigMap, "a", {"metadata": {"labels": {"color": "red"}}}, ns)
        kind, obj = await events.next()
        assert (kind, obj["data"]) == ("ADDED", {"unseen": "yes"})


async def test_initial_events_end_with_a_bookmark(api: server.ApiServer, http: Any, ns: str) -> None:
    made = await make(api, ns, "a")
    query = {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with http.stream(maps(ns), query) as response:
        events = Events(response)
        assert await events.named() == ("ADDED", "a")
        kind, mark = await events.next()
        assert (kind, mark["kind"], mark["apiVersion"]) == ("BOOKMARK", "ConfigMap", "v1")
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(mark["metadata"]["resourceVersion"]) >= version(made)
        await make(api, ns, "b")
        assert await events.named() == ("ADDED", "b")
    for wrong in ({"sendInitialEvents": "true"}, {"resourceVersionMatch": "NotOlderThan", "resourceVersion": "1"}):
        assert (await http("GET", maps(ns), query={"watch": "1", **wrong})).status == 422


async def test_a_watch_ends_with_its_time_and_a_last_bookmark(http: Any, ns: str) -> None:
    query = {"watch": "1", "timeoutSeconds": "1", "allowWatchBookmarks": "true"}
    async with asyncio.timeout(20), http.stream(maps(ns), query) as response:
        lines = (await response.read()).splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["BOOKMARK"]


async def test_a_version_too_old_to_watch_is_gone(api: server.ApiServer, http: Any, ns: str) -> None:
    first = await make(api, ns, "a")
    await make(api, ns, "b")
    cache = api.parts.catalog.of("", "configmaps").cache
    cache.history.clear()
    cache.complete_since = cache.version
    async with http.stream(maps(ns), {"watch": "1", "resourceVersion": str(version(first))}) as response:
        assert await Events(response).named() == ("ADDED", "b"), "the store still knows"
    await api.store.compact(api.parts.storage.revision)
    async with http.stream(maps(ns), {"watch": "1", "resourceVersion": str(version(first))}) as response:
        events = Events(response)
        kind, status = await events.next()
    assert (events.status, kind) == (200, "ERROR")
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert status["message"].startswith(f"too old resource version: {version(first)} (")


async def test_watches_of_one_object_and_of_a_field(api: server.ApiServer, http: Any, ns: str) -> None:
    await make(api, ns, "other")
    chosen = {"watch": "1", "fieldSelector": "metadata.name=mine"}
    by_prefix = maps(ns, "mine").replace("/api/v1/", "/api/v1/watch/")
    async with http.stream(by_prefix, {}) as by_path, http.stream(maps(ns), chosen) as by_field:
        await make(api, ns, "mine")
        assert await Events(by_path).named() == ("ADDED", "mine")
        assert await Events(by_field).named() == ("ADDED", "mine")
    assert (await http("GET", maps(ns, "mine"), query={"watch": "1"})).json["kind"] == "ConfigMap"


async def test_many_watchers_see_one_order(api: server.ApiServer, http: Any, ns: str) -> None:
    last = await make(api, ns, "start")
    query = {"watch": "1", "resourceVersion": str(version(last))}

    async def follow() -> list[tuple[str, str]]:
        async with http.stream(maps(ns), query) as response:
            events = Events(response)
            return [await events.named() for _ in range(30)]

    async with asyncio.TaskGroup() as group:
        watchers = [group.create_task(follow()) for _ in range(20)]
        await asyncio.gather(*(make(api, ns, f"m{i}") for i in range(15)))
        await asyncio.gather(*(api.client.delete(core_v1.ConfigMap, f"m{i}", ns) for i in range(15)))
    seen = [w.result() for w in watchers]
    assert all(s == seen[0] for s in seen)
    assert sorted(seen[0]) == sorted([("ADDED", f"m{i}") for i in range(15)] + [("DELETED", f"m{i}") for i in range(15)])


# ---- forms --------------------------------------------------------------------------------------------------------


async def test_tables(api: server.ApiServer, http: Any, ns: str) -> None:
    await make(api, ns, "a")
    table = (await http("GET", maps(ns), accept=f"{TABLE},application/json")).json
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["a", 0]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = (await http("GET", maps(ns, "a"), accept=TABLE)).json
    assert (one["kind"], len(one["rows"])) == ("Table", 1)
    bare = (await http("GET", maps(ns), accept=TABLE, query={"includeObject": "None"})).json
    assert "object" not in bare["rows"][0]
    assert (await http("GET", maps(ns), accept=TABLE, query={"includeObject": "Some"})).status == 400
    async with http.stream(maps(ns), {"watch": "1"}, accept=TABLE) as response:
        kind, first = await Events(response).next()
    assert (kind, first["kind"], first["rows"][0]["cells"][0]) == ("ADDED", "Table", "a")


async def test_metadata_alone(api: server.ApiServer, http: Any, ns: str) -> None:
    await make(api, ns, "a", x="y")
    listed = (await http("GET", maps(ns), accept=PARTIAL_LIST)).json
    assert (listed["kind"], listed["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert listed["items"][0]["metadata"]["labels"] == {"x": "y"}
    one = (await http("GET", maps(ns, "a"), accept=PARTIAL)).json
    assert (one["kind"], sorted(one)) == ("PartialObjectMetadata", ["apiVersion", "kind", "metadata"])


async def test_yaml_pretty_and_what_cannot_be_had(api: server.ApiServer, http: Any, ns: str) -> None:
    await make(api, ns, "a")
    answer = await http("GET", maps(ns, "a"), accept="application/yaml")
    assert answer.headers["Content-Type"] == "application/yaml"
    assert yaml.safe_load(answer.body)["metadata"]["name"] == "a"
    assert (await http("GET", maps(ns, "a"), query={"pretty": "true"})).body.startswith(b'{\n  "')
    unknown = await http("GET", maps(ns), accept="text/html")
    assert unknown.status == 406 and unknown.message.startswith("406: Not Acceptable\n\nAvailable representations: application/json, ")
    for accept in ("application/json;as=Foo;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=meta.k8s.io"):
        refused = await http("GET", maps(ns), accept=accept)
        assert (refused.status, refused.reason) == (406, "NotAcceptable")
        assert "application/json, application/yaml, application/vnd.kubernetes.protobuf" in refused.message


# ---- discovery ----------------------------------------------------------------------------------------------------


async def test_discovery_in_the_old_form(http: Any) -> None:
    assert (await http("GET", "/api")).json["versions"] == ["v1"]
    groups = {g["name"]: g for g in (await http("GET", "/apis")).json["groups"]}
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert groups["autoscaling"]["preferredVersion"]["version"] == "v2"
    assert [v["version"] for v in groups["autoscaling"]["versions"]] == ["v2", "v1"]
    core = {r["name"]: r for r in (await http("GET", "/api/v1")).json["resources"]}
    assert core["pods"]["shortNames"] == ["po"] and core["pods"]["namespaced"] is True
    assert core["pods"]["verbs"] == ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    assert core["pods/eviction"]["group"] == "policy" and core["pods/eviction"]["kind"] == "Eviction"
    assert core["services"]["categories"] == ["all"]
    assert (await http("GET", "/apis/apps")).json["name"] == "apps"
    assert (await http("GET", "/apis/none")).status == 404
    assert (await http("GET", "/apis/apps/v7")).status == 404


async def test_discovery_in_one_document(http: Any) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = await http("GET", "/apis", accept=accept)
    assert answer.headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    apps = next(g for g in answer.json["items"] if g["metadata"]["name"] == "apps")
    found = next(r for r in apps["versions"][0]["resources"] if r["resource"] == "deployments")
    assert found["responseKind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert [s["subresource"] for s in found["subresources"]] == ["scale", "status"]
    same = await http("GET", "/apis", accept=accept, headers={"If-None-Match": answer.headers["ETag"]})
    assert (same.status, same.body) == (304, b"")
    assert (await http("GET", "/apis", accept=accept, headers={"If-None-Match": '"other"'})).status == 200
    core = (await http("GET", "/api", accept=accept)).json
    assert core["kind"] == "APIGroupDiscoveryList" and len(core["items"]) == 1


async def test_plain_paths(http: Any) -> None:
    assert (await http("GET", "/readyz")).body == b"ok"
    assert b"[+]bootstrap ok" in (await http("GET", "/readyz", query={"verbose": ""})).body
    assert (await http("GET", "/livez/ping")).body == b"ok"
    assert (await http("GET", "/livez/none")).status == 404
    assert (await http("GET", "/version")).json["gitVersion"].startswith("v1.36.")
    assert "/apis/apps/v1" in (await http("GET", "/")).json["paths"]
    openapi = await http("GET", "/openapi/v3")
    assert "apis/apps/v1" in openapi.json["paths"]
    assert (await http("GET", "/openapi/v3", headers={"If-None-Match": openapi.headers["ETag"]})).status == 304
