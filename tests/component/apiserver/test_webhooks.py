"""Admission webhooks against a real server, which calls real webhooks over TLS on loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from aiohttp import web

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.admission.webhooks import calling
from navarch.machinery import errors
from navarch.testing import server
from navarch.testing.webhooks import add, allowed, denied, patched
from tests.component.apiserver.webhook_cluster import HANDLERS, NUMBERS, Cluster, Handler, meta, noting, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")
# ---- what a webhook is asked -----------------------------------------------------------------------------------------


async def test_a_validating_webhook_is_asked_about_the_object_as_it_will_be_stored(cluster: Cluster) -> None:
    asked: list[dict[str, Any]] = []
    await cluster.register(cluster.validating(noting(asked)))
    made = await cluster.create("one", key="value")
    assert len(asked) == 1
    request = asked[0]
    assert request["object"] | {"metadata": {}} == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"key": "value"}}
    assert request["object"]["metadata"]["uid"] == meta(made).uid and "resourceVersion" not in request["object"]["metadata"]
    assert request["oldObject"] is None and request["dryRun"] is False
    assert request["kind"] == request["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert request["resource"] == request["requestResource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (request["name"], request["namespace"], request["operation"]) == ("one", cluster.ns, "CREATE")
    assert request["userInfo"]["username"] == "admin" and "system:masters" in request["userInfo"]["groups"]
    assert request["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
    assert "subResource" not in request and cluster.hooks.queries[-1] == "timeout=10s"


async def test_updates_and_deletions_bring_the_old_object(cluster: Cluster) -> None:
    asked: list[dict[str, Any]] = []
    await cluster.register(cluster.validating(noting(asked), rules=[rule(operations=("UPDATE", "DELETE"))]))
    made = await cluster.create("one", a="1")
    made.data = {"a": "2"}
    made = await cluster.client.update(made)
    await cluster.client.patch(core_v1.ConfigMap, "one", {"data": {"a": "3"}}, cluster.ns)
    await cluster.client.delete(core_v1.ConfigMap, "one", cluster.ns)
    assert [r["operation"] for r in asked] == ["UPDATE", "UPDATE", "DELETE"]
    assert [(r["object"] or {}).get("data") for r in asked] == [{"a": "2"}, {"a": "3"}, None]
    assert [r["oldObject"]["data"] for r in asked] == [{"a": "1"}, {"a": "2"}, {"a": "3"}]
    assert [r["options"]["kind"] for r in asked] == ["UpdateOptions", "UpdateOptions", "DeleteOptions"]


async def test_v1beta1_reviews_are_spoken_too(cluster: Cluster) -> None:
    def handler(request: dict[str, Any]) -> bytes:
        return json.dumps({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {"allowed": False}}).encode()

    await cluster.register(cluster.validating(handler, admissionReviewVersions=["v2", "v1beta1", "v1"]))
    with pytest.raises(errors.ApiError, match=r'^admission webhook "v.example.com" denied the request without explanation$'):
        await cluster.create()


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "message", "reason"),
    [
        (denied(), 400, "denied the request without explanation", None),
        (denied("not this one"), 400, "denied the request: not this one", None),
        (denied(reason="the reason"), 400, "denied the request: the reason", "the reason"),
        (denied("taken", code=409, reason="Conflict"), 409, "denied the request: taken", "Conflict"),
        (denied("fine?", code=200, status="Success"), 400, "denied the request: fine?", None),
        (denied("far out", code=100_000), 500, "denied the request: far out", None),
    ],
)
async def test_refusals(cluster: Cluster, answer: dict[str, Any], code: int, message: str, reason: str | None) -> None:
    await cluster.register(cluster.validating(lambda r: answer))
    with pytest.raises(errors.ApiError) as found:
        await cluster.create()
    status = found.value.status
    assert (status.code, status.message, status.reason) == (code, f'admission webhook "v.example.com" {message}', reason)
    assert status.status == "Failure"


async def test_warnings_and_annotations_are_handed_on(cluster: Cluster, http: Any) -> None:
    handler = lambda r: allowed(warnings=["careful\r\nX-Evil: 1", "twice", "twice"], auditAnnotations={"why": "because"})  # noqa: E731
    await cluster.register(cluster.validating(handler))
    answer = await http("POST", f"/api/v1/namespaces/{cluster.ns}/configmaps", {"metadata": {"name": "w"}})
    assert answer.status == 201 and answer.warnings == ['299 - "careful  X-Evil: 1"', '299 - "twice"']
    assert "X-Evil" not in answer.headers


# ---- what an answer must not be --------------------------------------------------------------------------------------

REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}


def _answer(**response: Any) -> Handler:
    return lambda r: json.dumps({**REVIEW, "response": {"uid": r["uid"], "allowed": True, **response}}).encode()


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (lambda r: b"garbage", "failed to call webhook: couldn't get version/kind; json parse error: "),
        (lambda r: b"[" * 50_000, "failed to call webhook: couldn't get version/kind; json parse error: "),
        (lambda r: b"\xff\xfe{", "failed to call webhook: couldn't get version/kind; json parse error: "),
        (lambda r: b"", "failed to call webhook: 0-length response with status code: 200 and content type: application/json"),
        (lambda r: json.dumps(REVIEW).encode(), "received invalid webhook response: webhook response was absent"),
        (lambda r: {"uid": "another"}, 'received invalid webhook response: expected response.uid="'),
        (
            lambda r: json.dumps({"response": {"uid": r["uid"]}}).encode(),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
        ),
        (
            lambda r: json.dumps({**REVIEW, "apiVersion": "admission.k8s.io/v1beta1"}).encode(),
            "failed to call webhook: converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
        ),
        (
            lambda r: json.dumps({"apiVersion": "a/v1", "kind": "B"}).encode(),
            'no kind "B" is registered for version "a/v1" in scheme "pkg/runtime/scheme.go:110"',
        ),
        (_answer(patch="e30=", patchType="JSONPatch"), "received invalid webhook response: validating webhook may not return response.patch"),
        (_answer(patchType="JSONPatch"), "received invalid webhook response: validating webhook may not return response.patchType"),
        (_answer(allowed="yes"), "failed to call webhook: json: cannot unmarshal string into Go struct field "),
        (lambda r: web.Response(status=404, text="404 page not found"), "failed to call webhook: the server could not find the requested resource"),
        (
            lambda r: web.Response(status=500, text="boom"),
            'failed to call webhook: an error on the server ("boom") has prevented the request from succeeding',
        ),
        (lambda r: web.Response(status=302, headers={"Location": "/0"}), "failed to call webhook: the server responded with the status code 302 but"),
        (lambda r: b" " * 9_000_000, ": http: the answer is larger than 8388608 bytes"),
    ],
)
async def test_answers_that_do_not_count(cluster: Cluster, handler: Handler, why: str) -> None:
    """The failure policy decides: by default the request fails, with Ignore it goes on."""
    made = await cluster.register(cluster.validating(handler, timeoutSeconds=5))
    with pytest.raises(errors.InternalError) as found:
        await cluster.create()
    message = str(found.value.status.message)
    assert message.startswith('Internal error occurred: failed calling webhook "v.example.com": ') and why in message
    made.webhooks[0].failurePolicy = "Ignore"
    await cluster.client.update(made)
    await cluster.create()


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (_answer(patch="e30="), "received invalid webhook response: webhook returned response.patch but not response.patchType"),
        (_answer(patchType="JSONPatch"), "received invalid webhook response: webhook returned response.patchType but not response.patch"),
        (_answer(patch="W10=", patchType="Merge"), 'unsupported patch type "Merge"'),
        (_answer(patch="!", patchType="JSONPatch"), "illegal base64 data"),
        (_answer(patch="e30=", patchType="JSONPatch"), "received undecodable patch in webhook response: "),
        (_answer(patch=base64.b64encode(b"[" * 9000).decode(), patchType="JSONPatch"), "received undecodable patch in webhook response: "),
        (lambda r: patched(*([add("/data/x", "1")] * 20_000)), "received undecodable patch in webhook response: "),
    ],
)
async def test_patches_that_are_none(cluster: Cluster, handler: Handler, why: str) -> None:
    await cluster.register(cluster.mutating(handler))
    with pytest.raises(errors.InternalError) as found:
        await cluster.create()
    assert 'failed calling webhook "m.example.com": ' in str(found.value.status.message) and why in str(found.value.status.message)


_DOUBLE = [{"op": "copy", "from": "/data", "path": f"/data/d{i}"} for i in range(40)]


@pytest.mark.parametrize(
    "handler",
    [
        lambda r: patched(*_DOUBLE),
        lambda r: patched({"op": "remove", "path": "/nothing/there"}),
        lambda r: patched({"op": "replace", "path": "", "value": 1}),
        lambda r: patched(add("/data", "text")),
        lambda r: patched(add("/metadata/labels", {"a": "x" * 4_000_000})),
        lambda r: patched(add("/metadata/annotations", json.loads('{"a":' * 150 + "{}" + "}" * 150))),
        lambda r: patched({"op": "remove", "path": "/metadata"}),
        lambda r: patched(add("/metadata/namespace", "default")),
    ],
)
async def test_patches_that_go_too_far(cluster: Cluster, handler: Handler) -> None:
    """Each is refused in a moment, even where the policy is to ignore failures, and the server goes on."""
    await cluster.register(cluster.mutating(handler, failurePolicy="Ignore"))
    began = time.perf_counter()
    with pytest.raises(errors.ApiError):
        await cluster.create()
    assert time.perf_counter() - began < 3.0


# ---- time ------------------------------------------------------------------------------------------------------------


async def _hang(request: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(20)
    return allowed()


async def test_a_slow_webhook_fails_by_its_timeout_or_is_passed_over(cluster: Cluster) -> None:
    async def slow(request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(1.6)
        return allowed()

    made = await cluster.register(cluster.validating(slow, timeoutSeconds=1))
    url = made.webhooks[0].clientConfig.url
    with pytest.raises(errors.InternalError) as found:
        await cluster.create()
    why = f'failed calling webhook "v.example.com": failed to call webhook: Post "{url}?timeout=1s": context deadline exceeded'
    assert found.value.status.message == f"Internal error occurred: {why}"
    made.webhooks[0].failurePolicy = "Ignore"
    made = await cluster.client.update(made)
    began = time.perf_counter()
    await cluster.create()
    assert 0.9 < time.perf_counter() - began < 1.5
    made.webhooks[0].failurePolicy, made.webhooks[0].timeoutSeconds = "Fail", 3
    await cluster.client.update(made)
    await cluster.create()


async def test_a_slow_body_is_held_to_the_timeout_too(cluster: Cluster) -> None:
    async def raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(30):
            await asyncio.sleep(0.1)
            writer.write(b" ")
        writer.close()

    listener = await asyncio.start_server(raw, "127.0.0.1", 0, ssl=cluster.hooks.tls)
    port = listener.sockets[0].getsockname()[1]
    config = admission_v1.WebhookClientConfig(url=f"https://127.0.0.1:{port}/slow", caBundle=cluster.hooks.bundle)
    await cluster.register(cluster.validating(lambda r: allowed(), clientConfig=config, timeoutSeconds=1))
    with pytest.raises(errors.InternalError, match=r"context deadline exceeded$"):
        await cluster.create()
    listener.close()


async def test_one_that_hangs_slows_nobody_elses_writes(cluster: Cluster, api: server.ApiServer) -> None:
    """It holds half of the places there are for writes at most: whoever comes later is told at once to come again."""
    other = await api.namespace()
    await cluster.register(cluster.validating(_hang, timeoutSeconds=3))
    many = calling.MOST_WAITING + 30
    writers = [api.connect() for _ in range(3)]
    stuck = [asyncio.ensure_future(writers[i % 3].create(_config_map(f"stuck-{i}", cluster.ns))) for i in range(many)]
    await asyncio.sleep(1.0)
    taken = []
    for i in range(30):
        began = time.perf_counter()
        await api.client.create(_config_map(f"free-{i}", other))
        taken.append(time.perf_counter() - began)
    print(f"while {many} writes hang: {sorted(taken)[15] * 1000:.1f} ms median, {max(taken) * 1000:.1f} ms most")
    assert sorted(taken)[15] < 0.05
    ended = await asyncio.gather(*stuck, return_exceptions=True)
    assert all(isinstance(e, errors.InternalError | errors.TooManyRequests) for e in ended)


def _config_map(name: str, namespace: str) -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name, namespace=namespace))


async def test_who_comes_late_to_one_that_hangs_is_told_to_come_again(cluster: Cluster, api: server.ApiServer, http: Any) -> None:
    """Even where the policy is to ignore failures: it is none of the webhook's."""
    await cluster.register(cluster.validating(_hang, timeoutSeconds=3, failurePolicy="Ignore"))
    path = f"/api/v1/namespaces/{cluster.ns}/configmaps"
    more = type(http)(api)
    senders = [http] * (calling.MOST_WAITING // 2) + [more] * (calling.MOST_WAITING // 2)
    waiting = [asyncio.ensure_future(sender("POST", path, {"metadata": {"name": f"c-{i}"}})) for i, sender in enumerate(senders)]
    await asyncio.sleep(1.5)
    late = await http("POST", path, {"metadata": {"name": "late"}})
    assert (late.status, late.headers["Retry-After"]) == (429, "1")
    assert late.message == 'too many requests wait for webhook "v.example.com", please try again later'
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {201}
    await more.close()


async def test_validating_webhooks_are_called_side_by_side(cluster: Cluster) -> None:
    async def slow(request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.4)
        return allowed()

    async def no(request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return denied("first")

    every = [cluster.validating(slow, f"v{i}.example.com") for i in range(4)]
    made = await cluster.register(*every)
    began = time.perf_counter()
    await cluster.create()
    assert time.perf_counter() - began < 0.9
    del made
    await cluster.register(cluster.validating(no, "no.example.com"), cluster.validating(lambda r: _later(0.3, denied("last")), "last.example.com"))
    with pytest.raises(errors.ApiError, match=r'^admission webhook "no.example.com" denied the request: first$'):
        await cluster.create()


async def _later(seconds: float, answer: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(seconds)
    return answer


# ---- mutation --------------------------------------------------------------------------------------------------------


async def test_mutating_webhooks_are_called_in_order_and_see_each_other(cluster: Cluster) -> None:
    second = cluster.mutating(lambda r: patched(add("/data/second", ",".join(sorted(r["object"]["data"])))), "b.example.com")
    first = cluster.mutating(lambda r: patched(add("/data/first", "1")), "a.example.com")
    await cluster.register(first, second)
    asked: list[dict[str, Any]] = []
    await cluster.register(cluster.validating(noting(asked)))
    made = await cluster.create(given="0")
    assert made.data == {"given": "0", "first": "1", "second": "first,given"}
    assert asked[0]["object"]["data"] == made.data


async def test_defaults_are_made_after_a_patch(cluster: Cluster) -> None:
    container = {"name": "init", "image": "x"}
    await cluster.register(cluster.mutating(lambda r: patched(add("/spec/initContainers", [container])), rules=[rule("pods")]))
    spec = core_v1.PodSpec(containers=[core_v1.Container(name="c", image="x")])
    made = await cluster.client.create(core_v1.Pod(metadata=meta_v1.ObjectMeta(name="p", namespace=cluster.ns), spec=spec))
    assert made.spec is not None
    init = (made.spec.initContainers or [])[0]
    assert (init.terminationMessagePolicy, init.imagePullPolicy) == ("File", "Always")


async def test_what_a_webhook_makes_is_validated(cluster: Cluster) -> None:
    await cluster.register(cluster.mutating(lambda r: patched(add("/data/not~1a~1key", "1"))))
    with pytest.raises(errors.Invalid, match=r"ConfigMap .* is invalid"):
        await cluster.create(a="1")


async def test_what_the_server_decides_stays(cluster: Cluster) -> None:
    operations = [
        add("/metadata/uid", "mine"), add("/metadata/creationTimestamp", "2001-01-01T00:00:00Z"), add("/metadata/generation", 7),
        add("/metadata/resourceVersion", "1"), add("/metadata/deletionTimestamp", "2001-01-01T00:00:00Z"), add("/metadata/labels", {"a": "b"}),
    ]  # fmt: skip
    await cluster.register(cluster.mutating(lambda r: patched(*operations), rules=[rule(operations=("CREATE", "UPDATE"))]))
    made = await cluster.create()
    assert meta(made).labels == {"a": "b"} and meta(made).uid != "mine" and meta(made).deletionTimestamp is None
    assert not (meta(made).creationTimestamp or "").startswith("2001")
    made.data = {"a": "1"}
    again = await cluster.client.update(made)
    assert meta(again).uid == meta(made).uid and meta(again).deletionTimestamp is None


async def test_a_webhook_is_called_again_when_another_changes_the_object_after_it(cluster: Cluster) -> None:
    seen: list[tuple[str, list[str]]] = []

    def count(name: str) -> Handler:
        def handler(request: dict[str, Any]) -> dict[str, Any]:
            data = request["object"].get("data") or {}
            seen.append((name, sorted(data)))
            return patched(add("/data", {**data, name: "1"})) if name not in data else allowed()

        return handler

    hooks = [
        cluster.mutating(count("a"), "a.example.com", reinvocationPolicy="IfNeeded"),
        cluster.mutating(count("b"), "b.example.com", reinvocationPolicy="Never"),
        cluster.mutating(count("c"), "c.example.com", reinvocationPolicy="IfNeeded"),
    ]
    await cluster.register(*hooks)
    await cluster.create()
    assert seen == [("a", []), ("b", ["a"]), ("c", ["a", "b"]), ("a", ["a", "b", "c"])]


async def test_nobody_is_called_again_when_nothing_changed_after_it(cluster: Cluster) -> None:
    seen: list[dict[str, Any]] = []
    await cluster.register(cluster.mutating(noting(seen, patched(add("/data", {"a": "1"}))), reinvocationPolicy="IfNeeded"))
    await cluster.create(a="1")
    assert len(seen) == 1


async def test_a_deletion_cannot_be_changed(cluster: Cluster) -> None:
    await cluster.create("gone")
    await cluster.register(cluster.mutating(lambda r: patched(add("/data", {})), rules=[rule(operations=("DELETE",))]))
    with pytest.raises(errors.InternalError, match=r'admission webhook "m.example.com" attempted to modify the object, which is not supported'):
        await cluster.client.delete(core_v1.ConfigMap, "gone", cluster.ns)


# ---- who is called ---------------------------------------------------------------------------------------------------


async def test_selectors(cluster: Cluster, api: server.ApiServer) -> None:
    selector = meta_v1.LabelSelector(matchLabels={"checked": "yes"})
    await cluster.register(cluster.validating(lambda r: denied("selected"), objectSelector=selector, rules=[rule(operations=("CREATE", "UPDATE"))]))
    made = await cluster.create("plain")
    meta(made).labels = {"checked": "yes"}
    with pytest.raises(errors.ApiError, match="selected"):
        await cluster.client.update(made)
    elsewhere = await api.namespace()
    await api.client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="x", namespace=elsewhere, labels={"checked": "yes"})))


