"""The Node authorizer: a kubelet may read what the pods on its node refer to, and write what is its own.

Upstream counterpart: plugin/pkg/auth/authorizer/node. Where upstream keeps a graph, this walks the pods of the node, which
the cache has indexed.
"""

from __future__ import annotations

from collections.abc import Iterator

from navarch.api.core import v1 as core_v1
from navarch.api.storage import v1 as storage_v1
from navarch.apiserver.authz import Question, Verdict
from navarch.apiserver.context import User
from navarch.apiserver.served import Catalog
from navarch.apiserver.watch_cache import Scope
from navarch.machinery import codec, selectors

_GROUP = "system:nodes"
_PREFIX = "system:node:"
_READ = frozenset({"get", "list", "watch"})
_DENY = "no relationship found between node '{node}' and this object"

ALWAYS: tuple[tuple[frozenset[str], str, str], ...] = (
    (frozenset({"create", "get", "list", "watch"}), "", "nodes"),
    (frozenset({"update", "patch"}), "", "nodes/status"),
    (frozenset({"update", "patch"}), "", "nodes"),
    (_READ, "", "services"),
    (_READ, "", "pods"),
    (frozenset({"create", "delete"}), "", "pods"),
    (frozenset({"update", "patch"}), "", "pods/status"),
    (frozenset({"create"}), "", "pods/eviction"),
    (frozenset({"create", "update", "patch"}), "", "events"),
    (frozenset({"create", "get", "list", "watch"}), "certificates.k8s.io", "certificatesigningrequests"),
    (frozenset({"create"}), "authentication.k8s.io", "tokenreviews"),
    (frozenset({"create"}), "authorization.k8s.io", "subjectaccessreviews"),
    (frozenset({"create"}), "authorization.k8s.io", "localsubjectaccessreviews"),
    (_READ, "node.k8s.io", "runtimeclasses"),
    (_READ, "storage.k8s.io", "csidrivers"),
    (frozenset({"get", "list", "watch", "create", "update", "patch", "delete"}), "resource.k8s.io", "resourceslices"),
    (frozenset({"deletecollection"}), "resource.k8s.io", "resourceslices"),
    (_READ, "certificates.k8s.io", "clustertrustbundles"),
)

_OWN_VERBS = frozenset({"get", "create", "update", "patch", "delete"})
OWN: dict[tuple[str, str], tuple[str, str, str]] = {
    ("coordination.k8s.io", "leases"): ("kube-node-lease", "node lease", "get, create, update, patch, or delete a node lease"),
    ("storage.k8s.io", "csinodes"): ("", "CSINode", "get, create, update, patch, or delete a CSINode"),
}
"""What a node has one of, under its own name: the namespace, what it is called, what may be done with it."""


class NodeAuthorizer:
    """Decides for users in the group system:nodes."""

    def __init__(self, catalog: Catalog) -> None:
        self._pods = catalog.of("", "pods")
        self._claims = catalog.of("", "persistentvolumeclaims")
        self._attachments = catalog.of("storage.k8s.io", "volumeattachments")

    @staticmethod
    def concerns(user: User) -> bool:
        return _GROUP in user.groups and user.name.startswith(_PREFIX)

    def decide(self, user: User, q: Question) -> Verdict:
        node = user.name.removeprefix(_PREFIX)
        for verbs, group, resource in ALWAYS:
            if q.verb in verbs and q.group == group and q.full_resource == resource:
                return Verdict(True)
        if own := OWN.get((q.group, q.resource)):
            return _may_own(node, q, *own)
        if q.group == "" and self._may_core(node, q):
            return Verdict(True)
        if (q.group, q.resource) == ("storage.k8s.io", "volumeattachments") and q.verb == "get":
            return Verdict(self._attached(node, q.name), _DENY.format(node=node))
        if (q.group, q.resource) == ("resource.k8s.io", "resourceclaims") and q.verb == "get":
            return Verdict(self._refers(node, q), _DENY.format(node=node))
        return Verdict(False, _DENY.format(node=node) if q.name else "")

    def _may_core(self, node: str, q: Question) -> bool:
        match q.resource, q.subresource:
            case ("secrets" | "configmaps", ""):
                return q.verb in _READ and bool(q.name) and self._refers(node, q)
            case ("serviceaccounts", "token"):
                return q.verb == "create" and self._refers(node, q)
            case ("serviceaccounts", ""):
                return q.verb == "get" and self._refers(node, q)
            case ("persistentvolumeclaims", ""):
                return q.verb == "get" and self._refers(node, q)
            case ("persistentvolumeclaims", "status"):
                return q.verb in ("get", "update", "patch") and self._refers(node, q)
            case ("persistentvolumes", ""):
                return q.verb == "get" and self._uses_volume(node, q.name)
        return False

    def pods(self, node: str) -> Iterator[core_v1.Pod]:
        scope = Scope(fields=(selectors.FieldRequirement("spec.nodeName", True, node),))
        for entry in self._pods.cache.select(scope):
            yield codec.decode(core_v1.Pod, entry.body)

    def _refers(self, node: str, q: Question) -> bool:
        return any((q.resource, q.name) in set(references(pod)) for pod in self.pods(node) if pod.metadata and pod.metadata.namespace == q.namespace)

    def _uses_volume(self, node: str, volume: str) -> bool:
        for pod in self.pods(node):
            assert pod.metadata is not None
            for resource, name in references(pod):
                if resource == "persistentvolumeclaims":
                    entry = self._claims.cache.get(f"{pod.metadata.namespace}/{name}")
                    claim = codec.decode(core_v1.PersistentVolumeClaim, entry.body) if entry else None
                    if claim is not None and claim.spec is not None and claim.spec.volumeName == volume:
                        return True
        return False

    def _attached(self, node: str, name: str) -> bool:
        entry = self._attachments.cache.get(name)
        if entry is None:
            return False
        attachment = codec.decode(storage_v1.VolumeAttachment, entry.body)
        return attachment.spec is not None and attachment.spec.nodeName == node


