"""NodeRestriction: a kubelet changes its own node and the pods bound to it, and nothing else.

Upstream counterpart: plugin/pkg/admission/noderestriction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from navarch.api.core import v1 as core_v1
from navarch.apiserver.admission import Attributes
from navarch.apiserver.admission.serviceaccounts import MIRROR, refuse
from navarch.apiserver.authz.node import references
from navarch.machinery import codec

if TYPE_CHECKING:
    from navarch.apiserver.server import Server

_USER, _GROUP = "system:node:", "system:nodes"
_OWN_PREFIXES = ("kubelet.kubernetes.io/", "node.kubernetes.io/")
_OWN_LABELS = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone", "failure-domain.kubernetes.io/region", "failure-domain.kubernetes.io/zone",
        "topology.kubernetes.io/region", "topology.kubernetes.io/zone", "node.kubernetes.io/windows-build",
    }
)  # fmt: skip


async def restrict(attributes: Attributes, server: Server) -> None:
    """Forbidden to kubelets what is not theirs."""
    user = attributes.context.user
    if _GROUP not in user.groups or not user.name.startswith(_USER):
        return
    node = user.name.removeprefix(_USER)
    match attributes.key:
        case ("", "pods"):
            _pod(attributes, server, node)
        case ("", "nodes"):
            _node(attributes, node)
        case ("", "persistentvolumeclaims"):
            if attributes.subresource != "status":
                raise refuse(attributes, "may only update PVC status")
        case ("", "serviceaccounts"):
            if attributes.subresource == "token":
                _token(attributes, server, node)
        case ("coordination.k8s.io", "leases"):
            _lease(attributes, node)
        case ("storage.k8s.io", "csinodes"):
            if _name(attributes) != node:
                raise refuse(attributes, "can only access CSINode with the same name as the requesting node")
        case ("resource.k8s.io", "resourceslices"):
            _slice(attributes, node)


def _name(attributes: Attributes) -> str:
    return attributes.name or (attributes.obj.metadata.name if attributes.obj is not None else "") or ""


def _pod(attributes: Attributes, server: Server, node: str) -> None:
    operation, subresource = attributes.operation, attributes.subresource
    if subresource == "status":
        if attributes.old.spec.nodeName != node:
            raise refuse(attributes, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
        if attributes.obj.metadata.labels != attributes.old.metadata.labels:
            raise refuse(attributes, f'node "{node}" cannot update labels through pod status')
        return
    if subresource == "eviction":
        entry = server.catalog.of("", "pods").cache.get(f"{attributes.namespace}/{_name(attributes)}")
        if entry is not None and entry.fields.get("spec.nodeName") != node:
            raise refuse(attributes, f"node {node} can only evict pods with spec.nodeName set to itself")
        return
    if subresource:
        raise refuse(attributes, f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed")
    if operation == "CREATE":
        _mirror(attributes, node)
    elif operation == "DELETE":
        if attributes.old is not None and attributes.old.spec.nodeName != node:
            raise refuse(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')
    else:
        raise refuse(attributes, f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods')


def _mirror(attributes: Attributes, node: str) -> None:
    pod: core_v1.Pod = attributes.obj
    assert pod.metadata is not None and pod.spec is not None
    if MIRROR not in (pod.metadata.annotations or {}):
        raise refuse(attributes, f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods')
    if pod.spec.nodeName != node:
        raise refuse(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
    owners = pod.metadata.ownerReferences or []
    if len(owners) > 1:
        raise refuse(attributes, f'node "{node}" can only create pods with a single owner reference set to itself')
    for owner in owners:
        if (owner.apiVersion, owner.kind, owner.name) != ("v1", "Node", node):
            raise refuse(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
        if not owner.controller:
            raise refuse(attributes, f'node "{node}" can only create pods with a controller owner reference set to itself')
        if owner.blockOwnerDeletion:
            raise refuse(attributes, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    for resource, name in references(pod):
        if not (resource == "serviceaccounts" and not pod.spec.serviceAccountName and name == "default"):
            raise refuse(attributes, f'node "{node}" can not create pods that reference {resource}')


def _node(attributes: Attributes, node: str) -> None:
    if _name(attributes) != node:
        raise refuse(attributes, f'node "{node}" is not allowed to modify node "{_name(attributes)}"')
    if attributes.operation == "CREATE":
        bad = sorted(k for k in attributes.obj.metadata.labels or {} if _foreign(k))
        if bad:
            raise refuse(attributes, f'node "{node}" is not allowed to set the following labels: {", ".join(bad)}')
    elif attributes.operation == "UPDATE":
        new, old = attributes.obj, attributes.old
        if (new.spec.taints or []) != (old.spec.taints or []) if new.spec and old.spec else False:
            raise refuse(attributes, f'node "{node}" is not allowed to modify taints')
        if (new.metadata.ownerReferences or []) != (old.metadata.ownerReferences or []):
            raise refuse(attributes, f'node "{node}" is not allowed to modify ownerReferences')
        held, made = old.metadata.labels or {}, new.metadata.labels or {}
        bad = sorted(k for k in {*held, *made} if held.get(k) != made.get(k) and _foreign(k))
        if bad:
            raise refuse(attributes, f"is not allowed to modify labels: {', '.join(bad)}")


def _foreign(label: str) -> bool:
    """Labels of Kubernetes' own domains are not the kubelet's to set, but for those that say what it runs on."""
    if label in _OWN_LABELS:
        return False
    domain = label.split("/", 1)[0] if "/" in label else ""
    if domain == "node-restriction.kubernetes.io" or domain.endswith(".node-restriction.kubernetes.io"):
        return True
    reserved = domain in ("kubernetes.io", "k8s.io") or domain.endswith((".kubernetes.io", ".k8s.io"))
    own = any(domain == p[:-1] or domain.endswith("." + p[:-1]) for p in _OWN_PREFIXES)
    return reserved and not own


def _token(attributes: Attributes, server: Server, node: str) -> None:
    spec = attributes.obj.spec
    bound = spec.boundObjectRef if spec is not None else None
    if bound is None or bound.kind != "Pod" or not bound.name:
        raise refuse(attributes, "node requested token not bound to a pod")
    if not bound.uid:
        raise refuse(attributes, "node requested token with a pod binding without a uid")
    entry = server.catalog.of("", "pods").cache.get(f"{attributes.namespace}/{bound.name}")
    if entry is None:
        raise refuse(attributes, f'pod "{bound.name}" not found')
    pod = codec.decode(core_v1.Pod, entry.body)
    if pod.metadata is None or pod.metadata.uid != bound.uid:
        gone = "The object might have been deleted and then recreated"
        why = f"the UID in the bound object reference ({bound.uid}) does not match the UID in record. {gone}"
        raise refuse(attributes, why)
    if pod.spec is None or pod.spec.nodeName != node:
        raise refuse(attributes, "node requested token bound to a pod scheduled on a different node")


def _lease(attributes: Attributes, node: str) -> None:
    if attributes.namespace != "kube-node-lease":
        raise refuse(attributes, 'can only access leases in the "kube-node-lease" system namespace')
    if _name(attributes) != node:
        raise refuse(attributes, "can only access node lease with the same name as the requesting node")


def _slice(attributes: Attributes, node: str) -> None:
    held = attributes.obj if attributes.operation == "CREATE" else attributes.old
    if held is None or held.spec is None:
        return
    if attributes.operation in ("CREATE", "DELETE") and held.spec.nodeName != node:
        verb = "create" if attributes.operation == "CREATE" else "delete"
        raise refuse(attributes, f"can only {verb} ResourceSlice with the same NodeName as the requesting node")
