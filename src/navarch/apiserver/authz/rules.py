"""How the default roles are written down: a rule is a line of words."""

from __future__ import annotations

from dataclasses import dataclass

from navarch.api.rbac import v1 as rbac_v1


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on resources of groups, each a list of words; the group "" is written `core`."""

    verbs: str
    groups: str
    resources: str
    names: str = ""

    def policy(self) -> rbac_v1.PolicyRule:
        return rbac_v1.PolicyRule(
            verbs=self.verbs.split(),
            apiGroups=["" if g == "core" else g for g in self.groups.split()],
            resources=self.resources.split(),
            resourceNames=self.names.split() or None,
        )


@dataclass(frozen=True, slots=True)
class Paths:
    """Verbs on paths that are no resources."""

    verbs: str
    paths: str

    def policy(self) -> rbac_v1.PolicyRule:
        return rbac_v1.PolicyRule(verbs=self.verbs.split(), nonResourceURLs=self.paths.split())
