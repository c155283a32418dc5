"""The other kinds: defaults, what the server keeps, rules and rows."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api import resources
from navarch.apiserver.kinds import columns, table
from navarch.machinery import codec, errors, timestamps

TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
SELECTOR = {"matchLabels": {"a": "b"}}
NOW = timestamps.parse("2026-01-01T00:10:00Z")


def make(group: str, version: str, plural: str, tree: dict[str, Any]) -> Any:
    """A defaulted object of a kind."""
    resource = resources.table()[group, version, plural]
    head = {"apiVersion": resource.group_version, "kind": resource.kind, "metadata": {"name": "x", "namespace": "default", "uid": "u"}}
    made = codec.from_tree(resource.object_type, {**head, **tree})
    table.of(group, plural).default(made)
    return made


def created(group: str, version: str, plural: str, tree: dict[str, Any]) -> dict[str, Any]:
    made = make(group, version, plural, tree)
    table.of(group, plural).prepare_create(made, NOW)
    return codec.to_tree(made)


def problems(group: str, version: str, plural: str, tree: dict[str, Any]) -> list[str]:
    made = make(group, version, plural, tree)
    strategy = table.of(group, plural)
    strategy.prepare_create(made, NOW)
    return [str(p) for p in strategy.validate(made)]


def changed(group: str, version: str, plural: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before, after = (make(group, version, plural, t) for t in (old, new))
    strategy = table.of(group, plural)
    strategy.prepare_update(after, before, NOW)
    return [str(p) for p in strategy.validate_update(after, before)]


def test_deployment_defaults() -> None:
    made = created("apps", "v1", "deployments", {"spec": {"selector": SELECTOR, "template": TEMPLATE}})
    spec = made["spec"]
    spec.pop("template")
    assert spec == {
        "progressDeadlineSeconds": 600,
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "selector": SELECTOR,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
    }
    assert made["status"] == {}


def test_job_gets_a_selector_its_pods_carry() -> None:
    made = created("batch", "v1", "jobs", {"spec": {"template": TEMPLATE}})
    spec = made["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert spec["template"]["metadata"]["labels"] == {
        "a": "b",
        "controller-uid": "u",
        "job-name": "x",
        "batch.kubernetes.io/controller-uid": "u",
        "batch.kubernetes.io/job-name": "x",
    }
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"], spec["completionMode"]) == (1, 1, 6, "NonIndexed")


def test_secret_takes_in_string_data() -> None:
    made = created("", "v1", "secrets", {"data": {"a": "Zm9v"}, "stringData": {"b": "bar"}})
    assert (made["data"], made["type"]) == ({"a": "Zm9v", "b": "YmFy"}, "Opaque")
    assert "stringData" not in made
    with pytest.raises(errors.BadRequest, match="illegal base64 data at input byte 0"):
        created("", "v1", "secrets", {"data": {"a": "%%%%"}})


def test_namespace_begins_active_and_labelled() -> None:
    made = created("", "v1", "namespaces", {"metadata": {"name": "web"}})
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "web"}
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


def test_namespace_finalizers_change_by_their_subresource_alone() -> None:
    strategy = table.of("", "namespaces")
    old, new = (make("", "v1", "namespaces", {"metadata": {"name": "web"}, "spec": {"finalizers": f}}) for f in (["kubernetes"], []))
    strategy.subresources["finalize"].prepare(new, old, NOW)
    assert not new.spec.finalizers
    strategy.prepare_update(new, old, NOW)
    assert new.spec.finalizers == ["kubernetes"]


def test_daemon_set_counts_its_templates_changes() -> None:
    strategy = table.of("apps", "daemonsets")
    old = make("apps", "v1", "daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}})
    strategy.prepare_create(old, NOW)
    new = make("apps", "v1", "daemonsets", {"spec": {"selector": SELECTOR, "template": {**TEMPLATE, "metadata": {"labels": {"a": "c"}}}}})
    strategy.prepare_update(new, old, NOW)
    note = "deprecated.daemonset.template.generation"
    assert (old.metadata.annotations[note], new.metadata.annotations[note]) == ("1", "2")


def test_limit_range_defaults_follow_its_bounds() -> None:
    made = created("", "v1", "limitranges", {"spec": {"limits": [{"type": "Container", "max": {"cpu": "2000m"}, "min": {"memory": "1Ki"}}]}})
    item = made["spec"]["limits"][0]
    assert item["default"] == {"cpu": "2"}
    assert item["defaultRequest"] == {"cpu": "2", "memory": "1Ki"}


def test_approval_changes_conditions_alone() -> None:
    strategy = table.of("certificates.k8s.io", "certificatesigningrequests")
    old = make("certificates.k8s.io", "v1", "certificatesigningrequests", {"spec": {"request": "cg==", "signerName": "a.b/c"}})
    wish = {"spec": {"request": "eA=="}, "status": {"certificate": "eA==", "conditions": [{"type": "Approved", "status": "True"}]}}
    new = make("certificates.k8s.io", "v1", "certificatesigningrequests", wish)
    strategy.subresources["approval"].prepare(new, old, NOW)
    assert new.spec.request == "cg==" and new.status.certificate is None
    assert new.status.conditions[0].lastUpdateTime
    both = [{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]
    torn = make("certificates.k8s.io", "v1", "certificatesigningrequests", {"status": {"conditions": both}})
    assert [str(p) for p in strategy.subresources["approval"].validate(torn, old)] == [
        'status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive'
    ]


BAD: list[tuple[str, str, str, dict[str, Any], str]] = [
    ("apps", "v1", "deployments", {"spec": {"template": TEMPLATE}}, "spec.selector: Required value"),
    (
        "apps",
        "v1",
        "deployments",
        {"spec": {"selector": {"matchLabels": {"a": "c"}}, "template": TEMPLATE}},
        'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`',
    ),
    (
        "batch",
        "v1",
        "jobs",
        {"spec": {"template": TEMPLATE}},
        'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
    ),
    (
        "batch",
        "v1",
        "cronjobs",
        {"spec": {"schedule": "61 * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}}},
        'spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61',
    ),
    (
        "apps",
        "v1",
        "statefulsets",
        {"spec": {"selector": SELECTOR, "template": TEMPLATE, "podManagementPolicy": "X"}},
        "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'",
    ),
    (
        "",
        "v1",
        "configmaps",
        {"data": {"a": "1"}, "binaryData": {"a": "Zg=="}},
        'data[a]: Invalid value: "a": duplicate of key present in binaryData',
    ),
    ("", "v1", "secrets", {"type": "kubernetes.io/tls"}, "data[tls.key]: Required value"),
    ("", "v1", "endpoints", {"subsets": [{}]}, "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
    (
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        {"addressType": "IPv4", "endpoints": [{"addresses": []}]},
        "endpoints[0].addresses: Required value: must contain at least 1 address",
    ),
    ("", "v1", "persistentvolumeclaims", {"spec": {}}, "spec.accessModes: Required value: at least 1 access mode is required"),
    ("", "v1", "resourcequotas", {"spec": {"hard": {"pods": "1500m"}}}, 'spec.hard[pods]: Invalid value: "1500m": must be an integer'),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "roles",
        {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
        'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
    ),
    (
        "networking.k8s.io",
        "v1",
        "ingresses",
        {"spec": {}},
        "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
    ),
    (
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "a"}}},
        "spec.maxReplicas: Required value: must be set and greater than 0",
    ),
]


@pytest.mark.parametrize(("group", "version", "plural", "tree", "message"), BAD)
def test_problems_in_upstreams_words(group: str, version: str, plural: str, tree: dict[str, Any], message: str) -> None:
    assert message in problems(group, version, plural, tree)


def test_selectors_are_immutable() -> None:
    old = {"spec": {"selector": SELECTOR, "template": TEMPLATE}}
    new = {"spec": {"selector": {"matchLabels": {"c": "d"}}, "template": {**TEMPLATE, "metadata": {"labels": {"c": "d"}}}}}
    for plural in ("deployments", "replicasets"):
        assert changed("apps", "v1", plural, old, new) == ['spec.selector: Invalid value: {"matchLabels":{"c":"d"}}: field is immutable']


def test_sealed_config_maps_and_secrets_stay() -> None:
    words = ["data: Forbidden: field is immutable when `immutable` is set"]
    assert changed("", "v1", "configmaps", {"immutable": True, "data": {"a": "1"}}, {"immutable": True, "data": {"a": "2"}}) == words
    assert changed("", "v1", "secrets", {"immutable": True, "data": {}}, {"immutable": True, "data": {"a": "Zg=="}}) == words
    assert changed("", "v1", "secrets", {"type": "a"}, {"type": "b"}) == ['type: Invalid value: "b": field is immutable']


def test_stateful_set_keeps_its_claims() -> None:
    base = {"selector": SELECTOR, "template": TEMPLATE}
    found = changed("apps", "v1", "statefulsets", {"spec": base}, {"spec": {**base, "serviceName": "n"}})
    assert len(found) == 1 and found[0].startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas'")


def test_suspended_job_may_change_where_it_runs() -> None:
    job = {"template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}
    moved = {"template": {**TEMPLATE, "spec": {**job["template"]["spec"], "nodeSelector": {"a": "b"}}}}
    strategy = table.of("batch", "jobs")
    for suspended, count in ((True, 0), (False, 1)):
        old, new = (make("batch", "v1", "jobs", {"spec": {**s, "suspend": suspended}}) for s in (job, moved))
        for held in (old, new):
            strategy.prepare_create(held, NOW)
        assert len([p for p in strategy.validate_update(new, old) if p.field == "spec.template"]) == count


ROWS: list[tuple[str, str, dict[str, Any], list[Any]]] = [
    (
        "apps",
        "deployments",
        {"spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE}, "status": {"readyReplicas": 2, "updatedReplicas": 3}},
        ["2/3", 3, 0, "10m", "a", "x", "a=b"],
    ),
    (
        "",
        "services",
        {"spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30000, "protocol": "TCP"}]}},
        ["LoadBalancer", "10.0.0.1", "<pending>", "80:30000/TCP", "10m", "<none>"],
    ),
    (
        "",
        "nodes",
        {
            "spec": {"unschedulable": True},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.2"}},
        },
        ["Ready,SchedulingDisabled", "<none>", "10m", "v1.36.2", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"],
    ),
    (
        "batch",
        "jobs",
        {
            "spec": {"completions": 1, "template": TEMPLATE},
            "status": {
                "succeeded": 1,
                "startTime": "2026-01-01T00:00:00Z",
                "completionTime": "2026-01-01T00:00:07Z",
                "conditions": [{"type": "Complete", "status": "True"}],
            },
        },
        ["Complete", "1/1", "7s", "10m", "a", "x", "<none>"],
    ),
    (
        "rbac.authorization.k8s.io",
        "rolebindings",
        {
            "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}],
        },
        ["Role/r", "10m", "u", "", "n/s"],
    ),
    (
        "",
        "persistentvolumeclaims",
        {
            "spec": {"volumeName": "v", "storageClassName": "c", "volumeMode": "Filesystem"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
        },
        ["Bound", "v", "1Gi", "RWO", "c", "<unset>", "10m", "Filesystem"],
    ),
]


@pytest.mark.parametrize(("group", "plural", "tree", "cells"), ROWS)
def test_rows(group: str, plural: str, tree: dict[str, Any], cells: list[Any]) -> None:
    sheet = table.of(group, plural).columns
    full = {"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}, **tree}
    assert columns.cells(sheet, full, NOW) == ["x", *cells]
    assert len(sheet) == len(cells) + 1


def test_every_row_has_a_cell_for_each_column() -> None:
    empty = {"metadata": {"name": "x"}}
    for key, strategy in table.KINDS.items():
        assert len(columns.cells(strategy.columns, empty, NOW)) == len(strategy.columns), key


def test_every_kind_of_the_table_is_served() -> None:
    served = {(g, p) for g, _, p in resources.table()}
    assert set(table.KINDS) <= served


def test_defaults_take_an_empty_object_of_every_kind() -> None:
    for (group, version, plural), resource in resources.table().items():
        if "alpha" in version or "beta" in version or (group, version) in (("autoscaling", "v1"), ("events.k8s.io", "v1")):
            continue
        made: Any = codec.from_tree(resource.object_type, {"metadata": {"name": "x"}})
        table.of(group, plural).default(made)
        once = codec.encode(made)
        table.of(group, plural).default(made)
        assert codec.encode(made) == once, plural


STORAGE = "storage.k8s.io"
SOURCE = {"source": {"persistentVolumeName": "v"}, "nodeName": "n", "attacher": "d.example"}


@pytest.mark.parametrize(
    ("group", "plural", "tree", "expected"),
    [
        (STORAGE, "volumeattributesclasses", {},
         ["driverName: Required value", "parameters: Required value: must contain at least one key/value pair"]),
        (STORAGE, "volumeattributesclasses", {"driverName": "d.example", "parameters": {"a": "b"}}, []),
        (STORAGE, "csidrivers", {}, []),
        (STORAGE, "csidrivers", {"spec": {"fsGroupPolicy": "Some", "tokenRequests": [{"audience": "a"}, {"audience": "a"}]}},
         ['spec.fsGroupPolicy: Unsupported value: "Some": supported values: "File", "None", "ReadWriteOnceWithFSType"',
          'spec.tokenRequests[1].audience: Duplicate value: "a"']),
        (STORAGE, "csidrivers", {"spec": {"tokenRequests": [{"audience": "a", "expirationSeconds": 60}]}},
         ["spec.tokenRequests[0].expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"]),
        (STORAGE, "csinodes", {"spec": {"drivers": [{"name": "d.example", "nodeID": "n", "topologyKeys": ["a/b"]}]}}, []),
        (STORAGE, "csinodes", {"spec": {"drivers": [{"name": "d.example"}, {"name": "d.example", "nodeID": "n"}]}},
         ["spec.drivers[0].nodeID: Required value", 'spec.drivers[1].name: Duplicate value: "d.example"']),
        (STORAGE, "csistoragecapacities", {"storageClassName": "c", "capacity": "-1"},
         ['capacity: Invalid value: "-1": must be greater than or equal to 0']),
        (STORAGE, "volumeattachments", {"spec": SOURCE}, []),
        (STORAGE, "volumeattachments", {"spec": {**SOURCE, "source": {}}},
         ["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"]),
        ("", "podtemplates", {"template": TEMPLATE}, []),
        ("", "podtemplates", {"template": {"spec": {}}}, ["template.spec.containers: Required value"]),
        ("apps", "controllerrevisions", {"revision": -1},
         ["revision: Invalid value: -1: must be greater than or equal to 0", "data: Required value: data is mandatory"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_smaller_kinds(group: str, plural: str, tree: dict[str, Any], expected: list[str]) -> None:
    assert problems(group, "v1", plural, tree) == expected


@pytest.mark.parametrize(
    ("group", "plural", "old", "new", "expected"),
    [
        (STORAGE, "volumeattributesclasses", {"driverName": "d", "parameters": {"a": "b"}}, {"driverName": "e", "parameters": {"a": "b"}},
         ["driverName: Forbidden: updates to driverName are forbidden."]),
        (STORAGE, "csidrivers", {}, {"spec": {"attachRequired": False}}, ["spec.attachedRequired: Invalid value: false: field is immutable"]),
        (STORAGE, "csinodes", {"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}},
         {"spec": {"drivers": [{"name": "d", "nodeID": "n", "allocatable": {"count": 3}}]}}, []),
        (STORAGE, "csinodes", {"spec": {"drivers": [{"name": "d", "nodeID": "n"}]}}, {"spec": {"drivers": [{"name": "d", "nodeID": "m"}]}},
         ['spec.drivers: Invalid value: {"name":"d","nodeID":"m"}: field is immutable']),
        (STORAGE, "csistoragecapacities", {"storageClassName": "c"}, {"storageClassName": "e"},
         ['storageClassName: Invalid value: "e": field is immutable']),
        ("apps", "controllerrevisions", {"data": {"a": 1}, "revision": 1}, {"data": {"a": 2}, "revision": 2},
         ['data: Invalid value: {"a":2}: field is immutable']),
        ("", "events", {}, {"involvedObject": {"namespace": "other"}},
         ['involvedObject.namespace: Invalid value: "other": does not match event.namespace']),
    ],
)  # fmt: skip
def test_what_may_not_change_of_the_smaller_kinds(group: str, plural: str, old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert changed(group, "v1", plural, old, new) == expected
