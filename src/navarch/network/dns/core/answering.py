"""A query's bytes become an answer's bytes, or the decision to ask elsewhere.

Upstream counterpart: CoreDNS's plugin chain for the cluster's zone. Names of the zone are answered here, with authority; reverse
names that we know too; everything else is `Forward`ed. An ExternalName that leads out of the cluster is `Chase`d: its CNAME goes
out together with what the other side says about the target.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from navarch.network.dns.core import wire
from navarch.network.dns.core.wire import Code, Query
from navarch.network.dns.core.zone import Zone

_REVERSE = (wire.encode_name("in-addr.arpa"), wire.encode_name("ip6.arpa"))
_MOST_ALIASES = 8


@dataclass(frozen=True, slots=True)
class Forward:
    """Ask upstream, with the query as it is."""

    query: Query


@dataclass(frozen=True, slots=True)
class Chase:
    """Ask upstream about `target`, and answer with the records so far and what was found (see `finish`)."""

    query: Query
    target: bytes
    so_far: tuple[bytes, ...]


def answer(zone: Zone, message: bytes, limit: int | None = None) -> bytes | Forward | Chase | None:
    """Answers a message. `limit` is the transport's size limit; None means UDP, where the client says. None: no answer at all."""
    try:
        query = wire.parse(message)
    except wire.Malformed:
        return wire.refusal(message, Code.FORMERR)
    if query.opcode:
        return wire.response(query, Code.NOTIMP, authoritative=False)
    if query.version:
        return wire.response(query, Code.BADVERS, authoritative=False)
    if query.klass != wire.IN:
        return wire.response(query, Code.REFUSED, authoritative=False)
    size = min(query.size, wire.OUR_UDP_SIZE) if limit is None else limit
    if zone.holds(query.name):
        return _own(zone, query, size)
    if any(wire.below(query.name, z) for z in _REVERSE):
        found = zone.find(query.name, query.type)
        if found is not None and found.records:
            return wire.response(query, Code.NOERROR, answers=found.records, limit=size)
    return Forward(query)


def _own(zone: Zone, query: Query, size: int) -> bytes | Chase:
    if query.type != wire.CNAME and (target := zone.alias(query.name)) is not None:
        return _aliased(zone, query, target, size)
    found = zone.find(query.name, query.type)
    if found is None:
        return wire.response(query, Code.NXDOMAIN, authority=(zone.soa,), limit=size)
    if not found.records:
        return wire.response(query, Code.NOERROR, authority=(zone.soa,), limit=size)
    turn = query.id % len(found.records)
    records = found.records[turn:] + found.records[:turn] if turn else found.records
    return wire.response(query, Code.NOERROR, answers=records, additional=found.additional, limit=size)


def _aliased(zone: Zone, query: Query, target: bytes, size: int) -> bytes | Chase:
    """Follows CNAMEs as long as they stay in the zone."""
    cname = zone.find(query.name, wire.CNAME)
    so_far = cname.records if cname is not None else ()
    for _ in range(_MOST_ALIASES):
        if not zone.holds(target):
            return Chase(query, target, so_far)
        further = zone.alias(target)
        if further is None:
            found = zone.find(target, query.type)
            last = tuple(target + record[2:] for record in found.records) if found else ()
            code = Code.NXDOMAIN if found is None else Code.NOERROR
            return wire.response(query, code, answers=(*so_far, *last), authority=() if last else (zone.soa,), limit=size)
        so_far = (*so_far, wire.record(target, wire.CNAME, 5, further))
        target = further
    return wire.response(query, Code.SERVFAIL, answers=so_far, limit=size)


def finish(chase: Chase, upstream: bytes | None, limit: int | None = None) -> bytes:
    """The answer to a chased query, from the upstream's answer about the target (None: it gave none)."""
    size = min(chase.query.size, wire.OUR_UDP_SIZE) if limit is None else limit
    found: tuple[bytes, ...] = ()
    if upstream is not None:
        try:
            _, records = wire.records(upstream)
        except wire.Malformed:
            records = []
        wanted = {wire.CNAME, chase.query.type} & {wire.CNAME, wire.A, wire.AAAA, wire.TXT}
        found = tuple(wire.record(r.name, r.type, r.ttl, r.data) for r in records if r.section == 0 and r.type in wanted)
    return wire.response(chase.query, Code.NOERROR, answers=(*chase.so_far, *found), limit=size)


def question(name: bytes, kind: int, ident: int, *, dnssec: bool = False) -> bytes:
    """A query of our own, with recursion and EDNS."""
    opt = b"\0" + struct.pack("!HHIH", wire.OPT, wire.OUR_UDP_SIZE, 0x8000 if dnssec else 0, 0)
    header = wire.HEADER.pack(ident, wire.RECURSION_DESIRED, 1, 0, 0, 1)
    return header + name + struct.pack("!HH", kind, wire.IN) + opt
