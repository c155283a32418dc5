"""What a node may do: one case for every check of the Node authorizer and of NodeRestriction."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from navarch.api.authentication import v1 as authentication_v1
from navarch.api.policy import v1 as policy_v1
from navarch.apiserver.admission import nodes
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.questions import Question, field_requirements
from navarch.machinery import codec, errors

N1 = User("system:node:n1", ("system:nodes", "system:authenticated"))
MIRROR = {"kubernetes.io/config.mirror": "x"}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-n1", "controller": True}


async def furnish(host: Any) -> None:
    """Two nodes, a pod of each that refers to everything there is, and what is behind that."""
    for name in ("n1", "n2"):
        await host.add("", "nodes", {"metadata": {"name": name, "uid": f"uid-{name}"}})
        await pod_of(host, f"p-{name}", name)
        await host.add("", "persistentvolumeclaims", {"metadata": {"name": f"claim-{name}"}, "spec": {"volumeName": f"pv-{name}"}})
        csi = {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": f"stage-{name}", "namespace": "default"}}
        csi["controllerPublishSecretRef"] = {"name": f"controller-{name}", "namespace": "default"}
        reference = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": f"claim-{name}"}
        await host.add("", "persistentvolumes", {"metadata": {"name": f"pv-{name}"}, "spec": {"claimRef": reference, "csi": csi}})
        spec = {"attacher": "d", "nodeName": name, "source": {"persistentVolumeName": f"pv-{name}"}}
        await host.add("storage.k8s.io", "volumeattachments", {"metadata": {"name": f"va-{name}"}, "spec": spec})
        await host.add("resource.k8s.io", "resourceslices", {"metadata": {"name": f"slice-{name}"}, "spec": {"nodeName": name, "driver": "d"}})
    # A claim that names another's volume gives nothing: the volume says whose it is.
    await host.add("", "persistentvolumeclaims", {"metadata": {"name": "thief"}, "spec": {"volumeName": "pv-n2"}})
    await host.add("", "pods", bare("thief", "n1", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "thief"}}]))
    mirror = bare("mirror", "n1", volumes=[{"name": "v", "secret": {"secretName": "by-mirror"}}], serviceAccountName="by-mirror")
    mirror["metadata"]["annotations"] = MIRROR
    await host.add("", "pods", mirror)


def bare(name: str, node: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **spec}}


async def pod_of(host: Any, name: str, node: str) -> None:
    env = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": f"env-{node}", "key": "k"}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": f"env-{node}", "key": "k"}}},
    ]
    sources = [{"secret": {"name": f"projected-{node}"}}, {"configMap": {"name": f"projected-{node}"}}]
    volumes = [
        {"name": "s", "secret": {"secretName": f"volume-{node}"}},
        {"name": "c", "configMap": {"name": f"volume-{node}"}},
        {"name": "p", "projected": {"sources": sources}},
        {"name": "n", "persistentVolumeClaim": {"claimName": f"claim-{node}"}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
        {"name": "x", "csi": {"driver": "d", "nodePublishSecretRef": {"name": f"publish-{node}"}}},
        {"name": "i", "iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0, "secretRef": {"name": f"iscsi-{node}"}}},
    ]
    ephemeral = [{"name": "d", "image": "i", "envFrom": [{"secretRef": {"name": f"debug-{node}"}}, {"configMapRef": {"name": f"debug-{node}"}}]}]
    claims = [{"name": "r", "resourceClaimName": f"rc-{node}"}, {"name": "t", "resourceClaimTemplateName": "t"}]
    tree = bare(name, node, volumes=volumes, ephemeralContainers=ephemeral, resourceClaims=claims, serviceAccountName=f"sa-{node}")
    tree["spec"]["containers"][0]["env"] = env
    tree["spec"]["imagePullSecrets"] = [{"name": f"pull-{node}"}]
    tree["status"] = {"resourceClaimStatuses": [{"name": "t", "resourceClaimName": f"made-{node}"}]}
    tree["status"]["extendedResourceClaimStatus"] = {"resourceClaimName": f"extended-{node}", "requestMappings": []}
    await host.add("", "pods", tree)


def ask(verb: str, what: str, name: str = "", namespace: str = "default", fields: str = "") -> Question:
    """`what`: resource, resource/sub, or either after a group and a colon."""
    group, colon, resource = what.partition(":")
    if not colon:
        group, resource = "", what
    resource, _, subresource = resource.partition("/")
    return Question(verb, group, resource, subresource, namespace, name, fields=field_requirements(fields))


NO_RELATION = "no relationship found between node 'n1' and this object"
SECRETS = ("env", "volume", "projected", "publish", "iscsi", "debug", "pull", "stage")
MAPS = ("env", "volume", "projected", "debug")
LEASES = "coordination.k8s.io:leases"
SLICES = "resource.k8s.io:resourceslices"
REFERRED: list[tuple[str, str]] = [
    *(("secrets", s) for s in SECRETS), *(("configmaps", m) for m in MAPS), ("persistentvolumeclaims", "claim"), ("persistentvolumes", "pv"),
    ("resource.k8s.io:resourceclaims", "rc"), ("resource.k8s.io:resourceclaims", "made"), ("resource.k8s.io:resourceclaims", "extended"),
    ("storage.k8s.io:volumeattachments", "va"), ("serviceaccounts", "sa"), ("pods", "p"), (SLICES, "slice"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "prefix"), REFERRED)
async def test_a_node_reads_what_its_pods_refer_to(host: Any, what: str, prefix: str) -> None:
    await furnish(host)
    namespace = "" if what in ("persistentvolumes", "storage.k8s.io:volumeattachments", SLICES) else "default"
    assert host.authorizer.decide(N1, ask("get", what, f"{prefix}-n1", namespace)).allowed
    foreign = host.authorizer.decide(N1, ask("get", what, f"{prefix}-n2", namespace))
    assert (foreign.allowed, foreign.reason) == (False, NO_RELATION)
    if namespace:
        assert not host.authorizer.decide(N1, ask("get", what, f"{prefix}-n1", "other")).allowed
    assert host.authorizer.decide(N1, ask("get", what, "", namespace)).reason == "No Object name found"


ALLOWED = [
    ask("list", "secrets", "env-n1"), ask("watch", "configmaps", "volume-n1"), ask("create", "serviceaccounts/token", "sa-n1"),
    ask("patch", "persistentvolumeclaims/status", "claim-n1"), ask("get", "persistentvolumeclaims", "p-n1-e"),
    ask("list", "pods", "", "", "spec.nodeName=n1"), ask("watch", "pods", "", "", "spec.nodeName=n1,status.phase!=Failed"),
    ask("watch", "pods", "p-n1"), ask("create", "pods"), ask("delete", "pods", "x"), ask("patch", "pods/status", "x"),
    ask("create", "pods/eviction", "x"),
    ask("get", "nodes", "n1", ""), ask("watch", "nodes", "n1", ""), ask("create", "nodes", "", ""), ask("patch", "nodes/status", "n1", ""),
    ask("update", "nodes", "n1", ""), ask("create", LEASES, "", "kube-node-lease"), ask("update", LEASES, "n1", "kube-node-lease"),
    ask("get", "storage.k8s.io:csinodes", "n1", ""), ask("create", "storage.k8s.io:csinodes", "", ""),
    ask("list", SLICES, "", "", "spec.nodeName=n1"), ask("deletecollection", SLICES, "", "", "spec.nodeName=n1"), ask("create", SLICES, "", ""),
    ask("update", SLICES, "slice-n1", ""), ask("list", "services", "", ""), ask("get", "endpoints", "x"), ask("create", "events"),
    ask("patch", "events.k8s.io:events", "x"), ask("create", "certificates.k8s.io:certificatesigningrequests", "", ""),
    ask("create", "authentication.k8s.io:tokenreviews", "", ""), ask("create", "authorization.k8s.io:subjectaccessreviews", "", ""),
    ask("watch", "node.k8s.io:runtimeclasses", "", ""), ask("list", "storage.k8s.io:csidrivers", "", ""),
    ask("list", "certificates.k8s.io:clustertrustbundles", "", ""),
]  # fmt: skip
REFUSED = [
    (ask("list", "secrets"), "No Object name found"), (ask("list", "secrets", "", ""), "can only read namespaced object of this type"),
    (ask("update", "secrets", "env-n1"), "can only read resources of this type"), (ask("get", "secrets", "by-mirror"), NO_RELATION),
    (ask("get", "secrets", "controller-n1"), NO_RELATION), (ask("get", "secrets", "stage-n2"), NO_RELATION),
    (ask("get", "secrets/status", "env-n1"), "cannot read subresource"), (ask("get", "serviceaccounts", "default"), NO_RELATION),
    (ask("create", "serviceaccounts/token", "default"), NO_RELATION), (ask("create", "serviceaccounts/token", "by-mirror"), NO_RELATION),
    (ask("create", "serviceaccounts/token"), "can only create tokens for individual service accounts"),
    (ask("create", "serviceaccounts", "sa-n1"), "can only create token subresource of serviceaccount"),
    (ask("list", "serviceaccounts", "sa-n1"), "can only create tokens for individual service accounts"),
    (ask("list", "persistentvolumeclaims", "claim-n1"), "can only get individual resources of this type"),
    (ask("get", "persistentvolumes", "pv-n2", ""), NO_RELATION), (ask("get", "persistentvolumes/status", "pv-n1", ""), "cannot get subresource"),
    (ask("get", "persistentvolumeclaims/status", "claim-n1"), "can only get/update/patch this type"),
    (ask("update", "persistentvolumeclaims/status", "claim-n2"), NO_RELATION),
    (ask("list", "pods", "", ""), "can only list/watch pods with spec.nodeName field selector"),
    (ask("list", "pods", "", "", "spec.nodeName=n2"), "can only list/watch pods with spec.nodeName field selector"),
    (ask("watch", "pods", "", "", "spec.nodeName!=n1"), "can only list/watch pods with spec.nodeName field selector"),
    (ask("watch", "pods", "p-n2"), NO_RELATION), (ask("update", "pods", "p-n1"), ""), (ask("deletecollection", "pods"), ""),
    (ask("create", "pods/binding", "p-n1"), ""), (ask("get", "pods/log", "p-n1"), ""), (ask("create", "pods/exec", "p-n1"), ""),
    (ask("list", "nodes", "", ""), "node 'n1' cannot read all nodes, only its own Node object"),
    (ask("get", "nodes", "n2", ""), "node 'n1' cannot read 'n2', only its own Node object"), (ask("delete", "nodes", "n1", ""), ""),
    (ask("get", "nodes/proxy", "n1", ""), ""),
    (ask("get", LEASES, "n2", "kube-node-lease"), "can only access node lease with the same name as the requesting node"),
    (ask("get", LEASES, "n1"), 'can only access leases in the "kube-node-lease" system namespace'),
    (ask("list", LEASES, "n1", "kube-node-lease"), "can only get, create, update, patch, or delete a node lease"),
    (ask("get", "storage.k8s.io:csinodes", "n2", ""), "can only access CSINode with the same name as the requesting node"),
    (ask("list", "storage.k8s.io:csinodes", "", ""), "can only get, create, update, patch, or delete a CSINode"),
    (ask("get", "storage.k8s.io:csinodes/status", "n1", ""), "cannot authorize CSINode subresources"),
    (ask("list", SLICES, "", ""), "can only list/watch/deletecollection resourceslices with nodeName field selector"),
    (ask("deletecollection", SLICES, "", "", "spec.nodeName=n2"), "can only list/watch/deletecollection resourceslices with nodeName field selector"),
    (ask("delete", SLICES, "slice-n2", ""), NO_RELATION),
    (ask("get", f"{SLICES}/status", "slice-n1", ""), "cannot authorize ResourceSlice subresources"),
    (ask("update", "services", "x"), ""), (ask("get", "certificates.k8s.io:podcertificaterequests", "x"), ""),
    (ask("get", "namespaces", "default"), ""),
    (Question("get", path="/metrics"), ""),
]  # fmt: skip


@pytest.mark.parametrize("question", ALLOWED, ids=str)
async def test_what_a_node_may(host: Any, question: Question) -> None:
    await furnish(host)
    assert host.authorizer.decide(N1, question).allowed


@pytest.mark.parametrize(("question", "reason"), REFUSED, ids=str)
async def test_what_a_node_may_not(host: Any, question: Question, reason: str) -> None:
    await furnish(host)
    verdict = host.authorizer.decide(N1, question)
    assert (verdict.allowed, verdict.reason) == (False, reason)


async def test_who_is_a_node(host: Any) -> None:
    await furnish(host)
    own = ask("get", "nodes", "n1", "")
    assert not host.authorizer.decide(User("system:node:n1", ("system:authenticated",)), own).allowed
    assert not host.authorizer.decide(User("n1", ("system:nodes",)), own).allowed
    assert host.authorizer.decide(User("system:node:", ("system:nodes",)), own).reason == 'unknown node for user "system:node:"'


async def test_an_empty_service_account_is_nobodys(host: Any) -> None:
    """A pod that names none, as a mirror pod does, gives no way to the namespace's default account."""
    await host.add("", "pods", bare("nameless", "n1"))
    assert not host.authorizer.decide(N1, ask("create", "serviceaccounts/token", "default")).allowed


