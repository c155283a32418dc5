"""The proxy's table: whatever happens to services, the sum of the transactions is the whole table."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.network.proxy.core import compiling, services, stale_flows, table
from navarch.network.proxy.core.facts import Facts, Family

FACTS = Facts("n1", zone="z1", node_ip="192.0.2.2", cluster_cidrs=("10.244.0.0/16",), nodeport_addresses=("192.0.2.2",))


@dataclass
class Kernel:
    """A naive nftables: performs the commands our transactions use, and fails where the kernel would."""

    chains: dict[str, list[str]] = field(default_factory=dict)
    elements: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, transaction: str) -> None:
        for line in transaction.splitlines():
            verb, what, _, _, name, *_ = [*line.split(" "), ""]
            rest = line.split(" ", 5)[5] if line.count(" ") >= 5 else ""
            match verb, what:
                case "add", "chain":
                    self.chains.setdefault(name, [])
                case "add", "set" | "map":
                    self.elements.setdefault(name, {})
                case "flush", "chain":
                    self.chains[name].clear()
                case "delete", "chain":
                    assert self.chains.pop(name) == [], f"{name} is deleted with rules in it"
                case "delete", "set":
                    assert not any(f"@{name} " in rule for rules in self.chains.values() for rule in rules)
                    del self.elements[name]
                case "add", "rule":
                    self._check_targets(rest)
                    self.chains[name].append(rest)
                case "add", "element":
                    for element in rest.removeprefix("{ ").removesuffix(" }").split(", "):
                        key, _, value = element.partition(" comment ") if " comment " in element else element.partition(" : ")
                        assert key not in self.elements[name], f"{name} has {key} already"
                        self._check_targets(element)
                        self.elements[name][key] = value
                case "delete", "element":
                    for key in rest.removeprefix("{ ").removesuffix(" }").split(", "):
                        del self.elements[name][key]
                case "add" | "delete", "table":
                    self.chains, self.elements = {}, {}
                case _:
                    raise AssertionError(line)

    def _check_targets(self, text: str) -> None:
        words = text.replace(",", " ").split()
        for word, target in itertools.pairwise(words):
            if word in ("goto", "jump"):
                assert target in self.chains, f"{target} is not there yet"
        for word in words:
            if word.startswith("@"):
                assert word[1:] in self.elements, f"{word} is not there yet"

    def used(self) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
        """What counts: chains with rules, containers with elements (an affinity set is empty but must be there)."""
        full = {n: e for n, e in self.elements.items() if e or n.startswith("affinity")}
        return {n: r for n, r in self.chains.items() if r}, full


def _service(name: str, port_count: int = 1, **spec: Any) -> core_v1.Service:
    node_port = spec.pop("node_port", 0)
    number = sum(name.encode()) % 250
    balancer = [core_v1.LoadBalancerIngress(ip="198.51.100.7")] if spec.get("type") == "LoadBalancer" else []
    ports = [
        core_v1.ServicePort(name=f"p{n}", port=80 + n, protocol="UDP" if n % 2 else "TCP", nodePort=node_port + n if node_port else None)
        for n in range(port_count)
    ]
    return core_v1.Service(
        metadata=meta_v1.ObjectMeta(name=name, namespace="ns"),
        spec=core_v1.ServiceSpec(**{"clusterIP": f"10.96.0.{number}", "ports": ports, **spec}),
        status=core_v1.ServiceStatus(loadBalancer=core_v1.LoadBalancerStatus(ingress=balancer)),
    )


def _slices(port_count: int, endpoints: list[discovery_v1.Endpoint]) -> list[discovery_v1.EndpointSlice]:
    ports = [discovery_v1.EndpointPort(name=f"p{n}", port=8080 + n, protocol="UDP" if n % 2 else "TCP") for n in range(port_count)]
    return [discovery_v1.EndpointSlice(addressType="IPv4", ports=ports, endpoints=endpoints)]


endpoint_values = st.builds(
    lambda host, ready, serving, terminating, node: discovery_v1.Endpoint(
        addresses=[f"10.244.0.{host}"],
        nodeName=node,
        conditions=discovery_v1.EndpointConditions(ready=ready, serving=serving, terminating=terminating),
    ),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["n1", "n2"]),
)
spec_values = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
        "node_port": st.sampled_from([30000, 30100]),
        "externalIPs": st.sampled_from([["192.0.2.50"], ["192.0.2.50", "192.0.2.51", "192.0.2.50"]]),
        "externalTrafficPolicy": st.sampled_from(["Local", "Cluster"]),
        "internalTrafficPolicy": st.sampled_from(["Local", "Cluster"]),
        "sessionAffinity": st.sampled_from(["ClientIP", "None"]),
        "sessionAffinityConfig": st.sampled_from(
            [core_v1.SessionAffinityConfig(clientIP=core_v1.ClientIPConfig(timeoutSeconds=s)) for s in (60, 120)]
        ),
        "loadBalancerSourceRanges": st.sampled_from([["10.0.0.0/8", "10.1.0.0/16"], ["192.0.2.0/24"], ["0.0.0.0/0"]]),
    },
)
step_values = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.none() | st.tuples(st.integers(1, 3), spec_values, st.lists(endpoint_values, max_size=5)),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(step_values, max_size=12))
def test_transactions_add_up_to_the_whole_table(steps: list[Any]) -> None:
    under_test, kernel = table.Table(FACTS), Kernel()
    kernel.run(under_test.whole())
    for name, wanted, sync in steps:
        if wanted is None:
            under_test.remove(f"ns/{name}")
        else:
            ports, spec, endpoints = wanted
            service = _service(name, ports, **spec)
            under_test.replace(f"ns/{name}", compiling.compile_service(service, _slices(ports, endpoints), FACTS))
        if sync:
            kernel.run(under_test.take())
            kernel.run(under_test.sweep())
    kernel.run(under_test.take())
    assert under_test.take() == ""
    fresh = Kernel()
    fresh.run(under_test.whole())
    assert kernel.used() == fresh.used()
    for name in "abc":
        under_test.remove(f"ns/{name}")
    kernel_empty = Kernel()
    fresh.run(under_test.take())
    kernel_empty.run(table.Table(FACTS).whole())
    assert fresh.used() == kernel_empty.used(), "nothing of a removed service stays"


def _endpoint(address: str, **conditions: bool) -> discovery_v1.Endpoint:
    return discovery_v1.Endpoint(addresses=[address], nodeName="n1", conditions=discovery_v1.EndpointConditions(**conditions))


def _choice(endpoints: list[discovery_v1.Endpoint], facts: Facts = FACTS, **spec: Any) -> services.Choice:
    port = services.service_ports(_service("a", **spec), facts.family)[0]
    return services.choose(port, services.backends(_slices(1, endpoints), port, facts), facts)


def _of(backends: tuple[services.Backend, ...]) -> list[str]:
    return [b.address for b in backends]


def test_terminating_endpoints_serve_only_when_none_is_ready() -> None:
    ready, ending = _endpoint("10.244.0.1"), _endpoint("10.244.0.2", ready=False, serving=True, terminating=True)
    assert _of(_choice([ready, ending]).cluster) == ["10.244.0.1"]
    assert _of(_choice([ending]).cluster) == ["10.244.0.2"]
    assert _of(_choice([_endpoint("10.244.0.3", ready=False, serving=False, terminating=True)]).cluster) == []


def test_hints_count_only_when_every_ready_endpoint_has_them() -> None:
    def hinted(address: str, zone: str) -> discovery_v1.Endpoint:
        hints = discovery_v1.EndpointHints(forZones=[discovery_v1.ForZone(name=zone)])
        return discovery_v1.Endpoint(addresses=[address], nodeName="n1", hints=hints)

    assert _of(_choice([hinted("10.244.0.1", "z1"), hinted("10.244.0.2", "z2")]).cluster) == ["10.244.0.1"]
    assert len(_choice([hinted("10.244.0.1", "z1"), _endpoint("10.244.0.2")]).cluster) == 2
    assert len(_choice([hinted("10.244.0.1", "z2"), hinted("10.244.0.2", "z2")]).cluster) == 2


def test_internal_policy_local() -> None:
    away = discovery_v1.Endpoint(addresses=["10.244.9.9"], nodeName="n2")
    choice = _choice([away], internalTrafficPolicy="Local")
    assert choice.anywhere and not choice.local
    fragment = compiling.compile_service(_service("a", internalTrafficPolicy="Local"), _slices(1, [away]), FACTS)
    verdicts = {value for (container, _), value in fragment.elements.items() if container == "no-endpoint-services"}
    assert {v.split(" : ")[1] for v in verdicts} == {"drop"} and fragment.without_local == (1, 0)


def test_services_that_are_not_proxied() -> None:
    headless = _service("a", clusterIP="None")
    named = _service("a")
    assert named.metadata is not None
    named.metadata.labels = {services.PROXY_NAME_LABEL: "other"}
    outside = _service("a", type="ExternalName")
    for service in (headless, named, outside):
        fragment = compiling.compile_service(service, _slices(1, [_endpoint("10.244.0.1")]), FACTS)
        assert not fragment.elements and not fragment.chains


def test_ipv6_is_a_parameter() -> None:
    facts = Facts("n1", family=Family.IPV6, cluster_cidrs=("fd00:244::/64",))
    service = _service("a", clusterIP="fd00:96:0:0::a", clusterIPs=["fd00:96:0:0::a", "10.96.0.1"], sessionAffinity="ClientIP")
    slice_ = discovery_v1.EndpointSlice(
        addressType="IPv6",
        ports=[discovery_v1.EndpointPort(name="p0", port=8080)],
        endpoints=[discovery_v1.Endpoint(addresses=["fd00:244::5"])],
    )
    fragment = compiling.compile_service(service, [slice_], facts)
    assert ("cluster-ips", "fd00:96::a") in fragment.elements
    assert any("dnat to [fd00:244::5]:8080" in rule for rules in fragment.chains.values() for rule in rules)
    assert "ip daddr" not in table.Table(facts).whole().replace("ip6 daddr", "")


def test_health_check_ports() -> None:
    spec: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    away = discovery_v1.Endpoint(addresses=["10.244.9.9"], nodeName="n2")
    fragment = compiling.compile_service(_service("a", **spec), _slices(1, [_endpoint("10.244.0.1"), away]), FACTS)
    assert fragment.health == compiling.HealthCheck(32000, 1)
    assert compiling.compile_service(_service("a", type="LoadBalancer", healthCheckNodePort=32000), [], FACTS).health is None


def test_stale_flows() -> None:
    listing = (
        "udp 17 29 src=10.244.0.2 dst=10.96.0.10 sport=4000 dport=53 src=10.244.0.9 dst=10.244.0.2 sport=5353 dport=4000 mark=0 use=1\n"
        "udp 17 29 src=10.244.0.3 dst=10.96.0.10 sport=4000 dport=53 [UNREPLIED] src=10.244.0.8 dst=10.244.0.3 sport=5353 dport=4000\n"
        "udp 17 29 src=192.0.2.9 dst=192.0.2.2 sport=4000 dport=30053 src=10.244.0.9 dst=10.244.0.1 sport=5353 dport=4000\n"
        "udp 17 29 src=10.244.0.3 dst=9.9.9.9 sport=4000 dport=53 src=9.9.9.9 dst=10.244.0.3 sport=53 dport=4000\n"
    )
    flows = stale_flows.parse(listing)
    assert len(flows) == 4
    service = compiling.UdpService(("10.96.0.10",), 53, 30053, frozenset({("10.244.0.8", 5353)}))
    assert [(f.destination, f.port, f.answers) for f in stale_flows.stale(flows, [service])] == [
        ("10.96.0.10", 53, "10.244.0.9"),
        ("192.0.2.2", 30053, "10.244.0.9"),
    ]
    empty = compiling.UdpService(("10.96.0.10",), 53, 0, frozenset())
    assert stale_flows.stale(flows, [empty]) == []
