"""Answers from upstream, kept for as long as they say, at most 30 seconds (CoreDNS's figure in clusters).

Stored are the bytes and where the TTLs stand in them, so that a hit is: copy, set the id, set the TTLs to what is left.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from navarch.network.dns.core import wire
from navarch.network.dns.core.wire import Code, Query

MOST_SECONDS = 30
ENTRIES = 4096
Key = tuple[bytes, int, bool]


@dataclass(frozen=True, slots=True)
class _Entry:
    message: bytes
    ttls: tuple[tuple[int, int], ...]
    stored: float
    until: float


@dataclass(slots=True)
class Cache:
    _entries: OrderedDict[Key, _Entry] = field(default_factory=OrderedDict)

    def get(self, query: Query, now: float) -> bytes | None:
        """A kept answer with the query's id and question, and TTLs counted down; None when there is none."""
        entry = self._entries.get(_key(query))
        if entry is None or entry.until <= now:
            return None
        out = bytearray(entry.message)
        out[0:2] = query.id.to_bytes(2, "big")
        out[12 : 12 + len(query.question)] = query.question
        age = int(now - entry.stored)
        for at, ttl in entry.ttls:
            out[at : at + 4] = max(0, ttl - age).to_bytes(4, "big")
        return bytes(out)

    def put(self, query: Query, message: bytes, now: float) -> None:
        """Keeps an answer if it may be kept: whole, and either good or a plain "no such name"."""
        try:
            code, records = wire.records(message)
        except wire.Malformed:
            return
        if message[2] & 2 or code not in (Code.NOERROR, Code.NXDOMAIN) or message[12 : 12 + len(query.question)].lower() != query.question.lower():
            return
        ttls = tuple((r.ttl_at, r.ttl) for r in records if r.type != wire.OPT)
        seconds = min([MOST_SECONDS, *(ttl for _, ttl in ttls)]) if ttls else 5
        if seconds <= 0:
            return
        self._entries[_key(query)] = _Entry(message, ttls, now, now + seconds)
        self._entries.move_to_end(_key(query))
        while len(self._entries) > ENTRIES:
            self._entries.popitem(last=False)


def _key(query: Query) -> Key:
    return (query.name, query.type, query.dnssec)