async def test_references_follow_the_pod(host: Any) -> None:
    """What is remembered of a pod is forgotten when it changes or goes."""
    await furnish(host)
    served = host.catalog.of("", "pods")
    entry = served.cache.get("default/p-n1")
    changed = served.decode(entry.body)
    changed.metadata.resourceVersion = None
    changed.spec.imagePullSecrets[0].name = "later"
    assert host.authorizer.decide(N1, ask("get", "secrets", "pull-n1")).allowed
    await host.put(served, "p-n1", "default", codec.encode(changed), entry.version)
    assert host.authorizer.decide(N1, ask("get", "secrets", "later")).allowed
    assert not host.authorizer.decide(N1, ask("get", "secrets", "pull-n1")).allowed


# ---- admission ------------------------------------------------------------------------------------------------------------------


async def refused(attributes: Attributes, host: Any, why: str) -> None:
    with pytest.raises(errors.Forbidden, match=re.escape(why) + "$"):
        await nodes.restrict(attributes, host)


def mirror(host: Any, owner: dict[str, Any] | None = OWNER, more: dict[str, Any] | None = None, **spec: Any) -> Any:
    metadata = {"annotations": MIRROR, "ownerReferences": [owner] if owner else [], **(more or {})}
    return host.made("", "pods", {"metadata": metadata, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], **spec}})


