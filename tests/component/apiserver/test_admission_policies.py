"""Admission policies over HTTP: what they deny, warn of, are handed and change."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from navarch.machinery.cel import expressions

pytestmark = pytest.mark.asyncio(loop_scope="module")
GROUP = "/apis/admissionregistration.k8s.io/v1"
CONFIG_MAPS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}


class Policies:
    """Makes policies bound to one namespace."""

    def __init__(self, http: Any, ns: str) -> None:
        self.http, self.ns = http, ns
        self.made: list[str] = []

    async def _create(self, plural: str, body: Any, status: int = 201) -> Any:
        answer = await self.http("POST", f"{GROUP}/{plural}", body)
        assert answer.status == status, answer.body
        if status == 201:
            self.made.append(f"{GROUP}/{plural}/{body['metadata']['name']}")
        return answer

    def _match(self, rule: Any) -> Any:
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self.ns}}
        return {"resourceRules": [rule], "namespaceSelector": selector}

    async def validating(self, name: str, rule: Any = None, binding: Any = None, actions: tuple[str, ...] = ("Deny",), **spec: Any) -> Any:
        full = f"{self.ns}-{name}"
        body = {"metadata": {"name": full}, "spec": {"matchConstraints": self._match(rule or CONFIG_MAPS), **spec}}
        await self._create("validatingadmissionpolicies", body)
        bound = {"policyName": full, "validationActions": list(actions), **(binding or {})}
        await self._create("validatingadmissionpolicybindings", {"metadata": {"name": full}, "spec": bound})
        return full

    async def mutating(self, name: str, rule: Any = None, binding: Any = None, **spec: Any) -> Any:
        full = f"{self.ns}-{name}"
        spec = {"reinvocationPolicy": "Never", **spec}
        body = {"metadata": {"name": full}, "spec": {"matchConstraints": self._match(rule or CONFIG_MAPS), **spec}}
        await self._create("mutatingadmissionpolicies", body)
        await self._create("mutatingadmissionpolicybindings", {"metadata": {"name": full}, "spec": {"policyName": full, **(binding or {})}})
        return full

    async def end(self) -> None:
        for path in reversed(self.made):
            await self.http("DELETE", path)


@pytest_asyncio.fixture(loop_scope="module")
async def policies(http: Any, ns: str) -> AsyncIterator[Policies]:
    found = Policies(http, ns)
    yield found
    await found.end()


def config(name: str, ns: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": ns}, "data": data}


def at(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/configmaps" + (f"/{name}" if name else "")


# ---- validating ----------------------------------------------------------------------------------------------------


async def test_a_policy_denies_in_its_words(http: Any, ns: str, policies: Policies) -> None:
    name = await policies.validating("deny", validations=[{"expression": "object.data.size() < 2", "message": "too many keys"}])
    assert (await http("POST", at(ns), config("a", ns, k="v"))).status == 201
    refused = await http("POST", at(ns), config("b", ns, k="v", l="w"))
    words = f"ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: too many keys"
    assert (refused.status, refused.reason) == (422, "Invalid")
    assert refused.message == f'configmaps "b" is forbidden: {words}'
    assert refused.json["details"] == {"name": "b", "kind": "configmaps", "causes": [{"message": words}]}
    updated = await http("PATCH", at(ns, "a"), {"data": {"l": "w"}}, media="application/merge-patch+json")
    assert updated.status == 422
    elsewhere = await http("POST", at("default"), config(f"{ns}-c", "default", k="v", l="w"))
    assert elsewhere.status == 201


@pytest.mark.parametrize(
    ("validation", "status", "reason", "said"),
    [
        ({"expression": "false"}, 422, "Invalid", "failed expression: false"),
        ({"expression": "false", "messageExpression": "'is ' + object.data.k"}, 422, "Invalid", "is v"),
        ({"expression": "false", "messageExpression": "'a\\nb'", "message": "one line"}, 422, "Invalid", "one line"),
        ({"expression": "false", "message": "no", "reason": "Forbidden"}, 403, "Forbidden", "no"),
        ({"expression": "false", "message": "no", "reason": "RequestEntityTooLarge"}, 413, "RequestEntityTooLarge", "no"),
        ({"expression": "object.data.none == 'x'"}, 422, "Invalid", "expression 'object.data.none == 'x'' resulted in error: no such key: none"),
        (
            {"expression": "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, "
             "[1,2,3,4,5,6,7,8,9,10].all(d, a*b*c*d > 0))))"},
            201, "", "",
        ),
    ],
)  # fmt: skip
async def test_reasons_and_messages(http: Any, ns: str, policies: Policies, validation: Any, status: int, reason: str, said: str) -> None:
    """The last one takes longer than anybody's loop may be held."""
    await policies.validating("words", validations=[validation])
    answer = await http("POST", at(ns), config("a", ns, k="v"))
    assert answer.status == status
    if reason:
        assert (answer.reason, answer.message.partition("denied request: ")[2]) == (reason, said)


