"""The cluster's zone: every record, as the bytes that an answer is made of, kept true service by service.

Looking a name up yields an answer set, "the name exists but has none of that type", or "no such name". A name also exists when
only names below it do (`default.svc.cluster.local`), as the protocol wants it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.network.dns.core import wire
from navarch.network.dns.core.records import TTL, Key, Records

VERSION = b"1.1.0"


class Answers(NamedTuple):
    """Whole records: for the answer section (owned by the question's name) and the additional one."""

    records: tuple[bytes, ...]
    additional: tuple[bytes, ...] = ()


_NOTHING = Answers(())


@dataclass(slots=True)
class Zone:
    """`origin` is the cluster domain. Owners are services, `namespace/name`."""

    origin: str = "cluster.local"
    dns_address: str = ""
    _services: dict[str, Records] = field(default_factory=dict)
    _sources: dict[Key, dict[str, None]] = field(default_factory=dict)
    _answers: dict[bytes, dict[int, Answers]] = field(default_factory=dict)
    _inner: dict[bytes, int] = field(default_factory=dict)
    _namespaces: set[bytes] = field(default_factory=set)
    apex: bytes = b""
    soa: bytes = b""

    def __post_init__(self) -> None:
        self.apex = wire.encode_name(self.origin)
        server, mailbox = wire.encode_name(f"ns.dns.{self.origin}"), wire.encode_name(f"hostmaster.{self.origin}")
        times = b"".join(n.to_bytes(4, "big") for n in (1, 7200, 1800, 86400, TTL))
        self.soa = wire.record(self.apex, wire.SOA, TTL, server + mailbox + times)
        fixed = Records()
        fixed.add(self.apex, wire.SOA, server + mailbox + times)
        fixed.add(self.apex, wire.NS, server)
        fixed.add(wire.encode_name(f"dns-version.{self.origin}"), wire.TXT, bytes((len(VERSION),)) + VERSION)
        if self.dns_address:
            fixed.add_address(server, self.dns_address)
        self.put("", fixed)

    def put(self, owner: str, records: Records) -> None:
        """Sets the records of a service."""
        old = self._services.get(owner)
        self._services[owner] = records
        touched = dict.fromkeys((*(old.data if old else ()), *records.data))
        for key in touched:
            sources = self._sources.setdefault(key, {})
            if key in records.data:
                sources[owner] = None
            else:
                sources.pop(owner, None)
        self._rebuild(touched)

    def remove(self, owner: str) -> None:
        old = self._services.pop(owner, None)
        if old is None:
            return
        for key in old.data:
            self._sources[key].pop(owner, None)
        self._rebuild(old.data)

    def set_namespaces(self, names: Iterable[str]) -> None:
        """Which namespaces exist: only in these do pod names and namespace names."""
        self._namespaces = {name.encode() for name in names}

    def _rebuild(self, keys: Iterable[Key]) -> None:
        for key in keys:
            name, kind = key
            owners = self._sources.get(key)
            if owners:
                self._place(name, kind, _join(kind, [(self._services[o], key) for o in owners]))
            else:
                self._sources.pop(key, None)
                self._displace(name, kind)

    def _place(self, name: bytes, kind: int, answers: Answers) -> None:
        if name not in self._answers:
            self._answers[name] = {}
            for parent in self._parents(name):
                self._inner[parent] = self._inner.get(parent, 0) + 1
        self._answers[name][kind] = answers

    def _displace(self, name: bytes, kind: int) -> None:
        known = self._answers.get(name)
        if known is None:
            return
        known.pop(kind, None)
        if not known:
            del self._answers[name]
            for parent in self._parents(name):
                self._inner[parent] -= 1
                if not self._inner[parent]:
                    del self._inner[parent]

    def _parents(self, name: bytes) -> Iterator[bytes]:
        """The names above one, up to the zone's own (or up to the root, for reverse names)."""
        at = 1 + name[0]
        while name[at]:
            yield name[at:]
            at += 1 + name[at]

    def holds(self, name: bytes) -> bool:
        """Whether the zone is the authority for a name."""
        return wire.below(name, self.apex)

    def find(self, name: bytes, kind: int) -> Answers | None:
        """Answers; an empty set when the name has none of that type; None when there is no such name."""
        known = self._answers.get(name)
        if known is not None:
            return known.get(kind, _NOTHING)
        if name in self._inner:
            return _NOTHING
        return self._computed(name, kind)

    def alias(self, name: bytes) -> bytes | None:
        """Where a name's CNAME leads."""
        known = self._answers.get(name)
        found = known.get(wire.CNAME) if known else None
        return found.records[0][12:] if found else None

    def _computed(self, name: bytes, kind: int) -> Answers | None:
        """Pod names (`1-2-3-4.NS.pod.ZONE`) say their address themselves; namespaces exist without Services too."""
        if not self.holds(name):
            return None
        parts = wire.labels(name[: len(name) - len(self.apex)] + b"\0")
        if len(parts) == 1 and parts[0] in (b"svc", b"pod"):
            return _NOTHING
        if len(parts) == 2 and parts[1] in (b"svc", b"pod") and parts[0] in self._namespaces:
            return _NOTHING
        if len(parts) != 3 or parts[2] != b"pod" or parts[1] not in self._namespaces:
            return None
        address = _dashed(parts[0].decode("latin-1"))
        if address is None:
            return None
        record = wire.address_record(wire.POINTER, address, TTL)
        return Answers((record,)) if int.from_bytes(record[2:4], "big") == kind else _NOTHING


def _dashed(label: str) -> str | None:
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(label.replace("-", separator)))
        except ValueError:
            continue
    return None


def _join(kind: int, parts: list[tuple[Records, Key]]) -> Answers:
    data = dict.fromkeys(d for records, key in parts for d in records.data[key])
    additional = dict.fromkeys(r for records, key in parts for r in records.additional.get(key, ()))
    return Answers(tuple(wire.record(wire.POINTER, kind, TTL, d) for d in data), tuple(additional))