async def test_mirror_pods(host: Any) -> None:
    await furnish(host)
    await nodes.restrict(host.attributes("", "pods", mirror(host), user=N1), host)
    only = 'node "n1" can only create pods with'
    for made, why in (
        (mirror(host, more={"annotations": {}}), 'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods'),
        (mirror(host, nodeName="n2"), f"{only} spec.nodeName set to itself"),
        (mirror(host, more={"ownerReferences": [OWNER, OWNER]}), f"{only} a single owner reference set to itself"),
        (mirror(host, None), f"{only} an owner reference set to itself"),
        (mirror(host, {**OWNER, "name": "n2"}), f"{only} an owner reference set to itself"),
        (mirror(host, {**OWNER, "kind": "Pod"}), f"{only} an owner reference set to itself"),
        (mirror(host, {**OWNER, "controller": False}), f"{only} a controller owner reference set to itself"),
        (mirror(host, {**OWNER, "blockOwnerDeletion": True}), 'node "n1" must not set blockOwnerDeletion on an owner reference'),
        (mirror(host, {**OWNER, "uid": "other"}), "node n1 UID mismatch: expected other got uid-n1"),
    ):
        await refused(host.attributes("", "pods", made, user=N1), host, why)
    with pytest.raises(errors.NotFound):
        unknown = User("system:node:n9", ("system:nodes",))
        made = mirror(host, {**OWNER, "name": "n9"}, nodeName="n9")
        await nodes.restrict(host.attributes("", "pods", made, user=unknown), host)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"serviceAccountName": "default"}, "serviceaccounts"), ({"imagePullSecrets": [{"name": "s"}]}, "secrets"),
        ({"containers": [{"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "m"}}]}]}, "configmaps"),
        ({"resourceClaims": [{"name": "r", "resourceClaimName": "x"}]}, "resourceclaims"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]}, "persistentvolumeclaims"),
        ({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}, "persistentvolumeclaims (via ephemeral volumes)"),
        ({"volumes": [{"name": "v", "csi": {"driver": "d"}}]}, "csidrivers (via CSI volumes)"),
        ({"volumes": [{"name": "v", "glusterfs": {"endpoints": "e", "path": "p"}}]}, "endpoints (via glusterFS volumes)"),
        ({"volumes": [{"name": "v", "azureFile": {"secretName": "", "shareName": "x"}}]}, "secrets (via azureFile volumes)"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}, "serviceaccounts (via projected volumes)"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"path": "t", "name": "b"}}]}}]}, "clustertrustbundles"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"podCertificate": {"signerName": "s", "keyType": "ED25519"}}]}}]}, "podcertificates"),
    ],
)  # fmt: skip
async def test_mirror_pods_refer_to_nothing(host: Any, spec: dict[str, Any], what: str) -> None:
    await furnish(host)
    await refused(host.attributes("", "pods", mirror(host, **spec), user=N1), host, f'node "n1" can not create pods that reference {what}')
    harmless = [
        {"name": "a", "hostPath": {"path": "/"}},
        {"name": "b", "emptyDir": {}},
        {"name": "c", "projected": {"sources": [{"downwardAPI": {}}]}},
    ]
    await nodes.restrict(host.attributes("", "pods", mirror(host, volumes=harmless), user=N1), host)


