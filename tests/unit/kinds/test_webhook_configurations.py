"""The rules of webhook configurations, in upstream's words, and what an update may leave as it was."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.apiserver.kinds import webhooks
from navarch.machinery import codec, field

RULE = {"operations": ["CREATE"], "apiGroups": ["a"], "apiVersions": ["a"], "resources": ["a"]}
SERVICE = {"name": "n", "namespace": "ns", "port": 443}


def hook(**fields: Any) -> dict[str, Any]:
    given = {"name": "webhook.k8s.io", "clientConfig": {"url": "https://a/b"}, "sideEffects": "None", "admissionReviewVersions": ["v1"], **fields}
    return {name: value for name, value in given.items() if value is not ...}


def configuration(*hooks: dict[str, Any], mutating: bool = True) -> Any:
    kind = admission_v1.MutatingWebhookConfiguration if mutating else admission_v1.ValidatingWebhookConfiguration
    made = codec.from_tree(kind, {"metadata": {"name": "config"}, "webhooks": list(hooks)})
    (webhooks.default_mutating if mutating else webhooks.default_validating)(made)  # type: ignore[arg-type]
    return made


def problems(*hooks: dict[str, Any], mutating: bool = True) -> list[str]:
    return [str(p) for p in webhooks.validate(configuration(*hooks, mutating=mutating))]


def test_a_good_one_has_no_problems_and_gets_defaults() -> None:
    assert problems(hook(rules=[RULE])) == [] == problems(hook(rules=[RULE]), mutating=False)
    (made,) = configuration(hook(rules=[RULE], clientConfig={"service": {"name": "n", "namespace": "ns"}})).webhooks
    assert (made.failurePolicy, made.matchPolicy, made.timeoutSeconds, made.reinvocationPolicy) == ("Fail", "Equivalent", 10, "Never")
    assert (made.rules[0].scope, made.clientConfig.service.port) == ("*", 443)
    assert codec.encode(made.namespaceSelector) == codec.encode(made.objectSelector) == b"{}"


def with_rule(**fields: Any) -> dict[str, Any]:
    return hook(rules=[{**RULE, **fields}])


def with_url(url: str) -> dict[str, Any]:
    return hook(clientConfig={"url": url})


def with_service(**fields: Any) -> dict[str, Any]:
    return hook(clientConfig={"service": {**SERVICE, **fields}})


def with_condition(name: str, expression: str) -> dict[str, Any]:
    return hook(matchConditions=[{"name": name, "expression": expression}])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (hook(admissionReviewVersions=...), "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"),
        (hook(admissionReviewVersions=["v1", "0v"]), 'webhooks[0].admissionReviewVersions[1]: Invalid value: "0v": a DNS-1035 label'),
        (
            hook(admissionReviewVersions=["v2"]),
            'webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1',
        ),
        (hook(admissionReviewVersions=["v1", "v1"]), 'webhooks[0].admissionReviewVersions[1]: Invalid value: "v1": duplicate version'),
        (hook(name="k8s.io"), 'webhooks[0].name: Invalid value: "k8s.io": should be a domain with at least three segments separated by dots'),
        (hook(name=""), "webhooks[0].name: Required value"),
        (with_rule(operations=[]), "webhooks[0].rules[0].operations: Required value"),
        (with_rule(operations=[""]), 'webhooks[0].rules[0].operations[0]: Unsupported value: ""'),
        (with_rule(operations=["PATCH"]), 'Unsupported value: "PATCH": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"'),
        (with_rule(operations=["CREATE", "*"]), "if '*' is present, must not specify other operations"),
        (with_rule(apiVersions=["a", ""]), "webhooks[0].rules[0].apiVersions[1]: Required value"),
        (with_rule(resources=["*", "a"]), "if '*' is present, must not specify other resources without subresources"),
        (with_rule(resources=["a/*", "a/x"]), "rules[0].resources[1]: Invalid value: \"a/x\": if 'a/*' is present, must not specify a/x"),
        (with_rule(resources=["*/a", "x/a"]), "rules[0].resources[1]: Invalid value: \"x/a\": if '*/a' is present, must not specify x/a"),
        (with_rule(resources=["*/*", "a"]), "if '*/*' is present, must not specify other resources"),
        (with_rule(scope="Any"), 'webhooks[0].rules[0].scope: Unsupported value: "Any": supported values: "*", "Cluster", "Namespaced"'),
        (hook(failurePolicy="other"), 'webhooks[0].failurePolicy: Unsupported value: "other": supported values: "Fail", "Ignore"'),
        (hook(sideEffects=...), "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"),
        (hook(sideEffects="Some"), 'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
        (hook(clientConfig={}), "webhooks[0].clientConfig: Required value: exactly one of url or service is required"),
        (hook(clientConfig={"url": "https://a", "service": SERVICE}), "exactly one of url or service is required"),
        (
            with_url(""),
            "webhooks[0].clientConfig.url: Invalid value: \"\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (with_url(""), 'Invalid value: "": host must be specified'),
        (with_url("http://a"), "Invalid value: \"http\": 'https' is the only allowed URL scheme"),
        (with_url("https:///fancy"), "host must be specified"),
        (with_url("https://a#bookmark"), '"bookmark": fragments are not permitted'),
        (with_url("https://a?arg=value"), '"arg=value": query parameters are not permitted'),
        (with_url("https://harry.potter@a/"), '"harry.potter": user information is not permitted'),
        (with_url("https://[::1"), "Required value: url must be a valid URL: "),
        (with_url("https://a:99999"), "Required value: url must be a valid URL: "),
        (with_service(path="foo/"), "clientConfig.service.path: Invalid value: \"foo/\": must start with a '/'"),
        (with_service(path="//"), 'clientConfig.service.path: Invalid value: "//": segment[0] may not be empty'),
        (with_service(path="/foo//bar/"), "segment[1] may not be empty"),
        (with_service(path="/foo/bar//"), "segment[2] may not be empty"),
        (with_service(path="/apis/foo.bar/v1/--bad"), "segment[3]: a lowercase RFC 1123 subdomain"),
        (with_service(port=0), "Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive"),
        (with_service(port=65536), "Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive"),
        (with_service(name=""), "webhooks[0].clientConfig.service.name: Required value"),
        (hook(timeoutSeconds=31), "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"),
        (hook(timeoutSeconds=0), "Invalid value: 0: the timeout value must be between 1 and 30 seconds"),
        (hook(reinvocationPolicy="Always"), 'webhooks[0].reinvocationPolicy: Unsupported value: "Always": supported values: "IfNeeded", "Never"'),
        (
            hook(namespaceSelector={"matchExpressions": [{"key": "a", "operator": "Nope"}]}),
            "webhooks[0].namespaceSelector.matchExpressions[0].operator",
        ),
        (with_condition("", "true"), "webhooks[0].matchConditions[0].name: Required value"),
        (with_condition("-hello", "true"), 'webhooks[0].matchConditions[0].name: Invalid value: "-hello": name part must consist of'),
        (with_condition("a.b", "  "), "webhooks[0].matchConditions[0].expression: Required value"),
        (with_condition("a.b", "6"), 'webhooks[0].matchConditions[0].expression: Invalid value: "6": must evaluate to bool but got int'),
        (with_condition("a.b", "object.x in [1, 2,"), 'Invalid value: "object.x in [1, 2,": compilation failed: ERROR: <input>:1:19: Syntax error:'),
        (with_condition("a.b", "params.x"), "undeclared reference to 'params' (in container '')"),
        (hook(matchConditions=[{"name": "a", "expression": "true"}] * 2), 'webhooks[0].matchConditions[1].name: Duplicate value: "a"'),
        (
            hook(matchConditions=[{"name": f"n{i}", "expression": "true"} for i in range(65)]),
            "matchConditions: Too many: 65: must have at most 64 items",
        ),
    ],
)
def test_rules(given: dict[str, Any], why: str) -> None:
    assert any(why in problem for problem in problems(given)), problems(given)


@pytest.mark.parametrize("path", ["/", "", "/foo", "/foo/", "/apis/foo.bar/v1/x"])
def test_paths_that_are_fine(path: str) -> None:
    assert problems(with_service(path=path)) == []


def test_names_are_unique_in_a_configuration() -> None:
    assert problems(hook(), hook(name="another.k8s.io"), hook()) == ['webhooks[2].name: Duplicate value: "webhook.k8s.io"']


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([hook(sideEffects="Unknown")], [hook(sideEffects="Some")]),
        ([hook(admissionReviewVersions=["v7"])], [hook(admissionReviewVersions=["v8"])]),
        ([hook(), hook()], [hook(), hook(), hook()]),
        ([with_condition("a", "object.nonsense(")], [with_condition("a", "object.nonsense(") | {"timeoutSeconds": 3}]),
    ],
)
def test_what_was_stored_before_a_rule_may_stay(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    assert webhooks.validate(configuration(*new)) != []
    assert webhooks.validate_update(configuration(*new), configuration(*old)) == []
    assert webhooks.validate_update(configuration(*new), configuration(hook(name="fine.k8s.io"))) != []


def test_the_words_of_a_refusal_are_one_sentence() -> None:
    found = webhooks.validate(configuration(hook(sideEffects=...)))
    error = field.invalid_error("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "config", found)
    why = "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"
    assert error.message == f'MutatingWebhookConfiguration.admissionregistration.k8s.io "config" is invalid: {why}'
