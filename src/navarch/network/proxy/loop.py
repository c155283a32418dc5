"""kube-proxy's loop: watches Services, EndpointSlices and this node, and keeps the kernel's table true.

A change marks its service; after a breath (changes come in bursts) all marked services are compiled and the difference goes to
the kernel in one transaction. A refused transaction is followed by writing the whole table anew. The table stays when the
process ends, so that traffic flows on; `cleanup` removes it.

Upstream counterpart: cmd/kube-proxy and the nftables Proxier. Flags are upstream's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import pathlib
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.networking import v1 as networking_v1
from navarch.client import informer, kubeconfig, rest
from navarch.lib import backoff, tasks
from navarch.network import links, nft, sysctls
from navarch.network.proxy import conntrack, health
from navarch.network.proxy.core import base, compiling, services, table
from navarch.network.proxy.core.facts import Facts, Family, family_of
from navarch.network.proxy.metrics import Metrics

_log = logging.getLogger(__name__)

ZONE_LABEL = "topology.kubernetes.io/zone"
DELETION_TAINT = "ToBeDeletedByClusterAutoscaler"
CHECK_SECONDS = 30.0
"""How often the kernel is asked whether our table is still there: others may flush everything."""
SWEEP_SECONDS = 1.0
RETRY = backoff.Policy(first=0.2, most=30.0)


@dataclass(frozen=True, slots=True)
class Options:
    """kube-proxy's flags. `min_sync_period` is the breath between transactions, in seconds."""

    kubeconfig: str = ""
    hostname_override: str = ""
    cluster_cidr: str = ""
    proxy_mode: str = "nftables"
    healthz_bind_address: str = "0.0.0.0:10256"
    metrics_bind_address: str = "127.0.0.1:10249"
    nodeport_addresses: tuple[str, ...] = ("primary",)
    masquerade_all: bool = False
    min_sync_period: float = 0.02
    conntrack_max_per_core: int = 32768
    conntrack_min: int = 131072
    state_file: str = ""
    """Where changed kernel settings are recorded, so that they can be put back."""


class Kernel:
    """The table of one address family and its transactions."""

    def __init__(self, door: nft.Nft, facts: Facts) -> None:
        self._door = door
        self.table = table.Table(facts)
        self._whole = True

    def forget(self) -> None:
        """The next sync writes everything."""
        self._whole = True

    async def sync(self) -> str:
        """Performs what is due and says what it was: "full", "partial" or "". Raises nft.Failed; then all is due again."""
        whole = self._whole
        transaction = self.table.whole() if whole else self.table.take()
        self._whole = True
        await self._door.run(transaction)
        self._whole = False
        return "full" if whole else "partial" if transaction else ""

    async def check(self) -> None:
        """Sees whether the table is still there; if not, everything is written again."""
        try:
            await self._door.run(f"list chain {self.table.facts.family.nft} {base.TABLE} services")
        except nft.Failed:
            _log.warning("somebody removed our %s table, writing it again", self.table.facts.family.value)
            self._whole = True

    async def sweep(self) -> None:
        """Deletes chains emptied a while ago. Raises nft.Failed."""
        await self._door.run(self.table.sweep())