async def test_pods_of_its_node_alone(host: Any) -> None:
    await furnish(host)
    served = host.catalog.of("", "pods")
    mine, other = (served.decode(served.cache.get(f"default/p-{n}").body) for n in ("n1", "n2"))
    await nodes.restrict(host.attributes("", "pods", mine, mine, N1, "status"), host)
    await nodes.restrict(host.attributes("", "pods", None, mine, N1), host)
    await refused(
        host.attributes("", "pods", other, other, N1, "status"),
        host,
        'node "n1" can only update pod status for pods with spec.nodeName set to itself',
    )
    await refused(host.attributes("", "pods", None, other, N1), host, 'node "n1" can only delete pods with spec.nodeName set to itself')
    await refused(
        host.attributes("", "pods", mine, mine, N1), host, 'unexpected operation "UPDATE", node "n1" can only create and delete mirror pods'
    )
    await refused(host.attributes("", "pods", None, mine, N1, "status"), host, 'unexpected operation "DELETE"')
    only = "only 'status' and 'eviction' are allowed"
    await refused(host.attributes("", "pods", mine, mine, N1, "resize"), host, f'unexpected pod subresource "resize", {only}')
    with pytest.raises(errors.NotFound):
        await nodes.restrict(host.attributes("", "pods", None, mirror(host), N1), host)


