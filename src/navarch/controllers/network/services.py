"""Services and their pods, as several controllers look for them."""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.controllers.core import endpoints
from navarch.controllers.engine.context import Context
from navarch.machinery import selectors
from navarch.objects import meta


class ServicePods:
    """Finds the services of a pod and the pods of a service."""

    def __init__(self, context: Context) -> None:
        self.services = context.informer(core_v1.Service)
        self._services = context.index(core_v1.Service, "namespace", meta.namespace)
        self._pods = context.index(core_v1.Pod, "namespace", meta.namespace)

    def keys_of_pod(self, pod: core_v1.Pod) -> list[str]:
        labels = meta.of(pod).labels
        if not labels:
            return []
        found = self._services.of(meta.of(pod).namespace or "")
        return [meta.key(s) for s in found if selectors.from_set(endpoints.spec_of(s).selector).matches(labels)]

    def of(self, service: core_v1.Service) -> list[core_v1.Pod]:
        selector = selectors.from_set(endpoints.spec_of(service).selector)
        return [p for p in self._pods.of(meta.of(service).namespace or "") if selector.matches(meta.of(p).labels)]
