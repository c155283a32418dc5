"""Subresources, and who may do what: status, scale, binding, eviction, tokens, reviews, impersonation, RBAC, nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from navarch.api.core import v1 as core_v1
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
MERGE = "application/merge-patch+json"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def at(ns: str, plural: str, name: str = "", sub: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/{plural}" + (f"/{name}" if name else "") + (f"/{sub}" if sub else "")


def pod(name: str, **spec: Any) -> dict[str, Any]:
    made = {"containers": [{"name": "c", "image": "i"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": made}


def deployment(name: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def rule(verbs: str, group: str, resources: str, **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


@pytest_asyncio.fixture(loop_scope="module")
async def someone(api: server.ApiServer, http: Any) -> AsyncIterator[Callable[..., Any]]:
    """Makes requests as another user: by certificate, or with a token."""
    made: list[Any] = []

    def connect(name: str = "", *groups: str, token: str = "") -> Any:
        made.append(type(http)(api, name, *groups, token=token))
        return made[-1]

    yield connect
    for each in made:
        await each.close()


async def grant(http: Any, ns: str, user: str, *rules: dict[str, Any], name: str = "role") -> None:
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": list(rules)}
    assert (await http("POST", f"{RBAC}/namespaces/{ns}/roles", role)).status == 201
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "subjects": [subject],
        "roleRef": ref,
    }
    assert (await http("POST", f"{RBAC}/namespaces/{ns}/rolebindings", binding)).status == 201


# ---- scale, binding, eviction -------------------------------------------------------------------------------------


async def test_scale(http: Any, ns: str) -> None:
    base = f"/apis/apps/v1/namespaces/{ns}/deployments"
    await http("POST", base, deployment("d"))
    found = (await http("GET", f"{base}/d/scale")).json
    assert (found["kind"], found["apiVersion"], found["spec"], found["status"]) == (
        "Scale",
        "autoscaling/v1",
        {"replicas": 2},
        {"replicas": 0, "selector": "app=d"},
    )
    found["spec"]["replicas"] = 5
    scaled = await http("PUT", f"{base}/d/scale", found)
    assert (scaled.status, scaled.json["spec"]["replicas"]) == (200, 5)
    stale = await http("PUT", f"{base}/d/scale", found)
    assert (stale.status, stale.reason) == (409, "Conflict")
    patched = await http("PATCH", f"{base}/d/scale", {"spec": {"replicas": 1}}, media=MERGE)
    assert patched.json["spec"]["replicas"] == 1
    live = (await http("GET", f"{base}/d")).json
    assert (live["spec"]["replicas"], live["metadata"]["generation"]) == (1, 3)
    wrong = await http("PATCH", f"{base}/d/scale", {"spec": {"replicas": -1}}, media=MERGE)
    assert wrong.status == 422 and "must be greater than or equal to 0" in wrong.message


async def test_binding(http: Any, ns: str) -> None:
    await http("POST", at(ns, "pods"), pod("p"))
    target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    bound = await http("POST", at(ns, "pods", "p", "binding"), target)
    assert (bound.status, bound.json["status"]) == (201, "Success")
    live = (await http("GET", at(ns, "pods", "p"))).json
    assert live["spec"]["nodeName"] == "n1"
    assert [(c["type"], c["status"]) for c in live["status"]["conditions"]] == [("PodScheduled", "True")]
    again = await http("POST", at(ns, "pods", "p", "binding"), target)
    assert again.status == 409
    assert 'pod p is already assigned to node "n1"' in again.message
    assert (await http("POST", at(ns, "pods", "none", "binding"), target | {"metadata": {"name": "none"}})).status == 404


async def test_eviction_asks_the_budget(http: Any, ns: str) -> None:
    budgets = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    body = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}}}
    made = (await http("POST", budgets, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", **body})).json
    await http("POST", at(ns, "pods"), pod("p", nodeName="n1"))
    ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await http("PATCH", at(ns, "pods", "p", "status"), ready, media=MERGE)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p", "namespace": ns}}
    early = await http("POST", at(ns, "pods", "p", "eviction"), eviction)
    assert (early.status, early.reason) == (429, "TooManyRequests")
    assert early.headers["Retry-After"] == "10"
    made["status"] = {
        "observedGeneration": 1,
        "disruptionsAllowed": 0,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    held = await http("PUT", f"{budgets}/b/status", made)
    refused = await http("POST", at(ns, "pods", "p", "eviction"), eviction)
    assert (refused.status, refused.message) == (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    assert refused.json["details"]["causes"][0]["message"] == "The disruption budget b needs 1 healthy pods and has 1 currently"
    allowed = held.json
    allowed["status"]["disruptionsAllowed"] = 1
    assert (await http("PUT", f"{budgets}/b/status", allowed)).status == 200
    dry = await http("POST", at(ns, "pods", "p", "eviction"), eviction, query={"dryRun": "All"})
    assert dry.status == 201
    done = await http("POST", at(ns, "pods", "p", "eviction"), eviction)
    assert (done.status, done.json["status"]) == (201, "Success")
    live = (await http("GET", at(ns, "pods", "p"))).json
    assert live["metadata"]["deletionTimestamp"]
    assert any(c["type"] == "DisruptionTarget" and c["reason"] == "EvictionByEvictionAPI" for c in live["status"]["conditions"])
    assert (await http("GET", f"{budgets}/b")).json["status"]["disruptionsAllowed"] == 0


async def budgeted(http: Any, ns: str, status: dict[str, Any], *, ready: bool = True, **spec: Any) -> Any:
    """A running pod `p` under a budget `b` of this status. Returns what evicts it."""
    budgets = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets"
    body = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "p"}}, **spec}}
    made = (await http("POST", budgets, {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", **body})).json
    await http("PUT", f"{budgets}/b/status", made | {"status": {"observedGeneration": 1, "expectedPods": 1, **status}})
    await http("POST", at(ns, "pods"), pod("p", nodeName="n1"))
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}}
    await http("PATCH", at(ns, "pods", "p", "status"), running, media=MERGE)

    async def evict(**options: Any) -> Any:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": options or None}
        return await http("POST", at(ns, "pods", "p", "eviction"), eviction)

    return evict


@pytest.mark.parametrize(
    ("policy", "healthy", "status"),
    [(None, 1, 201), ("IfHealthyBudget", 1, 201), ("IfHealthyBudget", 0, 429), ("AlwaysAllow", 0, 201)],
)
async def test_unhealthy_pods_go_by_the_budgets_policy(http: Any, ns: str, policy: str | None, healthy: int, status: int) -> None:
    held = {"disruptionsAllowed": 0, "currentHealthy": healthy, "desiredHealthy": 1}
    evict = await budgeted(http, ns, held, ready=False, unhealthyPodEvictionPolicy=policy)
    assert (await evict()).status == status


async def test_an_eviction_that_asks_for_a_dry_run_or_another_pod_changes_nothing(http: Any, ns: str) -> None:
    evict = await budgeted(http, ns, {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1})
    before = (await http("GET", at(ns, "pods", "p"))).json
    assert (await evict(dryRun=["All"])).status == 201
    assert (await http("GET", at(ns, "pods", "p"))).json == before
    allowed = f"/apis/policy/v1/namespaces/{ns}/poddisruptionbudgets/b"
    assert (await http("GET", allowed)).json["status"]["disruptionsAllowed"] == 1
    refused = await evict(preconditions={"uid": "another"})
    assert (refused.status, refused.reason) == (409, "Conflict")
    assert (await http("GET", at(ns, "pods", "p"))).json == before
    await http("PUT", f"{allowed}/status", (await http("GET", allowed)).json | {"status": {"observedGeneration": 1, "disruptionsAllowed": 1}})
    assert (await evict(preconditions={"resourceVersion": before["metadata"]["resourceVersion"]})).status == 201


async def test_a_budget_that_could_not_be_counted_says_why(http: Any, ns: str) -> None:
    failed = {"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "found no controllers", "observedGeneration": 1}
    failed["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    evict = await budgeted(http, ns, {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 0, "conditions": [failed]})
    refused = await evict()
    said = "The disruption budget b does not allow evicting pods currently because it failed sync: found no controllers"
    assert (refused.status, refused.json["details"]["causes"][0]["message"]) == (429, said)


async def test_ephemeral_containers(http: Any, ns: str) -> None:
    await http("POST", at(ns, "pods"), pod("p"))
    patch = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "d"}]}}
    added = await http("PATCH", at(ns, "pods", "p", "ephemeralcontainers"), patch, media="application/strategic-merge-patch+json")
    assert added.status == 200
    assert [c["name"] for c in added.json["spec"]["ephemeralContainers"]] == ["debug"]
    direct = await http("PATCH", at(ns, "pods", "p"), {"spec": {"ephemeralContainers": None}}, media=MERGE)
    assert direct.status == 422
    assert (await http("PUT", at(ns, "pods", "p", "log"), {})).status == 405


# ---- tokens -------------------------------------------------------------------------------------------------------


async def token_of(http: Any, ns: str, account: str = "default", **spec: Any) -> Any:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return await http("POST", at(ns, "serviceaccounts", account, "token"), body)


async def test_a_token_is_its_account(http: Any, ns: str, someone: Any) -> None:
    made = await token_of(http, ns, expirationSeconds=1200)
    assert made.status == 201 and made.json["spec"]["expirationSeconds"] == 1200
    holder = someone(token=made.json["status"]["token"])
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    user = (await holder("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)).json["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{ns}:default"
    assert set(user["groups"]) == {"system:serviceaccounts", f"system:serviceaccounts:{ns}", "system:authenticated"}
    refused = await holder("GET", at(ns, "secrets"))
    assert (refused.status, refused.reason) == (403, "Forbidden")
    assert refused.message == (
        f'secrets is forbidden: User "system:serviceaccount:{ns}:default" cannot list resource "secrets" in API group "" in the namespace "{ns}"'
    )
    short = await token_of(http, ns, expirationSeconds=5)
    assert short.status == 422 and "may not specify a duration less than 10 minutes" in short.message


async def test_a_token_bound_to_a_pod_dies_with_it(http: Any, ns: str, someone: Any) -> None:
    await http("POST", at(ns, "pods"), pod("p"))
    made = await token_of(http, ns, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    token = made.json["status"]["token"]
    holder = someone(token=token)
    assert (await holder("GET", "/api")).status == 200
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status = (await http("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)).json["status"]
    assert status["authenticated"] is True
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
    await http("DELETE", at(ns, "pods", "p"))
    gone = await holder("GET", "/api")
    assert (gone.status, gone.reason, gone.message) == (401, "Unauthorized", "Unauthorized")
    status = (await http("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)).json["status"]
    assert not status.get("authenticated")
    await http("POST", at(ns, "pods"), pod("p"))
    assert (await holder("GET", "/api")).status == 401, "another pod of the name is another pod"
    wrong = await token_of(http, ns, boundObjectRef={"kind": "ConfigMap", "apiVersion": "v1", "name": "p"})
    assert wrong.status == 400


async def test_tokens_that_are_none(someone: Any, http: Any, ns: str) -> None:
    for bad in ("nonsense", "a.b.c"):
        assert (await someone(token=bad)("GET", "/api/v1/pods")).status == 401
    token = (await token_of(http, ns)).json["status"]["token"]
    head, claims, signature = token.split(".")
    flipped = signature[:-2] + ("AA" if signature[-2:] != "AA" else "BB")
    assert (await someone(token=".".join((head, claims, flipped)))("GET", "/api")).status == 401
    other = (await token_of(http, ns, audiences=["elsewhere"])).json["status"]["token"]
    assert (await someone(token=other)("GET", "/api")).status == 401


async def test_a_token_does_not_outlive_its_account(http: Any, ns: str, someone: Any) -> None:
    await http("POST", at(ns, "serviceaccounts"), {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})
    holder = someone(token=(await token_of(http, ns, "robot")).json["status"]["token"])
    assert (await holder("GET", "/api")).status == 200
    await http("DELETE", at(ns, "serviceaccounts", "robot"))
    assert (await holder("GET", "/api")).status == 401


# ---- who may what -------------------------------------------------------------------------------------------------


async def test_nobody_may_read_versions_and_nothing_else(someone: Any, ns: str) -> None:
    nobody = someone("")
    assert (await nobody("GET", "/version")).status == 200
    assert (await nobody("GET", "/healthz")).status == 200
    refused = await nobody("GET", at(ns, "pods"))
    assert (refused.status, refused.message) == (
        403,
        f'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "{ns}"',
    )
    assert (await nobody("POST", at(ns, "pods"), pod("p"))).status == 403
    path = await nobody("GET", "/metrics")
    assert (path.status, path.message) == (403, 'forbidden: User "system:anonymous" cannot get path "/metrics"')


async def test_a_role_holds_where_it_is_bound(http: Any, ns: str, someone: Any, api: server.ApiServer) -> None:
    jane = someone("jane", "dev")
    assert (await jane("GET", at(ns, "pods"))).status == 403
    await grant(http, ns, "jane", rule("get list watch", "", "pods"), rule("get", "", "configmaps", resourceNames=["mine"]))
    assert (await jane("GET", at(ns, "pods"))).status == 200
    other = await jane("GET", at(await api.namespace(), "pods"))
    assert other.status == 403
    everywhere = await jane("GET", "/api/v1/pods")
    assert everywhere.message == 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" at the cluster scope'
    assert (await jane("GET", at(ns, "configmaps", "mine"))).status == 404
    named = await jane("GET", at(ns, "configmaps", "yours"))
    assert named.message == (f'configmaps "yours" is forbidden: User "jane" cannot get resource "configmaps" in API group "" in the namespace "{ns}"')
    logs = await jane("GET", at(ns, "pods", "p", "log"))
    assert 'cannot get resource "pods/log"' in logs.message
    await http("DELETE", f"{RBAC}/namespaces/{ns}/rolebindings/role")
    assert (await jane("GET", at(ns, "pods"))).status == 403


async def test_a_binding_to_no_role_says_so(http: Any, ns: str, someone: Any) -> None:
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "none"}
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "b"},
        "roleRef": ref,
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "ghosts"}],
    }
    await http("POST", f"{RBAC}/namespaces/{ns}/rolebindings", body)
    refused = await someone("joe", "ghosts")("GET", at(ns, "pods"))
    assert refused.message.endswith(f'in the namespace "{ns}": RBAC: clusterrole.rbac.authorization.k8s.io "none" not found')


async def test_nobody_gives_what_he_has_not(http: Any, ns: str, someone: Any) -> None:
    everything = "create get list update patch delete"
    await grant(http, ns, "ann", rule(everything, "rbac.authorization.k8s.io", "roles rolebindings"), rule("get", "", "pods"))
    ann = someone("ann")
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "more"}, "rules": [rule("get", "", "secrets")]}
    refused = await ann("POST", f"{RBAC}/namespaces/{ns}/roles", role)
    assert refused.status == 403
    assert 'user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:' in refused.message
    role["rules"] = [rule("get", "", "pods")]
    assert (await ann("POST", f"{RBAC}/namespaces/{ns}/roles", role)).status == 201


async def test_the_usual_roles(http: Any, ns: str, someone: Any) -> None:
    for role, may_write in (("view", False), ("edit", True)):
        body = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": f"{role}er"}],
        }
        assert (await http("POST", f"{RBAC}/namespaces/{ns}/rolebindings", body)).status == 201
        user = someone(f"{role}er")
        assert (await user("GET", at(ns, "pods"))).status == 200
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": role}}
        assert (await user("POST", at(ns, "configmaps"), config)).status == (201 if may_write else 403)
        assert (await user("GET", at(ns, "secrets"))).status == (200 if may_write else 403)
        assert (await user("GET", f"{RBAC}/namespaces/{ns}/roles")).status == 403


async def test_impersonation(http: Any, ns: str, someone: Any) -> None:
    headers = {"Impersonate-User": "bob", "Impersonate-Group": "dev", "Impersonate-Extra-Scopes": "a"}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    user = (await http("POST", path, review, headers=headers)).json["status"]["userInfo"]
    assert (user["username"], user["groups"], user["extra"]) == ("bob", ["dev", "system:authenticated"], {"scopes": ["a"]})
    refused = await http("GET", at(ns, "pods"), headers={"Impersonate-User": "bob"})
    assert refused.status == 403 and 'User "bob" cannot list' in refused.message
    account = await http("POST", path, review, headers={"Impersonate-User": f"system:serviceaccount:{ns}:default"})
    assert f"system:serviceaccounts:{ns}" in account.json["status"]["userInfo"]["groups"]
    mallory = await someone("mallory")("GET", at(ns, "pods"), headers={"Impersonate-User": "admin"})
    assert (mallory.status, mallory.message) == (
        403,
        'users "admin" is forbidden: User "mallory" cannot impersonate resource "users" in API group "" at the cluster scope',
    )


async def test_access_reviews(http: Any, ns: str, someone: Any) -> None:
    base = "/apis/authorization.k8s.io/v1"

    def review(kind: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}

    await grant(http, ns, "rita", rule("list", "", "pods"))
    what = {"namespace": ns, "verb": "list", "resource": "pods"}
    found = (await http("POST", f"{base}/subjectaccessreviews", review("SubjectAccessReview", user="rita", resourceAttributes=what))).json
    assert found["status"]["allowed"] is True
    assert found["status"]["reason"] == f'RBAC: allowed by RoleBinding "role/{ns}" of Role "role" to User "rita"'
    rita = someone("rita")
    own = await rita("POST", f"{base}/selfsubjectaccessreviews", review("SelfSubjectAccessReview", resourceAttributes=what | {"verb": "get"}))
    assert (own.status, own.json["status"]["allowed"]) == (201, False)
    rules = (await rita("POST", f"{base}/selfsubjectrulesreviews", review("SelfSubjectRulesReview", namespace=ns))).json["status"]
    assert {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]} in rules["resourceRules"]
    local = await http(
        "POST", f"{base}/namespaces/{ns}/localsubjectaccessreviews", review("LocalSubjectAccessReview", user="rita", resourceAttributes=what)
    )
    assert local.json["status"]["allowed"] is True


# ---- nodes --------------------------------------------------------------------------------------------------------


async def test_a_kubelet_sees_what_its_pods_need(http: Any, ns: str, someone: Any) -> None:
    kubelet = someone("system:node:n1", "system:nodes")
    other = someone("system:node:n2", "system:nodes")
    for name in ("used", "unused"):
        await http("POST", at(ns, "secrets"), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}})
    volumes = [{"name": "v", "secret": {"secretName": "used"}}]
    await http("POST", at(ns, "pods"), pod("p", nodeName="n1", volumes=volumes))
    assert (await kubelet("GET", at(ns, "secrets", "used"))).status == 200
    assert (await other("GET", at(ns, "secrets", "used"))).status == 403
    refused = await kubelet("GET", at(ns, "secrets", "unused"))
    assert refused.status == 403
    assert "no relationship found between node 'n1' and this object" in refused.message
    assert (await kubelet("GET", at(ns, "secrets"))).status == 403
    assert (await kubelet("GET", "/api/v1/pods", query={"fieldSelector": "spec.nodeName=n1"})).status == 200
    status = {"status": {"phase": "Running"}}
    assert (await kubelet("PATCH", at(ns, "pods", "p", "status"), status, media=MERGE)).status == 200
    assert (await other("PATCH", at(ns, "pods", "p", "status"), status, media=MERGE)).status == 403
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    assert (await kubelet("POST", "/api/v1/nodes", node)).status == 201
    assert (await other("PATCH", "/api/v1/nodes/n1/status", {"status": {}}, media=MERGE)).status == 403
    assert (await kubelet("POST", "/api/v1/nodes", {**node, "metadata": {"name": "n3"}})).status == 403
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1"}, "spec": {"holderIdentity": "n1"}}
    assert (await kubelet("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease)).status == 201
    assert (await other("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1")).status == 403
    uid = (await http("GET", at(ns, "pods", "p"))).json["metadata"]["uid"]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid}
    assert (await token_of(kubelet, ns, boundObjectRef=bound)).status == 201
    unbound = await token_of(kubelet, ns)
    assert unbound.status == 403 and unbound.message.endswith("node requested token not bound to a pod")
    assert (await token_of(other, ns, boundObjectRef=bound)).status == 403


async def test_a_static_token_file(tmp_path: Any, api: server.ApiServer) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text('secret,ops,7,"system:masters,others"\n')
    async with server.running(token_auth_file=str(file)) as own:
        client = own.connect(token="secret")
        found = await client.get(core_v1.Namespace, "default")
        assert found.metadata is not None and found.metadata.name == "default"
