"""The default roles and bindings, cluster-wide and of kube-system and kube-public.

The aggregated roles `admin`, `edit` and `view` are born with the rules that aggregation will give them, so that they work before
any controller runs. Two roles are Navarch's own: the controller manager is one user here, so that user is bound to every
controller's role; and the cluster's DNS reads what it answers from.

Upstream counterpart: plugin/pkg/auth/authorizer/rbac/bootstrappolicy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from navarch.api.meta import v1 as meta_v1
from navarch.api.rbac import v1 as rbac_v1
from navarch.api.scalars import Object
from navarch.apiserver.authz import policy_controllers, policy_users
from navarch.apiserver.authz.rules import Paths, Rule

_GROUP = "rbac.authorization.k8s.io"
_CONTROLLER_MANAGER = "system:kube-controller-manager"
_DNS = "system:coredns"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_LEADER = (
    Rule("create get list update watch", "coordination.k8s.io", "leases"),
    Rule("create get list update watch", "coordination.k8s.io", "leasecandidates"),
)
_EVENTS = Rule("create patch update", "core events.k8s.io", "events")

AGGREGATED: Mapping[str, tuple[str, ...]] = {
    "admin": ("system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view"),
    "edit": ("system:aggregate-to-edit", "system:aggregate-to-view"),
    "view": ("system:aggregate-to-view",),
}
"""Aggregated role → the roles whose rules it has."""

_JOINS: Mapping[str, str] = {
    "edit": "admin",
    "view": "edit",
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
}
"""Role → the aggregated role it is labelled for."""

_OWN: Mapping[str, tuple[Rule | Paths, ...]] = {
    _DNS: (Rule("list watch", "core", "endpoints namespaces pods services"), Rule("list watch", "discovery.k8s.io", "endpointslices")),
}

Subject = tuple[str, str]
"""Kind and name; a service account's name is `namespace/name`."""

CLUSTER_BINDINGS: Mapping[str, tuple[Subject, ...]] = {
    "cluster-admin": (("Group", "system:masters"),),
    "system:basic-user": (("Group", "system:authenticated"),),
    "system:discovery": (("Group", "system:authenticated"),),
    _CONTROLLER_MANAGER: (("User", _CONTROLLER_MANAGER),),
    "system:kube-dns": (("ServiceAccount", "kube-system/kube-dns"),),
    "system:kube-scheduler": (("User", "system:kube-scheduler"),),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:node": (),
    "system:node-proxier": (("User", "system:kube-proxy"),),
    "system:public-info-viewer": (("Group", "system:authenticated"), ("Group", "system:unauthenticated")),
    "system:service-account-issuer-discovery": (("Group", "system:serviceaccounts"),),
    "system:volume-scheduler": (("User", "system:kube-scheduler"),),
    _DNS: (("User", _DNS),),
}
"""Binding (and cluster role) → its subjects."""

NAMESPACED: Mapping[tuple[str, str], tuple[Rule, ...]] = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        Rule("get list watch", "core", "configmaps"),
        Rule("update", "core", "configmaps", "cluster-info"),
        _EVENTS,
    ),
    ("kube-system", "extension-apiserver-authentication-reader"): (
        Rule("get list watch", "core", "configmaps", "extension-apiserver-authentication"),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): _LEADER,
    ("kube-system", "system::leader-locking-kube-scheduler"): _LEADER,
    ("kube-system", "system:controller:bootstrap-signer"): (Rule("get list watch", "core", "secrets"),),
    ("kube-system", "system:controller:cloud-provider"): (Rule("create get list watch", "core", "configmaps"),),
    ("kube-system", "system:controller:token-cleaner"): (Rule("delete get list watch", "core", "secrets"), _EVENTS),
}

