"""EndpointSlices of Services with a selector.

Upstream counterpart: pkg/controller/endpointslice.
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.controllers.core import endpoints
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.network import services, slices
from navarch.objects import meta


class EndpointSliceController(Reconciler):
    """Keeps the slices of services that have a selector."""

    name = "endpointslice"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found = services.ServicePods(context)
        self._slices = context.index(discovery_v1.EndpointSlice, "service", slices.service_of)
        self._nodes = context.informer(core_v1.Node)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Service, lambda s: [meta.key(s)])
        yield Watch(core_v1.Pod, self._found.keys_of_pod)
        yield Watch(discovery_v1.EndpointSlice, slices.service_of)

    async def reconcile(self, key: str) -> float | None:
        service = self._found.services.by_key(key)
        held = [s for s in self._slices.of(key) if (meta.of(s).labels or {}).get(endpoints.MANAGED_BY) == endpoints.OURS]
        if service is None or endpoints.spec_of(service).type == "ExternalName" or not endpoints.spec_of(service).selector:
            return None
        if meta.of(service).deletionTimestamp is not None:
            return None
        nodes = {meta.of(n).name or "": n for n in self._nodes.list()}
        wanted = endpoints.slices_for(service, self._found.of(service), nodes)
        await slices.write(self._context, endpoints.difference(endpoints.slice_template(service), wanted, held))
        return None
