"""EndpointSlices as they are found and written, whoever decides what they hold."""

from __future__ import annotations

from navarch.api.discovery import v1 as discovery_v1
from navarch.controllers.core import endpoints
from navarch.controllers.engine.context import Context
from navarch.machinery import errors
from navarch.objects import meta


async def write(context: Context, change: endpoints.Difference) -> None:
    """Carries a difference out: first what adds, then what takes away."""
    client = context.client
    for made in change.create:
        await client.create(made)
    for made in change.update:
        await client.update(made)
    for gone in change.delete:
        if meta.of(gone).deletionTimestamp is None:
            try:
                await client.delete(discovery_v1.EndpointSlice, meta.of(gone).name or "", meta.of(gone).namespace or "", uid=meta.of(gone).uid)
            except (errors.NotFound, errors.Conflict):
                continue


def service_of(obj: discovery_v1.EndpointSlice) -> list[str]:
    """An index by the key of the service a slice belongs to."""
    name = (meta.of(obj).labels or {}).get(endpoints.SERVICE_NAME)
    return [f"{meta.of(obj).namespace}/{name}"] if name else []
