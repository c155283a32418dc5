"""Answers of cluster DNS, read back by an independent library (dnslib)."""

from __future__ import annotations

import time
from typing import Any

import pytest
from dnslib import EDNS0, QTYPE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.network.dns.core import answering, cache, records, wire
from navarch.network.dns.core.zone import Zone


def _service(name: str, **spec: Any) -> core_v1.Service:
    ports = [core_v1.ServicePort(name="http", port=80, protocol="TCP"), core_v1.ServicePort(name="dns", port=53, protocol="UDP")]
    return core_v1.Service(metadata=meta_v1.ObjectMeta(name=name, namespace="default"), spec=core_v1.ServiceSpec(**{"ports": ports, **spec}))


def _slice(*endpoints: discovery_v1.Endpoint, family: str = "IPv4") -> discovery_v1.EndpointSlice:
    return discovery_v1.EndpointSlice(
        addressType=family, ports=[discovery_v1.EndpointPort(name="http", port=8080, protocol="TCP")], endpoints=list(endpoints)
    )


def _endpoint(address: str, hostname: str | None = None, ready: bool = True) -> discovery_v1.Endpoint:
    return discovery_v1.Endpoint(addresses=[address], hostname=hostname, conditions=discovery_v1.EndpointConditions(ready=ready))


@pytest.fixture
def zone() -> Zone:
    made = Zone("cluster.local", "10.96.0.10")
    made.set_namespaces(["default", "empty"])
    slices = [_slice(_endpoint("10.244.0.5", "web-0"), _endpoint("10.244.0.6"), _endpoint("10.244.0.7", "web-2", ready=False))]
    six = [_slice(_endpoint("fd00::5", "web-0"), family="IPv6")]
    services = {
        "default/kubernetes": (_service("kubernetes", clusterIP="10.96.0.1", clusterIPs=["10.96.0.1", "fd00:1::1"]), []),
        "default/web": (_service("web", clusterIP="None"), [*slices, *six]),
        "default/early": (_service("early", clusterIP="None", publishNotReadyAddresses=True), slices),
        "default/out": (_service("out", type="ExternalName", externalName="example.org"), []),
        "default/alias": (_service("alias", type="ExternalName", externalName="kubernetes.default.svc.cluster.local"), []),
        "default/loop": (_service("loop", type="ExternalName", externalName="loop.default.svc.cluster.local"), []),
    }
    for owner, (service, found) in services.items():
        made.put(owner, records.service_records(service, found, "cluster.local"))
    return made


def _ask(zone: Zone, name: str, kind: str = "A") -> Any:
    found = answering.answer(zone, bytes(DNSRecord.question(name, kind).pack()))
    assert isinstance(found, bytes)
    return DNSRecord.parse(found)


def _data(zone: Zone, name: str, kind: str = "A") -> set[str]:
    answer = _ask(zone, name, kind)
    assert answer.header.rcode == 0
    assert all(str(rr.rname).rstrip(".").lower() == name.lower() for rr in answer.rr)
    return {str(rr.rdata) for rr in answer.rr}


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("kubernetes.default.svc.cluster.local", "A", {"10.96.0.1"}),
        ("kubernetes.default.svc.cluster.local", "AAAA", {"fd00:1::1"}),
        ("KUBERNETES.Default.svc.Cluster.local", "A", {"10.96.0.1"}),
        ("_http._tcp.kubernetes.default.svc.cluster.local", "SRV", {"0 100 80 kubernetes.default.svc.cluster.local."}),
        ("_dns._udp.kubernetes.default.svc.cluster.local", "SRV", {"0 100 53 kubernetes.default.svc.cluster.local."}),
        ("1.0.96.10.in-addr.arpa", "PTR", {"kubernetes.default.svc.cluster.local."}),
        ("web.default.svc.cluster.local", "A", {"10.244.0.5", "10.244.0.6"}),
        ("web.default.svc.cluster.local", "AAAA", {"fd00::5"}),
        ("web-0.web.default.svc.cluster.local", "A", {"10.244.0.5"}),
        ("10-244-0-6.web.default.svc.cluster.local", "A", {"10.244.0.6"}),
        ("web-2.early.default.svc.cluster.local", "A", {"10.244.0.7"}),
        ("out.default.svc.cluster.local", "CNAME", {"example.org."}),
        ("dns-version.cluster.local", "TXT", {'"1.1.0"'}),
        ("10-244-1-9.default.pod.cluster.local", "A", {"10.244.1.9"}),
        ("fd00--9.default.pod.cluster.local", "AAAA", {"fd00::9"}),
        ("cluster.local", "NS", {"ns.dns.cluster.local."}),
        ("ns.dns.cluster.local", "A", {"10.96.0.10"}),
    ],
)
def test_specified_names(zone: Zone, name: str, kind: str, expected: set[str]) -> None:
    assert _data(zone, name, kind) == expected


