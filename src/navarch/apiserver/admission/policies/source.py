"""The policies there are, with their bindings, and which of them a request may concern.

They are followed as they change (`changed`), one at a time; a policy is compiled when a request first concerns it. Which ones an operation
on a resource can concern at all is remembered until a policy, a binding or what is served changes.

Upstream counterpart: apiserver's admission/plugin/policy/generic (policy_source.go).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.apiserver import background
from navarch.apiserver.admission import matching
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.matching import Constraints
from navarch.apiserver.served import Catalog, Served
from navarch.apiserver.storage import Storage
from navarch.apiserver.watch_cache import Cache, Event

_log = logging.getLogger(__name__)
C = TypeVar("C")
"""A policy, compiled."""
_REMEMBERED = 4096
_WEIGHT = 8
"""How much more work it is to compile a byte than to decode it."""
_GROUP = "admissionregistration.k8s.io"
AnyPolicy = admission_v1.ValidatingAdmissionPolicy | admission_v1.MutatingAdmissionPolicy
AnyBinding = admission_v1.ValidatingAdmissionPolicyBinding | admission_v1.MutatingAdmissionPolicyBinding


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding, with what it matches; None for all that its policy does."""

    name: str
    spec: admission_v1.ValidatingAdmissionPolicyBindingSpec | admission_v1.MutatingAdmissionPolicyBindingSpec
    constraints: Constraints | None

    def matches(self, attributes: Attributes, catalog: Catalog) -> bool:
        return self.constraints is None or self.constraints.match(attributes, catalog) is not None


class Policy(Generic[C]):
    """A policy and what it matches."""

    def __init__(self, name: str, spec: Any, size: int, compile: Callable[[Any], C]) -> None:
        self.name = name
        self._size = size
        self.spec = spec
        self.ignore = spec.failurePolicy == "Ignore"
        self.constraints = matching.constraints(spec.matchConstraints)
        self.bindings: tuple[Binding, ...] = ()
        self._compile = compile
        self._compiled: C | None = None

    @property
    def compiled(self) -> C:
        """After `prepare`."""
        assert self._compiled is not None
        return self._compiled

    async def prepare(self) -> None:
        """Compiles it, if it was not yet: expressions take a fraction of a millisecond each, and there may be many."""
        if self._compiled is None:
            self._compiled = await background.run(_WEIGHT * self._size, self._compile, self.spec)

    def concerns(self, attributes: Attributes, versions: tuple[Served, ...]) -> bool:
        """Whether it can concern any request like this one: names and selectors are not looked at."""
        held = self.constraints
        candidates = versions if held.equivalent else versions[:1]
        return any(rule.may_match(served, attributes.operation, attributes.subresource) for rule in held.rules for served in candidates)


class Source(Generic[C]):
    """The policies of one kind."""

    def __init__(self, catalog: Catalog, storage: Storage, policies: str, compile: Callable[[Any], C]) -> None:
        self.catalog = catalog
        self._loaded = False
        self._compile = compile
        self._served = catalog.of(_GROUP, policies)
        self._bound = catalog.of(_GROUP, policies.removesuffix("policies") + "policybindings")
        self._policies: dict[str, Policy[C]] = {}
        self._bindings: dict[str, tuple[str, Binding]] = {}
        self._by_policy: dict[str, dict[str, Binding]] = {}
        self._known: dict[tuple[str, ...], tuple[Policy[C], ...]] = {}
        self._generation = -1
        storage.listen(self.changed)

    def _load(self) -> None:
        """Takes what was there before the first request."""
        self._loaded = True
        for entry in self._served.cache.select_all():
            self._take_policy(entry.name, entry.body)
        for entry in self._bound.cache.select_all():
            self._take_binding(entry.name, entry.body)

    def changed(self, cache: Cache, event: Event) -> None:
        """Told of every event of the server; takes those that matter."""
        if not self._loaded or (cache is not self._served.cache and cache is not self._bound.cache):
            return
        take = self._take_policy if cache is self._served.cache else self._take_binding
        entry = event.new or event.old
        assert entry is not None
        take(entry.name, event.new.body if event.new is not None else None)

    def concerning(self, attributes: Attributes) -> tuple[Policy[C], ...]:
        """The policies with bindings that can concern a request, in the order of their names."""
        if not self._by_policy:
            if self._loaded:
                return ()
            self._load()
        resource = attributes.served.resource
        key = (attributes.operation, resource.group, resource.version, resource.plural, attributes.subresource)
        if self._generation != self.catalog.generation or len(self._known) > _REMEMBERED:
            self._known.clear()
            self._generation = self.catalog.generation
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(attributes)
        return found

    def _find(self, attributes: Attributes) -> tuple[Policy[C], ...]:
        if matching.exempt(attributes):
            return ()
        versions = (attributes.served, *self.catalog.equivalents(attributes.served))
        held = (self._policies[name] for name in sorted(self._policies))
        return tuple(policy for policy in held if policy.bindings and policy.concerns(attributes, versions))

    def _take_policy(self, name: str, body: bytes | None) -> None:
        self._known.clear()
        if body is None:
            self._policies.pop(name, None)
            return
        try:
            policy = Policy(name, self._served.decode(body).spec, len(body), self._compile)
        except (ValueError, AttributeError) as error:
            # It was stored before what is written was held to the rules.
            _log.warning("policy %s is not gone by: %s", name, error)
            self._policies.pop(name, None)
            return
        policy.bindings = self._bindings_of(name)
        self._policies[name] = policy

    def _take_binding(self, name: str, body: bytes | None) -> None:
        self._known.clear()
        before = self._bindings.pop(name, None)
        if before is not None:
            held = self._by_policy[before[0]]
            del held[name]
            if not held:
                del self._by_policy[before[0]]
            self._rebind(before[0])
        if body is not None:
            spec = self._bound.decode(body).spec
            match = spec.matchResources
            binding = Binding(name, spec, None if match is None else matching.constraints(match, everything=True))
            self._bindings[name] = (spec.policyName, binding)
            self._by_policy.setdefault(spec.policyName, {})[name] = binding
            self._rebind(spec.policyName)

    def _rebind(self, policy: str) -> None:
        if policy in self._policies:
            self._policies[policy].bindings = self._bindings_of(policy)

    def _bindings_of(self, policy: str) -> tuple[Binding, ...]:
        held = self._by_policy.get(policy, {})
        return tuple(held[name] for name in sorted(held))
