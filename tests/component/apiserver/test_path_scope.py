"""What is cluster-scoped cannot be had through a namespace, whatever the verb and however the path is written."""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from navarch.api import resources
from navarch.apiserver.kinds import table
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


async def admin_of(api: server.ApiServer, http: Any, ns: str) -> Any:
    """Connects as somebody to whom `cluster-admin` is bound in one namespace."""
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "tenant"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "tenant"},
        "subjects": [subject],
        "roleRef": ref,
    }
    assert (await http("POST", f"{RBAC}/namespaces/{ns}/rolebindings", body)).status == 201
    return type(http)(api, "tenant")


async def exactly(http: Any, method: str, target: str, body: object = None) -> tuple[int, Any]:
    """A request whose path and query go out as they are written."""
    url = URL(http._url + target, encoded=True)
    async with http._session.request(method, url, json=body, allow_redirects=False) as answer:
        return answer.status, await answer.json(content_type=None) if method != "HEAD" else None


def cluster_scoped() -> list[tuple[resources.Resource, str, str]]:
    """Every cluster-scoped resource, stored or virtual: with a name and subresource, with a name, alone."""
    found = []
    for key, resource in resources.table().items():
        stable = "alpha" not in resource.version and "beta" not in resource.version
        if resource.namespaced or not (stable or key in table.VIRTUAL):
            continue
        found += [(resource, "", ""), (resource, "x", ""), *((resource, "x", s) for s in resource.subresources)]
    return found


async def test_the_whole_catalog_below_a_namespace(api: server.ApiServer, http: Any, ns: str) -> None:
    await http("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}})
    await api.namespace("x")
    tenant = await admin_of(api, http, ns)
    walked = cluster_scoped()
    assert {r.plural for r, _, _ in walked} > {"nodes", "namespaces", "subjectaccessreviews", "componentstatuses", "tokenreviews"}
    for resource, name, subresource in walked:
        path = "/".join(filter(None, (f"{resource.prefix}/namespaces/{ns}/{resource.plural}", name, subresource)))
        for method in METHODS:
            body = {"metadata": {"name": "y"}} if method in ("POST", "PUT", "PATCH") else None
            for caller in (tenant, http):
                answer = await caller(method, path, body)
                assert answer.status in (403, 404), (method, path, answer.status)
            prefixed = path.replace(resource.prefix, f"{resource.prefix}/watch", 1)
            assert (await tenant(method, prefixed, body)).status in (403, 404, 405), (method, prefixed)
    await tenant.close()
    assert (await http("GET", "/api/v1/namespaces/x")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/{ns}/nodes/x/proxy/pods", "/api/v1/namespaces/{ns}/nodes/x/proxy/run/a/b/c", "/api/v1/namespaces/{ns}%2Fnodes",
        "/api/v1/namespaces/{ns}/./nodes", "/api/v1/namespaces/{ns}/../nodes", "/api/v1/namespaces/{ns}/%2e%2e/%2e%2e/nodes",
        "/api/v1/namespaces/{ns}//nodes", "/api/v1//namespaces/{ns}/nodes", "/api/v1/namespaces/{ns}/nodes/", "//api/v1/namespaces/{ns}/nodes",
        "/api/v1/namespaces/{ns}/namespaces", "/api/v1/namespaces/{ns}/namespaces/x", "/api/v1/namespaces/{ns}/namespaces/{ns}",
        "/api/v1/namespaces/{ns}/namespaces/x/finalize", "/api/v1/watch/namespaces/{ns}/nodes", "/api/v1/watch/namespaces/{ns}/nodes/x",
        "/api/v1/proxy/namespaces/{ns}/nodes/x", "/api/v1/proxy/nodes/x", "/apis/v1/namespaces/{ns}/nodes", "/api/v2/namespaces/{ns}/nodes",
        "/apis/authorization.k8s.io/v1/namespaces/{ns}/subjectaccessreviews", "/api/v1/pods/p", "/api/v1/pods/p/log", "/api/v1/bindings",
        "/apis/authorization.k8s.io/v1/localsubjectaccessreviews", "/api/v1/namespaces/{ns}/pods/p/log/more",
    ],
)  # fmt: skip
async def test_odd_paths(http: Any, ns: str, path: str) -> None:
    """Even to one who may do everything these are no paths."""
    for method in METHODS:
        status, _ = await exactly(http, method, path.format(ns=ns), {} if method[0] == "P" else None)
        assert status == 404 or (status == 405 and "/watch/" in path), (method, path, status)


async def test_reviews_answer_where_they_are(http: Any, ns: str) -> None:
    group = "/apis/authorization.k8s.io/v1"
    spec = {"user": "a", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": ns}}
    assert (await http("POST", f"{group}/subjectaccessreviews", {"spec": spec})).status == 201
    assert (await http("POST", f"{group}/namespaces/{ns}/localsubjectaccessreviews", {"spec": spec})).status == 201
    assert (await http("GET", "/api/v1/componentstatuses")).status == 200
    assert (await http("PUT", f"/api/v1/namespaces/{ns}/status", (await http("GET", f"/api/v1/namespaces/{ns}")).json)).status == 200


async def test_all_namespaces_are_only_read(http: Any, ns: str) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": ns}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    for method in ("POST", "DELETE"):
        answer = await http(method, "/api/v1/pods", pod if method == "POST" else None)
        assert (answer.status, answer.message) == (405, "the server does not allow this method on the requested resource")


async def test_a_list_by_name_is_asked_for_by_that_name(api: server.ApiServer, http: Any, ns: str) -> None:
    rules = [{"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": rules}
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "reader"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"}, "subjects": [subject], "roleRef": ref}
    assert (await http("POST", f"{RBAC}/namespaces/{ns}/roles", role)).status == 201
    assert (await http("POST", f"{RBAC}/namespaces/{ns}/rolebindings", binding)).status == 201
    for name in ("mine", "other"):
        await http("POST", f"/api/v1/namespaces/{ns}/secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
    reader = type(http)(api, "reader")
    base = f"/api/v1/namespaces/{ns}/secrets"
    status, found = await exactly(reader, "GET", f"{base}?fieldSelector=metadata.name%3Dmine")
    assert (status, [i["metadata"]["name"] for i in found["items"]]) == (200, ["mine"])
    async with reader.stream(base, {"watch": "1", "fieldSelector": "metadata.name=mine"}) as watch:
        assert watch.status == 200
    refused = (
        "", "fieldSelector=metadata.name%3Dother", "fieldSelector=metadata.name!%3Dmine", "fieldSelector=metadata.namespace%3Dmine",
        "fieldSelector=metadata.name%3Dmine%2Fx", "fieldSelector=", "fieldSelector=&fieldSelector=metadata.name%3Dmine",
        "field%53elector=metadata.name%3Dother&fieldSelector=metadata.name%3Dmine",
    )  # fmt: skip
    for query in refused:
        assert (await exactly(reader, "GET", f"{base}?{query}"))[0] == 403, query
    await reader.close()


async def test_what_nobody_has_to_be_somebody_for(api: server.ApiServer, http: Any) -> None:
    nobody = type(http)(api, "")
    for path, status in (
        ("/healthz", 200), ("/livez", 200), ("/readyz", 200), ("/version", 200), ("/livez/ping", 403), ("/readyz/ping", 403), ("/metrics", 403),
        ("/api", 403), ("/openapi/v3", 403), ("/", 403),
    ):  # fmt: skip
        assert (await nobody("GET", path)).status == status, path
    await nobody.close()
