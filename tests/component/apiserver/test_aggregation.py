"""Group versions of an extension server behind a real API server: proxying, availability, what the cluster publishes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from navarch.api.apiregistration import v1 as registration_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.apiserver.aggregation import availability, priorities, proxying
from navarch.apiserver.aggregation.registration import LABEL
from navarch.machinery import errors
from navarch.testing.server import ApiServer
from navarch.testing.waiting import until
from tests.component.apiserver import extension_server
from tests.component.apiserver.conftest import Http
from tests.component.apiserver.extension_server import GROUP, NAMESPACE, SERVICE, VERSION, Extension

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME = f"{VERSION}.{GROUP}"
WIDGETS = f"/apis/{GROUP}/{VERSION}/namespaces/default/widgets"


@contextlib.asynccontextmanager
async def extension_of(api: ApiServer, *broken: str, **spec: Any) -> AsyncIterator[Extension]:
    """An extension server that a cluster knows, for the length of the block."""
    authority = pathlib.Path(api.parts.options.requestheader_client_ca_file)
    async with extension_server.running(authority, *broken) as extension:
        await extension.register(api, **spec)
        try:
            yield extension
        finally:
            for kind, name, namespace in (
                (registration_v1.APIService, NAME, ""),
                (core_v1.Service, SERVICE, NAMESPACE),
                (discovery_v1.EndpointSlice, SERVICE, NAMESPACE),
            ):
                with contextlib.suppress(errors.NotFound):
                    await api.client.delete(kind, name, namespace)


@pytest_asyncio.fixture(loop_scope="module")
async def extension(api: ApiServer) -> AsyncIterator[Extension]:
    async with extension_of(api) as found:
        await condition(api, "Passed")
        yield found


async def condition(api: ApiServer, reason: str, name: str = NAME) -> registration_v1.APIServiceCondition:
    """The condition Available, once its reason is this."""

    async def look() -> registration_v1.APIServiceCondition | None:
        found = await api.client.get(registration_v1.APIService, name)
        conditions = (found.status.conditions if found.status else None) or ()
        return next((c for c in conditions if c.type == "Available" and c.reason == reason), None)

    found: registration_v1.APIServiceCondition = await until(look, what=reason)
    return found


# ---- requests that are sent on ------------------------------------------------------------------------------------------


async def test_a_request_goes_on_with_its_user_in_headers_and_comes_back_as_answered(api: ApiServer, http: Http, extension: Extension) -> None:
    found = await http("GET", WIDGETS, query={"labelSelector": "a=b c"}, headers={"X-Remote-Group": "system:masters", "X-Remote-Extra-Evil": "1"})
    assert (found.status, found.json["kind"]) == (200, "WidgetList")
    assert found.json["path"] == f"{WIDGETS}?labelSelector=a%3Db+c"
    told = found.json["told"]
    assert ["X-Remote-User", "admin"] in told and ["X-Remote-Group", "system:authenticated"] in told and ["X-Remote-Group", "system:masters"] in told
    assert not [name for name, _ in told if name == "X-Remote-Extra-Evil"] and len([1 for name, _ in told if name == "X-Remote-User"]) == 1
    await api.client.request("GET", f"/apis/{GROUP}/{VERSION}")


async def test_who_is_impersonated_is_who_is_told_and_credentials_stay_here(http: Http, extension: Extension) -> None:
    headers = {
        "Impersonate-User": "jane", "Impersonate-Group": "devs", "Impersonate-Extra-Example.com%2Fproject": "some-project", "Impersonate-Uid": "u-1",
        "Authorization": "Bearer secret",
    }  # fmt: skip
    told = (await http("GET", WIDGETS, headers={k: v for k, v in headers.items() if k != "Authorization"})).json
    assert told["kind"] == "Status"  # jane may not: the aggregator decides before it sends anything on
    headers["Impersonate-Group"] = "system:masters"
    told = (await http("GET", WIDGETS, headers=headers)).json["told"]
    assert ["X-Remote-User", "jane"] in told and ["X-Remote-Uid", "u-1"] in told
    assert ["X-Remote-Extra-example.com%2Fproject", "some-project"] in told
    assert not [name for name, _ in told if name.lower().startswith(("impersonate", "authorization"))]


async def test_nobody_gets_through_who_may_not(api: ApiServer, extension: Extension) -> None:
    extension.requests.clear()
    with pytest.raises(errors.Forbidden, match=r'cannot list resource "widgets" in API group "shop\.example\.com"'):
        await api.connect("mary").request("GET", WIDGETS)
    assert not [r for r in extension.requests if r.path == WIDGETS]


async def test_bodies_go_through_piece_by_piece(http: Http, extension: Extension) -> None:
    size = 12 * 1024 * 1024
    assert (await http("POST", f"{WIDGETS}/upload", bytes(size))).json == {"uploaded": size}


async def test_a_watch_is_passed_on_event_by_event(http: Http, extension: Extension) -> None:
    async with http.stream(WIDGETS, {"watch": "true"}) as answer:
        first = json.loads(await answer.content.readline())
        assert first["object"]["metadata"]["name"] == "first"
        for number in range(3):
            extension.watching.put_nowait(b'{"number":%d}\n' % number)
            async with asyncio.timeout(5):
                assert json.loads(await answer.content.readline()) == {"number": number}
        extension.watching.put_nowait(b"")
        assert await answer.content.read() == b""


async def test_a_watch_that_is_cut_is_cut_for_the_client(api: ApiServer, http: Http) -> None:
    async with extension_of(api, "cut"):
        await condition(api, "Passed")
        async with http.stream(WIDGETS, {"watch": "true"}) as answer:
            await answer.content.readline()
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.read()


async def test_a_websocket_is_a_tunnel(api: ApiServer, extension: Extension) -> None:
    context = api.config().ssl_context()
    assert context is not None
    url = f"{api.url}{WIDGETS}/one/attach"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session, session.ws_connect(url) as socket:
        assert await socket.receive_str() == "admin"
        await socket.send_str("hello")
        assert await socket.receive_str() == "echo hello"


async def test_what_does_not_answer_in_time_times_out(api: ApiServer, http: Http, extension: Extension, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxying, "ANSWER_SECONDS", 0.2)
    extension.broken.add("hang")
    found = await http("GET", WIDGETS)
    assert (found.status, found.reason) == (504, "Timeout")
    assert found.message == "Timeout: request did not complete within the allotted timeout"


async def test_what_cannot_be_reached_is_told_as_upstream_tells_it(api: ApiServer, http: Http, extension: Extension) -> None:
    await extension_server.endpoints(api, 1)
    found = await http("GET", WIDGETS)
    assert found.status == 503
    assert found.body == b"error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused\n"
    await condition(api, "FailedDiscoveryCheck")
    found = await http("GET", WIDGETS)
    assert (found.status, found.body, found.headers["Content-Type"]) == (503, b"service unavailable\n", "text/plain; charset=utf-8")


# ---- availability -------------------------------------------------------------------------------------------------------


async def test_each_reason_in_turn(api: ApiServer, http: Http) -> None:
    authority = pathlib.Path(api.parts.options.requestheader_client_ca_file)
    async with extension_server.running(authority) as extension:
        await api.client.create(extension.api_service())
        try:
            assert (await condition(api, "ServiceNotFound")).message == f'service/{SERVICE} in "{NAMESPACE}" is not present'
            await extension_server.service(api)
            assert (await condition(api, "EndpointsNotFound")).message == f'cannot find endpointslices for service/{SERVICE} in "{NAMESPACE}"'
            await extension_server.endpoints(api, extension.port)
            assert (await condition(api, "Passed")).message == "all checks passed"
            extension.broken.add("refuse")
            await extension_server.endpoints(api, extension.port)
            url = f"https://127.0.0.1:{extension.port}/apis/{GROUP}/{VERSION}"
            assert (await condition(api, "FailedDiscoveryCheck")).message == f"failing or missing response from {url}: bad status from {url}: 500"
            metrics = (await http("GET", "/metrics", accept="*/*")).body.decode()
            assert f'aggregator_unavailable_apiservice{{name="{NAME}"}} 1.0' in metrics
            assert f'aggregator_unavailable_apiservice_total{{name="{NAME}",reason="FailedDiscoveryCheck"}}' in metrics
            assert 'aggregator_unavailable_apiservice{name="v1.apps"} 0.0' in metrics
            await api.client.patch(registration_v1.APIService, NAME, {"spec": {"service": {"port": 1}}})
            expected = f'service/{SERVICE} in "{NAMESPACE}" is not listening on port 1'
            assert (await condition(api, "ServicePortError")).message == expected
            await api.client.patch(registration_v1.APIService, NAME, {"spec": {"service": {"port": extension_server.PORT}}})
            await api.client.patch(core_v1.Service, SERVICE, {"spec": {"ports": [{"port": extension_server.PORT, "name": "https"}]}}, NAMESPACE)
            expected = f'endpointslices for service/{SERVICE} in "{NAMESPACE}" have no addresses with port name "https"'
            assert (await condition(api, "MissingEndpoints")).message == expected
        finally:
            await api.client.delete(registration_v1.APIService, NAME)
            await api.client.delete(core_v1.Service, SERVICE, NAMESPACE)
            await api.client.delete(discovery_v1.EndpointSlice, SERVICE, NAMESPACE)


async def test_a_certificate_of_another_authority_is_none(api: ApiServer) -> None:
    async with extension_of(api, caBundle="") as extension:
        message = (await condition(api, "FailedDiscoveryCheck")).message or ""
        assert message.endswith("tls: failed to verify certificate: x509: certificate signed by unknown authority")
        await api.client.patch(registration_v1.APIService, NAME, {"spec": {"insecureSkipTLSVerify": True}})
        await condition(api, "Passed")
        assert extension.requests


async def test_one_that_hangs_keeps_no_other_waiting(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "TIMEOUT_SECONDS", 1.0)
    names = [f"v{number}.{GROUP}" for number in range(2, 22)]
    async with extension_of(api, "hang") as extension:
        began = asyncio.get_running_loop().time()
        for name in names:
            await api.client.create(extension.api_service(name.partition(".")[0]))
        try:
            for name in names:
                await condition(api, "FailedDiscoveryCheck", name)
            assert asyncio.get_running_loop().time() - began < 6
            message = (await condition(api, "FailedDiscoveryCheck")).message or ""
            assert message.endswith("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
        finally:
            for name in names:
                await api.client.delete(registration_v1.APIService, name)


# ---- what the server keeps itself ---------------------------------------------------------------------------------------


async def test_every_group_version_we_serve_has_an_api_service(api: ApiServer) -> None:
    listed, _ = await api.client.list(registration_v1.APIService)
    found = {s.metadata.name: s for s in listed if s.metadata is not None}
    versions = {f"{v}.{g}" for g, of_group in api.parts.catalog.versions().items() for v in of_group if g != priorities.OWN_GROUP}
    assert versions == set(found)
    apps = found["v1.apps"]
    assert apps.spec is not None and apps.status is not None and apps.status.conditions and apps.metadata is not None
    assert (apps.spec.groupPriorityMinimum, apps.spec.versionPriority, apps.metadata.labels) == (17800, 15, {LABEL: "onstart"})
    assert [(c.type, c.status, c.reason, c.message) for c in apps.status.conditions] == [
        ("Available", "True", "Local", "Local APIServices are always available")
    ]


async def test_every_built_in_group_has_a_priority(api: ApiServer) -> None:
    """Else it would be taken for a custom one, and stand behind all others."""
    versions = {(g, v) for g, of_group in api.parts.catalog.versions().items() for v in of_group if g != priorities.OWN_GROUP}
    assert versions <= set(priorities.BUILT_IN)


async def test_extension_servers_are_told_whom_to_trust(api: ApiServer) -> None:
    async def look() -> dict[str, str]:
        found = await api.client.get(core_v1.ConfigMap, "extension-apiserver-authentication", "kube-system")
        return found.data or {}

    data = await look()
    options = api.parts.options
    assert data["client-ca-file"] == pathlib.Path(options.client_ca_file).read_text()
    assert data["requestheader-client-ca-file"] == pathlib.Path(options.requestheader_client_ca_file).read_text()
    assert {k: v for k, v in data.items() if not k.endswith("ca-file")} == {
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }


# ---- discovery ----------------------------------------------------------------------------------------------------------


async def versions(http: Http) -> dict[str, dict[str, dict[str, Any]]]:
    """The aggregated document: group → version → what is said of it."""
    found = (await http("GET", "/apis", accept=extension_server.AGGREGATED)).json
    return {item["metadata"]["name"]: {v["version"]: v for v in item["versions"]} for item in found["items"]}


async def fresh(http: Http, freshness: str = "Current") -> dict[str, Any]:
    """What is said of the extension server's version, once it is as fresh as this."""

    async def look() -> dict[str, Any] | None:
        found = (await versions(http)).get(GROUP, {}).get(VERSION, {})
        return found if found.get("freshness") == freshness and (found["resources"] or freshness == "Stale") else None

    found: dict[str, Any] = await until(look, what=freshness)
    return found


