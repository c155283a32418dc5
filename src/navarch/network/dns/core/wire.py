"""DNS messages as bytes (RFC 1035, EDNS RFC 6891): just what a server needs.

A name is its wire form in lower case, which works as a dictionary key: length bytes are below 64 and no letters, so `lower()`
leaves them alone. Answers start with the question as the client wrote it, at offset 12, so a record about the asked name
begins with the two bytes C0 0C that point there.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 16, 28, 33, 41
ANY = 255
IN = 1
POINTER = b"\xc0\x0c"
HEADER = struct.Struct("!HHHHHH")
UDP_SIZE = 512
OUR_UDP_SIZE = 1232

RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080


class Code(IntEnum):
    """Response codes."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Malformed(ValueError):
    """Bytes that are no DNS message."""


def encode_name(text: str) -> bytes:
    """The wire form of a dotted name. ValueError for labels or names that are too long."""
    out = bytearray()
    for label in text.strip(".").split(".") if text.strip(".") else ():
        raw = label.encode()
        if not 0 < len(raw) < 64:
            raise ValueError(f"no DNS name: {text!r}")
        out += bytes((len(raw),)) + raw
    if len(out) > 254:
        raise ValueError(f"no DNS name: {text!r}")
    return bytes(out.lower()) + b"\0"


def labels(name: bytes) -> list[bytes]:
    """The labels of a name in wire form, without the root."""
    found, at = [], 0
    while name[at]:
        found.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return found


def below(name: bytes, zone: bytes) -> bool:
    """Whether a name is the zone or within it."""
    at = 0
    while len(name) - at > len(zone):
        at += 1 + name[at]
    return name[at:] == zone


def text(name: bytes) -> str:
    return ".".join(label.decode("latin-1") for label in labels(name))


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query. `question` is the section's bytes as they came. `size` is what the client takes over UDP."""

    id: int
    flags: int
    name: bytes
    type: int
    klass: int
    question: bytes
    edns: bool
    version: int
    size: int
    dnssec: bool

    @property
    def opcode(self) -> int:
        return self.flags >> 11 & 15


def parse(message: bytes) -> Query:
    """Reads a query with one question. Raises Malformed."""
    try:
        ident, flags, questions, answers, authorities, additionals = HEADER.unpack_from(message)
        if flags & RESPONSE or questions != 1:
            raise Malformed("no query")
        end = _skip_plain_name(message, 12)
        kind, klass = struct.unpack_from("!HH", message, end)
    except (struct.error, IndexError) as error:
        raise Malformed("cut short") from error
    name, question = message[12:end].lower(), message[12 : end + 4]
    edns, version, size, dnssec = False, 0, UDP_SIZE, False
    if additionals:
        found = _find_opt(message, end + 4, answers + authorities + additionals)
        if found is not None:
            (size, ttl), edns = found, True
            version, dnssec = ttl >> 16 & 255, bool(ttl & 0x8000)
    return Query(ident, flags, name, kind, klass, question, edns, version, max(UDP_SIZE, size), dnssec)


def _skip_plain_name(message: bytes, at: int) -> int:
    """The end of an uncompressed name."""
    start = at
    while length := message[at]:
        if length > 63 or at - start > 254:
            raise Malformed("a bad name")
        at += 1 + length
    return at + 1


def skip_name(message: bytes, at: int) -> int:
    """The end of a name, compressed or not."""
    while length := message[at]:
        if length >= 192:
            return at + 2
        at += 1 + length
    return at + 1


def read_name(message: bytes, at: int) -> bytes:
    """A name with its pointers followed. Raises Malformed on loops."""
    out, jumps = bytearray(), 0
    while length := message[at]:
        if length >= 192:
            at = (length & 63) << 8 | message[at + 1]
            jumps += 1
            if jumps > 64:
                raise Malformed("a name that points to itself")
            continue
        out += message[at : at + 1 + length]
        at += 1 + length
        if len(out) > 254:
            raise Malformed("a name too long")
    return bytes(out) + b"\0"


def _find_opt(message: bytes, at: int, records: int) -> tuple[int, int] | None:
    try:
        for _ in range(records):
            at = skip_name(message, at)
            kind, klass, ttl, length = struct.unpack_from("!HHIH", message, at)
            if kind == OPT:
                return klass, ttl
            at += 10 + length
    except (struct.error, IndexError) as error:
        raise Malformed("cut short") from error
    return None