async def test_a_namespace_is_selected_by_its_own_labels(cluster: Cluster) -> None:
    name = f"{cluster.ns}-new"
    selector = meta_v1.LabelSelector(matchLabels={"kubernetes.io/metadata.name": name})
    asked: list[dict[str, Any]] = []
    rules = [rule("namespaces", operations=("CREATE", "DELETE"), scope="Cluster"), rule("namespaces", operations=("CREATE",), scope="Namespaced")]
    await cluster.register(cluster.validating(noting(asked), namespaceSelector=selector, rules=rules))
    await cluster.client.create(core_v1.Namespace(metadata=meta_v1.ObjectMeta(name=name)))
    await cluster.client.create(core_v1.Namespace(metadata=meta_v1.ObjectMeta(name=f"{name}-2")))
    await cluster.client.delete(core_v1.Namespace, name)
    assert [(r["operation"], r["name"], r["namespace"]) for r in asked] == [("CREATE", name, name), ("DELETE", name, name)]


async def test_match_conditions(cluster: Cluster) -> None:
    def condition(name: str, expression: str) -> admission_v1.MatchCondition:
        return admission_v1.MatchCondition(name=name, expression=expression)

    conditions = [
        condition("named", "object.metadata.name.startsWith('checked-')"),
        condition("who", "request.userInfo.username == 'admin' && authorizer.requestResource.check('delete').allowed()"),
        condition("data", "object.data.mode != 'skip'"),
    ]
    made = await cluster.register(cluster.validating(lambda r: denied("called"), matchConditions=conditions))
    await cluster.create("other")
    await cluster.create("checked-a", mode="skip")
    with pytest.raises(errors.ApiError, match="called"):
        await cluster.create("checked-b", mode="on")
    with pytest.raises(errors.Forbidden) as found:
        await cluster.create("checked-c")
    why = "expression 'object.data.mode != 'skip'' resulted in error: no such key: data"
    assert found.value.status.message == f'configmaps "checked-c" is forbidden: {why}'
    made.webhooks[0].failurePolicy = "Ignore"
    await cluster.client.update(made)
    await cluster.create("checked-c")