async def test_evictions(host: Any) -> None:
    await furnish(host)
    for name, good in (("p-n1", True), ("p-n2", False)):
        attributes = Attributes(N1, host.catalog.of("", "pods"), "CREATE", name, "default", policy_v1.Eviction(), None, "eviction")
        if good:
            await nodes.restrict(attributes, host)
        else:
            await refused(attributes, host, "node n1 can only evict pods with spec.nodeName set to itself")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p: p.metadata.labels.update(a="b"), 'node "n1" cannot update labels through pod status'),
        (lambda p: setattr(p.status.resourceClaimStatuses[0], "resourceClaimName", "x"), 'node "n1" cannot update resource claim statues'),
        (lambda p: setattr(p.status, "resourceClaimStatuses", None), 'node "n1" cannot update resource claim statues'),
        (lambda p: setattr(p.status, "extendedResourceClaimStatus", None), 'node "n1" cannot update extended resource claim status'),
    ],
)
async def test_what_a_pods_status_may_not_smuggle(host: Any, change: Any, why: str) -> None:
    await furnish(host)
    served = host.catalog.of("", "pods")
    old, new = (served.decode(served.cache.get("default/p-n1").body) for _ in range(2))
    new.metadata.labels = {}
    change(new)
    await refused(host.attributes("", "pods", new, old, N1, "status"), host, why)