def _may_own(node: str, q: Question, namespace: str, called: str, may: str) -> Verdict:
    """A node's own object only. The name is not known yet when it is created: admission looks at it then."""
    if q.verb not in _OWN_VERBS:
        return Verdict(False, f"can only {may}")
    if q.subresource:
        return Verdict(False, f"cannot authorize {called} subresources")
    if q.namespace != namespace:
        return Verdict(False, f"can only access leases in the {namespace!r} system namespace".replace("'", '"'))
    if q.verb != "create" and q.name != node:
        return Verdict(False, f"can only access {called} with the same name as the requesting node")
    return Verdict(True)


def references(pod: core_v1.Pod) -> Iterator[tuple[str, str]]:
    """(resource, name) of everything in its namespace that a pod refers to."""
    spec = pod.spec
    if spec is None:
        return
    yield "serviceaccounts", spec.serviceAccountName or "default"
    for secret in spec.imagePullSecrets or ():
        yield "secrets", secret.name or ""
    for container in (*(spec.initContainers or ()), *(spec.containers or ()), *(spec.ephemeralContainers or ())):
        for source in container.envFrom or ():
            if source.configMapRef:
                yield "configmaps", source.configMapRef.name or ""
            if source.secretRef:
                yield "secrets", source.secretRef.name or ""
        for variable in container.env or ():
            if variable.valueFrom and variable.valueFrom.configMapKeyRef:
                yield "configmaps", variable.valueFrom.configMapKeyRef.name or ""
            if variable.valueFrom and variable.valueFrom.secretKeyRef:
                yield "secrets", variable.valueFrom.secretKeyRef.name or ""
    for volume in spec.volumes or ():
        yield from _volume_references(pod, volume)
    for status in (pod.status.resourceClaimStatuses or ()) if pod.status else ():
        yield "resourceclaims", status.resourceClaimName or ""
    for claim in spec.resourceClaims or ():
        if claim.resourceClaimName:
            yield "resourceclaims", claim.resourceClaimName


def _volume_references(pod: core_v1.Pod, volume: core_v1.Volume) -> Iterator[tuple[str, str]]:
    if volume.configMap:
        yield "configmaps", volume.configMap.name or ""
    if volume.secret:
        yield "secrets", volume.secret.secretName or ""
    if volume.persistentVolumeClaim:
        yield "persistentvolumeclaims", volume.persistentVolumeClaim.claimName or ""
    if volume.ephemeral and pod.metadata:
        yield "persistentvolumeclaims", f"{pod.metadata.name}-{volume.name}"
    if volume.csi and volume.csi.nodePublishSecretRef:
        yield "secrets", volume.csi.nodePublishSecretRef.name or ""
    for source in (volume.projected.sources or ()) if volume.projected else ():
        if source.configMap:
            yield "configmaps", source.configMap.name or ""
        if source.secret:
            yield "secrets", source.secret.name or ""
