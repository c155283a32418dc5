"""Cluster DNS: the server's loop. Watches Services, EndpointSlices and Namespaces; answers on UDP and TCP.

It runs on the host, on the node's address and a port of its own; the Service kube-system/kube-dns leads there, so pods ask its
cluster IP like anywhere else. Only the cluster's own addresses are answered (`--allow`): the node's address may face the world.

Upstream counterpart: the CoreDNS deployment. Its flags are its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.client import informer, kubeconfig, rest
from navarch.lib import tasks
from navarch.network.dns import upstream
from navarch.network.dns.core import answering, records, wire
from navarch.network.dns.core.zone import Zone

_log = logging.getLogger(__name__)
SERVICE_LABEL = "kubernetes.io/service-name"
TCP_IDLE_SECONDS = 10.0
TCP_CONNECTIONS = 512
MOST_FORWARDED = 1000
IP_FREEBIND = 15
"""The address may come up after us."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Options:
    """`allow`: CIDRs that may ask, besides this machine itself; empty means everybody. `upstream`: servers instead of the file's."""

    kubeconfig: str = ""
    cluster_domain: str = "cluster.local"
    bind_address: str = "127.0.0.1"
    port: int = 10053
    cluster_ip: str = ""
    resolv_conf: str = "/etc/resolv.conf"
    upstream: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class Names:
    """The zone, kept true by informers."""

    def __init__(self, client: rest.Client, zone: Zone) -> None:
        self.zone = zone
        self.services = informer.Informer(client, core_v1.Service)
        self.slices = informer.Informer(client, discovery_v1.EndpointSlice, indexes={"service": _owners})
        self.namespaces = informer.Informer(client, core_v1.Namespace)
        self.services.subscribe(self._service_changed)
        self.slices.subscribe(self._slice_changed)
        self.namespaces.subscribe(lambda _: zone.set_namespaces(n.metadata.name or "" for n in self.namespaces.list() if n.metadata))

    async def wait(self) -> None:
        await asyncio.gather(*(i.synced.wait() for i in (self.services, self.slices, self.namespaces)))

    def _service_changed(self, change: informer.Change[core_v1.Service]) -> None:
        obj = change.new if isinstance(change, informer.Modified) else change.obj
        if obj.metadata is not None:
            self._settle(f"{obj.metadata.namespace}/{obj.metadata.name}")

    def _slice_changed(self, change: informer.Change[discovery_v1.EndpointSlice]) -> None:
        objects = (change.old, change.new) if isinstance(change, informer.Modified) else (change.obj,)
        for owner in dict.fromkeys(o for obj in objects for o in _owners(obj)):
            service = self.services.by_key(owner)
            if service is not None and service.spec is not None and service.spec.clusterIP == "None":
                self._settle(owner)

    def _settle(self, owner: str) -> None:
        service = self.services.by_key(owner)
        if service is None:
            self.zone.remove(owner)
        else:
            self.zone.put(owner, records.service_records(service, self.slices.by_index("service", owner), self.zone.origin))


def _owners(slice_: discovery_v1.EndpointSlice) -> list[str]:
    meta = slice_.metadata
    name = ((meta.labels or {}) if meta else {}).get(SERVICE_LABEL)
    return [f"{meta.namespace}/{name}"] if meta and name else []


