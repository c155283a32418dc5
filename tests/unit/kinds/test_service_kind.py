"""Services: what they are given, what they may ask for, and the bands numbers come from."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import table
from navarch.apiserver.numbers import ranges, services
from navarch.machinery import codec, errors

NOW = 1767225600.0
STRATEGY = table.of("", "services")


def service(name: str = "s", **spec: Any) -> core_v1.Service:
    spec.setdefault("ports", [{"port": 80}])
    tree = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    made = codec.from_tree(core_v1.Service, tree)
    STRATEGY.default(made)
    return made


def server(cidrs: str = "10.96.0.0/24", ports: str = "30000-30009") -> Any:
    return services.Allocations(cidrs, ports)


def create(host: Any, made: core_v1.Service, dry_run: bool = False) -> dict[str, Any]:
    STRATEGY.prepare_create(made, NOW)
    assert STRATEGY.allocate is not None
    STRATEGY.allocate(host, made, None, dry_run)
    assert [str(p) for p in STRATEGY.validate(made)] == []
    spec: dict[str, Any] = codec.to_tree(made)["spec"]
    return spec


def update(host: Any, new: core_v1.Service, old: core_v1.Service) -> list[str]:
    STRATEGY.prepare_update(new, old, NOW)
    assert STRATEGY.allocate is not None
    STRATEGY.allocate(host, new, old, False)
    return [str(p) for p in STRATEGY.validate_update(new, old)]


def test_cluster_address_comes_from_the_upper_band() -> None:
    spec = create(server(), service())
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert int(ipaddress.ip_address(spec["clusterIP"])) >= int(ipaddress.ip_address("10.96.0.17"))
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


def test_headless_without_selector_has_both_families() -> None:
    spec = create(server(), service(clusterIP="None"))
    assert (spec["clusterIPs"], spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["None"], ["IPv4", "IPv6"], "RequireDualStack")


def test_dual_stack_prefers_two_addresses() -> None:
    spec = create(server("10.96.0.0/24,fd00::/112"), service(ipFamilyPolicy="PreferDualStack"))
    assert spec["ipFamilies"] == ["IPv4", "IPv6"]
    assert [ipaddress.ip_address(a).version for a in spec["clusterIPs"]] == [4, 6]


def test_protocols_of_one_port_share_a_node_port() -> None:
    ports = [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "w", "port": 80}]
    numbers = [p["nodePort"] for p in create(server(), service(type="NodePort", ports=ports))["ports"]]
    assert numbers[0] == numbers[1] != numbers[2]


def test_local_load_balancer_gets_a_health_check_port() -> None:
    spec = create(server(), service(type="LoadBalancer", externalTrafficPolicy="Local"))
    assert 30000 <= spec["healthCheckNodePort"] <= 30009
    assert spec["healthCheckNodePort"] != spec["ports"][0]["nodePort"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"clusterIP": "10.96.0.5"}, "failed to allocate IP 10.96.0.5: provided IP is already allocated"),
        ({"clusterIP": "1.2.3.4"}, "failed to allocate IP 1.2.3.4: the provided network does not match the current range"),
        ({"clusterIP": "10.96.0.255"}, "the provided IP (10.96.0.255) is not in the valid range. The range of valid IPs is 10.96.0.0/24"),
        ({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30001}]}, "provided port is already allocated"),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "provided port is not in the valid range. The range of valid ports is 30000-30009",
        ),
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        ({"ipFamilies": ["IPv6"]}, "not configured on this cluster"),
    ],
)
def test_what_cannot_be_had_is_refused_and_nothing_is_kept(spec: dict[str, Any], why: str) -> None:
    host = server()
    create(host, service("first", type="NodePort", clusterIP="10.96.0.5", ports=[{"port": 80, "nodePort": 30001}]))
    before = dict(host.addresses), dict(host.ports)
    with pytest.raises(errors.Invalid) as raised:
        create(host, service("second", **spec))
    assert why in raised.value.message
    assert (dict(host.addresses), dict(host.ports)) == before


def test_dry_run_takes_nothing() -> None:
    host = server()
    create(host, service(type="NodePort"), dry_run=True)
    assert not host.addresses and not host.ports


def test_failed_write_gives_back() -> None:
    host = server()
    made = service(type="NodePort")
    STRATEGY.prepare_create(made, NOW)
    assert STRATEGY.allocate is not None
    finish = STRATEGY.allocate(host, made, None, False)
    assert host.addresses and host.ports
    finish()
    assert not host.addresses and not host.ports


def test_full_range_is_an_internal_error() -> None:
    host = server("10.96.0.0/30")
    create(host, service("a"))
    create(host, service("b"))
    with pytest.raises(errors.InternalError, match="range is full"):
        create(host, service("c"))


def test_update_keeps_what_the_client_leaves_out() -> None:
    host = server()
    old = service(type="NodePort")
    held = create(host, old)
    new = service(type="NodePort")
    assert update(host, new, old) == []
    assert codec.to_tree(new)["spec"] == held


def test_address_does_not_change() -> None:
    host = server()
    old = service()
    create(host, old)
    assert update(host, service(clusterIP="10.96.0.3"), old) == ['spec.clusterIPs[0]: Invalid value: ["10.96.0.3"]: may not change once set']


def test_type_changes_give_and_take() -> None:
    host = server()
    plain = service()
    create(host, plain)
    ported = service(type="NodePort")
    assert update(host, ported, plain) == []
    assert ported.spec is not None and ported.spec.ports is not None and ported.spec.ports[0].nodePort
    named = service(type="ExternalName", externalName="a.b")
    assert update(host, named, ported) == []
    assert named.spec is not None and (named.spec.clusterIP, named.spec.ipFamilies) == (None, None)
    back = service()
    assert update(host, back, named) == []
    assert back.spec is not None and back.spec.clusterIP and back.spec.externalName is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value"),
        ({"sessionAffinity": "X"}, 'spec.sessionAffinity: Unsupported value: "X": supported values: "ClientIP", "None"'),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ({"loadBalancerClass": "a.b/c"}, "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"),
    ],
)
def test_problems_in_upstreams_words(spec: dict[str, Any], message: str) -> None:
    assert message in [str(p) for p in STRATEGY.validate(service(**spec))]


@given(st.integers(1, 3000), st.data())
def test_band_gives_a_free_number_of_the_upper_band_first(size: int, data: st.DataObject) -> None:
    band = ranges.port_band(f"1000-{1000 + size - 1}")
    taken = data.draw(st.sets(st.integers(1000, 1000 + size - 1)))
    chosen = band.choose(taken, data.draw(st.integers(0, 2**32)))
    free = set(range(1000, 1000 + size)) - taken
    upper = {n for n in free if n >= band.static}
    if not free:
        assert chosen is None
    else:
        assert chosen in (upper or free)


@pytest.mark.parametrize(
    ("cidr", "first", "last"),
    [("10.96.0.0/24", "10.96.0.1", "10.96.0.254"), ("10.0.0.0/30", "10.0.0.1", "10.0.0.2"), ("fd00::/112", "fd00::1", "fd00::ffff")],
)
def test_address_band_leaves_out_the_networks_own(cidr: str, first: str, last: str) -> None:
    network = ipaddress.ip_network(cidr)
    band = ranges.address_band(network)
    assert (band.first, band.end - 1) == (int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last)))
