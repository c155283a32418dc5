"""Which requests a rule is about: operations, groups, versions, resources with subresources, and scope.

Upstream counterpart: apiserver's pkg/admission/plugin/webhook/predicates/rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_ANY = "*"


class RuleFields(Protocol):
    """A rule as it is configured: RuleWithOperations, or one of a policy."""

    @property
    def operations(self) -> list[str] | None: ...
    @property
    def apiGroups(self) -> list[str] | None: ...
    @property
    def apiVersions(self) -> list[str] | None: ...
    @property
    def resources(self) -> list[str] | None: ...
    @property
    def scope(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as far as rules look at it. `namespaced`: it is within a namespace, and is none itself."""

    operation: str
    group: str
    version: str
    plural: str
    subresource: str
    namespaced: bool


@dataclass(frozen=True, slots=True)
class Rule:
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """(plural, subresource)."""
    scope: str

    def matches(self, subject: Subject) -> bool:
        return (
            self._in_scope(subject.namespaced)
            and _has(self.operations, subject.operation)
            and _has(self.groups, subject.group)
            and _has(self.versions, subject.version)
            and any(p in (_ANY, subject.plural) and s in (_ANY, subject.subresource) for p, s in self.resources)
        )

    def _in_scope(self, namespaced: bool) -> bool:
        return self.scope == _ANY or (self.scope == "Namespaced") is namespaced


def compiled(rule: RuleFields) -> Rule:
    """A rule that can be asked."""
    parts = (resource.partition("/") for resource in rule.resources or ())
    return Rule(
        frozenset(rule.operations or ()),
        frozenset(rule.apiGroups or ()),
        frozenset(rule.apiVersions or ()),
        tuple((plural, subresource) for plural, _, subresource in parts),
        rule.scope or _ANY,
    )


def _has(items: frozenset[str], wanted: str) -> bool:
    return wanted in items or _ANY in items