async def test_discovery_is_merged_and_in_the_order_of_priorities(api: ApiServer, http: Http, extension: Extension) -> None:
    found = await fresh(http)
    assert found["resources"][0] == {
        "resource": "widgets", "scope": "Namespaced", "singularResource": "widget", "verbs": extension_server.VERBS,
        "responseKind": {"group": GROUP, "version": VERSION, "kind": "Widget"},
    }  # fmt: skip
    listed = [g["name"] for g in (await http("GET", "/apis")).json["groups"]]
    assert listed[:2] == ["apiregistration.k8s.io", "apps"] and listed[-1] == GROUP
    assert list(await versions(http)) == listed
    group = (await http("GET", f"/apis/{GROUP}")).json
    assert group["preferredVersion"] == {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    assert [r["name"] for r in (await http("GET", f"/apis/{GROUP}/{VERSION}")).json["resources"]] == ["widgets", "widgets/status"]
    await api.client.patch(registration_v1.APIService, NAME, {"spec": {"groupPriorityMinimum": 17900}})
    assert next(iter(g["name"] for g in (await http("GET", "/apis")).json["groups"][1:])) == GROUP
    await api.client.delete(registration_v1.APIService, NAME)
    assert GROUP not in await versions(http)
    assert (await http("GET", f"/apis/{GROUP}")).status == 404


async def test_a_server_that_only_knows_the_old_form_is_read_by_it(api: ApiServer, http: Http) -> None:
    async with extension_of(api, "legacy"):
        found = await fresh(http)
        assert found["resources"] == [
            {
                "resource": "widgets", "scope": "Namespaced", "singularResource": "widget", "verbs": extension_server.VERBS,
                "responseKind": {"group": GROUP, "version": VERSION, "kind": "Widget"},
                "subresources": [
                    {"subresource": "status", "responseKind": {"group": GROUP, "version": VERSION, "kind": "Widget"}, "verbs": ["get"]}
                ],
            }
        ]  # fmt: skip


async def test_what_cannot_be_fetched_is_stale_and_what_was_known_stays(api: ApiServer, http: Http, extension: Extension) -> None:
    await fresh(http)
    extension.broken.add("refuse")
    await extension_server.endpoints(api, extension.port)
    found = await fresh(http, "Stale")
    assert [r["resource"] for r in found["resources"]] == ["widgets"]
    extension.broken.clear()
    extension.kinds.append("gadgets")
    await extension_server.endpoints(api, extension.port)

    async def look() -> bool:
        return [r["resource"] for r in (await fresh(http))["resources"]] == ["widgets", "gadgets"]

    await until(look)


async def test_garbage_is_no_discovery(api: ApiServer, http: Http) -> None:
    async with extension_of(api, "garbage"):
        await condition(api, "Passed")  # upstream looks at the status alone
        assert (await fresh(http, "Stale"))["resources"] == []
        assert (await http("GET", WIDGETS)).status == 200


# ---- OpenAPI ------------------------------------------------------------------------------------------------------------


async def test_openapi_of_an_extension_server_is_linked_and_merged(api: ApiServer, http: Http, extension: Extension) -> None:
    root = f"apis/{GROUP}/{VERSION}"

    async def look() -> Any:
        return (await http("GET", "/openapi/v3")).json["paths"].get(root)

    assert await until(look) == {"serverRelativeURL": f"/openapi/v3/{root}?hash=ABC"}
    assert (await http("GET", f"/openapi/v3/{root}?hash=ABC")).json["info"]["title"] == "Shop"
    found = await http("GET", "/openapi/v2")
    document, metadata = found.json, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    assert "get" in document["paths"][f"/{root}/namespaces/{{namespace}}/widgets"]
    assert document["definitions"]["com.example.Widget"]["properties"]["metadata"] == {"$ref": f"#/definitions/{metadata}_v2"}
    assert document["definitions"][f"{metadata}_v2"]["description"] == "Another one." != document["definitions"][metadata]["description"]
    protobuf = await http("GET", "/openapi/v2", accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert b"com.example.Widget" in protobuf.body
    await api.client.delete(registration_v1.APIService, NAME)

    async def gone() -> bool:
        return root not in (await http("GET", "/openapi/v3")).json["paths"]

    await until(gone)
    plain = await http("GET", "/openapi/v2")
    assert plain.headers["ETag"] != found.headers["ETag"]
    assert f"/{root}/" not in "".join(plain.json["paths"]) and f"{metadata}_v2" not in plain.json["definitions"]