@dataclass(frozen=True, slots=True)
class Record:
    """A record of somebody else's answer. `ttl_at` is where its TTL stands in the message."""

    name: bytes
    type: int
    ttl: int
    ttl_at: int
    data: bytes
    section: int


def records(message: bytes) -> tuple[Code, list[Record]]:
    """The response code and the records of an answer; names are written out, in CNAME data too. Raises Malformed."""
    try:
        _, flags, questions, *counts = HEADER.unpack_from(message)
        at = 12
        for _ in range(questions):
            at = skip_name(message, at) + 4
        found = []
        for section, count in enumerate(counts):
            for _ in range(count):
                name, at = read_name(message, at), skip_name(message, at)
                kind, _, ttl, length = struct.unpack_from("!HHIH", message, at)
                data = read_name(message, at + 10) if kind in (CNAME, PTR, NS) else message[at + 10 : at + 10 + length]
                found.append(Record(name, kind, ttl, at + 4, data, section))
                at += 10 + length
        return Code(flags & 15) if flags & 15 in Code._value2member_map_ else Code.SERVFAIL, found
    except (struct.error, IndexError) as error:
        raise Malformed("cut short") from error


def record(owner: bytes, kind: int, ttl: int, data: bytes) -> bytes:
    """A resource record of class IN. `owner` is a name in wire form, or POINTER."""
    return owner + struct.pack("!HHIH", kind, IN, ttl, len(data)) + data


def address_record(owner: bytes, address: str, ttl: int) -> bytes:
    packed = ipaddress.ip_address(address).packed
    return record(owner, A if len(packed) == 4 else AAAA, ttl, packed)


def srv_data(weight: int, port: int, target: bytes) -> bytes:
    return struct.pack("!HHH", 0, weight, port) + target


def reverse_name(address: str) -> bytes:
    """The name under in-addr.arpa or ip6.arpa that an address has."""
    return encode_name(ipaddress.ip_address(address).reverse_pointer)


def response(
    query: Query,
    code: Code,
    *,
    answers: tuple[bytes, ...] = (),
    authority: tuple[bytes, ...] = (),
    additional: tuple[bytes, ...] = (),
    limit: int = 65535,
    authoritative: bool = True,
) -> bytes:
    """An answer. What does not fit `limit` bytes is left out: first the additional records, then answers, with TC set."""
    opt = b""
    if query.edns:
        opt = b"\0" + struct.pack("!HHIH", OPT, OUR_UDP_SIZE, (code >> 4) << 24 | (0x8000 if query.dnssec else 0), 0)
    flags = RESPONSE | (query.flags & (0x7800 | RECURSION_DESIRED)) | RECURSION_AVAILABLE | (code & 15)
    flags |= AUTHORITATIVE if authoritative else 0
    room = limit - 12 - len(query.question) - len(opt)
    kept, room, whole = _fit(answers, room)
    named, room, all_named = _fit(authority, room)
    extra, room, _ = _fit(additional, room)
    if not (whole and all_named):
        flags |= TRUNCATED
    header = HEADER.pack(query.id, flags, 1, len(kept), len(named), len(extra) + (1 if opt else 0))
    return b"".join((header, query.question, *kept, *named, *extra, opt))


def truncated(query: Query) -> bytes:
    """An answer that only says: ask over TCP."""
    whole = response(query, Code.NOERROR, authoritative=False)
    return whole[:2] + (int.from_bytes(whole[2:4], "big") | TRUNCATED).to_bytes(2, "big") + whole[4:]


def _fit(items: tuple[bytes, ...], room: int) -> tuple[tuple[bytes, ...], int, bool]:
    for index, item in enumerate(items):
        room -= len(item)
        if room < 0:
            return items[:index], 0, False
    return items, room, True


def refusal(message: bytes, code: Code) -> bytes | None:
    """The answer to bytes that could not be parsed; None when they are not even a header, or an answer themselves."""
    if len(message) < 12:
        return None
    ident, flags = struct.unpack_from("!HH", message)
    if flags & RESPONSE:
        return None
    return HEADER.pack(ident, RESPONSE | (flags & 0x7900) | code, 0, 0, 0, 0)
