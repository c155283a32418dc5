"""Resources, admission on the node, image names, statuses as patches, the node's own status."""

from __future__ import annotations

import base64
import json

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.kubelet import access
from navarch.kubelet.core import admission, backoff, images, node, probes, published, resources, sysctls

Amounts = dict[str, str | int | float]


SAFE = sysctls.Allowlist()


def container(name: str = "c", requests: Amounts | None = None, limits: Amounts | None = None, **more: object) -> v1.Container:
    held = v1.ResourceRequirements(requests=requests, limits=limits)
    return v1.Container(name=name, resources=held, **more)  # type: ignore[arg-type]


def pod(*mains: v1.Container, name: str = "p", **spec: object) -> v1.Pod:
    body = v1.PodSpec(containers=list(mains), **spec)  # type: ignore[arg-type]
    return v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace="d", uid=name), spec=body)


@pytest.mark.parametrize(
    ("mains", "expected"),
    [
        ([container()], "BestEffort"),
        ([container(requests={"cpu": "1"})], "Burstable"),
        ([container(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "1", "memory": "1Gi"})], "Guaranteed"),
        ([container(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "500m", "memory": "1Gi"})], "Burstable"),
        ([container(limits={"cpu": "1", "memory": "1Gi"}, requests={"cpu": "1", "memory": "1Gi"}), container("d")], "Burstable"),
        ([container(requests={"example.com/x": "1"})], "BestEffort"),
    ],
)
def test_qos(mains: list[v1.Container], expected: str) -> None:
    assert resources.qos_class(pod(*mains)) == expected


def test_cgroup_values() -> None:
    spec = container(requests={"cpu": "250m", "memory": "1Gi"}, limits={"cpu": "500m", "memory": "2Gi"})
    values = resources.cgroup_values(pod(spec), spec, 8 << 30)
    assert (values.cpu_shares, values.cpu_quota, values.memory_limit) == (256, 50_000, 2 << 30)
    assert values.oom_score_adj == 1000 - 125
    best = container()
    assert resources.cgroup_values(pod(best), best, 8 << 30).oom_score_adj == 1000
    assert resources.cgroup_values(pod(best), best, 8 << 30).cpu_shares == 2


def test_pod_totals_count_sidecars_and_the_largest_init_step() -> None:
    sidecar = container("s", {"cpu": "1"}, restartPolicy="Always")
    init = container("i", {"cpu": "4"})
    owner = pod(container("m", {"cpu": "2"}), initContainers=[sidecar, init], overhead={"cpu": "100m"})
    assert resources.totals(owner)["cpu"] == 5100


def test_admission_of_resources_and_ports() -> None:
    allocatable = {"cpu": "2", "memory": "1Gi", "pods": "3"}
    running = pod(container(requests={"cpu": "1500m"}), name="r")
    refused = admission.check(pod(container(requests={"cpu": "1"})), None, allocatable, [running], SAFE)
    assert refused is not None
    assert refused.reason == "OutOfcpu"
    assert refused.message == ("Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000")
    running.status = v1.PodStatus(phase="Succeeded")
    assert admission.check(pod(container(requests={"cpu": "1"})), None, allocatable, [running], SAFE) is None
    web = pod(v1.Container(name="c", ports=[v1.ContainerPort(containerPort=80, hostPort=8080)]), name="w")
    assert admission.check(web, None, allocatable, [], SAFE) is None
    taken = admission.check(web, None, allocatable, [web], SAFE)
    assert taken is not None and taken.reason == "NodePorts"
    elsewhere = pod(v1.Container(name="c", ports=[v1.ContainerPort(containerPort=80, hostPort=8080, protocol="UDP")]))
    assert admission.check(elsewhere, None, allocatable, [web], SAFE) is None


def test_admission_of_node_selectors() -> None:
    here = v1.Node(metadata=meta_v1.ObjectMeta(name="n", labels={"disk": "ssd"}))
    assert admission.check(pod(nodeSelector={"disk": "ssd"}), here, {}, [], SAFE) is None
    refused = admission.check(pod(nodeSelector={"disk": "hdd"}), here, {}, [], SAFE)
    assert refused is not None and refused.reason == "NodeAffinity"
    term = v1.NodeSelectorTerm(matchFields=[v1.NodeSelectorRequirement(key="metadata.name", operator="In", values=["n"])])
    required = v1.NodeSelector(nodeSelectorTerms=[term])
    affinity = v1.Affinity(nodeAffinity=v1.NodeAffinity(requiredDuringSchedulingIgnoredDuringExecution=required))
    assert admission.check(pod(affinity=affinity), here, {}, [], SAFE) is None


@pytest.mark.parametrize(
    ("name", "full", "repository"),
    [
        ("nginx", "nginx:latest", "docker.io/library/nginx"),
        ("nginx:1", "nginx:1", "docker.io/library/nginx"),
        ("team/app", "team/app:latest", "docker.io/team/app"),
        ("reg.example:5000/a/b:c", "reg.example:5000/a/b:c", "reg.example:5000/a/b"),
        ("localhost/x:1", "localhost/x:1", "localhost/x"),
        ("a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64, "docker.io/library/a"),
    ],
)
def test_image_names(name: str, full: str, repository: str) -> None:
    assert images.with_tag(name) == full
    assert images.repository(name) == repository


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "foo:", "/x", "a//b", "FAILED_IMAGE", "x:bad tag"])
def test_bad_image_names(name: str) -> None:
    with pytest.raises(images.BadName, match="couldn't parse image name"):
        images.with_tag(name)


