"""Informers of what pods can belong to: Services and controllers. `core.owners` says what follows from them."""

from __future__ import annotations

from typing import Any

from navarch.api.apps import v1 as apps_v1
from navarch.api.core import v1 as core_v1
from navarch.client.informer import Informer
from navarch.client.rest import Client
from navarch.machinery import selectors
from navarch.objects import meta
from navarch.scheduler.core import owners


class Owners:
    """Knows Services and controllers."""

    def __init__(self, client: Client) -> None:
        by_namespace = {"namespace": meta.namespace}
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
        """What the pods that a pod belongs with have in common."""
        namespace = meta.of(pod).namespace or ""
        reference = owners.controller(pod)
        holder: Any = None
        if reference is not None:
            holder = self._kinds[reference.apiVersion or "", reference.kind or ""].get(reference.name or "", namespace)
        return owners.selector(pod, self._services.by_index("namespace", namespace), holder)
