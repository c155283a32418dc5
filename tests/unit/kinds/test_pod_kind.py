"""Pods: defaults, preparation, validation, grace, and the words of their errors."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import table, template_defaults, templates
from navarch.machinery import codec, errors, pod_resources

NOW = 1767225600.0
STRATEGY = table.of("", "pods")


def pod(**spec: Any) -> core_v1.Pod:
    tree = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default"}}
    spec.setdefault("containers", [{"name": "a", "image": "x"}])
    made = codec.from_tree(core_v1.Pod, {**tree, "spec": spec})
    STRATEGY.default(made)
    return made


def said(found: list[Any]) -> list[str]:
    return [str(p) for p in found]


def test_defaults_are_upstreams() -> None:
    spec = codec.to_tree(pod(containers=[{"name": "a", "image": "x:1", "ports": [{"containerPort": 80}]}]))["spec"]
    assert spec == {
        "containers": [
            {
                "image": "x:1",
                "imagePullPolicy": "IfNotPresent",
                "name": "a",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.2", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "Always"),
        ("", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert template_defaults.pull_policy(image) == policy


def test_limits_become_requests_in_pods_but_not_in_templates() -> None:
    container = {"name": "a", "image": "x", "resources": {"limits": {"cpu": "1000m", "memory": "0.5Gi"}}}
    held = (pod(containers=[container]).spec or core_v1.PodSpec()).containers
    assert held is not None and held[0].resources is not None
    assert held[0].resources.requests == {"cpu": "1", "memory": "512Mi"}
    template = template_defaults.template(codec.from_tree(core_v1.PodTemplateSpec, {"spec": {"containers": [container]}}))
    assert template.spec is not None and template.spec.containers is not None and template.spec.containers[0].resources is not None
    assert template.spec.containers[0].resources.requests is None


def test_host_network_takes_the_containers_ports() -> None:
    held = pod(hostNetwork=True, containers=[{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}])
    assert codec.to_tree(held)["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]


def test_bad_amount_is_a_bad_request() -> None:
    with pytest.raises(errors.BadRequest, match="quantities must match the regular expression"):
        pod(containers=[{"name": "a", "image": "x", "resources": {"limits": {"cpu": "abc"}}}])


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}}, "Burstable"),
        ({"limits": {"ephemeral-storage": "1Gi"}}, "BestEffort"),
    ],
)
def test_quality_of_service(resources: dict[str, Any], quality: str) -> None:
    held = pod(containers=[{"name": "a", "image": "x", "resources": resources}])
    assert held.spec is not None
    assert pod_resources.quality(held.spec) == quality
    STRATEGY.prepare_create(held, NOW)
    assert held.status == core_v1.PodStatus(phase="Pending", qosClass=quality)


def test_total_counts_sidecars_and_the_largest_init_container() -> None:
    def asks(name: str, cpu: str, policy: str | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {"name": name, "image": "x", "resources": {"requests": {"cpu": cpu}}}
        return made | ({"restartPolicy": policy} if policy else {})

    held = pod(
        containers=[asks("a", "100m"), asks("b", "200m")],
        initContainers=[asks("i", "350m"), asks("s", "50m", "Always"), asks("j", "250m")],
        overhead={"cpu": "10m"},
    )
    assert held.spec is not None
    assert pod_resources.pod_total(held.spec, "requests") == {"cpu": "360m"}


def test_scheduling_gates_show_in_the_first_condition() -> None:
    held = pod(schedulingGates=[{"name": "a/b"}])
    STRATEGY.prepare_create(held, NOW)
    assert held.status is not None and held.status.conditions is not None
    assert [(c.type, c.status, c.reason) for c in held.status.conditions] == [("PodScheduled", "False", "SchedulingGated")]


def test_matching_label_keys_are_merged_into_the_selector() -> None:
    held = pod(
        topologySpreadConstraints=[
            {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}, "matchLabelKeys": ["app", "no"]}
        ]
    )
    assert held.metadata is not None
    held.metadata.labels = {"app": "web"}
    STRATEGY.prepare_create(held, NOW)
    constraint = codec.to_tree(held)["spec"]["topologySpreadConstraints"][0]
    assert constraint["labelSelector"] == {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}


@pytest.mark.parametrize(
    ("node", "phase", "asked", "seconds"),
    [("n", "Running", None, 30), ("n", "Running", 5, 5), (None, "Pending", 5, 0), ("n", "Failed", None, 0), ("n", "Running", 0, 0)],
)
def test_grace(node: str | None, phase: str, asked: int | None, seconds: int) -> None:
    held = pod(nodeName=node)
    held.status = core_v1.PodStatus(phase=phase)
    assert STRATEGY.grace is not None
    assert STRATEGY.grace(held, asked) == seconds


BAD: list[tuple[dict[str, Any], str]] = [
    ({"containers": []}, "spec.containers: Required value"),
    ({"restartPolicy": "X"}, 'spec.restartPolicy: Unsupported value: "X": supported values: "Always", "OnFailure", "Never"'),
    ({"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"),
    ({"dnsPolicy": "None"}, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
    (
        {"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "x"}]},
        'spec.containers[1].name: Duplicate value: "a"',
    ),
    (
        {"containers": [{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/a"}]}]},
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ),
    (
        {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}]},
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    (
        {"containers": [{"name": "a", "image": "x", "livenessProbe": {"httpGet": {"port": 80}, "successThreshold": 2}}]},
        "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (
        {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]},
        "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
    ),
    (
        {"tolerations": [{"operator": "Equal", "value": "x"}]},
        'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values '
        'and all keys"',
    ),
    (
        {"initContainers": [{"name": "i", "image": "x", "readinessProbe": {"exec": {"command": ["a"]}}}]},
        "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
    ),
]


@pytest.mark.parametrize(("spec", "message"), BAD)
def test_problems_in_upstreams_words(spec: dict[str, Any], message: str) -> None:
    assert message in said(STRATEGY.validate(pod(**spec)))


def test_good_pod_has_no_problem() -> None:
    spec = {
        "containers": [
            {
                "name": "a",
                "image": "x",
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {"limits": {"example.com/gpu": "1"}},
            }
        ],
        "initContainers": [{"name": "s", "image": "x", "restartPolicy": "Always", "startupProbe": {"tcpSocket": {"port": 80}}}],
        "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}]}}],
    }
    assert said(STRATEGY.validate(pod(**spec))) == []


def test_update_may_change_images_and_add_tolerations() -> None:
    old, new = pod(), pod(containers=[{"name": "a", "image": "y", "imagePullPolicy": "Always"}], tolerations=[{"operator": "Exists"}])
    assert said(STRATEGY.validate_update(new, old)) == []


def test_update_may_not_change_anything_else() -> None:
    problems = said(STRATEGY.validate_update(pod(nodeName="n"), pod()))
    assert len(problems) == 1
    assert problems[0].startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    assert '+ "NodeName": "n",' in problems[0]
    fewer = said(STRATEGY.validate_update(pod(containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]), pod()))
    assert fewer == ["spec.containers: Forbidden: pod updates may not add or remove containers"]


def test_update_may_only_shorten_the_deadline() -> None:
    assert said(STRATEGY.validate_update(pod(activeDeadlineSeconds=5), pod(activeDeadlineSeconds=9))) == []
    longer = said(STRATEGY.validate_update(pod(activeDeadlineSeconds=9), pod(activeDeadlineSeconds=5)))
    assert longer == ["spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"]


def test_finished_container_stays_finished() -> None:
    def with_state(state: dict[str, Any]) -> core_v1.Pod:
        made = pod(restartPolicy="Never")
        made.status = codec.from_tree(core_v1.PodStatus, {"containerStatuses": [{"name": "a", "state": state}]})
        return made

    ended, running = with_state({"terminated": {"exitCode": 0}}), with_state({"running": {}})
    assert said(STRATEGY.validate_status(ended, running)) == []
    assert said(STRATEGY.validate_status(running, ended)) == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
    ]


def test_status_update_keeps_generation_quality_and_owners() -> None:
    old, new = pod(), pod()
    condition = {"type": "Ready", "status": "True", "observedGeneration": 4}
    old.status = codec.from_tree(core_v1.PodStatus, {"qosClass": "Burstable", "observedGeneration": 4, "conditions": [condition]})
    new.status = codec.from_tree(core_v1.PodStatus, {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "False"}]})
    STRATEGY.prepare_status(new, old, NOW)
    assert codec.to_tree(new.status) == {
        "conditions": [{"observedGeneration": 4, "status": "False", "type": "Ready"}],
        "observedGeneration": 4,
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}],
        "qosClass": "Burstable",
    }


def test_ephemeral_containers_are_only_added() -> None:
    part = STRATEGY.subresources["ephemeralcontainers"]
    old = pod()
    new = pod(nodeName="ignored", ephemeralContainers=[{"name": "d", "image": "y"}])
    part.prepare(new, old, NOW)
    assert new.spec is not None and new.spec.nodeName is None
    assert said(part.validate(new, old)) == []
    assert said(part.validate(old, new)) == ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed\n']


def test_resize_changes_amounts_alone() -> None:
    part = STRATEGY.subresources["resize"]

    def sized(cpu: str, image: str = "x") -> core_v1.Pod:
        return pod(containers=[{"name": "a", "image": image, "resources": {"requests": {"cpu": cpu}}}])

    old, new = sized("1"), sized("2", "other")
    STRATEGY.prepare_create(old, NOW)
    part.prepare(new, old, NOW)
    assert new.spec is not None and new.spec.containers is not None and new.spec.containers[0].image == "x"
    assert said(part.validate(new, old)) == []
    grown = pod(containers=[{"name": "a", "image": "x", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}])
    part.prepare(grown, old, NOW)
    assert any("Pod QOS Class may not change as a result of resizing" in p for p in said(part.validate(grown, old)))


def test_template_may_not_hold_ephemeral_containers() -> None:
    template = codec.from_tree(
        core_v1.PodTemplateSpec,
        {"spec": {"containers": [{"name": "a", "image": "x"}], "ephemeralContainers": [{"name": "e", "image": "x"}]}},
    )
    found: list[Any] = []
    templates.template(found, "spec.template", template_defaults.template(template))
    assert said(found) == ["spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"]