def test_credentials_match_the_most_specific_first() -> None:
    auths = {
        "https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:pw").decode()},
        "reg.example": {"username": "all", "password": "1"},
        "reg.example/team": {"username": "team", "password": "2"},
        "*.wild.example": {"username": "wild", "password": "3"},
    }
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    held = images.credentials([v1.Secret(data={".dockerconfigjson": data}), v1.Secret(data={".dockercfg": "!!"})])
    assert [c.username for c in images.matching(held, "reg.example/team/app:1")] == ["team", "all"]
    assert [c.username for c in images.matching(held, "reg.example/teams/app")] == ["all"]
    assert [(c.username, c.password) for c in images.matching(held, "nginx")] == [("me", "pw")]
    assert [c.username for c in images.matching(held, "a.wild.example/x")] == ["wild"]


def test_back_off_counts_as_upstream_does() -> None:
    assert backoff.until(None, 100.0, 300) == 0
    entry = backoff.advance(None, 100.0, 10, 300)
    assert backoff.until(entry, 105.0, 300) == 115.0
    assert backoff.advance(entry, 105.0, 10, 300).delay == 20
    assert backoff.until(entry, 100.0 + 601, 300) == 0, "ten minutes of peace are forgiven"
    assert [backoff.duration(s) for s in (10, 80, 300, 3600)] == ["10s", "1m20s", "5m0s", "1h0m0s"]


def test_probe_thresholds() -> None:
    probe = v1.Probe(failureThreshold=3, successThreshold=2)
    count = probes.Count()
    verdicts = []
    for ok in (True, True, False, False, True, False, False, False, True, True):
        count = probes.observe(count, probe, ok)
        verdicts.append(count.verdict)
    assert verdicts == [None, True, True, True, True, True, True, False, False, True]
    assert probes.final("startup", True) and probes.final("liveness", False)
    assert not probes.final("readiness", False) and not probes.final("liveness", True)


def test_status_patch_leaves_what_is_not_ours() -> None:
    foreign = v1.PodCondition(type="x/y", status="True")
    own = v1.PodCondition(type="Ready", status="False")
    before = v1.PodStatus(phase="Pending", reason="Old", podIPs=[v1.PodIP(ip="10.1.0.1")], conditions=[foreign])
    after = v1.PodStatus(phase="Running", podIPs=[v1.PodIP(ip="10.1.0.2")], conditions=[foreign, own])
    tree = published.patch(before, after)
    assert tree["reason"] is None
    assert [c["type"] for c in tree["conditions"]] == ["Ready"]
    assert tree["podIPs"] == [{"ip": "10.1.0.2"}, {"$patch": "replace"}]


def test_node_conditions_keep_their_times() -> None:
    first = node.conditions(node.Health(["container runtime is down"]), (), 1_800_000_000)
    ready = next(c for c in first if c.type == "Ready")
    assert (ready.status, ready.reason, ready.message) == ("False", "KubeletNotReady", "container runtime is down")
    later = node.conditions(node.Health(), first, 1_800_000_060)
    ready = next(c for c in later if c.type == "Ready")
    assert (ready.status, ready.message) == ("True", "kubelet is posting ready status")
    assert ready.lastTransitionTime == "2027-01-15T08:01:00Z"
    memory = next(c for c in later if c.type == "MemoryPressure")
    assert (memory.lastTransitionTime, memory.lastHeartbeatTime) == ("2027-01-15T08:00:00Z", "2027-01-15T08:01:00Z")


def test_allocatable_keeps_something_back() -> None:
    machine = node.Machine(4, 8 << 30, 100 << 30, "m", "s", "b", "6", "os", "amd64")
    found = node.allocatable(machine, 110, {"cpu": 100, "memory": 1 << 30})
    assert found["cpu"] == "3900m"
    assert found["memory"] == f"{((7 << 30) - (100 << 20)) // 1024}Ki"
    assert found["ephemeral-storage"] == str((100 << 30) * 9 // 10)
    assert found["pods"] == "110"


def test_paths_need_their_own_rights() -> None:
    assert access.subresources("/stats/summary") == ("stats",)
    assert access.subresources("/metrics/resource") == ("metrics",)
    assert access.subresources("/pods") == ("pods", "proxy")
    assert access.subresources("/healthz") == ("healthz", "proxy")
    assert access.subresources("/exec/ns/pod/c") == ("proxy",)
    assert access.subresources("/containerLogs/ns/pod/c") == ("proxy",)


def test_user_of_a_certificate() -> None:
    subject = ((("organizationName", "system:masters"),), (("commonName", "admin"),))
    user = access.certificate_user({"subject": subject})
    assert user == access.User("admin", ("system:masters", "system:authenticated"))
    assert access.certificate_user({"subject": ((("commonName", "first"),), (("commonName", "last"),))}) == access.User(
        "last", ("system:authenticated",)
    )
    assert access.certificate_user({"subject": ((("organizationName", "system:masters"),),)}) is None
