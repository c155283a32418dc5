"""The Node authorizer: a kubelet may read what the pods on its node refer to, and write what is its own.

Where upstream keeps a graph, this looks through the pods of the node, which the cache has indexed; what a pod refers to is worked
out once per version of it.

Upstream counterpart: plugin/pkg/auth/authorizer/node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from navarch.api.core import v1 as core_v1
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.questions import Question, Verdict
from navarch.apiserver.authz.references import Reference, of_pod, of_volume
from navarch.apiserver.served import Catalog
from navarch.apiserver.watch_cache import Entry, Scope
from navarch.machinery import codec, selectors

_READ = frozenset({"get", "list", "watch"})
_ALLOWED = Verdict(True)

ALWAYS: Mapping[tuple[str, str], frozenset[str]] = {
    ("", "services"): _READ,
    ("", "endpoints"): frozenset({"get"}),
    ("", "events"): frozenset({"create", "update", "patch"}),
    ("events.k8s.io", "events"): frozenset({"create", "update", "patch"}),
    ("certificates.k8s.io", "certificatesigningrequests"): frozenset({"create", "get", "list", "watch"}),
    ("certificates.k8s.io", "clustertrustbundles"): _READ,
    ("authentication.k8s.io", "tokenreviews"): frozenset({"create"}),
    ("authorization.k8s.io", "subjectaccessreviews"): frozenset({"create"}),
    ("authorization.k8s.io", "localsubjectaccessreviews"): frozenset({"create"}),
    ("node.k8s.io", "runtimeclasses"): _READ,
    ("storage.k8s.io", "csidrivers"): _READ,
}
"""What every node may do, whatever runs on it."""


class NodeAuthorizer:
    """Decides for nodes. A verdict that does not allow leaves the question to others."""

    def __init__(self, catalog: Catalog) -> None:
        self._pods = catalog.of("", "pods")
        self._claims = catalog.of("", "persistentvolumeclaims")
        self._volumes = catalog.of("", "persistentvolumes")
        self._objects = {
            ("storage.k8s.io", "volumeattachments"): catalog.of("storage.k8s.io", "volumeattachments"),
            ("resource.k8s.io", "resourceslices"): catalog.of("resource.k8s.io", "resourceslices"),
        }
        self._references: dict[str, tuple[int, frozenset[Reference]]] = {}
        self._special: Mapping[tuple[str, str], Callable[[str, Question], Verdict]] = {
            ("", "secrets"): self._read,
            ("", "configmaps"): self._read,
            ("", "persistentvolumeclaims"): self._claim,
            ("", "persistentvolumes"): self._get,
            ("resource.k8s.io", "resourceclaims"): self._get,
            ("storage.k8s.io", "volumeattachments"): self._get,
            ("", "serviceaccounts"): self._account,
            ("coordination.k8s.io", "leases"): _lease,
            ("storage.k8s.io", "csinodes"): _csi_node,
            ("resource.k8s.io", "resourceslices"): self._slice,
            ("", "nodes"): _node,
            ("", "pods"): self._pod,
        }

    def decide(self, node: str, user: User, q: Question) -> Verdict:
        if not node:
            return Verdict(False, f'unknown node for user "{user.name}"')
        special = self._special.get((q.group, q.resource))
        if special is not None:
            return special(node, q)
        return _ALLOWED if q.verb in ALWAYS.get((q.group, q.full_resource), ()) else Verdict(False)

    # ---- what a node's pods refer to ----

    def _get(self, node: str, q: Question) -> Verdict:
        if q.verb != "get":
            return Verdict(False, "can only get individual resources of this type")
        if q.subresource:
            return Verdict(False, "cannot get subresource")
        return self._related(node, q)

    def _read(self, node: str, q: Question) -> Verdict:
        if q.verb not in _READ:
            return Verdict(False, "can only read resources of this type")
        if q.subresource:
            return Verdict(False, "cannot read subresource")
        if not q.namespace:
            return Verdict(False, "can only read namespaced object of this type")
        return self._related(node, q)

    def _claim(self, node: str, q: Question) -> Verdict:
        if q.subresource != "status":
            return self._get(node, q)
        if q.verb not in ("update", "patch"):
            return Verdict(False, "can only get/update/patch this type")
        return self._related(node, q)

    def _account(self, node: str, q: Question) -> Verdict:
        if q.verb == "get" and not q.subresource:
            return self._read(node, q)
        if q.verb != "create" or not q.name:
            return Verdict(False, "can only create tokens for individual service accounts")
        if q.subresource != "token":
            return Verdict(False, "can only create token subresource of serviceaccount")
        return self._related(node, q)

    def _slice(self, node: str, q: Question) -> Verdict:
        if q.subresource:
            return Verdict(False, "cannot authorize ResourceSlice subresources")
        match q.verb:
            case "create":
                return _ALLOWED  # admission looks at the node it names
            case "get" | "update" | "patch" | "delete":
                return self._related(node, q)
            case "watch" | "list" | "deletecollection":
                return _confined(node, q, "can only list/watch/deletecollection resourceslices with nodeName field selector")
        verbs = "get, watch, list, create, update, patch, delete, deletecollection"
        return Verdict(False, f"only the following verbs are allowed for a ResourceSlice: {verbs}")

    def _pod(self, node: str, q: Question) -> Verdict:
        match q.subresource, q.verb:
            case "", "get":
                return self._get(node, q)
            case "", "list" | "watch":
                confined = _confined(node, q, "can only list/watch pods with spec.nodeName field selector")
                return self._related(node, q) if q.name and not confined.allowed else confined
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return _ALLOWED  # admission looks at the pod
        return Verdict(False)

    def _related(self, node: str, q: Question) -> Verdict:
        if not q.name:
            return Verdict(False, "No Object name found")
        if self._reaches(node, q):
            return _ALLOWED
        return Verdict(False, f"no relationship found between node '{node}' and this object")

    def _reaches(self, node: str, q: Question) -> bool:
        match q.resource:
            case "pods":
                entry = self._pods.cache.get(f"{q.namespace}/{q.name}")
                return entry is not None and entry.fields["spec.nodeName"] == node
            case "persistentvolumes":
                claim = self._claim_of(q.name)
                return claim is not None and self._refers(node, "persistentvolumeclaims", *claim)
            case "volumeattachments" | "resourceslices":
                served = self._objects[q.group, q.resource]
                entry = served.cache.get(q.name)
                spec = served.decode(entry.body).spec if entry is not None else None
                return spec is not None and spec.nodeName == node
            case "secrets":
                return self._refers(node, "secrets", q.namespace, q.name) or self._by_volume(node, q.namespace, q.name)
        return self._refers(node, q.resource, q.namespace, q.name)

    def _on(self, node: str) -> list[Entry]:
        return self._pods.cache.select(Scope(fields=(selectors.FieldRequirement("spec.nodeName", True, node),)))

    def _refers(self, node: str, resource: str, namespace: str, name: str) -> bool:
        wanted = (resource, name)
        return any(e.namespace == namespace and wanted in self._of(e) for e in self._on(node))

    def _of(self, entry: Entry) -> frozenset[Reference]:
        """What a pod refers to."""
        known = self._references.get(entry.key)
        if known is not None and known[0] == entry.version:
            return known[1]
        if len(self._references) > 2 * len(self._pods.cache) + 1024:
            self._references.clear()  # of pods that are gone
        found = frozenset(of_pod(codec.decode(core_v1.Pod, entry.body)))
        self._references[entry.key] = (entry.version, found)
        return found

    def _volume(self, name: str) -> core_v1.PersistentVolumeSpec | None:
        entry = self._volumes.cache.get(name)
        return codec.decode(core_v1.PersistentVolume, entry.body).spec if entry is not None else None

    def _claim_of(self, volume: str) -> tuple[str, str] | None:
        """Namespace and name of the claim a volume is for, as the volume says: a claim may name any volume."""
        spec = self._volume(volume)
        if spec is None or spec.claimRef is None:
            return None
        return spec.claimRef.namespace or "", spec.claimRef.name or ""

    def _volumes_on(self, node: str) -> Iterator[core_v1.PersistentVolumeSpec]:
        """The volumes that the claims of a node's pods are bound to."""
        for entry in self._on(node):
            for resource, name in self._of(entry):
                held = self._claims.cache.get(f"{entry.namespace}/{name}") if resource == "persistentvolumeclaims" else None
                claim = codec.decode(core_v1.PersistentVolumeClaim, held.body).spec if held is not None else None
                if claim is None or not claim.volumeName or (spec := self._volume(claim.volumeName)) is None or spec.claimRef is None:
                    continue
                if (spec.claimRef.namespace, spec.claimRef.name) == (entry.namespace, name):
                    yield spec

    def _by_volume(self, node: str, namespace: str, secret: str) -> bool:
        return any((namespace, secret) in of_volume(spec) for spec in self._volumes_on(node))


