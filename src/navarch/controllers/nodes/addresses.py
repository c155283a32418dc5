"""A range of pod addresses for each node, out of the cluster's.

Upstream counterpart: pkg/controller/nodeipam (the range allocator).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from navarch.api.core import v1 as core_v1
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Reconciler, Watch
from navarch.objects import meta


class NodeAddressController(Reconciler):
    """Gives each node its part of the cluster's pod addresses."""

    name = "node-ipam"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recorder = context.recorder.named("cidrAllocator")
        self._nodes = context.informer(core_v1.Node)
        self._network = ipaddress.ip_network(context.settings.cluster_cidr)
        self._size = context.settings.node_cidr_mask_size or (24 if self._network.version == 4 else 64)
        self._services = [ipaddress.ip_network(c.strip()) for c in context.settings.service_cluster_ip_range.split(",") if c.strip()]
        self._given: dict[str, str] = {}

    def _is_services(self, part: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
        """Whether a range has addresses of Services in it."""
        return any(s.version == part.version and part.overlaps(s) for s in self._services)

    def watches(self) -> Iterable[Watch]:
        yield Watch(core_v1.Node, lambda n: [meta.key(n)])

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._given.pop(key, None)
            return None
        if node.spec is not None and node.spec.podCIDR:
            self._given[key] = node.spec.podCIDR
            return None
        if key not in self._given:
            taken = {c for n in self._nodes.list() for c in ((n.spec.podCIDRs or ()) if n.spec else ())} | set(self._given.values())
            parts = self._network.subnets(new_prefix=self._size)
            free = next((str(n) for n in parts if str(n) not in taken and not self._is_services(n)), None)
            if free is None:
                self._recorder.event(node, "Normal", "CIDRNotAvailable", f"Node {key} status is now: CIDRNotAvailable")
                return 30.0
            self._given[key] = free
        cidr = self._given[key]
        await self._context.client.patch(core_v1.Node, key, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
        return None