class Proxy:
    """All families together, fed by informers."""

    def __init__(self, options: Options, node_name: str, client: rest.Client, door: nft.Nft) -> None:
        self._options, self._node_name, self._door = options, node_name, door
        by_service = {"service": _service_keys}
        self.services = informer.Informer(client, core_v1.Service)
        self.slices = informer.Informer(client, discovery_v1.EndpointSlice, indexes=by_service)
        self.nodes = informer.Informer(client, core_v1.Node, fields=f"metadata.name={node_name}")
        self.ranges = informer.Informer(client, networking_v1.ServiceCIDR)
        self.health, self.metrics = health.Health(), Metrics()
        self._checks = health.ServiceChecks(self.health)
        self._marked: set[str] = set()
        self._triggers: list[float] = []
        self._wake = asyncio.Event()
        self._kernels: dict[Family, Kernel] = {}

    def subscribe(self) -> None:
        self.services.subscribe(self._service_changed)
        self.slices.subscribe(self._slice_changed)
        self.nodes.subscribe(lambda _: self._wake.set())
        self.ranges.subscribe(lambda _: self._wake.set())

    def _mark(self, key: str) -> None:
        self._marked.add(key)
        self.health.queued()
        self._wake.set()

    def _service_changed(self, change: informer.Change[core_v1.Service]) -> None:
        obj = change.new if isinstance(change, informer.Modified) else change.obj
        self.metrics.service_changes.inc()
        if obj.metadata is not None:
            self._mark(f"{obj.metadata.namespace}/{obj.metadata.name}")

    def _slice_changed(self, change: informer.Change[discovery_v1.EndpointSlice]) -> None:
        objects = (change.old, change.new) if isinstance(change, informer.Modified) else (change.obj,)
        self.metrics.endpoint_changes.inc()
        self._triggers.append(time.time())
        for obj in objects:
            for key in _service_keys(obj):
                self._mark(key)

    async def run(self, ready: Callable[[], None]) -> None:
        """Syncs until cancelled; `ready` is called after the first table is in the kernel."""
        await asyncio.gather(*(i.synced.wait() for i in (self.services, self.slices, self.nodes)))
        failures = backoff.Backoff(RETRY)
        said = False
        while True:
            self._wake.clear()
            try:
                await self._sync()
            except nft.Failed as error:
                _log.error("nftables refused a transaction: %s", error)
                await asyncio.sleep(failures.next())
                continue
            failures.reset()
            if not said:
                ready()
                said = True
            await self._wait()

    async def _wait(self) -> None:
        """Until there is something to do, and at least a breath."""
        stale = any(k.table.stale for k in self._kernels.values())
        try:
            await asyncio.wait_for(self._wake.wait(), SWEEP_SECONDS if stale else CHECK_SECONDS)
        except TimeoutError:
            if stale:
                await self._sweep()
            else:
                await asyncio.gather(*(kernel.check() for kernel in self._kernels.values()))
        await asyncio.sleep(self._options.min_sync_period)

    async def _sweep(self) -> None:
        for family, kernel in self._kernels.items():
            try:
                await kernel.sweep()
            except nft.Failed as error:
                _log.warning("stale chains could not be deleted: %s", error)
                self.metrics.cleanup_failures.labels(family.value).inc()
                kernel.forget()

    async def _sync(self) -> None:
        started = time.perf_counter()
        self._settle_facts()
        marked, self._marked = self._marked, set()
        triggers, self._triggers = self._triggers, []
        for key in marked:
            self._compile(key)
        for family, kernel in self._kernels.items():
            try:
                kind = await kernel.sync()
            except nft.Failed:
                self.metrics.failures.labels(family.value).inc()
                raise
            self._measure(family, kind, time.perf_counter() - started, triggers)
            if flows := kernel.table.take_udp_services():
                await conntrack.forget_stale(flows, family)
        self.health.done()
        first = next(iter(self._kernels.values()))
        await self._checks.sync(first.table.health_checks())

    def _measure(self, family: Family, kind: str, seconds: float, triggers: list[float]) -> None:
        metrics, now = self.metrics, time.time()
        metrics.last_sync.labels(family.value).set(now)
        metrics.sync.labels(family.value).observe(seconds)
        if kind:
            (metrics.full_sync if kind == "full" else metrics.partial_sync).labels(family.value).observe(seconds)
        for trigger in triggers:
            metrics.programming.labels(family.value).observe(now - trigger)
        if kind == "full":
            _log.info("wrote the whole %s table: %d services in %.0f ms", family.value, len(self.services), seconds * 1000)
        internal, external = self._kernels[family].table.without_local()
        metrics.no_local.labels("internal", family.value).set(internal)
        metrics.no_local.labels("external", family.value).set(external)

    def _compile(self, key: str) -> None:
        service = self.services.by_key(key)
        for kernel in self._kernels.values():
            if service is None or not services.proxied(service):
                kernel.table.remove(key)
            else:
                slices = self.slices.by_index("service", key)
                kernel.table.replace(key, compiling.compile_service(service, slices, kernel.table.facts))

    def _settle_facts(self) -> None:
        """Starts over for a family whose facts changed: they are in every rule."""
        node = self.nodes.get(self._node_name)
        self.health.node_eligible = _eligible(node)
        for family in _families(self._options):
            facts = self._facts(family, node)
            if family not in self._kernels or self._kernels[family].table.facts != facts:
                self._kernels[family] = Kernel(self._door, facts)
                self._marked.update(f"{s.metadata.namespace}/{s.metadata.name}" for s in self.services.list() if s.metadata)

    def _facts(self, family: Family, node: core_v1.Node | None) -> Facts:
        addresses = (node.status.addresses if node is not None and node.status else None) or ()
        own = [a.address for a in addresses if a.type == "InternalIP" and a.address and family_of(a.address) is family]
        labels = (node.metadata.labels if node is not None and node.metadata else None) or {}
        cidrs = [c for r in self.ranges.list() if r.spec for c in r.spec.cidrs or ()]
        return Facts(
            node_name=self._node_name,
            family=family,
            zone=labels.get(ZONE_LABEL, ""),
            node_ip=own[0] if own else "",
            cluster_cidrs=tuple(c for c in _split(self._options.cluster_cidr) if family_of(c) is family),
            service_cidrs=tuple(sorted(c for c in cidrs if family_of(c) is family)),
            nodeport_addresses=_nodeport_addresses(self._options.nodeport_addresses, family, own),
            masquerade_all=self._options.masquerade_all,
        )

    async def close(self) -> None:
        await self._checks.close()


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _service_keys(slice_: discovery_v1.EndpointSlice) -> list[str]:
    meta = slice_.metadata
    name = ((meta.labels or {}) if meta else {}).get(services.SERVICE_NAME_LABEL)
    return [f"{meta.namespace}/{name}"] if meta and name else []


