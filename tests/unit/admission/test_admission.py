"""Admission plugins against real caches, without a server around them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from navarch.api import resources
from navarch.apiserver.admission import certificates, escalation, limits, pods, quota, serviceaccounts, storage
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.policy import objects
from navarch.apiserver.kinds import table
from navarch.machinery import codec, errors

ADMIN = User("admin", ("system:masters",))
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(host: Any, name: str = "x", **spec: Any) -> Any:
    spec.setdefault("containers", [{"name": "a", "image": "x"}])
    return host.made("", "pods", {"metadata": {"name": name}, "spec": spec})


async def test_account_must_exist(host: Any) -> None:
    with pytest.raises(errors.Forbidden) as raised:
        await serviceaccounts.mutate(host.attributes("", "pods", pod(host)), host.catalog)
    assert raised.value.message == ('pods "x" is forbidden: error looking up service account default/default: serviceaccount "default" not found')


async def test_token_is_mounted_where_nothing_else_is(host: Any) -> None:
    await host.add("", "serviceaccounts", {"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "pull"}]})
    taken = {"name": "b", "image": "x", "volumeMounts": [{"name": "own", "mountPath": TOKEN}]}
    made = pod(host, containers=[{"name": "a", "image": "x"}, taken], volumes=[{"name": "own", "emptyDir": {}}])
    await serviceaccounts.mutate(host.attributes("", "pods", made), host.catalog)
    spec = codec.to_tree(made)["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    volume = spec["volumes"][1]
    assert volume["name"].startswith("kube-api-access-")
    assert [m["name"] for c in spec["containers"] for m in c["volumeMounts"]] == [volume["name"], "own"]
    assert [next(iter(s)) for s in volume["projected"]["sources"]] == ["serviceAccountToken", "configMap", "downwardAPI"]
    assert [str(p) for p in table.of("", "pods").validate(made)] == []


@pytest.mark.parametrize(("of_pod", "of_account", "mounted"), [(None, None, True), (False, None, False), (None, False, False), (True, False, True)])
async def test_automount(host: Any, of_pod: bool | None, of_account: bool | None, mounted: bool) -> None:
    account: dict[str, Any] = {"metadata": {"name": "default"}}
    await host.add("", "serviceaccounts", account | ({} if of_account is None else {"automountServiceAccountToken": of_account}))
    made = pod(host)
    made.spec.automountServiceAccountToken = of_pod
    await serviceaccounts.mutate(host.attributes("", "pods", made), host.catalog)
    assert bool(made.spec.volumes) is mounted


async def test_sick_nodes_are_tolerated_for_five_minutes_unless_said_otherwise(host: Any) -> None:
    made = pod(host, tolerations=[{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}])
    await pods.tolerate(host.attributes("", "pods", made))
    assert [(t.key, t.tolerationSeconds) for t in made.spec.tolerations] == [
        ("node.kubernetes.io/not-ready", 5),
        ("node.kubernetes.io/unreachable", 300),
    ]


async def test_priority_comes_from_the_class(host: Any) -> None:
    await host.add("scheduling.k8s.io", "priorityclasses", {"metadata": {"name": "high"}, "value": 7})
    named, plain, wrong = pod(host, priorityClassName="high"), pod(host), pod(host, priorityClassName="high", priority=3)
    for made in (named, plain):
        await pods.priority(host.attributes("", "pods", made), host.catalog)
    assert (named.spec.priority, plain.spec.priority, plain.spec.preemptionPolicy) == (7, 0, "PreemptLowerPriority")
    with pytest.raises(errors.Forbidden, match=r"the integer value of priority \(3\) must not be provided"):
        await pods.priority(host.attributes("", "pods", wrong), host.catalog)
    with pytest.raises(errors.Forbidden, match="no PriorityClass with name none was found"):
        await pods.priority(host.attributes("", "pods", pod(host, priorityClassName="none")), host.catalog)


async def test_limits_default_and_bound(host: Any) -> None:
    item = {"type": "Container", "default": {"cpu": "500m"}, "max": {"cpu": "1"}, "min": {"memory": "1Mi"}}
    await host.add("", "limitranges", {"spec": {"limits": [item]}})
    made = pod(host)
    await limits.mutate(host.attributes("", "pods", made), host.catalog)
    assert codec.to_tree(made.spec.containers[0].resources) == {
        "limits": {"cpu": "500m"},
        "requests": {"cpu": "500m", "memory": "1Mi"},
    }
    assert made.metadata.annotations == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu, memory request for container a; cpu limit for container a"
    }
    await limits.validate(host.attributes("", "pods", made), host.catalog)
    large = pod(host, containers=[{"name": "a", "image": "x", "resources": {"limits": {"cpu": "2", "memory": "1Mi"}}}])
    with pytest.raises(errors.Forbidden, match="maximum cpu usage per Container is 1, but limit is 2"):
        await limits.validate(host.attributes("", "pods", large), host.catalog)


async def test_runtime_class_brings_overhead_and_where_to_run(host: Any) -> None:
    scheduling = {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}
    tree = {"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}}, "scheduling": scheduling}
    await host.add("node.k8s.io", "runtimeclasses", tree)
    made = pod(host, runtimeClassName="vm")
    await pods.runtime_class(host.attributes("", "pods", made), host.catalog)
    assert (made.spec.overhead, made.spec.nodeSelector, made.spec.tolerations[0].key) == ({"cpu": "250m"}, {"vm": "yes"}, "vm")
    with pytest.raises(errors.Forbidden, match='pod rejected: RuntimeClass "none" not found'):
        await pods.runtime_class(host.attributes("", "pods", pod(host, runtimeClassName="none")), host.catalog)


async def test_new_nodes_are_tainted_once(host: Any) -> None:
    node = host.made("", "nodes", {"metadata": {"name": "n"}})
    for _ in range(2):
        await pods.nodes(host.attributes("", "nodes", node))
    assert [(t.key, t.effect) for t in node.spec.taints] == [("node.kubernetes.io/not-ready", "NoSchedule")]


async def test_newest_default_storage_class_wins(host: Any) -> None:
    note = {"storageclass.kubernetes.io/is-default-class": "true"}
    for name, stamp in (("old", "2026-01-01T00:00:00Z"), ("new", "2026-02-01T00:00:00Z")):
        metadata = {"name": name, "annotations": note, "creationTimestamp": stamp}
        await host.add("storage.k8s.io", "storageclasses", {"metadata": metadata, "provisioner": "p"})
    claim = host.made("", "persistentvolumeclaims", {"spec": {"accessModes": ["ReadWriteOnce"]}})
    await storage.default_class(host.attributes("", "persistentvolumeclaims", claim), host.catalog)
    assert claim.spec.storageClassName == "new"


# ---- quota ----


async def quotas(host: Any, hard: dict[str, str], **spec: Any) -> Any:
    return await host.add("", "resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}})


def status(host: Any) -> dict[str, Any]:
    body = host.catalog.of("", "resourcequotas").cache.get("default/q").body
    held: dict[str, Any] = codec.tree(body)["status"]
    return held


def asking(host: Any, name: str, cpu: str) -> Any:
    return pod(host, name, containers=[{"name": "a", "image": "x", "resources": {"requests": {"cpu": cpu}}}])


async def test_quota_counts_and_refuses(host: Any) -> None:
    await quotas(host, {"pods": "2", "requests.cpu": "1"})
    await quota.check(host.attributes("", "pods", asking(host, "a", "600m")), host)
    assert status(host) == {"hard": {"pods": "2", "requests.cpu": "1"}, "used": {"pods": "1", "requests.cpu": "600m"}}
    with pytest.raises(errors.Forbidden) as raised:
        await quota.check(host.attributes("", "pods", asking(host, "b", "500m")), host)
    assert raised.value.message == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1'
    )
    with pytest.raises(errors.Forbidden, match=re.escape("failed quota: q: must specify requests.cpu for: a")):
        await quota.check(host.attributes("", "pods", pod(host, "c")), host)


async def test_quota_is_counted_anew_when_its_status_is_behind(host: Any) -> None:
    made = await quotas(host, {"pods": "1"})
    made.status = type(made.status or host.made("", "resourcequotas", {"status": {}}).status)(hard={"pods": "1"}, used={"pods": "1"})
    await host.put(host.catalog.of("", "resourcequotas"), "q", "default", codec.encode(made), 1)
    await quota.check(host.attributes("", "pods", pod(host)), host)
    with pytest.raises(errors.Forbidden, match="exceeded quota"):
        await quota.check(host.attributes("", "pods", pod(host, "other")), host)


async def test_dry_run_leaves_the_quota_alone(host: Any) -> None:
    await quotas(host, {"pods": "1"})
    attributes = host.attributes("", "pods", pod(host))
    attributes.dry_run = True
    await quota.check(attributes, host)
    assert not host.promises and host.revision == 1


async def test_quota_looks_only_into_its_scopes(host: Any) -> None:
    await quotas(host, {"pods": "0"}, scopes=["BestEffort"])
    await quota.check(host.attributes("", "pods", asking(host, "a", "1")), host)
    with pytest.raises(errors.Forbidden, match="exceeded quota"):
        await quota.check(host.attributes("", "pods", pod(host)), host)


# ---- who may do what ----


async def roles(host: Any) -> None:
    for obj in objects():
        held: Any = obj
        resource = resources.of(type(held))
        tree = codec.to_tree(held)
        await host.add(resource.group, resource.plural, tree)


async def test_nobody_grants_more_than_he_has(host: Any) -> None:
    await roles(host)
    subject = {"kind": "User", "name": "jane"}
    await host.add("rbac.authorization.k8s.io", "rolebindings", {"roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [subject]})
    jane = User("jane", ("system:authenticated",))
    within = host.made("rbac.authorization.k8s.io", "roles", {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})
    await escalation.check(host.attributes("rbac.authorization.k8s.io", "roles", within, user=jane), host.authorizer)
    beyond = host.made("rbac.authorization.k8s.io", "roles", {"rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["nodes"]}]})
    with pytest.raises(errors.Forbidden) as raised:
        await escalation.check(host.attributes("rbac.authorization.k8s.io", "roles", beyond, user=jane), host.authorizer)
    assert raised.value.message == (
        'roles.rbac.authorization.k8s.io "x" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC '
        'permissions not currently held:\n{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}'
    )
    bind = host.made("rbac.authorization.k8s.io", "rolebindings", {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}})
    with pytest.raises(errors.Forbidden, match="attempting to grant RBAC permissions not currently held"):
        await escalation.check(host.attributes("rbac.authorization.k8s.io", "rolebindings", bind, user=jane), host.authorizer)
    await escalation.check(host.attributes("rbac.authorization.k8s.io", "rolebindings", bind), host.authorizer)


async def test_signer_needs_leave(host: Any) -> None:
    await roles(host)
    tree = {"spec": {"request": "cg==", "signerName": "example.com/a", "usages": ["client auth"]}}
    request = host.made("certificates.k8s.io", "certificatesigningrequests", tree)
    key = ("certificates.k8s.io", "certificatesigningrequests")
    nobody = User("nobody", ())
    with pytest.raises(errors.Forbidden, match=re.escape('user not permitted to approve requests with signerName "example.com/a"')):
        await certificates.approval(host.attributes(*key, request, request, nobody, "approval"), host.authorizer)
    await certificates.approval(host.attributes(*key, request, request, ADMIN, "approval"), host.authorizer)
    await certificates.identity(host.attributes(*key, request, user=User("u", ("g",), "id")))
    assert (request.spec.username, request.spec.uid, request.spec.groups) == ("u", "id", ["g"])


async def test_default_roles_let_components_work(host: Any) -> None:
    from navarch.apiserver.authz.questions import Question

    await roles(host)

    def may(name: str, verb: str, group: str, plural: str, subresource: str = "", namespace: str = "") -> bool:
        user = User(name, ("system:authenticated",))
        return bool(host.authorizer.decide(user, Question(verb, group, plural, subresource, namespace)).allowed)

    assert may("system:kube-scheduler", "create", "", "pods", "binding", "default")
    assert may("system:kube-controller-manager", "create", "apps", "replicasets", "", "default")
    assert may("system:kube-controller-manager", "delete", "", "pods", "", "default")
    assert may("system:serviceaccount:kube-system:replicaset-controller", "create", "", "pods", "", "default")
    assert may("system:coredns", "watch", "discovery.k8s.io", "endpointslices")
    assert may("system:kube-proxy", "list", "", "services")
    assert not may("jane", "get", "", "secrets", "", "default")
    assert not may("system:coredns", "get", "", "secrets", "", "default")