async def test_an_equivalent_version_is_what_a_webhook_is_shown(cluster: Cluster, http: Any) -> None:
    asked: list[dict[str, Any]] = []
    rules = [rule("horizontalpodautoscalers", group="autoscaling", version="v1")]
    made = await cluster.register(cluster.validating(noting(asked), rules=rules))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    body = {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 2, "metrics": [metric]}}
    path = f"/apis/autoscaling/v2/namespaces/{cluster.ns}/horizontalpodautoscalers"
    assert (await http("POST", path, body)).status == 201
    assert asked[0]["object"]["apiVersion"] == "autoscaling/v1" and asked[0]["object"]["spec"]["targetCPUUtilizationPercentage"] == 70
    assert (asked[0]["kind"]["version"], asked[0]["requestKind"]["version"]) == ("v1", "v2")
    made.webhooks[0].matchPolicy = "Exact"
    await cluster.client.update(made)
    body["metadata"] = {"name": "h2"}
    assert (await http("POST", path, body)).status == 201 and len(asked) == 1


async def test_a_mutation_in_an_equivalent_version_is_converted_back(cluster: Cluster, http: Any) -> None:
    rules = [rule("horizontalpodautoscalers", group="autoscaling", version="v1")]
    await cluster.register(cluster.mutating(lambda r: patched(add("/spec/targetCPUUtilizationPercentage", 55)), rules=rules))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    path = f"/apis/autoscaling/v2/namespaces/{cluster.ns}/horizontalpodautoscalers"
    answer = await http("POST", path, {"metadata": {"name": "m"}, "spec": {"scaleTargetRef": target, "maxReplicas": 2}})
    assert answer.status == 201 and answer.json["apiVersion"] == "autoscaling/v2"
    assert [m["resource"]["target"]["averageUtilization"] for m in answer.json["spec"]["metrics"]] == [55]