async def test_warnings_and_what_is_ignored(http: Any, ns: str, policies: Policies) -> None:
    name = await policies.validating("warn", actions=("Warn", "Audit"), validations=[{"expression": "false", "message": "hm"}])
    await policies.validating("ignored", failurePolicy="Ignore", validations=[{"expression": "object.nope.nope == 1"}])
    answer = await http("POST", at(ns), config("a", ns))
    assert answer.status == 201
    said = f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}': hm"
    assert answer.warnings == [f'299 - "{said}"']


async def test_variables_conditions_and_what_is_seen(http: Any, ns: str, policies: Policies) -> None:
    await policies.validating(
        "seen",
        matchConditions=[{"name": "not-kube", "expression": "!request.userInfo.username.startsWith('system:')"}],
        variables=[{"name": "keys", "expression": "object.data.map(k, k)"}, {"name": "n", "expression": "variables.keys.size()"}],
        validations=[
            {"expression": "variables.n < 3 && namespaceObject.metadata.name == request.namespace && oldObject == null"},
            {"expression": "authorizer.group('').resource('configmaps').namespace(request.namespace).check('create').allowed()"},
            {"expression": "authorizer.requestResource.check('delete').allowed() && request.operation == 'CREATE' && !request.dryRun"},
        ],
    )
    assert (await http("POST", at(ns), config("a", ns, k="v"))).status == 201
    assert (await http("POST", at(ns), config("b", ns, k="v", l="w", m="x"))).status == 422


