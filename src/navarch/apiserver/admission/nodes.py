"""NodeRestriction: a kubelet changes its own node and the pods bound to it, and nothing else.

Upstream counterpart: plugin/pkg/admission/noderestriction.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID

from navarch.api.core import v1 as core_v1
from navarch.api.storage import v1 as storage_v1
from navarch.apiserver.admission.attributes import Attributes, refuse
from navarch.apiserver.authz import references
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question
from navarch.apiserver.served import Catalog
from navarch.machinery import codec, errors

_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN_LABELS = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type", "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
    }
)  # fmt: skip
_KUBELET_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")


class Parts(Protocol):
    """What a kubelet's writes are judged by: what is stored, and what it may do by its roles."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def authorizer(self) -> Authorizer: ...


async def restrict(attributes: Attributes, parts: Parts) -> None:
    """Forbidden to kubelets what is not theirs."""
    user = attributes.user
    node = user.node
    if node is None or attributes.operation not in ("CREATE", "UPDATE", "DELETE"):
        return
    if not node:
        raise refuse(attributes, f'could not determine node from user "{user.name}"')
    match attributes.key:
        case ("", "pods"):
            _pod(attributes, parts, node)
        case ("", "nodes"):
            _node(attributes, node)
        case ("", "persistentvolumeclaims"):
            _claim(attributes, node)
        case ("", "serviceaccounts"):
            if attributes.operation == "CREATE" and attributes.subresource == "token":
                _token(attributes, parts, node)
        case ("coordination.k8s.io", "leases"):
            _lease(attributes, node)
        case ("storage.k8s.io", "csinodes"):
            if _name(attributes) != node:
                raise refuse(attributes, "can only access CSINode with the same name as the requesting node")
        case ("resource.k8s.io", "resourceslices"):
            _slice(attributes, node)
        case ("certificates.k8s.io", "certificatesigningrequests"):
            _request(attributes, node)
        case ("certificates.k8s.io", "podcertificaterequests"):
            raise refuse(attributes, "PodCertificateRequest feature gate is disabled")


def _name(attributes: Attributes) -> str:
    return attributes.name or (attributes.obj.metadata.name if attributes.obj is not None else "") or ""


def _uid(parts: Parts, node: str) -> str:
    """The node's uid. NotFound when it has not registered."""
    entry = parts.catalog.of("", "nodes").cache.get(node)
    if entry is None:
        raise errors.not_found("", "nodes", node)
    return str(codec.tree(entry.body)["metadata"].get("uid") or "")


def _held_pod(parts: Parts, namespace: str, name: str) -> core_v1.Pod:
    entry = parts.catalog.of("", "pods").cache.get(f"{namespace}/{name}")
    if entry is None:
        raise errors.not_found("", "pods", name)
    return codec.decode(core_v1.Pod, entry.body)


# ---- pods ----


def _pod(attributes: Attributes, parts: Parts, node: str) -> None:
    match attributes.subresource, attributes.operation:
        case "", "CREATE":
            _mirror(attributes, parts, node)
        case "", "DELETE":
            if _host(attributes, parts) != node:
                raise refuse(attributes, f'node "{node}" can only delete pods with spec.nodeName set to itself')
        case "", operation:
            raise refuse(attributes, f'unexpected operation "{operation}", node "{node}" can only create and delete mirror pods')
        case "status", "UPDATE":
            _pod_status(attributes, node)
        case "eviction", "CREATE":
            if _host(attributes, parts) != node:
                raise refuse(attributes, f"node {node} can only evict pods with spec.nodeName set to itself")
        case "status" | "eviction", operation:
            raise refuse(attributes, f'unexpected operation "{operation}"')
        case subresource, _:
            raise refuse(attributes, f"unexpected pod subresource \"{subresource}\", only 'status' and 'eviction' are allowed")


def _host(attributes: Attributes, parts: Parts) -> str:
    """The node of the pod a request is about."""
    spec = _held_pod(parts, attributes.namespace, _name(attributes)).spec
    return (spec.nodeName if spec is not None else None) or ""


def _pod_status(attributes: Attributes, node: str) -> None:
    new, old = attributes.obj, attributes.old
    if old.spec.nodeName != node:
        raise refuse(attributes, f'node "{node}" can only update pod status for pods with spec.nodeName set to itself')
    if (new.metadata.labels or {}) != (old.metadata.labels or {}):
        raise refuse(attributes, f'node "{node}" cannot update labels through pod status')
    after, before = new.status or core_v1.PodStatus(), old.status or core_v1.PodStatus()
    if (after.resourceClaimStatuses or []) != (before.resourceClaimStatuses or []):
        raise refuse(attributes, f'node "{node}" cannot update resource claim statues')
    if after.extendedResourceClaimStatus != before.extendedResourceClaimStatus:
        raise refuse(attributes, f'node "{node}" cannot update extended resource claim status')