async def test_subresources_are_asked_about_by_what_they_take(cluster: Cluster, http: Any) -> None:
    """Rules name them apart; a Scale is a Scale, a status update is of the whole object, actions are what they are."""
    asked: list[dict[str, Any]] = []
    rules = [
        rule("deployments/scale", "deployments/status", group="apps", operations=("UPDATE",)),
        rule("pods/eviction", "pods/binding", "serviceaccounts/token"),
        rule("pods/exec", "pods/portforward", "pods/proxy", operations=("CONNECT",)),
    ]
    await cluster.register(cluster.validating(noting(asked), rules=rules))
    base = f"/apis/apps/v1/namespaces/{cluster.ns}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert (await http("POST", base, {"metadata": {"name": "d"}, "spec": spec})).status == 201
    merge = "application/merge-patch+json"
    assert (await http("PATCH", f"{base}/d/scale", {"spec": {"replicas": 3}}, media=merge)).status == 200
    assert (await http("PATCH", f"{base}/d/status", {"status": {"replicas": 2}}, media=merge)).status == 200
    pods = f"/api/v1/namespaces/{cluster.ns}/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    assert (await http("POST", pods, pod)).status == 201
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await http("POST", f"{pods}/p/binding", binding)).status == 201
    upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    await http("POST", f"{pods}/p/exec", query={"command": "ls", "stdout": "true"}, headers=upgrade)
    await http("POST", f"{pods}/p/portforward", headers=upgrade)
    await http("POST", f"/api/v1/namespaces/{cluster.ns}/serviceaccounts/default/token", {"spec": {}})
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}}
    assert (await http("POST", f"{pods}/p/eviction", eviction)).status == 201
    told = [(r["operation"], r["resource"]["resource"], r["subResource"], r["kind"]["kind"], r["object"]["kind"]) for r in asked]
    assert told == [
        ("UPDATE", "deployments", "scale", "Scale", "Scale"),
        ("UPDATE", "deployments", "status", "Deployment", "Deployment"),
        ("CREATE", "pods", "binding", "Binding", "Binding"),
        ("CONNECT", "pods", "exec", "PodExecOptions", "PodExecOptions"),
        ("CONNECT", "pods", "portforward", "PodPortForwardOptions", "PodPortForwardOptions"),
        ("CREATE", "serviceaccounts", "token", "TokenRequest", "TokenRequest"),
        ("CREATE", "pods", "eviction", "Eviction", "Eviction"),
    ]
    assert (asked[0]["object"]["spec"]["replicas"], asked[0]["oldObject"]["spec"]["replicas"]) == (3, 1)
    assert asked[3]["object"]["command"] == ["ls"] and asked[3]["oldObject"] is None