async def test_parameters_by_name_and_by_selector(http: Any, ns: str, policies: Policies) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    rule = {**CONFIG_MAPS, "resources": ["secrets"]}
    by_name = {"paramRef": {"name": "limit", "namespace": ns, "parameterNotFoundAction": "Deny"}}
    name = await policies.validating(
        "params", rule, by_name, paramKind=kind,
        validations=[{"expression": "object.metadata.name.size() <= int(params.data.most)", "messageExpression": "'at most ' + params.data.most"}],
    )  # fmt: skip
    secrets = f"/api/v1/namespaces/{ns}/secrets"
    missing = await http("POST", secrets, {"metadata": {"name": "abc"}})
    assert missing.message.endswith("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")
    assert (await http("POST", at(ns), config("limit", ns, most="3"))).status == 201
    assert (await http("POST", secrets, {"metadata": {"name": "abc"}})).status == 201
    refused = await http("POST", secrets, {"metadata": {"name": "abcd"}})
    assert refused.message.endswith(f"policy '{name}' with binding '{name}' denied request: at most 3".replace("policy", "ValidatingAdmissionPolicy"))
    selected = {"paramRef": {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow"}}
    await policies.validating("selected", rule, selected, paramKind=kind, validations=[{"expression": "object.metadata.name != params.data.never"}])
    assert (await http("POST", secrets, {"metadata": {"name": "abe"}})).status == 201
    labelled = config("never", ns, never="abf")
    labelled["metadata"]["labels"] = {"limit": "yes"}
    assert (await http("POST", at(ns), labelled)).status == 201
    assert (await http("POST", secrets, {"metadata": {"name": "abf"}})).status == 422


async def test_other_versions_are_matched_and_shown(http: Any, ns: str, policies: Policies) -> None:
    rule = {"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["horizontalpodautoscalers"]}
    await policies.validating("old", rule, validations=[{"expression": "object.apiVersion == 'autoscaling/v1' && object.spec.maxReplicas < 5"}])
    path = f"/apis/autoscaling/v2/namespaces/{ns}/horizontalpodautoscalers"
    spec = {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}
    made = {"metadata": {"name": "a"}, "spec": spec}
    assert (await http("POST", path, made)).status == 201
    assert (await http("POST", path, {"metadata": {"name": "b"}, "spec": {**spec, "maxReplicas": 9}})).status == 422


async def test_what_is_deleted_is_seen_as_it_was(http: Any, ns: str, policies: Policies) -> None:
    rule = {**CONFIG_MAPS, "operations": ["DELETE"]}
    await policies.validating("keep", rule, validations=[{"expression": "object == null && !has(oldObject.data.keep)", "message": "is kept"}])
    await http("POST", at(ns), config("a", ns, keep="me"))
    await http("POST", at(ns), config("b", ns))
    assert (await http("DELETE", at(ns, "a"))).message.endswith("is kept")
    assert (await http("DELETE", at(ns, "b"))).status == 200


# ---- what policies must be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"validations": []}, "spec.validations: Required value: validations or auditAnnotations must contain at least one item"),
        ({"validations": [{"expression": "1"}]}, 'spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int'),
        (
            {"validations": [{"expression": "object.x ==="}]},
            'spec.validations[0].expression: Invalid value: "object.x ===": compilation failed: ERROR: <input>:1:12: Syntax error',
        ),
        ({"validations": [{"expression": "variables.a"}]}, "undeclared reference to 'variables'"),
        (
            {"validations": [{"expression": "true"}], "variables": [{"name": "for", "expression": "1"}]},
            'spec.variables[0].name: Invalid value: "for": must be a valid CEL identifier',
        ),
        (
            {"validations": [{"expression": "true"}], "matchConditions": [{"name": "a b", "expression": "1"}]},
            'spec.matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int',
        ),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            'Invalid value: "1": must evaluate to one of [string null_type] but got int',
        ),
    ],
)
async def test_expressions_are_held_to_what_they_must_be(http: Any, ns: str, spec: Any, said: str) -> None:
    body = {"metadata": {"name": f"{ns}-bad"}, "spec": {"matchConstraints": {"resourceRules": [CONFIG_MAPS]}, **spec}}
    answer = await http("POST", f"{GROUP}/validatingadmissionpolicies", body)
    assert answer.status == 422
    assert said in answer.message


# ---- mutating ------------------------------------------------------------------------------------------------------


async def test_fields_are_merged_in(http: Any, ns: str, policies: Policies) -> None:
    expression = "Object{metadata: Object.metadata{labels: {'seen': 'yes'}}, data: {'added': string(size(object.data))}}"
    await policies.mutating("merge", mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}])
    made = (await http("POST", at(ns), config("a", ns, k="v"))).json
    assert made["metadata"]["labels"] == {"seen": "yes"}
    assert made["data"] == {"k": "v", "added": "1"}


async def test_a_json_patch_is_applied(http: Any, ns: str, policies: Policies) -> None:
    expression = """[
        JSONPatch{op: "test", path: "/data/k", value: "v"},
        JSONPatch{op: "add", path: "/metadata/annotations", value: {"x": "y"}},
        JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("a.io/b"), value: "c"}
    ]"""
    await policies.mutating("patch", mutations=[{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}])
    made = (await http("POST", at(ns), config("a", ns, k="v"))).json
    assert made["metadata"]["annotations"] == {"x": "y", "a.io/b": "c"}
    other = (await http("POST", at(ns), config("b", ns, k="w"))).json
    assert "annotations" not in other["metadata"]