def test_headless_srv_has_a_target_per_endpoint_and_their_addresses(zone: Zone) -> None:
    answer = _ask(zone, "_http._tcp.web.default.svc.cluster.local", "SRV")
    assert {(rr.rdata.port, str(rr.rdata.target)) for rr in answer.rr} == {
        (8080, "web-0.web.default.svc.cluster.local."),
        (8080, "10-244-0-6.web.default.svc.cluster.local."),
    }
    assert {str(rr.rdata) for rr in answer.ar} == {"10.244.0.5", "10.244.0.6", "fd00::5"}


def test_reverse_names_of_headless_endpoints(zone: Zone) -> None:
    assert _data(zone, "5.0.244.10.in-addr.arpa", "PTR") == {
        "web-0.web.default.svc.cluster.local.",
        "web-0.early.default.svc.cluster.local.",
    }
    assert isinstance(answering.answer(zone, bytes(DNSRecord.question("9.9.9.9.in-addr.arpa", "PTR").pack())), answering.Forward)


@pytest.mark.parametrize("name", ["nope.default.svc.cluster.local", "x.nope.svc.cluster.local", "web-2.web.default.svc.cluster.local"])
def test_no_such_name(zone: Zone, name: str) -> None:
    answer = _ask(zone, name)
    assert answer.header.rcode == 3 and not answer.rr
    assert [QTYPE[rr.rtype] for rr in answer.auth] == ["SOA"], "negative answers say how long they hold"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("kubernetes.default.svc.cluster.local", "MX"),
        ("default.svc.cluster.local", "A"),
        ("empty.svc.cluster.local", "A"),
        ("svc.cluster.local", "A"),
        ("early.default.svc.cluster.local", "AAAA"),
        ("10-244-1-9.default.pod.cluster.local", "AAAA"),
    ],
)
def test_the_name_is_there_but_not_the_type(zone: Zone, name: str, kind: str) -> None:
    answer = _ask(zone, name, kind)
    assert answer.header.rcode == 0 and not answer.rr
    assert [QTYPE[rr.rtype] for rr in answer.auth] == ["SOA"]


def test_records_go_with_their_service(zone: Zone) -> None:
    zone.remove("default/web")
    assert _ask(zone, "web.default.svc.cluster.local").header.rcode == 3
    assert _data(zone, "5.0.244.10.in-addr.arpa", "PTR") == {"web-0.early.default.svc.cluster.local."}
    for owner in ("kubernetes", "early", "out", "alias", "loop"):
        zone.remove(f"default/{owner}")
    zone.set_namespaces([])
    assert _ask(zone, "default.svc.cluster.local").header.rcode == 3
    assert _ask(zone, "dns-version.cluster.local", "TXT").header.rcode == 0


def test_aliases(zone: Zone) -> None:
    answer = _ask(zone, "alias.default.svc.cluster.local")
    assert [str(rr.rdata) for rr in answer.rr] == ["kubernetes.default.svc.cluster.local.", "10.96.0.1"]
    assert _ask(zone, "loop.default.svc.cluster.local").header.rcode == 2
    chase = answering.answer(zone, bytes(DNSRecord.question("out.default.svc.cluster.local").pack()))
    assert isinstance(chase, answering.Chase) and wire.text(chase.target) == "example.org"
    reply = DNSRecord.question("example.org").reply()
    from dnslib import RR, A

    reply.add_answer(RR("example.org", QTYPE.A, rdata=A("192.0.2.80"), ttl=60))
    finished = DNSRecord.parse(answering.finish(chase, bytes(reply.pack())))
    assert [(str(rr.rname), str(rr.rdata)) for rr in finished.rr] == [
        ("out.default.svc.cluster.local.", "example.org."),
        ("example.org.", "192.0.2.80"),
    ]
    assert len(DNSRecord.parse(answering.finish(chase, None)).rr) == 1


