"""The Endpoints object of Services with a selector: the older form of EndpointSlices.

Upstream counterpart: pkg/controller/endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers.core import endpoints
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.controllers.network import services
from navarch.machinery import codec, errors
from navarch.objects import meta

MADE_BY = "endpoints.kubernetes.io/managed-by"
MADE_BY_US = "endpoint-controller"


class EndpointsController(Reconciler):
    """Keeps the Endpoints object of services that have a selector."""

    name = "endpoints"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found = services.ServicePods(context)
        self._endpoints = context.informer(core_v1.Endpoints)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Service, lambda s: [meta.key(s)])
        yield Watch(core_v1.Pod, self._found.keys_of_pod)
        yield Watch(core_v1.Endpoints, lambda e: [meta.key(e)])

    async def reconcile(self, key: str) -> float | None:
        service = self._found.services.by_key(key)
        held = self._endpoints.by_key(key)
        if service is None:
            await self._remove_orphan(held)
            return None
        if not endpoints.spec_of(service).selector or endpoints.spec_of(service).type == "ExternalName" or meta.deleted(service):
            return None
        made = self._made(service, held)
        if held is None:
            await self._context.client.create(made)
        elif codec.encode(made) != codec.encode(held):
            await self._context.client.update(made)
        return None

    async def _remove_orphan(self, held: core_v1.Endpoints | None) -> None:
        """Endpoints that this controller made go with their service."""
        if held is None or (meta.of(held).labels or {}).get(MADE_BY) != MADE_BY_US:
            return
        try:
            await self._context.client.delete(core_v1.Endpoints, meta.of(held).name or "", meta.of(held).namespace or "", uid=meta.of(held).uid)
        except (errors.NotFound, errors.Conflict):
            return

    def _made(self, service: core_v1.Service, held: core_v1.Endpoints | None) -> core_v1.Endpoints:
        m = meta.of(service)
        labels = {k: v for k, v in (m.labels or {}).items() if k != endpoints.HEADLESS} | {MADE_BY: MADE_BY_US}
        if endpoints.is_headless(service):
            labels[endpoints.HEADLESS] = ""
        base = meta.of(held) if held is not None else meta_v1.ObjectMeta(name=m.name, namespace=m.namespace)
        return core_v1.Endpoints(
            apiVersion="v1",
            kind="Endpoints",
            metadata=msgspec.structs.replace(base, labels=labels),
            subsets=endpoints.subsets_for(service, self._found.of(service)) or None,
        )