async def test_pods_get_a_container(http: Any, ns: str, policies: Policies) -> None:
    rule = {**CONFIG_MAPS, "resources": ["pods"], "operations": ["CREATE"]}
    sidecar = "Object.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}"
    expression = "Object{spec: Object.spec{initContainers: [" + sidecar + "]}}"
    await policies.mutating(
        "sidecar", rule, failurePolicy="Fail",
        matchConditions=[{"name": "none-yet", "expression": "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'mesh')"}],
        mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    )  # fmt: skip
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = (await http("POST", f"/api/v1/namespaces/{ns}/pods", pod)).json
    (mesh,) = made["spec"]["initContainers"]
    assert (mesh["name"], mesh["imagePullPolicy"], mesh["terminationMessagePath"]) == ("mesh", "IfNotPresent", "/dev/termination-log")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("Object{spec: Object.spec{nope: 1}}", "field not declared in schema"),
        ("Object{metadata: Object.wrong{name: 'x'}}", 'unexpected type name "Object.wrong", expected "Object.metadata"'),
        (
            "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}",
            "may not mutate atomic arrays, maps or structs: .spec.selector",
        ),
    ],
)
async def test_mutations_that_cannot_be_made(http: Any, ns: str, policies: Policies, expression: str, said: str) -> None:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    name = await policies.mutating("bad", rule, mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}])
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    answer = await http("POST", f"/apis/apps/v1/namespaces/{ns}/deployments", made)
    assert (answer.status, answer.reason) == (403, "Invalid")
    assert answer.message.startswith(f"policy '{name}' with binding '{name}' denied request: ")
    assert said in answer.message


async def test_a_policy_is_gone_through_again_when_it_asks_for_it(http: Any, ns: str, policies: Policies) -> None:
    count = "Object{data: {'count': string(int(object.data.?count.orValue('0')) + 1)}}"
    await policies.mutating(
        "a-counts", reinvocationPolicy="IfNeeded", mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": count}}]
    )
    await policies.mutating(
        "b-adds", mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{data: {'more': 'yes'}}"}}]
    )
    made = (await http("POST", at(ns), config("a", ns))).json
    assert made["data"] == {"count": "2", "more": "yes"}


# ---- who may -------------------------------------------------------------------------------------------------------


async def test_one_must_be_able_to_read_what_a_policy_is_handed(api: Any, http: Any, ns: str) -> None:
    rules = [{"apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"]}]
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    await http("POST", f"{rbac}/clusterroles", {"metadata": {"name": f"{ns}-policies"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"{ns}-policies"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
    await http("POST", f"{rbac}/clusterrolebindings", {"metadata": {"name": f"{ns}-policies"}, "roleRef": reference, "subjects": [subject]})
    body = {
        "metadata": {"name": f"{ns}-reads"},
        "spec": {
            "paramKind": {"apiVersion": "v1", "kind": "Secret"},
            "matchConstraints": {"resourceRules": [CONFIG_MAPS]},
            "validations": [{"expression": "params != null"}],
        },
    }
    path = f"{GROUP}/validatingadmissionpolicies"
    jane = {"Impersonate-User": "jane"}
    refused = await http("POST", path, body, headers=jane)
    assert refused.status == 422
    assert 'spec.paramKind: Forbidden: user jane must have "get" permission on all objects of the referenced paramKind' in refused.message
    assert (await http("POST", path, body)).status == 201


async def test_a_policy_of_many_expressions_holds_nobody_up(http: Any, ns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are compiled where nobody waits: a few hundred take a tenth of a second."""
    validations = [{"expression": f"object.metadata.name.size() + {i} > 0 || object.data.exists(k, k == 'k{i}')"} for i in range(250)]
    body = {"metadata": {"name": f"{ns}-many"}, "spec": {"matchConstraints": {"resourceRules": [CONFIG_MAPS]}, "validations": validations}}
    threads: list[str] = []
    real = expressions.compile

    def noted(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*args)

    monkeypatch.setattr(expressions, "compile", noted)
    assert (await http("POST", f"{GROUP}/validatingadmissionpolicies", body)).status == 201
    assert len(threads) >= 250 and "MainThread" not in threads