def node(host: Any, name: str = "n1", spec: dict[str, Any] | None = None, **labels: str) -> Any:
    return host.made("", "nodes", {"metadata": {"name": name, "labels": labels}, "spec": spec or {}})


async def test_its_own_node_alone(host: Any) -> None:
    await nodes.restrict(host.attributes("", "nodes", node(host), user=N1), host)
    await refused(host.attributes("", "nodes", node(host, "n2"), user=N1), host, 'node "n1" is not allowed to modify node "n2"')
    await refused(host.attributes("", "nodes", None, node(host, "n2"), user=N1), host, 'node "n1" is not allowed to modify node "n2"')
    source = {"configSource": {"configMap": {"name": "x", "namespace": "y", "kubeletConfigKey": "k"}}}
    await refused(
        host.attributes("", "nodes", node(host, spec=source), user=N1), host, 'node "n1" is not allowed to create pods with a non-nil configSource'
    )
    await refused(
        host.attributes("", "nodes", node(host, spec=source), node(host), N1),
        host,
        'node "n1" is not allowed to update configSource to a new non-nil configSource',
    )
    tainted = {"taints": [{"key": "a", "effect": "NoSchedule"}]}
    for new, old in ((node(host, spec=tainted), node(host)), (node(host), node(host, spec=tainted))):
        await refused(host.attributes("", "nodes", new, old, N1), host, 'node "n1" is not allowed to modify taints')
    owned = node(host)
    owned.metadata.ownerReferences = mirror(host).metadata.ownerReferences
    await refused(host.attributes("", "nodes", owned, node(host), N1), host, 'node "n1" is not allowed to modify ownerReferences')


@pytest.mark.parametrize(
    ("label", "good"),
    [
        ("kubernetes.io/hostname", True), ("topology.kubernetes.io/zone", True), ("beta.kubernetes.io/instance-type", True),
        ("own.example.com/a", True), ("plain", True), ("kubelet.kubernetes.io/a", True), ("x.node.kubernetes.io/a", True),
        ("node-restriction.kubernetes.io/a", False),
        ("x.node-restriction.kubernetes.io/a", False), ("node-role.kubernetes.io/control-plane", False), ("kubernetes.io/a", False),
        ("foo.k8s.io/a", False), ("failure-domain.kubernetes.io/zone", False), ("notkubernetes.io/a", True),
    ],
)  # fmt: skip
async def test_labels_of_a_node(host: Any, label: str, good: bool) -> None:
    marked = node(host)
    marked.metadata.labels = {label: "x"}
    made, added = host.attributes("", "nodes", marked, user=N1), host.attributes("", "nodes", marked, node(host), N1)
    removed = host.attributes("", "nodes", node(host), marked, N1)
    if good:
        for attributes in (made, added, removed):
            await nodes.restrict(attributes, host)
        return
    await refused(made, host, f'node "n1" is not allowed to set the following labels: {label}')
    for attributes in (added, removed):
        await refused(attributes, host, f"is not allowed to modify labels: {label}")