def test_truncation_and_edns(zone: Zone) -> None:
    many = [_slice(*(_endpoint(f"10.244.{n >> 8}.{n & 255}") for n in range(300)))]
    zone.put("default/many", records.service_records(_service("many", clusterIP="None"), many, "cluster.local"))
    query = DNSRecord.question("many.default.svc.cluster.local")
    small = answering.answer(zone, bytes(query.pack()))
    assert isinstance(small, bytes) and len(small) <= 512 and DNSRecord.parse(small).header.tc == 1
    query.add_ar(EDNS0(udp_len=4096))
    larger = answering.answer(zone, bytes(query.pack()))
    assert isinstance(larger, bytes) and 512 < len(larger) <= 1232
    parsed = DNSRecord.parse(larger)
    assert parsed.header.tc == 1 and QTYPE[parsed.ar[0].rtype] == "OPT"
    whole = answering.answer(zone, bytes(query.pack()), 65535)
    assert isinstance(whole, bytes) and DNSRecord.parse(whole).header.tc == 0
    assert len(DNSRecord.parse(whole).rr) == 300


def test_answers_take_turns(zone: Zone) -> None:
    first = set()
    for ident in range(8):
        query = DNSRecord.question("web.default.svc.cluster.local")
        query.header.id = ident
        found = answering.answer(zone, bytes(query.pack()))
        assert isinstance(found, bytes)
        first.add(str(DNSRecord.parse(found).rr[0].rdata))
    assert first == {"10.244.0.5", "10.244.0.6"}


@given(st.binary(max_size=80))
def test_garbage_never_breaks_the_server(data: bytes) -> None:
    found = answering.answer(Zone(), data)
    assert found is None or isinstance(found, bytes | answering.Forward)


@given(st.binary(max_size=60))
def test_garbage_after_a_good_header_never_breaks_the_server(data: bytes) -> None:
    header = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01"
    found = answering.answer(Zone(), header + data)
    assert isinstance(found, bytes | answering.Forward)
    if isinstance(found, bytes):
        assert found[:2] == b"\x12\x34" and found[2] & 0x80


def test_other_wishes_are_refused_politely(zone: Zone) -> None:
    query = bytearray(bytes(DNSRecord.question("a.cluster.local").pack()))
    query[2] |= 5 << 3
    found = answering.answer(zone, bytes(query))
    assert isinstance(found, bytes) and found[3] & 15 == wire.Code.NOTIMP
    badvers = DNSRecord.question("a.cluster.local")
    badvers.add_ar(EDNS0(version=1))
    found = answering.answer(zone, bytes(badvers.pack()))
    assert isinstance(found, bytes)
    answer = DNSRecord.parse(found)
    assert answer.ar[0].edns_rcode == 1 and answer.header.rcode == 0


def test_cache_counts_down_and_forgets() -> None:
    from dnslib import RR, A

    kept = cache.Cache()
    question = DNSRecord.question("example.org")
    reply = question.reply()
    reply.add_answer(RR("example.org", QTYPE.A, rdata=A("192.0.2.80"), ttl=20))
    query = wire.parse(bytes(question.pack()))
    kept.put(query, bytes(reply.pack()), 100.0)
    again = DNSRecord.question("EXAMPLE.org")
    hit = kept.get(wire.parse(bytes(again.pack())), 105.0)
    assert hit is not None
    answer = DNSRecord.parse(hit)
    assert answer.header.id == again.header.id and answer.rr[0].ttl == 15 and str(answer.q.qname) == "EXAMPLE.org."
    assert kept.get(query, 120.0) is None
    failed = question.reply()
    failed.header.rcode = 2
    kept.put(query, bytes(failed.pack()), 200.0)
    assert kept.get(query, 200.0) is None, "failures are not kept"


def test_a_query_is_answered_in_microseconds(zone: Zone) -> None:
    query = bytes(DNSRecord.question("kubernetes.default.svc.cluster.local").pack())
    best = min(_seconds(zone, query) for _ in range(5))
    assert best < 100e-6, f"{best * 1e6:.0f} µs"


def _seconds(zone: Zone, query: bytes) -> float:
    began = time.perf_counter()
    for _ in range(200):
        answering.answer(zone, query)
    return (time.perf_counter() - began) / 200
