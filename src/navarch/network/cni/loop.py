"""The pod network's loop on one node: waits for podCIDRs, sets the network up, then keeps host ports true.

Order matters: kernel settings and the table come first, the CNI configuration last, since the kubelet takes the node as network-
ready when it finds that file. Nothing is taken away when the process ends: pods go on. `cleanup` removes all of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import pathlib
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1
from navarch.client import informer, kubeconfig, rest
from navarch.lib import backoff, tasks
from navarch.network import links, nft, sysctls
from navarch.network.cni.core import conflist, pods

_log = logging.getLogger(__name__)

PLUGIN_FOLDERS = ("/usr/lib/cni", "/opt/cni/bin")
CHECK_SECONDS = 30.0
"""How often the kernel is asked whether our table is still there: others may flush everything."""
PLUGINS = ("bridge", "host-local", "loopback")


@dataclass(frozen=True, slots=True)
class Options:
    """`cluster_cidr`: the pods' ranges of the whole cluster. `state_dir` keeps addresses and kernel settings over restarts."""

    kubeconfig: str = ""
    hostname_override: str = ""
    cluster_cidr: str = ""
    cni_conf_dir: str = "/etc/cni/net.d"
    state_dir: str = "/run/navarch/network"
    bridge: str = conflist.BRIDGE


class PluginsMissing(Exception):
    """The standard CNI plugins are not installed."""


def plugin_folder() -> str:
    """Where the standard plugins are."""
    for folder in PLUGIN_FOLDERS:
        if all(os.access(f"{folder}/{name}", os.X_OK) for name in PLUGINS):
            return folder
    raise PluginsMissing("the CNI plugins are not installed (Debian package: containernetworking-plugins)")


class Agent:
    """The network of this node. `setup` happens once per podCIDR, `follow` for every change of a pod."""

    def __init__(self, options: Options, door: nft.Nft) -> None:
        self._options, self._door = options, door
        self._record = sysctls.Record(pathlib.Path(options.state_dir) / "sysctls.json")
        self._networks: list[pods.Network] = []
        self._ports: dict[str, frozenset[pods.HostPort]] = {}

    async def setup(self, pod_cidrs: tuple[str, ...]) -> None:
        """Brings kernel settings, table and CNI configuration to these ranges."""
        sees_bridge = self._tune(any(":" in c for c in pod_cidrs))
        cluster = tuple(c.strip() for c in self._options.cluster_cidr.split(",") if c.strip())
        self._networks = [self._network(cidr, cluster, sees_bridge) for cidr in pod_cidrs]
        self._ports = {}
        for network in self._networks:
            await self._door.run(pods.whole(network))
        self._write(pod_cidrs)

    def _network(self, cidr: str, cluster: tuple[str, ...], sees_bridge: bool) -> pods.Network:
        same = tuple(c for c in cluster if (":" in c) == (":" in cidr)) or (cidr,)
        return pods.Network(cidr, same, self._options.bridge, sees_bridge)

    def _tune(self, six: bool) -> bool:
        """Routing on; bridged packets shown to nftables. False where the kernel cannot do the latter."""
        self._record.set("net.ipv4.ip_forward", "1")
        if six:
            self._record.set("net.ipv6.conf.all.forwarding", "1")
        sees = self._record.set("net.bridge.bridge-nf-call-iptables", "1")
        if six:
            sees = self._record.set("net.bridge.bridge-nf-call-ip6tables", "1") and sees
        if not sees:
            _log.info("this kernel hides bridged packets from nftables: pods of this node see the bridge's address behind Services")
        return sees

    def _write(self, pod_cidrs: tuple[str, ...]) -> None:
        """The CNI file, whole or not at all. Addresses noted before the bridge existed belong to pods that are no more."""
        ipam = pathlib.Path(self._options.state_dir) / "addresses"
        if not links.exists(self._options.bridge):
            shutil.rmtree(ipam, ignore_errors=True)
        text = conflist.conflist(pod_cidrs, mtu=links.mtu(), ipam_dir=str(ipam), bridge=self._options.bridge)
        path = pathlib.Path(self._options.cni_conf_dir) / conflist.FILE
        if path.exists() and path.read_text() == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text)
        temporary.replace(path)

    async def follow(self, current: dict[str, core_v1.Pod | None]) -> None:
        """Brings the host ports of these pods (None: it is gone) into the table."""
        before = frozenset().union(*self._ports.values())
        for key, pod in current.items():
            ports = frozenset().union(*(pods.host_ports(pod, n.family) for n in self._networks)) if pod is not None else frozenset()
            if ports:
                self._ports[key] = ports
            else:
                self._ports.pop(key, None)
        after = frozenset().union(*self._ports.values())
        for network in self._networks:
            mine = [[p for p in ports if (":" in p.pod_ip) == (network.family == "ip6")] for ports in (before, after)]
            await self._door.run(pods.change(network.family, *mine))
        if after:
            self._allow_loopback()

    async def intact(self) -> bool:
        """Whether our tables are still in the kernel."""
        try:
            for network in self._networks:
                await self._door.run(f"list chain {network.family} {pods.TABLE} input")
        except nft.Failed:
            return False
        return True

    def _allow_loopback(self) -> None:
        """Lets 127.0.0.1:PORT lead to a pod. The setting is the bridge's and goes with it, so it is not recorded."""
        path = pathlib.Path(f"/proc/sys/net/ipv4/conf/{self._options.bridge}/route_localnet")
        if path.exists() and path.read_text().strip() != "1":
            path.write_text("1")