NAMESPACED_BINDINGS: Mapping[tuple[str, str], tuple[str, tuple[Subject, ...]]] = {
    ("kube-public", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        (("ServiceAccount", "kube-system/bootstrap-signer"),),
    ),
    ("kube-system", "system::extension-apiserver-authentication-reader"): (
        "extension-apiserver-authentication-reader",
        (("User", _CONTROLLER_MANAGER), ("User", "system:kube-scheduler")),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        "system::leader-locking-kube-controller-manager",
        (
            ("User", _CONTROLLER_MANAGER),
            ("ServiceAccount", "kube-system/kube-controller-manager"),
            ("ServiceAccount", "kube-system/leader-election-controller"),
        ),
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        "system::leader-locking-kube-scheduler",
        (("User", "system:kube-scheduler"), ("ServiceAccount", "kube-system/kube-scheduler")),
    ),
    ("kube-system", "system:controller:bootstrap-signer"): (
        "system:controller:bootstrap-signer",
        (("ServiceAccount", "kube-system/bootstrap-signer"),),
    ),
    ("kube-system", "system:controller:cloud-provider"): (
        "system:controller:cloud-provider",
        (("ServiceAccount", "kube-system/cloud-provider"),),
    ),
    ("kube-system", "system:controller:token-cleaner"): (
        "system:controller:token-cleaner",
        (("ServiceAccount", "kube-system/token-cleaner"),),
    ),
}
"""(namespace, binding) → role and subjects."""


def objects() -> list[Object]:
    """Every default role and binding."""
    return [*_cluster_roles(), *_cluster_bindings(), *_roles(), *_bindings()]


def _metadata(name: str, namespace: str = "") -> meta_v1.ObjectMeta:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    if not namespace and name in _JOINS:
        labels[_AGGREGATE + _JOINS[name]] = "true"
    annotations = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    return meta_v1.ObjectMeta(name=name, namespace=namespace or None, labels=labels, annotations=annotations)


def _policies(rules: Iterable[Rule | Paths]) -> list[rbac_v1.PolicyRule]:
    return [r.policy() for r in rules]


def _cluster_roles() -> Iterator[rbac_v1.ClusterRole]:
    for table in (policy_users.ROLES, policy_controllers.ROLES, _OWN):
        for name, rules in table.items():
            yield rbac_v1.ClusterRole(metadata=_metadata(name), rules=_policies(rules))
    for name, parts in AGGREGATED.items():
        selector = meta_v1.LabelSelector(matchLabels={_AGGREGATE + name: "true"})
        merged = dict.fromkeys(rule for part in parts for rule in policy_users.ROLES[part])
        yield rbac_v1.ClusterRole(
            metadata=_metadata(name),
            aggregationRule=rbac_v1.AggregationRule(clusterRoleSelectors=[selector]),
            rules=_policies(merged),
        )


def _subjects(subjects: Iterable[Subject]) -> list[rbac_v1.Subject]:
    made: list[rbac_v1.Subject] = []
    for kind, name in subjects:
        if kind == "ServiceAccount":
            namespace, _, account = name.partition("/")
            made.append(rbac_v1.Subject(kind=kind, name=account, namespace=namespace))
        else:
            made.append(rbac_v1.Subject(kind=kind, name=name, apiGroup=_GROUP))
    return made


def _cluster_binding(name: str, role: str, subjects: Iterable[Subject]) -> rbac_v1.ClusterRoleBinding:
    reference = rbac_v1.RoleRef(apiGroup=_GROUP, kind="ClusterRole", name=role)
    return rbac_v1.ClusterRoleBinding(metadata=_metadata(name), roleRef=reference, subjects=_subjects(subjects) or None)


def _cluster_bindings() -> Iterator[rbac_v1.ClusterRoleBinding]:
    for name, subjects in CLUSTER_BINDINGS.items():
        yield _cluster_binding(name, name, subjects)
    for name in policy_controllers.ROLES:
        account = name.removeprefix("system:controller:")
        subjects = (("ServiceAccount", f"kube-system/{account}"), ("User", _CONTROLLER_MANAGER))
        yield _cluster_binding(name, name, subjects)


def _roles() -> Iterator[rbac_v1.Role]:
    for (namespace, name), rules in NAMESPACED.items():
        yield rbac_v1.Role(metadata=_metadata(name, namespace), rules=_policies(rules))


def _bindings() -> Iterator[rbac_v1.RoleBinding]:
    for (namespace, name), (role, subjects) in NAMESPACED_BINDINGS.items():
        reference = rbac_v1.RoleRef(apiGroup=_GROUP, kind="Role", name=role)
        yield rbac_v1.RoleBinding(metadata=_metadata(name, namespace), roleRef=reference, subjects=_subjects(subjects))
