"""Nodes get pod addresses that no Service has."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.controllers import loop
from navarch.lib import tasks
from navarch.testing import server, waiting


@pytest.mark.asyncio
async def test_the_range_of_services_is_left_out(tmp_path: pathlib.Path) -> None:
    async with server.running() as api:
        options = loop.Options(
            str(api.write_kubeconfig(tmp_path / "config")),
            leader_elect=False,
            controllers=("node-ipam-controller",),
            cluster_cidr="10.8.0.0/16",
            service_cluster_ip_range="10.8.0.0/23",
        )
        ready = asyncio.Event()
        async with tasks.Group() as group:
            group.start("controllers", loop.run(options, ready.set))
            await ready.wait()
            await api.client.create(core_v1.Node(metadata=meta_v1.ObjectMeta(name="n")))

            async def given() -> str | None:
                spec = (await api.client.get(core_v1.Node, "n")).spec
                return spec.podCIDR if spec is not None else None

            assert await waiting.until(given) == "10.8.2.0/24"
            group.cancel()
