"""Which requests a policy or webhook is asked about: rules, selectors of namespaces and objects, other versions of the same resource.

In: the constraints of a configuration, read once (`Constraints`), and the attributes of a request. Out: the resource and kind that the
constraints name it by (`Matched`), None when they do not.

A rule says: operations, groups, versions, resources with subresources, scope. Where it names another version of a resource than the one
that was asked for, an Equivalent match finds it all the same, and the object is shown in that version.

Upstream counterparts: apiserver's admission/plugin/policy/matching, admission/plugin/webhook/predicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.admission.attributes import Attributes, Kind
from navarch.apiserver.served import Catalog, Served
from navarch.machinery import errors, selectors
from navarch.machinery.selectors import Selector

CONFIGURATIONS = frozenset(
    {
        "validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
    }
)  # fmt: skip
"""Of admissionregistration.k8s.io: what says who is asked is never asked about, or nobody could mend it."""
_GROUP = "admissionregistration.k8s.io"


class AnyRule(Protocol):
    """Named or not."""

    operations: list[str] | None
    apiGroups: list[str] | None
    apiVersions: list[str] | None
    resources: list[str] | None
    scope: str | None


class Matched(NamedTuple):
    """By what name constraints match: group, version and resource, and the kind its objects are of."""

    served: Served
    kind: Kind


def exempt(attributes: Attributes) -> bool:
    group, plural = attributes.key
    return group == _GROUP and plural in CONFIGURATIONS


@dataclass(frozen=True, slots=True)
class Rule:
    """Sets that hold `*` hold everything."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: frozenset[tuple[str, str]]
    scope: str
    names: frozenset[str]
    """Empty for all."""

    def may_match(self, served: Served, operation: str, subresource: str) -> bool:
        """Whether it names an operation on a resource, whatever the object."""
        resource = served.resource
        return (
            _holds(self.operations, operation)
            and _holds(self.groups, resource.group)
            and _holds(self.versions, resource.version)
            and any((r in ("*", resource.plural)) and s in ("*", subresource) for r, s in self.resources)
        )

    def matches(self, served: Served, attributes: Attributes) -> bool:
        return (
            self.may_match(served, attributes.operation, attributes.subresource)
            and (self.scope == "*" or (self.scope == "Namespaced") == _in_a_namespace(attributes))
            and (not self.names or attributes.name in self.names)
        )


def _holds(held: frozenset[str], wanted: str) -> bool:
    return wanted in held or "*" in held


def _in_a_namespace(attributes: Attributes) -> bool:
    """A namespace is in none, though requests for it name one."""
    return bool(attributes.namespace) and attributes.key != ("", "namespaces")


def rule(held: AnyRule, names: Iterable[str] = ()) -> Rule:
    resources = frozenset((r, s) for r, _, s in (text.partition("/") for text in held.resources or ()))
    return Rule(
        frozenset(held.operations or ()),
        frozenset(held.apiGroups or ()),
        frozenset(held.apiVersions or ()),
        resources,
        held.scope or "*",
        frozenset(names),
    )


@dataclass(frozen=True, slots=True)
class Constraints:
    """`everything`: without rules all is matched, as the match resources of bindings are."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    equivalent: bool
    namespaces: Selector
    objects: Selector
    everything: bool = False

    def match(self, attributes: Attributes, catalog: Catalog) -> Matched | None:
        """ApiError when the namespace is not there whose labels matter."""
        if not self.objects.empty and not (_selects(self.objects, attributes.obj) or _selects(self.objects, attributes.old)):
            return None
        if self.excluded and by_rules(self.excluded, self.equivalent, attributes, catalog) is not None:
            return None
        found = _whole(attributes) if self.everything and not self.rules else by_rules(self.rules, self.equivalent, attributes, catalog)
        if found is None or not self._in_namespaces(attributes, catalog):
            return None
        return found

    def _in_namespaces(self, attributes: Attributes, catalog: Catalog) -> bool:
        if self.namespaces.empty or (not attributes.namespace and attributes.key != ("", "namespaces")):
            return True
        return self.namespaces.matches(namespace_labels(attributes, catalog))


def _whole(attributes: Attributes) -> Matched:
    return Matched(attributes.served, attributes.kind)


def by_rules(rules: Sequence[Rule], equivalent: bool, attributes: Attributes, catalog: Catalog) -> Matched | None:
    """By what name rules match a request. `equivalent`: they may name another version of the resource; those that come first decide."""
    if any(one.matches(attributes.served, attributes) for one in rules):
        return _whole(attributes)
    if not equivalent:
        return None
    subresource = attributes.subresource
    others = [o for o in catalog.equivalents(attributes.served) if not subresource or subresource in o.resource.subresources]
    for one in rules:
        for served in others:
            if one.matches(served, attributes):
                return Matched(served, attributes.kind_in(served))
    return None


def namespace_labels(attributes: Attributes, catalog: Catalog) -> dict[str, str]:
    """Those of the request's namespace; of one that is written, those it will have. NotFound."""
    if attributes.key == ("", "namespaces") and not attributes.subresource and attributes.operation in ("CREATE", "UPDATE"):
        return dict(attributes.obj.metadata.labels or {})
    name = attributes.namespace or attributes.name
    entry = catalog.of("", "namespaces").cache.get(name)
    if entry is None:
        raise errors.not_found("", "namespaces", name)
    return dict(entry.labels)


def _selects(selector: Selector, obj: object) -> bool:
    metadata = getattr(obj, "metadata", None)
    return metadata is not None and selector.matches(metadata.labels)


def constraints(held: admission_v1.MatchResources, *, everything: bool = False) -> Constraints:
    """Of a policy, or (`everything`) of a binding. ValueError for selectors that are none."""
    return Constraints(
        tuple(rule(r, r.resourceNames or ()) for r in held.resourceRules or ()),
        tuple(rule(r, r.resourceNames or ()) for r in held.excludeResourceRules or ()),
        held.matchPolicy != "Exact",
        selector(held.namespaceSelector),
        selector(held.objectSelector),
        everything,
    )


def selector(held: meta_v1.LabelSelector | None) -> Selector:
    """None selects everything, as a default does."""
    return selectors.EVERYTHING if held is None else selectors.from_object(held)
