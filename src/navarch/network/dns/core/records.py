"""The DNS records of one Service, by the Kubernetes DNS specification 1.1.

    ClusterIP     NAME.NS.svc.ZONE A/AAAA; _PORT._PROTO.NAME.NS.svc.ZONE SRV; PTR of the cluster IPs
    headless      the same, with every ready endpoint's address; HOST.NAME.NS.svc.ZONE A/AAAA and PTR per endpoint, where HOST
                  is the endpoint's hostname or its address with dashes
    ExternalName  NAME.NS.svc.ZONE CNAME

Where the specification is silent, CoreDNS's answers are the model (SRV of the plain service name, weights, additional records).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.network.dns.core import wire

TTL = 5

Key = tuple[bytes, int]
"""An owner name in wire form and a record type."""


@dataclass(slots=True)
class Records:
    """Records by owner and type. `data` are the record's data, `additional` whole records that go along."""

    data: dict[Key, list[bytes]] = field(default_factory=dict)
    additional: dict[Key, list[bytes]] = field(default_factory=dict)

    def add(self, owner: bytes, kind: int, data: bytes) -> None:
        known = self.data.setdefault((owner, kind), [])
        if data not in known:
            known.append(data)

    def add_address(self, owner: bytes, address: str) -> None:
        record = wire.address_record(b"", address, TTL)
        self.add(owner, int.from_bytes(record[:2], "big"), record[10:])

    def add_additional(self, owner: bytes, kind: int, record: bytes) -> None:
        known = self.additional.setdefault((owner, kind), [])
        if record not in known:
            known.append(record)


@dataclass(frozen=True, slots=True)
class _Host:
    """An endpoint of a headless service: its name and addresses, and the ports it has."""

    name: bytes
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...]


def service_records(service: core_v1.Service, slices: Iterable[discovery_v1.EndpointSlice], zone: str) -> Records:
    """All records of a Service. A name that is no DNS name yields none: validation lets none through."""
    out, meta, spec = Records(), service.metadata, service.spec
    if meta is None or spec is None:
        return out
    suffix = f"{meta.name}.{meta.namespace}.svc.{zone}"
    try:
        owner = wire.encode_name(suffix)
        if spec.type == "ExternalName":
            out.add(owner, wire.CNAME, wire.encode_name(spec.externalName or ""))
        elif spec.clusterIP == "None":
            _headless(out, owner, suffix, slices, spec.publishNotReadyAddresses is True)
        else:
            _cluster_ips(out, owner, suffix, spec)
    except ValueError:
        return Records()
    return out


def _cluster_ips(out: Records, owner: bytes, suffix: str, spec: core_v1.ServiceSpec) -> None:
    addresses = tuple(dict.fromkeys(a for a in (*(spec.clusterIPs or ()), spec.clusterIP) if a and a != "None"))
    for address in addresses:
        out.add_address(owner, address)
        out.add(wire.reverse_name(address), wire.PTR, owner)
    ports = [(p.name or "", (p.protocol or "TCP").lower(), p.port or 0) for p in spec.ports or ()]
    if addresses:
        _services(out, owner, suffix, [_Host(owner, addresses, tuple(ports))])


def _headless(out: Records, owner: bytes, suffix: str, slices: Iterable[discovery_v1.EndpointSlice], publish_not_ready: bool) -> None:
    hosts = []
    for slice_ in slices:
        if slice_.addressType not in ("IPv4", "IPv6"):
            continue
        ports = tuple((p.name or "", (p.protocol or "TCP").lower(), p.port or 0) for p in slice_.ports or ())
        for endpoint in slice_.endpoints or ():
            ready = endpoint.conditions is None or endpoint.conditions.ready is not False
            if not endpoint.addresses or not (ready or publish_not_ready):
                continue
            host = endpoint.hostname or endpoint.addresses[0].replace(".", "-").replace(":", "-")
            name = wire.encode_name(f"{host}.{suffix}")
            hosts.append(_Host(name, tuple(endpoint.addresses), ports))
    for each in hosts:
        for address in each.addresses:
            out.add_address(owner, address)
            out.add_address(each.name, address)
            out.add(wire.reverse_name(address), wire.PTR, each.name)
    _services(out, owner, suffix, hosts)


def _services(out: Records, owner: bytes, suffix: str, hosts: list[_Host]) -> None:
    """SRV under `_port._proto.` for named ports, and under the plain name for all. Weights share 100, as CoreDNS does it."""
    weight = max(1, 100 // max(1, len(hosts)))
    for host in hosts:
        for name, protocol, port in host.ports:
            owners = [owner]
            if name:
                owners.append(wire.encode_name(f"_{name}._{protocol}.{suffix}"))
            for each in owners:
                out.add(each, wire.SRV, wire.srv_data(weight, port, host.name))
                for address in host.addresses:
                    out.add_additional(each, wire.SRV, wire.address_record(host.name, address, TTL))