def _mirror(attributes: Attributes, parts: Parts, node: str) -> None:
    pod: core_v1.Pod = attributes.obj
    assert pod.metadata is not None and pod.spec is not None
    if references.MIRROR not in (pod.metadata.annotations or {}):
        raise refuse(attributes, f'pod does not have "{references.MIRROR}" annotation, node "{node}" can only create mirror pods')
    if pod.spec.nodeName != node:
        raise refuse(attributes, f'node "{node}" can only create pods with spec.nodeName set to itself')
    owners = pod.metadata.ownerReferences or []
    if len(owners) > 1:
        raise refuse(attributes, f'node "{node}" can only create pods with a single owner reference set to itself')
    if not owners or (owners[0].apiVersion, owners[0].kind, owners[0].name) != ("v1", "Node", node):
        raise refuse(attributes, f'node "{node}" can only create pods with an owner reference set to itself')
    owner = owners[0]
    if not owner.controller:
        raise refuse(attributes, f'node "{node}" can only create pods with a controller owner reference set to itself')
    if owner.blockOwnerDeletion:
        raise refuse(attributes, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    uid = _uid(parts, node)
    if owner.uid != uid:
        raise refuse(attributes, f"node {node} UID mismatch: expected {owner.uid} got {uid}")
    if (resource := references.first_in_spec(pod.spec)) is not None:
        raise refuse(attributes, f'node "{node}" can not create pods that reference {resource}')


# ---- nodes ----


def _node(attributes: Attributes, node: str) -> None:
    if _name(attributes) != node:
        raise refuse(attributes, f'node "{node}" is not allowed to modify node "{_name(attributes)}"')
    if attributes.operation == "CREATE":
        _new_node(attributes, node)
    elif attributes.operation == "UPDATE":
        _changed_node(attributes, node)


def _new_node(attributes: Attributes, node: str) -> None:
    made: core_v1.Node = attributes.obj
    if made.spec is not None and made.spec.configSource is not None:
        raise refuse(attributes, f'node "{node}" is not allowed to create pods with a non-nil configSource')
    labels = (made.metadata.labels if made.metadata is not None else None) or {}
    if bad := sorted(k for k in labels if _foreign(k)):
        raise refuse(attributes, f'node "{node}" is not allowed to set the following labels: {", ".join(bad)}')


def _changed_node(attributes: Attributes, node: str) -> None:
    new, old = attributes.obj, attributes.old
    after, before = new.spec or core_v1.NodeSpec(), old.spec or core_v1.NodeSpec()
    if after.configSource is not None and after.configSource != before.configSource:
        raise refuse(attributes, f'node "{node}" is not allowed to update configSource to a new non-nil configSource')
    if (after.taints or []) != (before.taints or []):
        raise refuse(attributes, f'node "{node}" is not allowed to modify taints')
    if (new.metadata.ownerReferences or []) != (old.metadata.ownerReferences or []):
        raise refuse(attributes, f'node "{node}" is not allowed to modify ownerReferences')
    held, made = old.metadata.labels or {}, new.metadata.labels or {}
    if bad := sorted(k for k in {*held, *made} if held.get(k) != made.get(k) and _foreign(k)):
        raise refuse(attributes, f"is not allowed to modify labels: {', '.join(bad)}")


def _foreign(label: str) -> bool:
    """Labels of Kubernetes' own domains are not the kubelet's to set, but for those that say what it runs on."""
    domain = label.split("/", 1)[0] if "/" in label else ""
    if _below(domain, "node-restriction.kubernetes.io"):
        return True
    if label in _OWN_LABELS or any(_below(domain, own) for own in _OWN_DOMAINS):
        return False
    return _below(domain, "kubernetes.io") or _below(domain, "k8s.io")


def _below(domain: str, parent: str) -> bool:
    return domain == parent or domain.endswith(f".{parent}")


# ---- what a node has beside its pods ----


def _claim(attributes: Attributes, node: str) -> None:
    """Of a claim a node says how large its volume is and how it fares."""
    if attributes.subresource != "status":
        raise refuse(attributes, "may only update PVC status")
    if attributes.operation != "UPDATE":
        raise refuse(attributes, f'unexpected operation "{attributes.operation}"')
    if _fixed_of_claim(attributes.obj) != _fixed_of_claim(attributes.old):
        raise refuse(attributes, f'node "{node}" is not allowed to update fields other than status.quantity and status.conditions')


def _fixed_of_claim(claim: core_v1.PersistentVolumeClaim) -> dict[str, Any]:
    """What of a claim a node may not touch."""
    tree = codec.to_tree(claim)
    for name in ("resourceVersion", "managedFields"):
        tree.get("metadata", {}).pop(name, None)
    status = tree.get("status") or {}
    for name in ("capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"):
        status.pop(name, None)
    tree["status"] = status
    return tree


def _lease(attributes: Attributes, node: str) -> None:
    if attributes.namespace != "kube-node-lease":
        raise refuse(attributes, 'can only access leases in the "kube-node-lease" system namespace')
    if _name(attributes) != node:
        raise refuse(attributes, "can only access node lease with the same name as the requesting node")


def _slice(attributes: Attributes, node: str) -> None:
    """What is read and changed is checked by the authorizer; it does not see what is made, nor each of many that are deleted."""
    if attributes.operation not in ("CREATE", "DELETE"):
        return
    held = attributes.obj if attributes.operation == "CREATE" else attributes.old
    if held is None or held.spec is None or held.spec.nodeName != node:
        raise refuse(attributes, f"can only {attributes.operation.lower()} ResourceSlice with the same NodeName as the requesting node")


def _request(attributes: Attributes, node: str) -> None:
    """A node asks for certificates of its own name alone."""
    if attributes.operation != "CREATE" or attributes.obj.spec.signerName not in _KUBELET_SIGNERS:
        return
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(attributes.obj.spec.request or ""))
    except (ValueError, binascii.Error) as error:
        raise refuse(attributes, f"unable to parse csr: {error}") from None
    names = [a.value for a in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names or names[-1] != f"system:node:{node}" or len(names) > 1:
        raise refuse(attributes, f"can only create a node CSR with CN=system:node:{node}")


# ---- tokens ----


def _token(attributes: Attributes, parts: Parts, node: str) -> None:
    """A node gets tokens for pods it runs, for the audiences those pods ask for."""
    spec = attributes.obj.spec
    bound = spec.boundObjectRef if spec is not None else None
    if bound is None or bound.apiVersion != "v1" or bound.kind != "Pod" or not bound.name:
        raise refuse(attributes, "node requested token not bound to a pod")
    if not bound.uid:
        raise refuse(attributes, "node requested token with a pod binding without a uid")
    pod = _held_pod(parts, attributes.namespace, bound.name)
    if pod.metadata is None or pod.metadata.uid != bound.uid:
        gone = "The object might have been deleted and then recreated"
        why = f"the UID in the bound object reference ({bound.uid}) does not match the UID in record. {gone}"
        raise refuse(attributes, why)
    if pod.spec is None or pod.spec.nodeName != node:
        raise refuse(attributes, "node requested token bound to a pod scheduled on a different node")
    audiences = spec.audiences or [""]
    if len(audiences) > 1:
        raise refuse(attributes, "node may only request 0 or 1 audiences")
    _audience(attributes, parts, pod, audiences[0])


def _audience(attributes: Attributes, parts: Parts, pod: core_v1.Pod, audience: str) -> None:
    missing: list[str] = []
    if _asked_for(parts, pod, audience, missing):
        return
    if missing:
        raise refuse(attributes, f'error validating audience "{audience}": {missing[0] if len(missing) == 1 else "[" + ", ".join(missing) + "]"}')
    user = attributes.user
    question = Question("request-serviceaccounts-token-audience", "", audience, "", attributes.namespace, attributes.name, version="v1")
    if audience and parts.authorizer.decide(user, question).allowed:
        return
    raise refuse(attributes, f'audience "{audience}" not found in pod spec volume, {user.name} is not authorized to request tokens for this audience')


def _asked_for(parts: Parts, pod: core_v1.Pod, audience: str, missing: list[str]) -> bool:
    """Whether a volume of the pod needs a token for an audience: a projected one, or one whose CSI driver does."""
    assert pod.spec is not None
    for volume in pod.spec.volumes or ():
        for source in (volume.projected.sources or ()) if volume.projected is not None else ():
            if source.serviceAccountToken is not None and (source.serviceAccountToken.audience or "") == audience:
                return True
        try:
            if (driver := _driver(parts, pod, volume)) and _driver_needs(parts, driver, audience):
                return True
        except errors.NotFound as error:
            missing.append(error.message)
    return False


def _driver(parts: Parts, pod: core_v1.Pod, volume: core_v1.Volume) -> str:
    """The CSI driver behind a volume, or "". NotFound when its claim or volume is missing."""
    assert pod.metadata is not None
    if volume.csi is not None:
        return volume.csi.driver or ""
    if volume.ephemeral is not None and volume.ephemeral.volumeClaimTemplate is not None:
        name = f"{pod.metadata.name}-{volume.name}"
    elif volume.persistentVolumeClaim is not None:
        name = volume.persistentVolumeClaim.claimName or ""
    else:
        return ""
    claim = parts.catalog.of("", "persistentvolumeclaims").cache.get(f"{pod.metadata.namespace}/{name}")
    if claim is None:
        raise errors.not_found("", "persistentvolumeclaims", name)
    spec = codec.decode(core_v1.PersistentVolumeClaim, claim.body).spec
    bound = (spec.volumeName if spec is not None else None) or ""
    held = parts.catalog.of("", "persistentvolumes").cache.get(bound)
    if held is None:
        raise errors.not_found("", "persistentvolumes", bound)
    source = codec.decode(core_v1.PersistentVolume, held.body).spec
    return (source.csi.driver if source is not None and source.csi is not None else None) or ""


def _driver_needs(parts: Parts, driver: str, audience: str) -> bool:
    entry = parts.catalog.of("storage.k8s.io", "csidrivers").cache.get(driver)
    if entry is None:
        raise errors.not_found("storage.k8s.io", "csidrivers", driver)
    spec = codec.decode(storage_v1.CSIDriver, entry.body).spec
    return spec is not None and any((r.audience or "") == audience for r in spec.tokenRequests or ())
