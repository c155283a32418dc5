"""What a pod belongs to: the selectors of its Services and of its controller together, for the default topology spread.

Upstream counterpart: pkg/scheduler/framework/plugins/helper/spread.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.machinery import selectors
from navarch.objects import meta, ownership
from navarch.scheduler.core import topology
from navarch.scheduler.core.profile import Profile
from navarch.scheduler.core.terms import SpreadTerm

CONTROLLERS = (("v1", "ReplicationController"), ("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"))
"""apiVersion and kind of the controllers that count."""


def controller(pod: core_v1.Pod) -> meta_v1.OwnerReference | None:
    """The reference to the pod's controller, when it is of a kind that counts."""
    found = ownership.controller_of(pod)
    return found if found is not None and (found.apiVersion, found.kind) in CONTROLLERS else None


def selector(pod: core_v1.Pod, services: Iterable[core_v1.Service], holder: Any) -> selectors.Selector:
    """All requirements together, of the Services of the pod's namespace that select it and of `holder`, its controller (None: it
    has none). Empty when the pod belongs to nothing."""
    labels = meta.of(pod).labels or {}
    merged: dict[str, str] = {}
    for service in services:
        wanted = service.spec.selector if service.spec else None
        if wanted is not None and all(labels.get(k) == v for k, v in wanted.items()):
            merged |= wanted
    if holder is None or holder.spec is None or holder.spec.selector is None:
        return selectors.from_set(merged)
    if isinstance(holder, core_v1.ReplicationController):
        return selectors.from_set({**merged, **(holder.spec.selector or {})})
    return selectors.Selector((*selectors.from_set(merged).requirements, *selectors.from_object(holder.spec.selector).requirements))


def spreads(pod: core_v1.Pod, belongs: selectors.Selector, profile: Profile) -> tuple[SpreadTerm, ...]:
    """The profile's default constraints for a pod that names none, over the pods it belongs with."""
    if (pod.spec is not None and pod.spec.topologySpreadConstraints) or belongs.empty or belongs.nothing:
        return ()
    return topology.default_spreads(belongs, profile.arguments)