async def test_a_webhook_can_change_a_scale_and_no_status_that_is_not_asked_about(cluster: Cluster, http: Any) -> None:
    scale = cluster.mutating(
        lambda r: patched(add("/spec/replicas", 2)), "scale.example.com", rules=[rule("deployments/scale", group="apps", operations=("UPDATE",))]
    )
    main = cluster.mutating(
        lambda r: patched(add("/status", {"replicas": 9})), rules=[rule("deployments", group="apps", operations=("CREATE", "UPDATE"))]
    )
    await cluster.register(scale, main)
    base = f"/apis/apps/v1/namespaces/{cluster.ns}/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = await http("POST", base, {"metadata": {"name": "d"}, "spec": spec})
    assert made.status == 201 and not made.json["status"]
    scaled = await http("PATCH", f"{base}/d/scale", {"spec": {"replicas": 50}}, media="application/merge-patch+json")
    assert scaled.json["spec"]["replicas"] == 2
    changed = await http("PATCH", f"{base}/d", {"metadata": {"labels": {"x": "y"}}}, media="application/merge-patch+json")
    assert changed.status == 200 and not changed.json["status"] and changed.json["spec"]["replicas"] == 2


async def test_every_object_of_a_collection_is_asked_about(cluster: Cluster, http: Any) -> None:
    for i in range(3):
        await cluster.create(f"c-{i}")
    asked: list[dict[str, Any]] = []
    await cluster.register(cluster.validating(noting(asked), rules=[rule(operations=("DELETE",))]))
    assert (await http("DELETE", f"/api/v1/namespaces/{cluster.ns}/configmaps")).status == 200
    assert sorted(r["oldObject"]["metadata"]["name"] for r in asked) == ["c-0", "c-1", "c-2"]


