"""What a pod belongs to: the selectors of its Services and of its controller together, for the default topology spread.

Upstream counterpart: pkg/scheduler/framework/plugins/helper/spread.go.
"""

from __future__ import annotations

from typing import Any

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client.informer import Informer
from navarch.client.rest import Client
from navarch.machinery import selectors


class Owners:
    """Knows Services and controllers."""

    def __init__(self, client: Client) -> None:
        by_namespace = {"namespace": lambda obj: [obj.metadata.namespace or ""]}
        self._services = Informer(client, core_v1.Service, indexes=by_namespace)
        self._kinds: dict[tuple[str, str], Informer[Any]] = {
            ("v1", "ReplicationController"): Informer(client, core_v1.ReplicationController),
            ("apps/v1", "ReplicaSet"): Informer(client, apps_v1.ReplicaSet),
            ("apps/v1", "StatefulSet"): Informer(client, apps_v1.StatefulSet),
        }

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        return self._services, *self._kinds.values()

    def selector(self, pod: core_v1.Pod) -> selectors.Selector:
        """All requirements together; empty when the pod belongs to nothing."""
        m = pod.metadata or meta_v1.ObjectMeta()
        labels, namespace = m.labels or {}, m.namespace or ""
        merged: dict[str, str] = {}
        for service in self._services.by_index("namespace", namespace):
            wanted = service.spec.selector if service.spec else None
            if wanted is not None and all(labels.get(k) == v for k, v in wanted.items()):
                merged |= wanted
        requirements = selectors.from_set(merged).requirements
        owner = next((o for o in m.ownerReferences or () if o.controller), None)
        informer = self._kinds.get((owner.apiVersion or "", owner.kind or "")) if owner is not None else None
        holder: Any = informer.get(owner.name or "", namespace) if informer is not None and owner is not None else None
        if holder is None or holder.spec is None or holder.spec.selector is None:
            return selectors.Selector(requirements)
        if isinstance(holder, core_v1.ReplicationController):
            return selectors.Selector(selectors.from_set({**merged, **(holder.spec.selector or {})}).requirements)
        return selectors.Selector((*requirements, *selectors.from_object(holder.spec.selector).requirements))
