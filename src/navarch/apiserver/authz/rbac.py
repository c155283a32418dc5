"""RBAC: roles and bindings, compiled when they change.

Bindings are indexed by subject, so a decision looks only at the rules the user has. Aggregated cluster roles are kept
up to date by a controller, not here.

Upstream counterpart: plugin/pkg/auth/authorizer/rbac.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from navarch.api.rbac import v1 as rbac_v1
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.questions import Question, Verdict
from navarch.apiserver.served import Catalog
from navarch.apiserver.watch_cache import Cache, Event
from navarch.machinery import codec

_GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy rule as sets."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    paths: tuple[str, ...]

    def allows(self, q: Question) -> bool:
        if q.verb not in self.verbs and "*" not in self.verbs:
            return False
        if not q.resource:
            return any(p == "*" or p == q.path or (p.endswith("*") and q.path.startswith(p[:-1])) for p in self.paths)
        if q.group not in self.groups and "*" not in self.groups:
            return False
        if not self._covers(q):
            return False
        return not self.names or q.name in self.names

    def _covers(self, q: Question) -> bool:
        held = self.resources
        return "*" in held or q.full_resource in held or (bool(q.subresource) and f"*/{q.subresource}" in held)


def rule_of(rule: rbac_v1.PolicyRule) -> Rule:
    return Rule(
        frozenset(rule.verbs or ()),
        frozenset(rule.apiGroups or ()),
        frozenset(rule.resources or ()),
        frozenset(rule.resourceNames or ()),
        tuple(rule.nonResourceURLs or ()),
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """A binding of a role: `namespace` is "" when it holds everywhere."""

    binding: str
    namespace: str
    role: tuple[str, str]
    """(namespace, name); namespace "" for a ClusterRole."""

    subject: str


class Rbac:
    """Decides by what roles and bindings there are now."""

    def __init__(self, catalog: Catalog) -> None:
        self._caches: dict[str, Cache] = {
            plural: catalog.of(_GROUP, plural).cache for plural in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
        }
        self.generation = 0
        self._built = -1
        self._rules: dict[tuple[str, str], tuple[rbac_v1.PolicyRule, ...]] = {}
        self._compiled: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._grants: dict[tuple[str, str], list[Grant]] = {}

    def changed(self, cache: Cache, event: Event) -> None:
        """Told of every event of the server; notes those that matter."""
        del event
        if cache in self._caches.values():
            self.generation += 1

    def _build(self) -> None:
        if self._built == self.generation:
            return
        self._rules, self._compiled, self._grants = {}, {}, {}
        for entry in self._caches["clusterroles"].select_all():
            role = codec.decode(rbac_v1.ClusterRole, entry.body)
            self._add_role(("", entry.name), role.rules)
        for entry in self._caches["roles"].select_all():
            namespaced = codec.decode(rbac_v1.Role, entry.body)
            self._add_role((entry.namespace, entry.name), namespaced.rules)
        for entry in self._caches["clusterrolebindings"].select_all():
            self._bind(codec.decode(rbac_v1.ClusterRoleBinding, entry.body), "")
        for entry in self._caches["rolebindings"].select_all():
            self._bind(codec.decode(rbac_v1.RoleBinding, entry.body), entry.namespace)
        self._built = self.generation

    def _add_role(self, key: tuple[str, str], rules: list[rbac_v1.PolicyRule] | None) -> None:
        self._rules[key] = tuple(rules or ())
        self._compiled[key] = tuple(rule_of(r) for r in rules or ())

    def _bind(self, binding: rbac_v1.ClusterRoleBinding | rbac_v1.RoleBinding, namespace: str) -> None:
        if binding.roleRef is None or binding.metadata is None:
            return
        cluster_wide = binding.roleRef.kind == "ClusterRole"
        role = ("" if cluster_wide else namespace, binding.roleRef.name or "")
        for subject in binding.subjects or ():
            kind, name = subject.kind or "", subject.name or ""
            if kind == "ServiceAccount":
                kind, name = "User", f"system:serviceaccount:{subject.namespace or namespace}:{name}"
            grant = Grant(binding.metadata.name or "", namespace, role, f"{kind} {name}")
            self._grants.setdefault((kind, name), []).append(grant)

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """The bindings that hold for a user in a namespace ("" for cluster scope)."""
        self._build()
        for subject in (("User", user.name), *(("Group", g) for g in user.groups)):
            for grant in self._grants.get(subject, ()):
                if not grant.namespace or grant.namespace == namespace:
                    yield grant

    def decide(self, user: User, question: Question) -> Verdict:
        missing: list[str] = []
        for grant in self.grants(user, question.namespace):
            rules = self._compiled.get(grant.role)
            if rules is None:
                missing.append(_missing(grant))
            elif any(rule.allows(question) for rule in rules):
                return Verdict(True, _granted(grant))
        return Verdict(False, f"RBAC: {missing[0] if len(missing) == 1 else '[' + ', '.join(missing) + ']'}" if missing else "")

    def rules(self, user: User, namespace: str) -> list[rbac_v1.PolicyRule]:
        """All rules a user has in a namespace: what SelfSubjectRulesReview tells, and what escalation is checked against."""
        return [rule for grant in self.grants(user, namespace) for rule in self._rules.get(grant.role, ())]

    def role_rules(self, namespace: str, name: str) -> tuple[rbac_v1.PolicyRule, ...] | None:
        """The rules of a role (namespace "" for a cluster role), None when it does not exist."""
        self._build()
        return self._rules.get((namespace, name))


def _missing(grant: Grant) -> str:
    kind = "role" if grant.role[0] else "clusterrole"
    return f'{kind}.rbac.authorization.k8s.io "{grant.role[1]}" not found'


def _granted(grant: Grant) -> str:
    kind = "RoleBinding" if grant.namespace else "ClusterRoleBinding"
    where = f"{grant.binding}/{grant.namespace}" if grant.namespace else grant.binding
    role = "Role" if grant.role[0] else "ClusterRole"
    subject_kind, _, name = grant.subject.partition(" ")
    return f'RBAC: allowed by {kind} "{where}" of {role} "{grant.role[1]}" to {subject_kind} "{name}"'
