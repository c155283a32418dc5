"""What the aggregator decides: order, local APIServices, conditions, headers, whom extension servers trust, merged OpenAPI."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from navarch.api.apiregistration import v1 as registration_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.aggregation import availability, discovered, priorities, registration, specs, trust
from navarch.apiserver.aggregation.priorities import Priority
from navarch.apiserver.aggregation.registration import ALWAYS, LABEL, ON_START, Action
from navarch.apiserver.aggregation.registry import Remote
from navarch.apiserver.aggregation.remote import identity
from navarch.apiserver.authn.users import User
from navarch.apiserver.extensions.clients import Failed, Trust
from navarch.apiserver.kinds import apiregistration
from navarch.lib import pki
from navarch.machinery.openapi import merging

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def test_groups_stand_by_their_best_version_and_versions_by_priority_then_age() -> None:
    entries = {
        ("b", "v1"): Priority(100, 10),
        ("a", "v1beta1"): Priority(100, 10),
        ("a", "v2"): Priority(50, 10),
        ("a", "v1alpha1"): Priority(50, 99),
        ("c", "v1"): Priority(200, 1),
    }
    assert priorities.ordered(entries) == {"c": ["v1"], "a": ["v1alpha1", "v2", "v1beta1"], "b": ["v1"]}
    assert list(priorities.ordered(entries)) == ["c", "a", "b"]


def service(managed: str = "", priority: int = 1) -> registration_v1.APIService:
    labels = {LABEL: managed} if managed else None
    return registration_v1.APIService(
        metadata=meta_v1.ObjectMeta(name="v1.a", labels=labels), spec=registration_v1.APIServiceSpec(versionPriority=priority)
    )


@pytest.mark.parametrize(
    ("desired", "held", "at_start", "settled", "expected"),
    [
        # Upstream's table of autoregister: columns are what is wanted, rows what is there.
        (None, None, False, False, Action.NOTHING),
        (service(ON_START), None, False, False, Action.CREATE),
        (service(ON_START), None, False, True, Action.NOTHING),
        (service(ALWAYS), None, False, True, Action.CREATE),
        (service(ALWAYS), service(), True, False, Action.NOTHING),
        (None, service(), True, False, Action.NOTHING),
        (None, service(ON_START), False, False, Action.NOTHING),
        (None, service(ON_START), True, False, Action.DELETE),
        (None, service(ON_START), True, True, Action.NOTHING),
        (service(ON_START), service(ON_START, 2), True, False, Action.UPDATE),
        (service(ALWAYS), service(ON_START, 2), False, False, Action.NOTHING),
        (None, service(ALWAYS), False, True, Action.DELETE),
        (service(ON_START), service(ALWAYS, 2), False, True, Action.NOTHING),
        (service(ALWAYS), service(ALWAYS, 2), False, True, Action.UPDATE),
        (service(ALWAYS), service(ALWAYS), False, True, Action.NOTHING),
    ],
)
def test_local_api_services_are_kept_as_upstreams_table_says(
    desired: registration_v1.APIService | None, held: registration_v1.APIService | None, at_start: bool, settled: bool, expected: Action
) -> None:
    assert registration.decide(desired, held, at_start=at_start, settled=settled) is expected


def test_custom_groups_are_kept_always_and_our_own_has_none() -> None:
    found = registration.wanted({"apps": ["v1"], "shop.example.com": ["v1"], "apiregistration.k8s.io": ["v1"]})
    assert {name: (s.metadata.labels or {})[LABEL] for name, s in found.items() if s.metadata} == {
        "v1.apps": ON_START,
        "v1.shop.example.com": ALWAYS,
    }
    spec = found["v1.shop.example.com"].spec
    assert spec is not None and (spec.groupPriorityMinimum, spec.versionPriority) == (1000, 100)


REMOTE = Remote("v1.a", "a", "v1", Priority(1, 1), "ns", "svc", 443, Trust(), False)


def test_only_what_is_a_cluster_ip_service_is_looked_into() -> None:
    outside = core_v1.Service(spec=core_v1.ServiceSpec(type="ExternalName", externalName="example.com"))
    assert availability.of_service(REMOTE, outside, []) is None
    inside = core_v1.Service(spec=core_v1.ServiceSpec(type="ClusterIP", ports=[core_v1.ServicePort(port=443, name="https")]))
    ready = discovery_v1.EndpointSlice(
        endpoints=[discovery_v1.Endpoint(addresses=["192.0.2.1"])], ports=[discovery_v1.EndpointPort(name="https", port=1)]
    )
    assert availability.of_service(REMOTE, inside, [ready]) is None
    ready.endpoints = [discovery_v1.Endpoint(addresses=["192.0.2.1"], conditions=discovery_v1.EndpointConditions(ready=False))]
    found = availability.of_service(REMOTE, inside, [ready])
    assert found is not None and found.reason == "MissingEndpoints"


def test_the_time_of_a_transition_changes_with_the_status_alone() -> None:
    held = registration_v1.APIServiceCondition(type="Available", status="True", reason="Passed", lastTransitionTime="2020-01-01T00:00:00Z")
    other = registration_v1.APIServiceCondition(type="Other", status="True")
    found = registration_v1.APIService(status=registration_v1.APIServiceStatus(conditions=[other, held]))
    again = availability.Condition(type="Available", status="True", reason="Local", message="x")
    conditions = availability.with_condition(found, again, 0.0)
    assert conditions[0] is other and (conditions[1].reason, conditions[1].lastTransitionTime) == ("Local", "2020-01-01T00:00:00Z")
    conditions = availability.with_condition(found, availability.Condition(type="Available", status="False"), 0.0)
    assert conditions[1].lastTransitionTime == "1970-01-01T00:00:00Z"


def test_users_are_escaped_as_go_does_and_never_break_a_header() -> None:
    user = User("jané", ("a", "b"), "u-1", {"example.com/Scope %": ("x", "y")})
    assert identity(user) == [
        ("X-Remote-User", "jané"), ("X-Remote-Uid", "u-1"), ("X-Remote-Group", "a"), ("X-Remote-Group", "b"),
        ("X-Remote-Extra-example.com%2FScope%20%25", "x"), ("X-Remote-Extra-example.com%2FScope%20%25", "y"),
    ]  # fmt: skip
    for text in ("a\r\nX-Remote-Group: system:masters", "a\nb", "a\0", "\x7f"):
        with pytest.raises(Failed, match='net/http: invalid header field value for "X-Remote-Group"'):
            identity(User("jane", (text,)))


def test_what_others_trust_stays_beside_ours_until_it_expires() -> None:
    made = NOW - datetime.timedelta(days=100)
    ours, theirs = (pki.authority(name, made).certificate for name in ("ours", "theirs"))
    old = pki.authority("old", NOW - datetime.timedelta(days=800), years=1).certificate
    held = {"client-ca-file": (theirs + old).decode(), "requestheader-allowed-names": '["other"]', "left": "over"}
    data = trust.data(held, ours, ours, ("front-proxy-client",), NOW)
    assert data["client-ca-file"] == (theirs + ours).decode() and data["requestheader-client-ca-file"] == ours.decode()
    assert json.loads(data["requestheader-allowed-names"]) == ["other", "front-proxy-client"] and "left" not in data
    assert trust.data(data, ours, ours, ("front-proxy-client",), NOW) == data
    assert trust.data({}, ours, b"", (), NOW) == {"client-ca-file": ours.decode()}
    with pytest.raises(ValueError, match="unmarshal"):
        trust.data({"requestheader-allowed-names": '{"a":1}'}, ours, ours, (), NOW)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"group": "", "version": "v2"}, ["spec.group: Required value: only v1 may have an empty group and it better be legacy kube"]),
        ({"groupPriorityMinimum": 0}, ["spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000"]),
        ({"versionPriority": 1001}, ["spec.versionPriority: Invalid value: 1001: must be positive and less than 1000"]),
        ({"caBundle": "Y2E="}, ['spec.caBundle: Invalid value: "2 bytes": local APIServices may not have a caBundle']),
        ({"insecureSkipTLSVerify": True}, ["spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"]),
        ({"service": {"port": 443}}, ["spec.service.namespace: Required value", "spec.service.name: Required value"]),
        (
            {"service": {"namespace": "a", "name": "b", "port": 70000}},
            ["spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive"],
        ),
        (
            {"service": {"namespace": "a", "name": "b", "port": 1}, "insecureSkipTLSVerify": True, "caBundle": "Y2E="},
            ["spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"],
        ),
    ],
)
def test_api_services_are_held_to_upstreams_rules(spec: dict[str, Any], expected: list[str]) -> None:
    whole = {"group": "a.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1, **spec}
    reference = registration_v1.ServiceReference(**whole.pop("service")) if "service" in whole else None
    made = registration_v1.APIService(
        metadata=meta_v1.ObjectMeta(name=f"{whole['version']}.{whole['group']}"), spec=registration_v1.APIServiceSpec(service=reference, **whole)
    )
    assert [str(p) for p in apiregistration.validate_api_service(made)] == expected


def test_an_api_service_is_named_after_its_group_version() -> None:
    spec = registration_v1.APIServiceSpec(group="a.b", version="v1", groupPriorityMinimum=1, versionPriority=1)
    made = registration_v1.APIService(metadata=meta_v1.ObjectMeta(name="wrong"), spec=spec)
    said = [str(p) for p in apiregistration.validate_api_service(made)]
    assert said == ['metadata.name: Invalid value: "wrong": must be `spec.version+"."+spec.group`: "v1.a.b"']


def test_old_discovery_becomes_new() -> None:
    listed = {
        "resources": [
            {"name": "things/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "namespaced": True, "verbs": ["get"]},
            {"name": "things", "singularName": "thing", "kind": "Thing", "verbs": ["list"], "shortNames": ["t"], "namespaced": True},
        ]
    }
    (found,) = discovered.of_list(json.dumps(listed).encode(), "a", "v1")
    assert (found.resource, found.scope, found.shortNames, found.subresources[0].subresource) == ("things", "Namespaced", ["t"], "scale")
    assert found.subresources[0].responseKind == discovered.Kind("autoscaling", "v1", "Scale")
    for garbage in (b"", b"{]", b"[]", b'{"resources":[{"name":1}]}', b'{"resources":7}'):
        with pytest.raises(ValueError, match=r"."):
            discovered.of_list(garbage, "a", "v1")
    for garbage in (b"", b"null", b'{"items":[{"versions":[{"resources":[]}]}]}', b'{"items":{}}'):
        with pytest.raises(ValueError, match=r"."):
            discovered.of_groups(garbage)


def test_only_what_is_asked_for_is_merged_and_taken_names_are_changed_everywhere() -> None:
    one = {"type": "object", "properties": {"two": {"$ref": "#/definitions/Two"}, "same": {"$ref": "#/definitions/Same"}}}
    document = {
        "swagger": "2.0",
        "paths": {"/apis/a/v1/ones": {"get": {"schema": {"$ref": "#/definitions/One"}}}, "/apis/b/v1/x": {}, "/apis/a/v10/x": {}, "/version": {}},
        "definitions": {"One": one, "Two": {"type": "string"}, "Same": {"type": "integer"}, "Unused": {}},
    }
    kept = merging.restricted(document, ["/apis/a/v1/"])
    assert list(kept["paths"]) == ["/apis/a/v1/ones"] and list(kept["definitions"]) == ["One", "Same", "Two"]
    known: dict[str, Any] = {"Two": {"type": "boolean"}, "Two_v2": {}, "Same": {"type": "integer"}}
    made = merging.renamed((), known, kept)
    assert set(made["definitions"]) == {"One", "Two_v3"}
    assert made["definitions"]["One"]["properties"] == {"two": {"$ref": "#/definitions/Two_v3"}, "same": {"$ref": "#/definitions/Same"}}
    assert kept["definitions"]["One"]["properties"]["two"] == {"$ref": "#/definitions/Two"}
    assert merging.renamed(("/apis/a/v1/ones",), {}, kept)["paths"] == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"swagger":"2.0"}', b'{"swagger":"2.0","paths":[]}', b'{"swagger":"2.0","paths":{"/apis/a/v1/x":{"get":7}}}']
)
def test_a_document_that_is_none_adds_nothing(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        specs.of_document(body, ["apis/a/v1"])


def test_links_lead_to_the_documents_they_are_named_after() -> None:
    paths = {"apis/a/v1": {"serverRelativeURL": "/openapi/v3/apis/a/v1?hash=1"}, "apis/a/v2": {"serverRelativeURL": "https://evil.example.com/"}}
    assert specs.of_index(json.dumps({"paths": paths}).encode(), {"apis/a/v1", "apis/a/v2", "apis/a/v3"}) == (
        ("apis/a/v1", "/openapi/v3/apis/a/v1?hash=1"),
    )