async def test_the_status_of_claims(host: Any) -> None:
    def claim(status: dict[str, Any], **metadata: Any) -> Any:
        return host.made("", "persistentvolumeclaims", {"metadata": {"name": "c", **metadata}, "spec": {"volumeName": "v"}, "status": status})

    key = ("", "persistentvolumeclaims")
    old = claim({"phase": "Bound", "capacity": {"storage": "1Gi"}}, resourceVersion="1")
    grown = claim({"phase": "Bound", "capacity": {"storage": "2Gi"}, "conditions": [{"type": "Resizing", "status": "True"}]})
    grown.status.allocatedResourceStatuses = {"storage": "NodeResizeInProgress"}
    await nodes.restrict(host.attributes(*key, grown, old, N1, "status"), host)
    why = 'node "n1" is not allowed to update fields other than status.quantity and status.conditions'
    for changed in (claim({"phase": "Lost"}), claim({"phase": "Bound"}, labels={"a": "b"}), claim({"phase": "Bound"}, finalizers=["a/b"])):
        await refused(host.attributes(*key, changed, old, N1, "status"), host, why)
    await refused(host.attributes(*key, grown, old, N1), host, "may only update PVC status")
    await refused(host.attributes(*key, None, old, N1), host, "may only update PVC status")
    await refused(host.attributes(*key, grown, None, N1, "status"), host, 'unexpected operation "CREATE"')


async def test_leases_csi_nodes_and_slices(host: Any) -> None:
    lease = ("coordination.k8s.io", "leases")
    held = host.made(*lease, {"metadata": {"name": "n1", "namespace": "kube-node-lease"}})
    other = host.made(*lease, {"metadata": {"name": "n2", "namespace": "kube-node-lease"}})
    stray = host.made(*lease, {"metadata": {"name": "n1"}})
    await nodes.restrict(host.attributes(*lease, held, user=N1), host)
    await nodes.restrict(host.attributes(*lease, held, held, N1), host)
    for operation in ((other, None), (other, other), (None, other)):
        await refused(host.attributes(*lease, *operation, N1), host, "can only access node lease with the same name as the requesting node")
    await refused(host.attributes(*lease, stray, user=N1), host, 'can only access leases in the "kube-node-lease" system namespace')
    csi = ("storage.k8s.io", "csinodes")
    await nodes.restrict(host.attributes(*csi, host.made(*csi, {"metadata": {"name": "n1"}, "spec": {"drivers": []}}), user=N1), host)
    foreign = host.made(*csi, {"metadata": {"name": "n2"}, "spec": {"drivers": []}})
    await refused(host.attributes(*csi, foreign, user=N1), host, "can only access CSINode with the same name as the requesting node")
    slices = ("resource.k8s.io", "resourceslices")
    for name, good in (("n1", True), ("n2", False), (None, False)):
        made = host.made(
            *slices, {"metadata": {"name": "s"}, "spec": {"nodeName": name, "driver": "d"} if name else {"allNodes": True, "driver": "d"}}
        )
        for verb, attributes in (("create", host.attributes(*slices, made, user=N1)), ("delete", host.attributes(*slices, None, made, N1))):
            if good:
                await nodes.restrict(attributes, host)
            else:
                await refused(attributes, host, f"can only {verb} ResourceSlice with the same NodeName as the requesting node")


async def test_certificate_requests(host: Any) -> None:
    key = ("certificates.k8s.io", "certificatesigningrequests")

    def request(*names: str, signer: str = "kubernetes.io/kube-apiserver-client-kubelet") -> Attributes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names])
        pem = x509.CertificateSigningRequestBuilder(subject).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        text = base64.b64encode(pem.public_bytes(serialization.Encoding.PEM)).decode()
        made = host.made(*key, {"spec": {"request": text, "signerName": signer, "usages": ["client auth"]}})
        found: Attributes = host.attributes(*key, made, user=N1)
        return found

    await nodes.restrict(request("system:node:n1"), host)
    await nodes.restrict(request("anything", signer="example.com/own"), host)
    for bad in (
        request("system:node:n2"),
        request(),
        request("system:node:n1", "system:node:n2"),
        request("x", signer="kubernetes.io/kubelet-serving"),
    ):
        await refused(bad, host, "can only create a node CSR with CN=system:node:n1")
    broken = request("system:node:n1")
    broken.obj.spec.request = "eHg="
    with pytest.raises(errors.Forbidden, match="unable to parse csr"):
        await nodes.restrict(broken, host)


