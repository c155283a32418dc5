"""The webhooks there are, and which of them a request concerns.

Configurations are compiled when they change, in the order of their names. What concerns a kind of request (operation, resource, subresource,
scope) is found out when the first such request comes and remembered until a configuration or the catalog changes: a request that concerns no webhook
costs one look into a table.

Upstream counterparts: apiserver's pkg/admission/configuration (mutating_webhook_manager.go, validating_webhook_manager.go), ShouldCallHook.
"""

from __future__ import annotations

from typing import NamedTuple

from navarch.apiserver.admission.attributes import Attributes, Kind
from navarch.apiserver.admission.webhooks import hooks
from navarch.apiserver.admission.webhooks.hooks import AnyConfiguration, Hook
from navarch.apiserver.admission.webhooks.rules import Subject
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.watch_cache import Cache, Event

GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    {
        "validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
    }
)  # fmt: skip
"""What admission is configured by is never asked about: nobody could mend a webhook that refuses everything."""
_MOST_REMEMBERED = 16_384


class Candidate(NamedTuple):
    """A webhook whose rules match, and the resource it is asked about: the request's, or the same in a version that its rules name."""

    hook: Hook
    served: Served
    kind: Kind
    place: int
    """Its number among all webhooks."""


Candidates = tuple[Candidate, ...]
_NONE: Candidates = ()


class Registered:
    """The webhooks of one resource of configurations."""

    def __init__(self, catalog: Catalog, plural: str) -> None:
        self._catalog = catalog
        self._served = catalog.of(GROUP, plural)
        self._compiled: dict[str, tuple[int, tuple[Hook, ...]]] = {}
        self._hooks: tuple[Hook, ...] | None = None
        self._generation = -1
        self._concerned: dict[tuple[str, str, str, str, str, bool], Candidates] = {}

    def changed(self, cache: Cache, event: Event) -> None:
        """Told of every change in the store."""
        del event
        if cache is self._served.cache:
            self._hooks = None

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """All webhooks, in the order they are called."""
        if self._hooks is None:
            self._hooks = self._compile()
            self._concerned.clear()
        return self._hooks

    def concerned(self, attributes: Attributes) -> Candidates:
        """The webhooks whose rules match a request, in order."""
        if self._hooks == ():
            return _NONE
        if self._hooks is None or self._generation != self._catalog.generation:
            self._generation = self._catalog.generation
            self._concerned.clear()
        r = attributes.served.resource
        key = (r.group, r.version, r.plural, attributes.subresource, attributes.operation, bool(attributes.namespace))
        found = self._concerned.get(key)
        return self._find(attributes, key) if found is None else found

    def _find(self, attributes: Attributes, key: tuple[str, str, str, str, str, bool]) -> Candidates:
        every = self.hooks
        made = []
        for place, hook in enumerate(every):
            match = None if (key[0] == GROUP and key[2] in EXEMPT) else self._match(hook, attributes)
            if match is not None:
                made.append(Candidate(hook, *match, place))
        if len(self._concerned) >= _MOST_REMEMBERED:
            self._concerned.clear()
        self._concerned[key] = tuple(made)
        return self._concerned[key]

    def _match(self, hook: Hook, attributes: Attributes) -> tuple[Served, Kind] | None:
        """The resource a webhook is asked about; None when its rules do not match. Rules that come first decide."""
        served, subresource = attributes.served, attributes.subresource
        if any(rule.matches(_subject(attributes, served)) for rule in hook.rules):
            return served, attributes.kind
        if not hook.equivalent:
            return None
        others = [(o, kind) for o in self._equivalents(served) if (kind := kind_of(o, subresource)) is not None]
        for rule in hook.rules:
            for other, kind in others:
                if rule.matches(_subject(attributes, other)):
                    return other, kind
        return None

    def _equivalents(self, served: Served) -> list[Served]:
        """The same objects by other names: other versions, and groups that they were moved between."""
        return [other for other in self._catalog if other.cache is served.cache and other is not served]

    def _compile(self) -> tuple[Hook, ...]:
        entries = sorted(self._served.cache.select_all(), key=lambda entry: entry.name)
        kept = {}
        for entry in entries:
            known = self._compiled.get(entry.name)
            if known is None or known[0] != entry.version:
                configuration: AnyConfiguration = self._served.decode(entry.body)
                known = (entry.version, hooks.compiled(configuration))
            kept[entry.name] = known
        self._compiled = kept
        return tuple(hook for _, found in kept.values() for hook in found)


def kind_of(served: Served, subresource: str) -> Kind | None:
    """The kind of what a resource, or its subresource, takes; None when it has no such subresource."""
    resource = served.resource
    if not subresource:
        return Kind(resource.group, resource.version, resource.kind)
    declared = resource.subresources.get(subresource)
    return None if declared is None else Kind(declared.group, declared.version, declared.kind)


def _subject(attributes: Attributes, served: Served) -> Subject:
    r = served.resource
    namespaced = bool(attributes.namespace) and (r.group, r.plural) != ("", "namespaces")
    return Subject(attributes.operation, r.group, r.version, r.plural, attributes.subresource, namespaced)
