"""The kinds and what is particular about each: the table from resource to strategy.

`strategy.py` says what a strategy is; one module per API group holds the hooks. A resource that is not in the table gets the
structural checks of its type and nothing more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

from navarch.apiserver.registry.strategy import Obj, Strategy
from navarch.apiserver.watch_cache import Selectable
from navarch.machinery import errors, names

Key = tuple[str, str]

GENERATION: frozenset[Key] = frozenset(
    {
        ("", "pods"), ("", "podtemplates"), ("", "replicationcontrollers"),
        ("apps", "daemonsets"), ("apps", "deployments"), ("apps", "replicasets"), ("apps", "statefulsets"),
        ("batch", "cronjobs"), ("batch", "jobs"), ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "ingresses"), ("networking.k8s.io", "ingressclasses"), ("networking.k8s.io", "networkpolicies"),
        ("policy", "poddisruptionbudgets"), ("scheduling.k8s.io", "priorityclasses"), ("storage.k8s.io", "csidrivers"),
        ("flowcontrol.apiserver.k8s.io", "flowschemas"), ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
        ("resource.k8s.io", "deviceclasses"), ("resource.k8s.io", "resourceslices"), ("resource.k8s.io", "devicetaintrules"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies"), ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    }
)  # fmt: skip

CREATE_ON_UPDATE: frozenset[Key] = frozenset(
    {
        ("coordination.k8s.io", "leases"), ("coordination.k8s.io", "leasecandidates"), ("", "endpoints"), ("", "events"),
        ("", "limitranges"), ("", "services"), ("node.k8s.io", "runtimeclasses"), ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"), ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
    }
)  # fmt: skip

RETURNS_DELETED: frozenset[Key] = frozenset(
    {
        ("", "namespaces"), ("", "persistentvolumes"), ("", "persistentvolumeclaims"), ("", "pods"), ("", "podtemplates"),
        ("", "resourcequotas"), ("", "services"), ("", "serviceaccounts"), ("resource.k8s.io", "deviceclasses"),
        ("resource.k8s.io", "resourceclaims"), ("resource.k8s.io", "resourceclaimtemplates"), ("resource.k8s.io", "resourceslices"),
        ("storage.k8s.io", "csidrivers"), ("storage.k8s.io", "csinodes"), ("storage.k8s.io", "csistoragecapacities"),
        ("storage.k8s.io", "storageclasses"), ("storage.k8s.io", "volumeattachments"), ("storage.k8s.io", "volumeattributesclasses"),
    }
)  # fmt: skip

PATH_NAMES: frozenset[str] = frozenset({"clusterroles", "clusterrolebindings", "roles", "rolebindings"})
"""RBAC names may be anything a URL path segment can be ("system:node")."""

_ADMISSION = "admissionregistration.k8s.io"
CONDITIONAL_UPDATE: frozenset[Key] = frozenset(
    {
        ("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices"),
        (_ADMISSION, "mutatingwebhookconfigurations"), (_ADMISSION, "validatingwebhookconfigurations"),
        (_ADMISSION, "mutatingadmissionpolicies"), (_ADMISSION, "mutatingadmissionpolicybindings"),
        (_ADMISSION, "validatingadmissionpolicies"), (_ADMISSION, "validatingadmissionpolicybindings"),
        ("coordination.k8s.io", "leases"), ("node.k8s.io", "runtimeclasses"), ("policy", "poddisruptionbudgets"),
        ("storage.k8s.io", "csidrivers"), ("storage.k8s.io", "csinodes"), ("storage.k8s.io", "csistoragecapacities"),
        ("storage.k8s.io", "volumeattachments"),
    }
)  # fmt: skip

STATUS_ON_CREATE: frozenset[Key] = frozenset({("", "nodes"), ("apiregistration.k8s.io", "apiservices")})


def _fields(*names: str) -> tuple[Selectable, ...]:
    return tuple(Selectable(n) for n in names)


SELECTABLE_FIELDS: Mapping[Key, tuple[Selectable, ...]] = {
    ("", "pods"): (
        *_fields("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase", "status.podIP"),
        Selectable("spec.hostNetwork", absent="false"),
        Selectable("status.nominatedNodeName"),
    ),
    ("", "events"): (
        *_fields("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion"),
        *_fields("involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "type"),
        Selectable("source", "source.component", otherwise="reportingComponent"),
    ),
    ("", "namespaces"): _fields("status.phase"),
    ("", "nodes"): (Selectable("spec.unschedulable", absent="false"),),
    ("", "secrets"): _fields("type"),
    ("", "services"): _fields("spec.clusterIP", "spec.type"),
    ("", "replicationcontrollers"): (Selectable("status.replicas", absent="0"),),
    ("apps", "replicasets"): (Selectable("status.replicas", absent="0"),),
    ("batch", "jobs"): (Selectable("status.successful", "status.succeeded", "0"),),
    ("certificates.k8s.io", "certificatesigningrequests"): _fields("spec.signerName"),
    ("resource.k8s.io", "resourceslices"): _fields("spec.nodeName", "spec.driver"),
}

INDEXED_FIELDS: Mapping[Key, tuple[str, ...]] = {
    ("", "pods"): ("spec.nodeName",),
    ("", "events"): ("involvedObject.uid",),
}

SERVED_VERSIONS: frozenset[tuple[str, str, str]] = frozenset()
"""Versions served although they are not stable. Upstream serves none of them by default."""

VIRTUAL: frozenset[tuple[str, str, str]] = frozenset(
    {
        ("", "v1", "bindings"), ("", "v1", "componentstatuses"),
        ("authentication.k8s.io", "v1", "tokenreviews"), ("authentication.k8s.io", "v1", "selfsubjectreviews"),
        ("authorization.k8s.io", "v1", "localsubjectaccessreviews"), ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "v1", "selfsubjectrulesreviews"), ("authorization.k8s.io", "v1", "subjectaccessreviews"),
    }
)  # fmt: skip
"""Resources that are asked and answered but never stored (`verbs.reviews`)."""


@functools.cache
def _table() -> dict[Key, Strategy]:
    from navarch.apiserver.registry import table

    return table.STRATEGIES


def _decoding(default: Callable[[Obj], None]) -> Callable[[Obj], None]:
    """Defaulting reads amounts: one that is none is a body that cannot be read."""

    def run(obj: Obj) -> None:
        try:
            default(obj)
        except ValueError as error:
            version = obj.apiVersion.rpartition("/")[2]
            raise errors.BadRequest(f'{obj.kind} in version "{version}" cannot be handled as a {obj.kind}: {error}') from None

    return run


def strategy(group: str, plural: str) -> Strategy:
    """The strategy of a resource: its hooks, and what the sets above say of it."""
    key = (group, plural)
    found = _table().get(key, Strategy())
    return replace(
        found,
        default=_decoding(found.default),
        generation=key in GENERATION,
        create_on_update=key in CREATE_ON_UPDATE,
        conditional_update=key in CONDITIONAL_UPDATE,
        returns_deleted=key in RETURNS_DELETED,
        status_on_create=key in STATUS_ON_CREATE,
        name=names.path_segment if plural in PATH_NAMES else found.name,
    )