def _confined(node: str, q: Question, why: str) -> Verdict:
    """Lists and watches of what names this node alone."""
    if any(f.equal and f.field == "spec.nodeName" and f.value == node for f in q.fields):
        return _ALLOWED
    return Verdict(False, why)


_OWN_VERBS = frozenset({"get", "create", "update", "patch", "delete"})


def _lease(node: str, q: Question) -> Verdict:
    """A name is not known yet when something is created: admission looks at it then."""
    if q.verb not in _OWN_VERBS:
        return Verdict(False, "can only get, create, update, patch, or delete a node lease")
    if q.namespace != "kube-node-lease":
        return Verdict(False, 'can only access leases in the "kube-node-lease" system namespace')
    if q.verb != "create" and q.name != node:
        return Verdict(False, "can only access node lease with the same name as the requesting node")
    return _ALLOWED


def _csi_node(node: str, q: Question) -> Verdict:
    if q.verb not in _OWN_VERBS:
        return Verdict(False, "can only get, create, update, patch, or delete a CSINode")
    if q.subresource:
        return Verdict(False, "cannot authorize CSINode subresources")
    if q.verb != "create" and q.name != node:
        return Verdict(False, "can only access CSINode with the same name as the requesting node")
    return _ALLOWED


def _node(node: str, q: Question) -> Verdict:
    match q.subresource, q.verb:
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return _ALLOWED  # admission looks at the name
        case "", "get" | "list" | "watch":
            if q.name == node:
                return _ALLOWED
            if not q.name:
                return Verdict(False, f"node '{node}' cannot read all nodes, only its own Node object")
            return Verdict(False, f"node '{node}' cannot read '{q.name}', only its own Node object")
    return Verdict(False)