def _families(options: Options) -> list[Family]:
    """IPv4 always, IPv6 when the pods have it."""
    pods = {family_of(c) for c in _split(options.cluster_cidr)}
    return [Family.IPV4, *([Family.IPV6] if Family.IPV6 in pods else [])]


def _eligible(node: core_v1.Node | None) -> bool:
    if node is None or node.metadata is None:
        return True
    taints = (node.spec.taints if node.spec else None) or ()
    return node.metadata.deletionTimestamp is None and all(t.key != DELETION_TAINT for t in taints)


def _nodeport_addresses(ranges: tuple[str, ...], family: Family, own: list[str]) -> tuple[str, ...] | None:
    """The node's addresses for NodePorts: its primary ones, those within ranges, or (no ranges) all: None."""
    if not ranges:
        return None
    if ranges == ("primary",):
        return tuple(own[:1])
    networks = [ipaddress.ip_network(r, strict=False) for r in ranges if family_of(r) is family]
    if any(n.prefixlen == 0 for n in networks):
        return None
    here = [a for a in links.addresses() if family_of(a) is family and not ipaddress.ip_address(a).is_loopback]
    return tuple(sorted(a for a in here if any(ipaddress.ip_address(a) in n for n in networks)))


def _tune(options: Options) -> None:
    """The conntrack table's size, as upstream sets it; only ever raised."""
    if not options.state_file:
        return
    record = sysctls.Record(pathlib.Path(options.state_file))
    wanted = max(options.conntrack_min, options.conntrack_max_per_core * (os.cpu_count() or 1))
    if not record.raise_to("net.netfilter.nf_conntrack_max", wanted):
        _log.info("net.netfilter.nf_conntrack_max stays as it is: not changeable here")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs kube-proxy until cancelled. `ready` is called once, when the first table is in the kernel."""
    if options.proxy_mode != "nftables":
        raise ValueError(f"unsupported proxy mode {options.proxy_mode!r}: only nftables is here")
    node_name = options.hostname_override or socket.gethostname().lower()
    _tune(options)
    async with rest.Client(kubeconfig.load(options.kubeconfig), user_agent="navarch-proxy") as client:
        proxy = Proxy(replace(options), node_name, client, nft.Nft())
        proxy.subscribe()
        runners = []
        try:
            for address, routes in (
                (options.healthz_bind_address, health.health_routes(proxy.health)),
                (options.metrics_bind_address, health.metrics_routes(proxy.metrics.registry, options.proxy_mode)),
            ):
                if address:
                    runners.append(await health.listen(*_address(address), routes))
            async with tasks.Group() as group:
                group.start("services", proxy.services.run())
                group.start("slices", proxy.slices.run())
                group.start("node", proxy.nodes.run())
                group.start("ranges", proxy.ranges.run())
                group.start("sync", proxy.run(ready))
        finally:
            for runner in runners:
                await runner.cleanup()
            await proxy.close()


def cleanup() -> None:
    """Removes the tables of both families from the kernel, if they are there. Blocking."""
    door = nft.Nft()
    for family in Family:
        door.run_now(table.deletion(Facts("", family)))