def pod_cidrs(node: core_v1.Node | None) -> tuple[str, ...]:
    """The ranges a Node was given; none while it has none."""
    spec = node.spec if node is not None else None
    if spec is None:
        return ()
    found = spec.podCIDRs or ([spec.podCIDR] if spec.podCIDR else [])
    return tuple(str(ipaddress.ip_network(c)) for c in found)


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs until cancelled. `ready` is called once, when pods can get addresses."""
    plugin_folder()
    name = options.hostname_override or socket.gethostname().lower()
    async with rest.Client(kubeconfig.load(options.kubeconfig), user_agent="navarch-network") as client:
        nodes = informer.Informer(client, core_v1.Node, fields=f"metadata.name={name}")
        here = informer.Informer(client, core_v1.Pod, fields=f"spec.nodeName={name}")
        wake, marked = asyncio.Event(), set[str]()

        def pod_changed(change: informer.Change[core_v1.Pod]) -> None:
            obj = change.new if isinstance(change, informer.Modified) else change.obj
            if obj.metadata is not None:
                marked.add(f"{obj.metadata.namespace}/{obj.metadata.name}")
                wake.set()

        nodes.subscribe(lambda _: wake.set())
        here.subscribe(pod_changed)
        async with tasks.Group() as group:
            group.start("node", nodes.run())
            group.start("pods", here.run())
            await here.synced.wait()
            await _follow(Agent(options, nft.Nft()), name, nodes, here, wake, marked, ready)


async def _follow(
    agent: Agent,
    name: str,
    nodes: informer.Informer[core_v1.Node],
    here: informer.Informer[core_v1.Pod],
    wake: asyncio.Event,
    marked: set[str],
    ready: Callable[[], None],
) -> None:
    current: tuple[str, ...] = ()
    said = False
    failures = backoff.Backoff(backoff.RECONNECT)
    while True:
        wake.clear()
        try:
            ranges = pod_cidrs(nodes.get(name))
            if ranges and ranges != current:
                await agent.setup(ranges)
                marked.update(f"{p.metadata.namespace}/{p.metadata.name}" for p in here.list() if p.metadata)
                current = ranges
                _log.info("pods of %s get addresses from %s", name, ", ".join(ranges))
                if not said:
                    ready()
                    said = True
            if current and marked:
                await agent.follow({key: here.by_key(key) for key in marked})
                marked.clear()
            failures.reset()
        except nft.Failed as error:
            _log.error("nftables refused a transaction: %s", error)
            current = ()
            await asyncio.sleep(failures.next())
            continue
        try:
            await asyncio.wait_for(wake.wait(), CHECK_SECONDS)
        except TimeoutError:
            if current and not await agent.intact():
                _log.warning("somebody removed our table, writing it again")
                current = ()


def cleanup(options: Options) -> None:
    """Removes configuration, bridge, tables and state, and puts kernel settings back. Blocking; fine when nothing is there."""
    path = pathlib.Path(options.cni_conf_dir) / conflist.FILE
    path.unlink(missing_ok=True)
    for port in links.ports_of(options.bridge):
        links.delete(port)
    links.delete(options.bridge)
    door = nft.Nft()
    for family in ("ip", "ip6"):
        door.run_now(pods.deletion(family))
    sysctls.Record(pathlib.Path(options.state_dir) / "sysctls.json").restore()
    shutil.rmtree(options.state_dir, ignore_errors=True)