def token(host: Any, account: str = "sa-n1", **spec: Any) -> Attributes:
    made = codec.from_tree(authentication_v1.TokenRequest, {"spec": {"audiences": [], **spec}})
    return Attributes(N1, host.catalog.of("", "serviceaccounts"), "CREATE", account, "default", made, None, "token")


def bound(name: str = "p-n1", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": f"uid-{name}", **more}


async def test_tokens_of_pods_it_runs(host: Any) -> None:
    await furnish(host)
    sources = [{"serviceAccountToken": {"path": "t"}}, {"serviceAccountToken": {"path": "v", "audience": "vault"}}]
    volumes: list[dict[str, Any]] = [{"name": "t", "projected": {"sources": sources}}, {"name": "c", "csi": {"driver": "csi.example.com"}}]
    await host.add("", "pods", bare("asks", "n1", serviceAccountName="sa-n1", volumes=volumes))
    await host.add("storage.k8s.io", "csidrivers", {"metadata": {"name": "csi.example.com"}, "spec": {"tokenRequests": [{"audience": "storage"}]}})
    asks = bound("asks")
    for audiences in ([], [""], ["vault"], ["storage"]):
        await nodes.restrict(token(host, boundObjectRef=asks, audiences=audiences), host)
    for spec, why in (
        ({}, "node requested token not bound to a pod"),
        ({"boundObjectRef": bound(kind="Node")}, "node requested token not bound to a pod"),
        ({"boundObjectRef": bound(apiVersion="v2")}, "node requested token not bound to a pod"),
        ({"boundObjectRef": bound(uid=None)}, "node requested token with a pod binding without a uid"),
        ({"boundObjectRef": bound("p-n2")}, "node requested token bound to a pod scheduled on a different node"),
        ({"boundObjectRef": asks, "audiences": ["vault", "storage"]}, "node may only request 0 or 1 audiences"),
        (
            {"boundObjectRef": asks, "audiences": ["other"]},
            'audience "other" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience',
        ),
        (
            {"boundObjectRef": bound(uid="other")},
            "the UID in the bound object reference (other) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ):
        await refused(token(host, **spec), host, why)
    with pytest.raises(errors.NotFound):
        await nodes.restrict(token(host, boundObjectRef=bound("gone")), host)


async def test_audiences_through_claims_and_by_leave(host: Any) -> None:
    await furnish(host)
    with pytest.raises(errors.Forbidden, match=r'error validating audience "storage": .*csidrivers\.storage\.k8s\.io "d" not found'):
        await nodes.restrict(token(host, boundObjectRef=bound(), audiences=["storage"]), host)
    await host.add("storage.k8s.io", "csidrivers", {"metadata": {"name": "d"}, "spec": {"tokenRequests": [{"audience": "storage"}]}})
    await nodes.restrict(token(host, boundObjectRef=bound(), audiences=["storage"]), host)
    await host.add("", "pods", bare("plain", "n1", serviceAccountName="sa-n1"))
    with pytest.raises(errors.Forbidden, match='audience "cloud" not found in pod spec volume'):
        await nodes.restrict(token(host, boundObjectRef=bound("plain"), audiences=["cloud"]), host)
    group = "rbac.authorization.k8s.io"
    rules = [{"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["cloud"], "resourceNames": ["sa-n1"]}]
    await host.add(group, "clusterroles", {"metadata": {"name": "audience"}, "rules": rules})
    subject = {"kind": "Group", "apiGroup": group, "name": "system:nodes"}
    ref = {"apiGroup": group, "kind": "ClusterRole", "name": "audience"}
    await host.add(group, "clusterrolebindings", {"metadata": {"name": "audience"}, "roleRef": ref, "subjects": [subject]})
    await nodes.restrict(token(host, boundObjectRef=bound("plain"), audiences=["cloud"]), host)


async def test_others_are_not_held(host: Any) -> None:
    await nodes.restrict(host.attributes("", "nodes", node(host, "n2")), host)
    nameless = User("system:node:", ("system:nodes",))
    await refused(host.attributes("", "nodes", node(host), user=nameless), host, 'could not determine node from user "system:node:"')
