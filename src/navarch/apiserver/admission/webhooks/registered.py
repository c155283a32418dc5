"""The webhooks there are, and which of them a request concerns.

Configurations are compiled when they change, in the order of their names. What concerns a kind of request (operation, resource, subresource,
scope) is found out when the first such request comes and remembered until a configuration or the catalog changes: a request that concerns no webhook
costs one look into a table.

Upstream counterparts: apiserver's pkg/admission/configuration (mutating_webhook_manager.go, validating_webhook_manager.go), ShouldCallHook.
"""

from __future__ import annotations

from typing import NamedTuple

from navarch.apiserver.admission import matching
from navarch.apiserver.admission.attributes import Attributes, Kind
from navarch.apiserver.admission.webhooks import hooks
from navarch.apiserver.admission.webhooks.hooks import AnyConfiguration, Hook
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.watch_cache import Cache, Event

GROUP = "admissionregistration.k8s.io"
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
        every, exempt = self.hooks, matching.exempt(attributes)
        made = []
        for place, hook in enumerate(every):
            match = None if exempt else matching.by_rules(hook.rules, hook.equivalent, attributes, self._catalog)
            if match is not None:
                made.append(Candidate(hook, *match, place))
        if len(self._concerned) >= _MOST_REMEMBERED:
            self._concerned.clear()
        self._concerned[key] = tuple(made)
        return self._concerned[key]

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
