"""What is to be evaluated for a request: each policy that matches, with each binding that does, and each object the binding hands over.

Upstream counterpart: apiserver's admission/plugin/policy/generic (policy_dispatcher.go).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.matching import Matched
from navarch.apiserver.admission.policies import parameters
from navarch.apiserver.admission.policies.parameters import Misconfigured, Tree
from navarch.apiserver.admission.policies.source import Binding, Policy
from navarch.apiserver.served import Catalog
from navarch.machinery import errors

C = TypeVar("C")
Tell = Callable[[Policy[C], Binding | None, str], None]
"""Told of a policy, or of one of its bindings, that cannot be gone by, and why."""


@dataclass(frozen=True, slots=True)
class Invocation(Generic[C]):
    """A policy with one object of one binding."""

    policy: Policy[C]
    binding: Binding
    matched: Matched
    params: Tree | None

    @property
    def key(self) -> Hashable:
        """What tells it from others for as long as the write lasts."""
        metadata = (self.params or {}).get("metadata") or {}
        return self.policy.name, self.binding.name, metadata.get("namespace", ""), metadata.get("name", "")


async def invocations(
    catalog: Catalog, policies: Iterable[Policy[C]], attributes: Attributes, misconfigured: Tell[C]
) -> AsyncIterator[Invocation[C]]:
    """In the order of policies and bindings. What cannot be gone by is told and left out."""
    for policy in policies:
        kind = policy.spec.paramKind
        try:
            matched = policy.constraints.match(attributes, catalog)
            if matched is None:
                continue
            if kind is not None:
                parameters.served_kind(catalog, kind)
        except (Misconfigured, errors.ApiError) as error:
            misconfigured(policy, None, f"failed to configure policy: {error}")
            continue
        for binding in policy.bindings:
            try:
                if not binding.matches(attributes, catalog):
                    continue
                held = await parameters.collect(catalog, kind, binding.spec.paramRef, attributes.namespace)
            except (Misconfigured, errors.ApiError) as error:
                misconfigured(policy, binding, f"failed to configure binding: {error}")
                continue
            for params in held:
                yield Invocation(policy, binding, matched, params)
