"""Whatever is written, admission sees it, as upstream shows it; what admission changes counts; what the server writes has a manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from navarch.apiserver.admission import table
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.chain import OPERATIONS, Plugin
from navarch.machinery import codec, errors
from navarch.testing import server
from tests.component.apiserver.conftest import Http

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Seen:
    """A plugin that notes what it is asked, twice for each write, and does what a test gives it to do."""

    def __init__(self) -> None:
        self.mutated: list[Attributes] = []
        self.validated: list[tuple[Any, ...]] = []
        self.act: Any = None
        self.refuse = ""

    async def mutate(self, attributes: Attributes) -> None:
        self.mutated.append(attributes)
        if self.act is not None:
            self.act(attributes)

    def validate(self, attributes: Attributes) -> None:
        a = attributes
        what = getattr(a.options, "kind", None)
        self.validated.append(
            (a.operation, f"{a.served.plural}/{a.subresource}".rstrip("/"), a.kind.kind, _kind(a.obj), _kind(a.old), what, a.user.name)
        )
        if self.refuse and self.refuse == a.subresource:
            raise errors.forbidden(a.served.group, a.served.plural, a.name, "not by this one")


def _kind(obj: Any) -> str | None:
    return None if obj is None else str(obj.kind)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def setting() -> AsyncIterator[tuple[server.ApiServer, Http, Seen]]:
    seen = Seen()
    plugins = table.plugins
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(table, "plugins", lambda parts: (*plugins(parts), Plugin("", OPERATIONS, seen.mutate, seen.validate)))
        async with server.running() as api:
            http = Http(api)
            yield api, http, seen
            await http.close()


@pytest.fixture
def seen(setting: tuple[server.ApiServer, Http, Seen]) -> Seen:
    found = setting[2]
    found.mutated, found.validated, found.act, found.refuse = [], [], None, ""
    return found


@pytest_asyncio.fixture(loop_scope="module")
async def ns(setting: tuple[server.ApiServer, Http, Seen], seen: Seen) -> str:
    return await setting[0].namespace()


POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
SET = {
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    },
}
MAP = {"metadata": {"name": "m"}, "data": {"k": "v"}}
APPLIED = {"apiVersion": "v1", "kind": "ConfigMap", **MAP}
BINDING = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
EVICTION = {"metadata": {"name": "p"}}
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
BUDGET = {"metadata": {"name": "b"}, "spec": {"minAvailable": 0, "selector": {"matchLabels": {"app": "x"}}}}

WRITES: list[tuple[str, list[tuple[str, str, Any, str]], tuple[Any, ...]]] = [
    ("create", [("POST", "configmaps", MAP, "")], ("CREATE", "configmaps", "ConfigMap", "ConfigMap", None, "CreateOptions")),
    ("update", [("POST", "configmaps", MAP, ""), ("PUT", "configmaps/m", MAP, "")],
     ("UPDATE", "configmaps", "ConfigMap", "ConfigMap", "ConfigMap", "UpdateOptions")),
    ("patch", [("POST", "configmaps", MAP, ""), ("PATCH", "configmaps/m", {"data": {"k": "w"}}, MERGE)],
     ("UPDATE", "configmaps", "ConfigMap", "ConfigMap", "ConfigMap", "UpdateOptions")),
    ("apply creates", [("PATCH", "configmaps/m?fieldManager=x", APPLIED, APPLY)],
     ("CREATE", "configmaps", "ConfigMap", "ConfigMap", None, "CreateOptions")),
    ("apply changes", [("POST", "configmaps", MAP, ""), ("PATCH", "configmaps/m?fieldManager=x&force=1", APPLIED, APPLY)],
     ("UPDATE", "configmaps", "ConfigMap", "ConfigMap", "ConfigMap", "UpdateOptions")),
    ("status", [("POST", "pods", POD, ""), ("PATCH", "pods/p/status", {"status": {"message": "m"}}, MERGE)],
     ("UPDATE", "pods/status", "Pod", "Pod", "Pod", "UpdateOptions")),
    ("binding", [("POST", "pods", POD, ""), ("POST", "pods/p/binding", BINDING, "")],
     ("CREATE", "pods/binding", "Binding", "Binding", None, "CreateOptions")),
    ("binding of old", [("POST", "pods", POD, ""), ("POST", "bindings", BINDING, "")],
     ("CREATE", "pods/binding", "Binding", "Binding", None, "CreateOptions")),
    ("eviction", [("POST", "pods", POD, ""), ("POST", "pods/p/eviction", EVICTION, "")],
     ("CREATE", "pods/eviction", "Eviction", "Eviction", None, "CreateOptions")),
    ("token", [("POST", "serviceaccounts/default/token", {"spec": {}}, "")],
     ("CREATE", "serviceaccounts/token", "TokenRequest", "TokenRequest", None, "CreateOptions")),
    ("deletion", [("POST", "configmaps", MAP, ""), ("DELETE", "configmaps/m", None, "")],
     ("DELETE", "configmaps", "ConfigMap", None, "ConfigMap", "DeleteOptions")),
    ("deletion of many", [("POST", "configmaps", MAP, ""), ("DELETE", "configmaps", None, "")],
     ("DELETE", "configmaps", "ConfigMap", None, "ConfigMap", "DeleteOptions")),
    ("proxy", [("POST", "services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}, ""), ("GET", "services/s/proxy/x", None, "")],
     ("CONNECT", "services/proxy", "ServiceProxyOptions", "ServiceProxyOptions", None, None)),
]  # fmt: skip


@pytest.mark.parametrize(("requests", "expected"), [w[1:] for w in WRITES], ids=[w[0] for w in WRITES])
async def test_admission_sees_what_is_written(
    setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen, requests: list[tuple[str, str, Any, str]], expected: tuple[Any, ...]
) -> None:
    for method, path, body, media in requests:
        seen.mutated, seen.validated = [], []
        await setting[1](method, f"/api/v1/namespaces/{ns}/{path}", body, media=media or "application/json")
    assert seen.validated == [(*expected, "admin")]
    assert len(seen.mutated) == 1 and seen.mutated[0].namespace == ns


@pytest.mark.parametrize(("method", "body", "media"), [("PUT", {"spec": {"replicas": 3}}, ""), ("PATCH", {"spec": {"replicas": 3}}, MERGE)])
async def test_a_scale_is_admitted_as_one_and_what_admission_makes_of_it_counts(
    setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen, method: str, body: Any, media: str
) -> None:
    http, path = setting[1], f"/apis/apps/v1/namespaces/{ns}/deployments"
    assert (await http("POST", path, SET)).status == 201
    seen.validated = []

    def more(attributes: Attributes) -> None:
        assert (attributes.old.spec.replicas, attributes.obj.spec.replicas) == (1, 3)
        attributes.obj.spec.replicas, attributes.patched = 5, True

    seen.act = more
    answer = await http(method, f"{path}/d/scale", body, media=media or "application/json")
    assert answer.status == 200 and answer.json["spec"]["replicas"] == 5
    assert seen.validated == [("UPDATE", "deployments/scale", "Scale", "Scale", "Scale", "UpdateOptions", "admin")]
    made = (await http("GET", f"{path}/d")).json
    assert made["spec"]["replicas"] == 5 and made["metadata"]["generation"] == 2
    assert {"scale"} == {m.get("subresource") for m in made["metadata"]["managedFields"] if "f:replicas" in str(m["fieldsV1"].get("f:spec"))}


async def test_what_admission_makes_of_a_status_stays_a_status(setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen) -> None:
    """A webhook that changes the spec by way of the status does not get through."""
    http, path = setting[1], f"/apis/apps/v1/namespaces/{ns}/deployments"
    assert (await http("POST", path, SET)).status == 201

    def both(attributes: Attributes) -> None:
        obj = attributes.obj = attributes.served.decode(codec.encode(attributes.obj))
        obj.spec.replicas, obj.status.replicas, attributes.patched = 9, 2, True

    seen.act = both
    answer = await http("PATCH", f"{path}/d/status", {"status": {"replicas": 1}}, media=MERGE)
    assert (answer.json["spec"]["replicas"], answer.json["status"]["replicas"]) == (1, 2)


async def test_what_admission_makes_of_a_new_object_has_no_status(setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen) -> None:
    def act(attributes: Attributes) -> None:
        assert attributes.name == "" and attributes.obj.metadata.name is None and attributes.obj.metadata.uid is None
        from navarch.api.apps import v1 as apps_v1

        attributes.obj.status, attributes.patched = apps_v1.DeploymentStatus(replicas=7), True

    seen.act = act
    made = await setting[1]("POST", f"/apis/apps/v1/namespaces/{ns}/deployments", {**SET, "metadata": {"generateName": "g-"}})
    assert made.status == 201 and made.json["metadata"]["name"].startswith("g-") and made.json["metadata"]["uid"]
    assert not made.json.get("status", {}).get("replicas")


@pytest.mark.parametrize(("path", "body", "subresource"), [("binding", BINDING, "binding"), ("eviction", EVICTION, "eviction")])
async def test_an_action_that_is_refused_does_nothing(
    setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen, path: str, body: Any, subresource: str
) -> None:
    http = setting[1]
    before = (await http("POST", f"/api/v1/namespaces/{ns}/pods", POD)).json
    seen.refuse = subresource
    answer = await http("POST", f"/api/v1/namespaces/{ns}/pods/p/{path}", body)
    assert answer.status == 403 and 'pods "p" is forbidden: not by this one' in answer.message
    after = (await http("GET", f"/api/v1/namespaces/{ns}/pods/p")).json
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_binding_that_admission_redirects_goes_there(setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen) -> None:
    http = setting[1]
    await http("POST", f"/api/v1/namespaces/{ns}/pods", POD)

    def act(attributes: Attributes) -> None:
        attributes.obj.target.name = "elsewhere"

    seen.act = act
    assert (await http("POST", f"/api/v1/namespaces/{ns}/pods/p/binding", BINDING)).status == 201
    assert (await http("GET", f"/api/v1/namespaces/{ns}/pods/p")).json["spec"]["nodeName"] == "elsewhere"


async def test_the_budget_of_an_eviction_is_written_by_the_server(setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen) -> None:
    http, budgets = setting[1], f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    await http("POST", f"/api/v1/namespaces/{ns}/pods", {**POD, "metadata": {"name": "p", "labels": {"app": "x"}}})
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await http("PATCH", f"/api/v1/namespaces/{ns}/pods/p/status", {"status": status}, media=MERGE)
    assert (await http("POST", budgets, BUDGET)).status == 201
    counted = {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1, "observedGeneration": 1}
    assert (await http("PATCH", f"{budgets}/b/status", {"status": counted}, media=MERGE)).status == 200
    seen.validated = []
    assert (await http("POST", f"/api/v1/namespaces/{ns}/pods/p/eviction", EVICTION)).status == 201
    assert [(s[0], s[1], s[6]) for s in seen.validated] == [
        ("CREATE", "pods/eviction", "admin"),
        ("UPDATE", "poddisruptionbudgets/status", "system:apiserver"),
    ], "the pod's own deletion was admitted as the eviction"
    budget = (await http("GET", f"{budgets}/b")).json
    assert budget["status"]["disruptionsAllowed"] == 0 and list(budget["status"]["disruptedPods"]) == ["p"]
    assert "kube-apiserver" in {m["manager"] for m in budget["metadata"]["managedFields"]}


async def test_what_a_cluster_begins_with_has_a_manager(setting: tuple[server.ApiServer, Http, Seen]) -> None:
    for path in (
        "/api/v1/namespaces/default",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin",
        "/api/v1/namespaces/default/services/kubernetes",
    ):
        managed = (await setting[1]("GET", path)).json["metadata"]["managedFields"]
        assert [(m["manager"], m["operation"]) for m in managed] == [("kube-apiserver", "Update")], path


async def test_a_dry_run_binds_nothing(setting: tuple[server.ApiServer, Http, Seen], ns: str, seen: Seen) -> None:
    http = setting[1]
    await http("POST", f"/api/v1/namespaces/{ns}/pods", POD)
    assert (await http("POST", f"/api/v1/namespaces/{ns}/pods/p/binding", BINDING, query="dryRun=All")).status == 201
    assert seen.mutated[-1].dry_run and codec.encode(seen.mutated[-1].options) == (
        b'{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","dryRun":["All"]}'
    )
    assert "nodeName" not in (await http("GET", f"/api/v1/namespaces/{ns}/pods/p")).json["spec"]
