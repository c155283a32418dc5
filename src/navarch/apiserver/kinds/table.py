"""The tables of all groups joined: resource → its strategy.

A resource that is in none gets the structural checks of its type and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from navarch.apiserver.kinds import (
    admissionregistration,
    apiextensions,
    apiregistration,
    apps,
    autoscaling,
    batch,
    certificates,
    coordination,
    discovery,
    flowcontrol,
    networking,
    node,
    policy,
    rbac,
    resource,
    scheduling,
    storage,
)
from navarch.apiserver.kinds.core import configuration, endpoints, events, namespaces, nodes, quotas, replication, services, volumes
from navarch.apiserver.kinds.pods import kind as pods
from navarch.apiserver.kinds.strategy import Key, Obj, Strategy
from navarch.machinery import errors

KINDS: Mapping[Key, Strategy] = {
    **pods.KINDS,
    **configuration.KINDS,
    **endpoints.KINDS,
    **events.KINDS,
    **namespaces.KINDS,
    **nodes.KINDS,
    **quotas.KINDS,
    **replication.KINDS,
    **services.KINDS,
    **volumes.KINDS,
    **admissionregistration.KINDS,
    **apiextensions.KINDS,
    **apiregistration.KINDS,
    **apps.KINDS,
    **autoscaling.KINDS,
    **batch.KINDS,
    **certificates.KINDS,
    **coordination.KINDS,
    **discovery.KINDS,
    **flowcontrol.KINDS,
    **networking.KINDS,
    **node.KINDS,
    **policy.KINDS,
    **rbac.KINDS,
    **resource.KINDS,
    **scheduling.KINDS,
    **storage.KINDS,
}

VIRTUAL: frozenset[tuple[str, str, str]] = frozenset(
    {
        ("", "v1", "bindings"), ("", "v1", "componentstatuses"),
        ("authentication.k8s.io", "v1", "tokenreviews"), ("authentication.k8s.io", "v1", "selfsubjectreviews"),
        ("authorization.k8s.io", "v1", "localsubjectaccessreviews"), ("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "v1", "selfsubjectrulesreviews"), ("authorization.k8s.io", "v1", "subjectaccessreviews"),
    }
)  # fmt: skip
"""Resources that are asked and answered but never stored (`verbs.reviews`)."""

_PLAIN = Strategy()


def of(group: str, plural: str) -> Strategy:
    """The strategy of a resource."""
    return _READ.get((group, plural), _PLAIN)


def reading(strategy: Strategy) -> Strategy:
    """A strategy whose defaulting, which reads amounts and the like, refuses a body that holds none there. BadRequest."""

    def run(obj: Obj, default: Callable[[Obj], None] = strategy.default) -> None:
        try:
            default(obj)
        except ValueError as error:
            version = obj.apiVersion.rpartition("/")[2]
            raise errors.BadRequest(f'{obj.kind} in version "{version}" cannot be handled as a {obj.kind}: {error}') from None

    return replace(strategy, default=run)


_READ = {key: reading(strategy) for key, strategy in KINDS.items()}
