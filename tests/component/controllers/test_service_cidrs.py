"""Ranges of Services' addresses become ready, and stay while an address is in them alone."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.networking import v1 as networking_v1
from navarch.controllers import loop
from navarch.controllers.core import service_ranges
from navarch.lib import tasks
from navarch.machinery import errors
from navarch.testing import server, waiting


def cidr(name: str, *cidrs: str) -> networking_v1.ServiceCIDR:
    return networking_v1.ServiceCIDR(metadata=meta_v1.ObjectMeta(name=name), spec=networking_v1.ServiceCIDRSpec(cidrs=list(cidrs)))


@pytest.mark.asyncio
async def test_a_range_goes_when_no_address_needs_it(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_ranges, "GRACE_SECONDS", 0.0)
    async with server.running() as api, tasks.Group() as group:
        config = str(api.write_kubeconfig(tmp_path / "config"))
        ready = asyncio.Event()
        group.start("controllers", loop.run(loop.Options(config, leader_elect=False, controllers=("service-cidr-controller",)), ready.set))
        await ready.wait()

        async def condition(name: str) -> tuple[str, str, bool] | None:
            try:
                found = await api.client.get(networking_v1.ServiceCIDR, name)
            except errors.NotFound:
                return "gone", "", False
            said = next((c for c in (found.status.conditions or ()) if c.type == "Ready"), None) if found.status else None
            kept = bool(found.metadata and service_ranges.FINALIZER in (found.metadata.finalizers or ()))
            return None if said is None else (str(said.status), said.reason or "", kept)

        async def becomes(name: str, wanted: tuple[str, str, bool]) -> None:
            async def is_so() -> bool:
                return await condition(name) == wanted

            await waiting.until(is_so)

        await becomes("kubernetes", ("True", "", True))
        await api.client.create(cidr("more", "172.31.0.0/28"))
        await becomes("more", ("True", "", True))
        ns = await api.namespace()
        metadata = meta_v1.ObjectMeta(name="s", namespace=ns)
        spec = core_v1.ServiceSpec(clusterIP="172.31.0.3", ports=[core_v1.ServicePort(port=80)])
        await api.client.create(core_v1.Service(metadata=metadata, spec=spec))
        await api.client.delete(networking_v1.ServiceCIDR, "more")
        await becomes("more", ("False", "Terminating", True))
        with pytest.raises(errors.Invalid):
            other = core_v1.ServiceSpec(clusterIP="172.31.0.4", ports=[core_v1.ServicePort(port=80)])
            await api.client.create(core_v1.Service(metadata=meta_v1.ObjectMeta(name="t", namespace=ns), spec=other))
        await api.client.delete(core_v1.Service, "s", ns)
        await becomes("more", ("gone", "", False))
        # A range that is inside another one may go although addresses are in it.
        await api.client.create(cidr("inside", "10.96.0.0/24"))
        await becomes("inside", ("True", "", True))
        await api.client.delete(networking_v1.ServiceCIDR, "inside")
        await becomes("inside", ("gone", "", False))
        group.cancel()
