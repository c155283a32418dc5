"""Paths to requests, and RBAC rules to verdicts."""

from __future__ import annotations

import pytest

from navarch.api.rbac import v1 as rbac_v1
from navarch.apiserver import routes
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.questions import Question, refusal
from navarch.apiserver.authz.rbac import rule_of
from navarch.apiserver.negotiation import negotiate


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", "", "list   pods  "),
        ("GET", "/api/v1/pods", "watch=true", "watch   pods  "),
        ("GET", "/api/v1/pods", "limit=1&watch=1", "watch   pods  "),
        ("GET", "/api/v1/pods", "watch=false", "list   pods  "),
        ("GET", "/api/v1/pods", "watch=0", "list   pods  "),
        ("GET", "/api/v1/pods", "rewatch=1", "list   pods  "),
        ("GET", "/api/v1/namespaces/x/pods/p", "", "get  x pods p "),
        ("HEAD", "/api/v1/namespaces/x/pods/p", "", "get  x pods p "),
        ("GET", "/api/v1/namespaces/x/pods/p/log", "follow=true", "get  x pods p log"),
        ("POST", "/api/v1/namespaces/x/pods", "", "create  x pods  "),
        ("PUT", "/api/v1/namespaces/x/pods/p/status", "", "update  x pods p status"),
        ("PATCH", "/api/v1/namespaces/x/pods/p", "", "patch  x pods p "),
        ("DELETE", "/api/v1/namespaces/x/pods", "", "deletecollection  x pods  "),
        ("DELETE", "/api/v1/namespaces/x/pods/p", "", "delete  x pods p "),
        ("GET", "/api/v1/namespaces", "", "list   namespaces  "),
        ("GET", "/api/v1/namespaces/x", "", "get  x namespaces x "),
        ("PUT", "/api/v1/namespaces/x/finalize", "", "update  x namespaces x finalize"),
        ("GET", "/api/v1/watch/namespaces/x/pods", "", "watch  x pods  "),
        ("GET", "/apis/apps/v1/deployments", "", "list apps  deployments  "),
        ("PATCH", "/apis/apps/v1/namespaces/x/deployments/d/scale", "", "patch apps x deployments d scale"),
        ("GET", "/apis/storage.k8s.io/v1/storageclasses/s", "", "get storage.k8s.io  storageclasses s "),
    ],
)
def test_what_a_path_asks_for(method: str, path: str, query: str, expected: str) -> None:
    info = routes.parse(method, f"{path}?{query}" if query else path)[0]
    assert info.is_resource
    assert " ".join((info.verb, info.group, info.namespace, info.plural, info.name, info.subresource)) == expected


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/openapi/v3/apis/apps/v1"])
def test_what_is_no_resource(path: str) -> None:
    info = routes.parse("GET", path)[0]
    assert (info.is_resource, info.verb, info.path) == (False, "get", path)


def test_what_follows_a_proxy_is_kept() -> None:
    info = routes.parse("GET", "/api/v1/namespaces/x/pods/https:p:80/proxy/a//b/")[0]
    assert (info.name, info.subresource, info.rest) == ("https:p:80", "proxy", "a//b")


def question(verb: str, full: str, group: str = "", name: str = "") -> Question:
    resource, _, subresource = full.partition("/")
    return Question(verb, group, resource, subresource, "x", name)


@pytest.mark.parametrize(
    ("verbs", "groups", "resources", "names", "asked", "allowed"),
    [
        ("get", "", "pods", "", question("get", "pods"), True),
        ("get", "", "pods", "", question("list", "pods"), False),
        ("*", "", "pods", "", question("escalate", "pods"), True),
        ("get", "", "pods", "", question("get", "pods", "apps"), False),
        ("get", "*", "pods", "", question("get", "pods", "apps"), True),
        ("get", "", "pods", "", question("get", "pods/log"), False),
        ("get", "", "pods/log", "", question("get", "pods/log"), True),
        ("get", "", "pods/log", "", question("get", "pods"), False),
        ("get", "", "*/log", "", question("get", "pods/log"), True),
        ("get", "", "*/log", "", question("get", "pods"), False),
        ("get", "", "pods/*", "", question("get", "pods/log"), False),
        ("get", "", "*", "", question("get", "pods/log"), True),
        ("get", "", "pods", "a b", question("get", "pods", name="b"), True),
        ("get", "", "pods", "a b", question("get", "pods", name="c"), False),
        ("list", "", "pods", "a", question("list", "pods"), False),
    ],
)
def test_rules_of_resources(verbs: str, groups: str, resources: str, names: str, asked: Question, allowed: bool) -> None:
    rule = rbac_v1.PolicyRule(verbs=verbs.split(), apiGroups=[groups], resources=resources.split(), resourceNames=names.split() or None)
    assert rule_of(rule).allows(asked) is allowed


@pytest.mark.parametrize(
    ("paths", "path", "allowed"),
    [
        ("/metrics", "/metrics", True),
        ("/metrics", "/metrics/x", False),
        ("/logs/*", "/logs/a/b", True),
        ("*", "/any", True),
        ("/logs/*", "/log", False),
    ],
)
def test_rules_of_paths(paths: str, path: str, allowed: bool) -> None:
    rule = rule_of(rbac_v1.PolicyRule(verbs=["get"], nonResourceURLs=[paths]))
    assert rule.allows(Question("get", path=path)) is allowed
    assert not rule.allows(question("get", "pods"))


def test_refusals_read_as_upstreams() -> None:
    jane = User("jane")
    assert refusal(jane, question("get", "pods/log"), "") == ('User "jane" cannot get resource "pods/log" in API group "" in the namespace "x"')
    assert refusal(jane, Question("list", "apps", "deployments"), "why") == (
        'User "jane" cannot list resource "deployments" in API group "apps" at the cluster scope: why'
    )
    assert refusal(jane, Question("get", path="/metrics"), "") == 'User "jane" cannot get path "/metrics"'


def test_the_first_form_that_can_be_given_is() -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    found = negotiate(f"application/json;as=Table;v=v9;g=meta.k8s.io,{table},application/json")
    assert found is not None and found.shape == "Table"
    plain = negotiate("text/html, application/json")
    assert plain is not None and (plain.media, plain.shape) == ("application/json", "")
    assert negotiate("text/html") is None