async def test_dry_runs_reach_only_webhooks_that_support_them(cluster: Cluster, http: Any) -> None:
    asked: list[dict[str, Any]] = []
    made = await cluster.register(cluster.validating(noting(asked), sideEffects="NoneOnDryRun"))
    path = f"/api/v1/namespaces/{cluster.ns}/configmaps"
    assert (await http("POST", path, {"metadata": {"name": "dry"}}, query={"dryRun": "All"})).status == 201
    assert asked[0]["dryRun"] is True and asked[0]["options"]["dryRun"] == ["All"]
    # What was stored before the rule came may have others: it is put there as storage has it.
    made.webhooks[0].sideEffects = "Some"
    with pytest.raises(errors.Invalid, match='Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'):
        await cluster.client.update(made)


async def test_configurations_of_admission_are_never_asked_about(cluster: Cluster) -> None:
    every = admission_v1.RuleWithOperations(operations=["*"], apiGroups=["*"], apiVersions=["*"], resources=["*/*"])
    asked: list[dict[str, Any]] = []
    fields: dict[str, Any] = {"rules": [every], "namespaceSelector": None}

    def refuse(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return denied("no") if request["resource"]["group"] == "admissionregistration.k8s.io" else allowed()

    await cluster.register(cluster.validating(refuse, **fields))
    more = await cluster.register(cluster.mutating(lambda r: denied("never"), "m2.example.com"))
    more.webhooks[0].timeoutSeconds = 5
    await cluster.client.update(more)
    await cluster.client.delete(admission_v1.MutatingWebhookConfiguration, more.metadata.name or "")
    assert not [r for r in asked if r["resource"]["group"] == "admissionregistration.k8s.io"]


async def test_a_change_counts_at_once(cluster: Cluster) -> None:
    made = await cluster.register(cluster.validating(lambda r: denied("no")))
    with pytest.raises(errors.ApiError, match="denied the request: no"):
        await cluster.create()
    made.webhooks[0].rules[0].operations = ["UPDATE"]
    await cluster.client.update(made)
    await cluster.create()
    await cluster.client.delete(admission_v1.ValidatingWebhookConfiguration, meta(made).name or "")
    await cluster.create("x")
    await cluster.client.patch(core_v1.ConfigMap, "x", {"data": {"a": "b"}}, cluster.ns)


async def test_a_service_without_a_ready_endpoint_is_told_of(cluster: Cluster, http: Any) -> None:
    ns = "default"
    service = {"metadata": {"name": "hooks"}, "spec": {"ports": [{"name": "https", "port": 8443, "targetPort": 1}]}}
    assert (await http("POST", f"/api/v1/namespaces/{ns}/services", service)).status == 201
    path = f"/{next(NUMBERS)}"
    HANDLERS[path] = lambda r: denied("by service")
    reference = admission_v1.ServiceReference(name="hooks", namespace=ns, path=path, port=8443)
    config = admission_v1.WebhookClientConfig(service=reference, caBundle=cluster.hooks.bundle)
    await cluster.register(cluster.validating(lambda r: allowed(), clientConfig=config, timeoutSeconds=2))
    slices = {
        "metadata": {"name": "hooks-1", "labels": {"kubernetes.io/service-name": "hooks"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": cluster.hooks.port}],
        "endpoints": [{"addresses": ["10.255.255.1"], "conditions": {"ready": False}}],
    }
    made = await http("POST", f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices", slices)
    assert made.status == 201, made.body
    with pytest.raises(errors.InternalError) as found:
        await cluster.create()
    where = f'Post "https://hooks.default.svc:8443{path}?timeout=2s"'
    assert str(found.value.status.message).endswith(f'failed to call webhook: {where}: no endpoints available for service "hooks"')
    await http("DELETE", f"/api/v1/namespaces/{ns}/services/hooks")


async def test_metrics_have_upstreams_names(cluster: Cluster, http: Any) -> None:
    await cluster.register(cluster.validating(lambda r: denied("no", code=422), "metered.example.com"))
    await cluster.register(cluster.mutating(lambda r: b"", "open.example.com", failurePolicy="Ignore"))
    with pytest.raises(errors.ApiError):
        await cluster.create()
    text = (await http("GET", "/metrics")).body.decode()
    labels = 'name="metered.example.com",operation="CREATE"'
    assert f'apiserver_admission_webhook_request_total{{code="422",{labels},rejected="true",type="validating"}} 1.0' in text
    assert 'error_type="no_error",name="metered.example.com",operation="CREATE",rejection_code="422",type="validating"' in text
    assert 'apiserver_admission_webhook_fail_open_count{name="open.example.com",type="admit"} 1.0' in text
    assert f'apiserver_admission_webhook_admission_duration_seconds_count{{{labels},rejected="true",type="validating"}} 1.0' in text