class Server(asyncio.DatagramProtocol):
    """Answers queries from a zone. Forwarded ones run as tasks of a group, a bounded number at once."""

    def __init__(self, zone: Zone, forwarder: upstream.Forwarder, group: tasks.Group, allowed: Callable[[str], bool]) -> None:
        self._zone, self._forwarder, self._group, self._allowed = zone, forwarder, group, allowed
        self._transport: asyncio.DatagramTransport | None = None
        self._forwarded = 0
        self._connections = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: Address) -> None:
        assert self._transport is not None
        if not self._allowed(addr[0]):
            found: bytes | answering.Forward | answering.Chase | None = wire.refusal(data, wire.Code.REFUSED)
        else:
            found = answering.answer(self._zone, data)
        if found is None:
            return
        if isinstance(found, bytes):
            self._transport.sendto(found, addr)
        elif self._forwarded < MOST_FORWARDED:
            self._group.start("forward", self._forward(found, addr))
        else:
            self._transport.sendto(upstream.failure(found.query), addr)

    async def _forward(self, what: answering.Forward | answering.Chase, addr: Address) -> None:
        assert self._transport is not None
        self._forwarded += 1
        try:
            self._transport.sendto(await self._elsewhere(what, None), addr)
        finally:
            self._forwarded -= 1

    async def _elsewhere(self, what: answering.Forward | answering.Chase, limit: int | None) -> bytes:
        """The answer that needs somebody else."""
        if isinstance(what, answering.Chase):
            parsed = wire.parse(answering.question(what.target, what.query.type, 0))
            return answering.finish(what, await self._forwarder.ask(parsed), limit)
        query = what.query
        found = await self._forwarder.ask(query)
        if found is None:
            return upstream.failure(query)
        if limit is None and len(found) > query.size:
            return wire.truncated(query)
        return found

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection: messages with their length before them, one after the other."""
        peer = writer.get_extra_info("peername")
        self._connections += 1
        try:
            while self._connections <= TCP_CONNECTIONS and peer and self._allowed(peer[0]):
                async with asyncio.timeout(TCP_IDLE_SECONDS):
                    data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                found = answering.answer(self._zone, data, 65535)
                if isinstance(found, answering.Forward | answering.Chase):
                    found = await self._elsewhere(found, 65535)
                if found is None:
                    break
                writer.write(len(found).to_bytes(2, "big") + found)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._connections -= 1
            writer.close()


def _gate(options: Options) -> Callable[[str], bool]:
    """Who may ask. Answers are remembered: the same few addresses ask all the time."""
    networks = [ipaddress.ip_network(c, strict=False) for c in options.allow]
    known: dict[str, bool] = {options.bind_address: True}

    def allowed(address: str) -> bool:
        found = known.get(address)
        if found is None:
            parsed = ipaddress.ip_address(address.partition("%")[0])
            found = not networks or parsed.is_loopback or any(parsed in n for n in networks)
            if len(known) > 10_000:
                known.clear()
            known[address] = found
        return found

    return allowed


def _forwarder(options: Options) -> upstream.Forwarder:
    ours = {options.cluster_ip, options.bind_address if options.port == 53 else ""}
    found = list(options.upstream) or upstream.servers(options.resolv_conf, ours)
    if not found:
        _log.warning("no upstream name server: names outside %s cannot be resolved", options.cluster_domain)
    addresses = []
    for each in found:
        host, separator, port = each.partition("#")
        addresses.append((host, int(port) if separator else 53))
    return upstream.Forwarder(addresses)


def _socket(options: Options, kind: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.bind_address else socket.AF_INET
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET:
        made.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    made.bind((options.bind_address, options.port))
    made.setblocking(False)
    return made


async def run(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Serves until cancelled. `ready` is called once, when the zone is complete and the ports are open."""
    zone = Zone(options.cluster_domain, options.cluster_ip)
    loop = asyncio.get_running_loop()
    async with rest.Client(kubeconfig.load(options.kubeconfig), user_agent="navarch-dns") as client, tasks.Group() as group:
        names = Names(client, zone)
        group.start("services", names.services.run())
        group.start("slices", names.slices.run())
        group.start("namespaces", names.namespaces.run())
        await names.wait()
        server = Server(zone, _forwarder(options), group, _gate(options))
        transport, _ = await loop.create_datagram_endpoint(lambda: server, sock=_socket(options, socket.SOCK_DGRAM))
        listening = await asyncio.start_server(server.serve_tcp, sock=_socket(options, socket.SOCK_STREAM))
        ready()
        try:
            async with listening:
                await listening.serve_forever()
        finally:
            transport.close()
