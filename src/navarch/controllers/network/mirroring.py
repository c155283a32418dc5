"""EndpointSlices of Endpoints that a person keeps for a Service without a selector.

Upstream counterpart: pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.controllers.core import endpoints
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.network import slices
from navarch.objects import meta


class MirroringController(Reconciler):
    """Makes slices of Endpoints that somebody keeps by hand for a service without a selector."""

    name = "endpointslicemirroring"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._services = context.informer(core_v1.Service)
        self._endpoints = context.informer(core_v1.Endpoints)
        self._slices = context.index(discovery_v1.EndpointSlice, "service", slices.service_of)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Service, lambda s: [meta.key(s)])
        yield Watch(core_v1.Endpoints, lambda e: [meta.key(e)])
        yield Watch(discovery_v1.EndpointSlice, slices.service_of)

    async def reconcile(self, key: str) -> float | None:
        service, made = self._services.by_key(key), self._endpoints.by_key(key)
        held = [s for s in self._slices.of(key) if (meta.of(s).labels or {}).get(endpoints.MANAGED_BY) == endpoints.MIRRORS]
        if service is None or made is None or not endpoints.mirrored(service, made):
            await slices.write(self._context, endpoints.Difference((), (), tuple(held)))
            return None
        await slices.write(self._context, endpoints.difference(endpoints.mirror_template(made), endpoints.mirror(made), held))
        return None
