"""An application controller delivers manifests by server-side apply, prunes, heals, and reports what is in sync."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from navarch.lib import tasks
from navarch.testing import server, waiting
from tests.component.apiserver import delivery
from tests.component.apiserver.definitions import define, definition, version

pytestmark = pytest.mark.asyncio(loop_scope="module")
APPLY = "application/apply-patch+yaml"
WIDGETS = "widgets-of-applications.example.com"
PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}},
}
WIDGET = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1}, "ports": PORTS}}}}
Tree = dict[str, Any]


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def definitions(http: Any) -> None:
    held = version(delivery.VERSION, delivery.SCHEMA, subresources={"status": {}})
    await define(http, definition(delivery.GROUP, held, kind="Application"))
    await define(http, definition(WIDGETS, version(schema=WIDGET)))


class Applications:
    """Applications of a namespace, as a person changes and reads them."""

    def __init__(self, http: Any, ns: str) -> None:
        self._http, self._ns = http, ns
        self._path = f"/apis/{delivery.GROUP}/{delivery.VERSION}/namespaces/{ns}/applications"

    async def apply(self, *manifests: Tree, **spec: Any) -> Tree:
        sent = {
            "apiVersion": f"{delivery.GROUP}/{delivery.VERSION}",
            "kind": "Application",
            "metadata": {"name": "shop"},
            "spec": {"manifests": list(manifests), **spec},
        }
        answer = await self._http("PATCH", f"{self._path}/shop", sent, media=APPLY, query={"fieldManager": "person"})
        assert answer.status in (200, 201), answer.body
        return dict(answer.json)

    async def says(self, status: str) -> Tree:
        """The resources, once the whole is of this status for the generation there is."""

        async def look() -> Tree | None:
            held = (await self._http("GET", f"{self._path}/shop")).json
            said = held.get("status", {})
            current = said.get("observedGeneration") == held["metadata"]["generation"]
            return held if current and said["sync"]["status"] == status else None

        held = await waiting.until(look, 10, f"the application to be {status}")
        return {one["name"]: one for one in held["status"].get("resources", [])}

    async def get(self, path: str) -> Any:
        answer = await self._http("GET", path.format(ns=self._ns))
        return answer.json if answer.status == 200 else answer.status


@pytest_asyncio.fixture(loop_scope="module")
async def applications(http: Any, ns: str, api: server.ApiServer) -> AsyncIterator[Applications]:
    client = api.connect("admin", user_agent=delivery.MANAGER)
    async with tasks.Group() as group:
        group.start("controller", delivery.running(client, ns, client.clock))
        yield Applications(http, ns)
        group.cancel()


def settings(name: str, **data: str) -> Tree:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(**more: Any) -> Tree:
    container = {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}], "resources": {"requests": {"cpu": "1000m"}}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **more}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def widget(**spec: Any) -> Tree:
    return {"apiVersion": f"{WIDGETS}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}


CONFIG, DEPLOYMENT = "/api/v1/namespaces/{ns}/configmaps", "/apis/apps/v1/namespaces/{ns}/deployments/web"
CUSTOM = f"/apis/{WIDGETS}/v1/namespaces/{{ns}}/widgets/w"


async def test_manifests_are_delivered_and_what_is_no_longer_wanted_goes(applications: Applications) -> None:
    await applications.apply(settings("a", x="1"), settings("b"), deployment(), widget(ports=[{"name": "http", "port": 80}]))
    said = await applications.says("Synced")
    assert {name: one["kind"] for name, one in said.items()} == {"a": "ConfigMap", "b": "ConfigMap", "web": "Deployment", "w": "Widget"}
    assert (await applications.get(CUSTOM))["spec"] == {"size": 1, "ports": [{"name": "http", "port": 80}]}
    await applications.apply(settings("a", y="2"), deployment(), widget())
    assert set(await applications.says("Synced")) == {"a", "web", "w"}
    assert (await applications.get(f"{CONFIG}/a"))["data"] == {"y": "2"}
    assert await applications.get(f"{CONFIG}/b") == 404
    assert (await applications.get(CUSTOM))["spec"] == {"size": 1}
    await applications.apply(prune=False)
    assert {one["message"] for one in (await applications.says("OutOfSync")).values()} == {"to be pruned"}
    await applications.apply(prune=True)
    assert await applications.says("Synced") == {}
    assert await applications.get(DEPLOYMENT) == 404


async def test_what_others_own_stays_and_what_they_take_is_put_right(applications: Applications, http: Any, ns: str) -> None:
    await applications.apply(deployment(), widget(ports=[{"name": "http", "port": 80}]))
    await applications.says("Synced")
    # An autoscaler's replicas and a sidecar's port are theirs: nothing is out of sync for them.
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}}
    path = DEPLOYMENT.format(ns=ns)
    assert (await http("PATCH", f"{path}/scale", scale, media="application/merge-patch+json", query={"fieldManager": "autoscaler"})).status == 200
    more = widget(ports=[{"name": "admin", "port": 81}])
    assert (await http("PATCH", CUSTOM.format(ns=ns), more, media=APPLY, query={"fieldManager": "sidecar"})).status == 200
    taken = widget(ports=[{"name": "http", "port": 8080}])
    refused = await http("PATCH", CUSTOM.format(ns=ns), taken, media=APPLY, query={"fieldManager": "sidecar"})
    assert refused.status == 409 and delivery.MANAGER in refused.message

    changed = {"spec": {"ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 81}]}}
    assert (await http("PATCH", CUSTOM.format(ns=ns), changed, media="application/merge-patch+json")).status == 200

    async def healed() -> bool:
        ports = {one["name"]: one["port"] for one in (await applications.get(CUSTOM))["spec"]["ports"]}
        return ports == {"http": 80, "admin": 81}

    await waiting.until(healed, 10, "the port to be put right")
    await applications.says("Synced")
    assert (await applications.get(DEPLOYMENT))["spec"]["replicas"] == 5


async def test_without_healing_a_difference_is_only_told(applications: Applications, http: Any, ns: str) -> None:
    await applications.apply(settings("a", x="1"), selfHeal=False)
    await applications.says("Synced")
    path = f"{CONFIG}/a".format(ns=ns)
    assert (await http("PATCH", path, {"data": {"x": "2"}}, media="application/merge-patch+json")).status == 200
    assert (await applications.says("OutOfSync"))["a"]["status"] == "OutOfSync"
    assert (await applications.get(path))["data"] == {"x": "2"}


async def test_what_cannot_be_applied_is_told_with_the_rest_delivered(applications: Applications) -> None:
    await applications.apply(settings("a"), widget(size="large"), {"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "n"}})
    said = await applications.says("OutOfSync")
    assert said["a"]["status"] == "Synced"
    assert ".spec.size: expected numeric" in said["w"]["message"], json.dumps(said)
    assert "no kind Nothing" in said["n"]["message"]


async def test_an_apply_that_changes_nothing_writes_nothing(applications: Applications, http: Any, ns: str) -> None:
    await applications.apply(settings("a", x="1"), deployment(), widget(ports=[{"name": "http", "port": 80}]))
    await applications.says("Synced")
    before = [(await applications.get(path))["metadata"]["resourceVersion"] for path in (f"{CONFIG}/a", DEPLOYMENT, CUSTOM)]
    query = {"fieldManager": delivery.MANAGER, "force": "true"}
    for path, tree in ((f"{CONFIG}/a", settings("a", x="1")), (DEPLOYMENT, deployment()), (CUSTOM, widget(ports=[{"name": "http", "port": 80}]))):
        sent = {**tree, "metadata": {**tree["metadata"], "labels": {delivery.LABEL: "shop"}}}
        assert (await http("PATCH", path.format(ns=ns), sent, media=APPLY, query=query)).status == 200
    assert before == [(await applications.get(path))["metadata"]["resourceVersion"] for path in (f"{CONFIG}/a", DEPLOYMENT, CUSTOM)]
