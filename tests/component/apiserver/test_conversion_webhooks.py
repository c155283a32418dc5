"""Versions that a conversion webhook converts, over the wire: what upstream's end-to-end tests do, and what happens when it does not answer.

Upstream counterparts: test/e2e/apimachinery/{crd_conversion_webhook,crd_selectable_fields}.go, test/images/agnhost/crd-conversion-webhook.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from navarch.testing import server, waiting
from tests.component.apiserver.definitions import DEFINITIONS, define, definition, version
from tests.component.apiserver.webhook_cluster import NUMBERS, Cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
FIRST = {**ANYTHING, "properties": {"hostPort": {"type": "string"}}}
SECOND = {**ANYTHING, "properties": {"host": {"type": "string"}, "port": {"type": "string"}}}
Convert = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def converted(obj: dict[str, Any], wanted: str) -> dict[str, Any]:
    """`hostPort` of v1 is `host` and `port` of v2."""
    made = {**obj, "apiVersion": wanted}
    if wanted.endswith("/v2") and "hostPort" in made:
        made["host"], made["port"] = made.pop("hostPort").split(":")
    elif wanted.endswith("/v1") and "host" in made:
        made["hostPort"] = f"{made.pop('host')}:{made.pop('port')}"
    return made


class Converted:
    """A definition whose versions a webhook converts, in a group of its own."""

    def __init__(self, http: Any, ns: str, path: str) -> None:
        self.http, self.ns, self.hook = http, ns, path
        self.group = f"g{next(NUMBERS)}.convert.example.com"
        self.failing = False
        self.sizes: list[int] = []

    async def convert(self, request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.failing:
            return {"result": {"status": "Failed", "message": "out of order"}}
        self.sizes.append(len(request["objects"]))
        objects = [converted(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        return {"result": {"status": "Success"}, "convertedObjects": objects}

    def path(self, at: str, name: str = "") -> str:
        return f"/apis/{self.group}/{at}/namespaces/{self.ns}/e2etests" + (f"/{name}" if name else "")

    async def create(self, name: str, at: str = "v1") -> Any:
        obj = {"apiVersion": f"{self.group}/v1", "kind": "E2eTest", "metadata": {"name": name}, "hostPort": "localhost:7777"}
        return await self.http("POST", self.path(at), converted(obj, f"{self.group}/{at}"))


@pytest_asyncio.fixture(loop_scope="module")
async def tests(cluster: Cluster, http: Any, ns: str) -> Converted:
    path = f"/convert-{next(NUMBERS)}"
    made = Converted(http, ns, path)
    cluster._handlers[path] = made.convert
    client = {"url": f"{cluster.hooks.url}{path}", "caBundle": cluster.hooks.bundle}
    conversion = {"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}}
    versions = (
        version("v1", FIRST, selectableFields=[{"jsonPath": ".hostPort"}]),
        version("v2", SECOND, storage=False, selectableFields=[{"jsonPath": ".host"}, {"jsonPath": ".port"}]),
    )
    await define(http, definition(made.group, *versions, kind="E2eTest", conversion=conversion))
    return made


async def test_an_object_of_one_version_is_read_written_and_watched_in_another(tests: Converted, http: Any) -> None:
    made = await tests.create("a")
    assert made.status == 201 and tests.sizes == [], "nobody asked for another version"
    shown = await http("GET", tests.path("v2", "a"))
    assert (shown.json["host"], shown.json["port"], "hostPort" in shown.json) == ("localhost", "7777", False), shown.body
    async with http.stream(tests.path("v2"), {"watch": "true", "resourceVersion": made.json["metadata"]["resourceVersion"]}) as response:
        other = await tests.create("b", at="v2")
        assert other.status == 201 and other.json["port"] == "7777"
        event = json.loads(await asyncio.wait_for(response.content.readline(), 5))
        assert (event["type"], event["object"]["metadata"]["name"], event["object"]["host"]) == ("ADDED", "b", "localhost")
    assert (await http("GET", tests.path("v1", "b"))).json["hostPort"] == "localhost:7777"
    patched = await http("PATCH", tests.path("v2", "a"), {"port": "1"}, media="application/merge-patch+json")
    assert patched.status == 200 and (await http("GET", tests.path("v1", "a"))).json["hostPort"] == "localhost:1"
    assert [o["port"] for o in (await http("GET", tests.path("v2"))).json["items"]] == ["1", "7777"], "its own write is read"
    assert (await http("DELETE", tests.path("v2", "a"))).status == 200
    assert (await http("GET", tests.path("v2", "a"))).status == 404


async def test_a_list_of_objects_that_are_stored_in_several_versions(tests: Converted, http: Any) -> None:
    assert (await tests.create("first")).status == 201
    swap = [{"op": "replace", "path": f"/spec/versions/{i}/storage", "value": stored} for i, stored in ((0, False), (1, True))]
    name = f"{DEFINITIONS}/e2etests.{tests.group}"
    assert (await http("PATCH", name, swap, media="application/json-patch+json")).status == 200

    async def swapped() -> bool:
        hashes = [(await http("GET", f"/apis/{tests.group}/{at}")).json["resources"][0]["storageVersionHash"] for at in ("v1", "v2")]
        return hashes[0] == hashes[1] and bool(tests.sizes)

    await waiting.until(swapped, 5, "the storage version to be another")
    assert (await tests.create("second", at="v2")).status == 201
    for at, field in (("v1", "hostPort"), ("v2", "host")):
        listed = (await http("GET", tests.path(at))).json["items"]
        assert [(o["metadata"]["name"], field in o) for o in listed] == [("first", True), ("second", True)]


async def test_what_is_written_while_the_storage_version_changes_is_converted_too(tests: Converted, http: Any) -> None:
    swap = [{"op": "replace", "path": f"/spec/versions/{i}/storage", "value": stored} for i, stored in ((0, False), (1, True))]
    name = f"{DEFINITIONS}/e2etests.{tests.group}"
    assert (await http("PATCH", name, swap, media="application/json-patch+json")).status == 200
    made = [f"at-once-{i}" for i in range(12)]
    for one in made:
        assert (await tests.create(one)).status == 201

    async def converted() -> bool:
        listed = (await http("GET", tests.path("v2"))).json["items"]
        return sorted(o["metadata"]["name"] for o in listed if "host" in o and o["apiVersion"].endswith("/v2")) == sorted(made)

    await waiting.until(converted, 5, "all to be shown in the version they are asked for")


async def test_each_version_is_selected_by_its_own_fields(tests: Converted, http: Any) -> None:
    for name in ("a", "b"):
        assert (await tests.create(name)).status == 201
    await http("PATCH", tests.path("v2", "b"), {"host": "elsewhere"}, media="application/merge-patch+json")
    for at, selector, names in (
        ("v1", "hostPort=localhost:7777", ["a"]),
        ("v2", "host=elsewhere", ["b"]),
        ("v2", "host=localhost,port=7777", ["a"]),
    ):
        listed = await http("GET", tests.path(at), query={"fieldSelector": selector})
        assert [o["metadata"]["name"] for o in listed.json["items"]] == names, selector
    assert (await http("GET", tests.path("v1"), query={"fieldSelector": "host=x"})).status == 400


async def test_one_that_fails_fails_what_needs_it_and_nothing_else(tests: Converted, http: Any) -> None:
    assert (await tests.create("a")).status == 201
    tests.failing = True
    refused = await http("GET", tests.path("v2", "a"))
    assert refused.status == 500
    assert refused.message == f"conversion webhook for {tests.group}/v1, Kind=E2eTest failed: out of order"
    assert (await http("GET", tests.path("v1", "a"))).status == 200
    assert (await tests.create("b")).status == 201
    assert (await tests.create("c", at="v2")).status == 500
    tests.failing = False
    assert [o["metadata"]["name"] for o in (await http("GET", tests.path("v2"))).json["items"]] == ["a", "b"]


async def test_quotas_count_objects_whatever_version_is_preferred(tests: Converted, http: Any, api: server.ApiServer) -> None:
    del api
    assert (await tests.create("a")).status == 201
    hard = {f"count/e2etests.{tests.group}": "2"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}}
    assert (await http("POST", f"/api/v1/namespaces/{tests.ns}/resourcequotas", quota)).status == 201
    assert (await tests.create("b")).status == 201
    refused = await tests.create("c", at="v2")
    assert refused.status == 403 and "exceeded quota: q" in refused.message
