"""Packets through a real table: each test sends real traffic between real namespaces."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.network import nft
from navarch.network.cni.core import pods
from navarch.network.proxy import conntrack
from navarch.network.proxy.core import compiling, table
from navarch.network.proxy.core.facts import Facts, Family

VIP, NODE, OUTSIDE = "10.96.0.50", "192.0.2.2", "203.0.113.9"
FACTS = Facts(
    "n1",
    node_ip=NODE,
    cluster_cidrs=("10.244.0.0/16",),
    service_cidrs=("10.96.0.0/16",),
    nodeport_addresses=(NODE,),
)


class Cluster:
    """The table under test and how it gets into the node."""

    def __init__(self, machine: Any, facts: Facts = FACTS, sees_bridge: bool = True) -> None:
        self.machine, self.facts = machine, facts
        self.table = table.Table(facts)
        self.door = nft.Nft()
        self.node = machine.node
        if sees_bridge:
            self.node.sh("echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables")
        network = pods.Network("10.244.0.0/24", ("10.244.0.0/16",), "navarch0", sees_bridge)
        self.run(pods.whole(network))
        self.run(self.table.whole())

    def run(self, transaction: str) -> None:
        self.node.call(lambda: self.door.run_now(transaction))

    def service(self, name: str, pods_ready: dict[str, bool], *, protocol: str = "TCP", remote: tuple[str, ...] = (), **spec: Any) -> None:
        node_port = spec.pop("node_port", None)
        service = core_v1.Service(
            metadata=meta_v1.ObjectMeta(name=name, namespace="default"),
            status=spec.pop("status", None),
            spec=core_v1.ServiceSpec(
                **{"type": "NodePort" if node_port else "ClusterIP", "clusterIP": VIP, **spec},
                ports=[core_v1.ServicePort(name="p", port=80, protocol=protocol, nodePort=node_port)],
            ),
        )
        endpoints = [
            discovery_v1.Endpoint(addresses=[self.machine.addresses[pod]], nodeName="n1", conditions=discovery_v1.EndpointConditions(ready=ready))
            for pod, ready in pods_ready.items()
        ]
        endpoints += [discovery_v1.Endpoint(addresses=[address], nodeName="n2") for address in remote]
        slice_ = discovery_v1.EndpointSlice(
            addressType="IPv4", ports=[discovery_v1.EndpointPort(name="p", port=8080, protocol=protocol)], endpoints=endpoints
        )
        self.table.replace(f"default/{name}", compiling.compile_service(service, [slice_], self.facts))
        self.run(self.table.take())


@pytest.fixture
def cluster(machine: Any) -> Cluster:
    for pod in machine.pods:
        machine.serve(pod, 8080)
    return Cluster(machine)


def test_cluster_ip_spreads_over_endpoints_and_keeps_the_pods_address(cluster: Cluster, tcp: Any) -> None:
    cluster.service("web", {"a": True, "b": True})
    answers = Counter(tcp(cluster.node, VIP, 80).split()[0] for _ in range(40))
    assert set(answers) == {"a", "b"}
    seen = {tcp(cluster.machine.pods["a"], VIP, 80) for _ in range(30)}
    assert "b 10.244.0.11" in seen, "a pod on the same bridge is seen with its own address"
    assert any(answer.startswith("a ") for answer in seen), "a pod reaches itself through its Service"
    assert len(seen) == 2


def test_same_bridge_works_where_the_kernel_hides_bridged_packets(machine: Any, tcp: Any) -> None:
    machine.serve("b", 8080)
    machine.node.sh("echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables")
    cluster = Cluster(machine, sees_bridge=False)
    cluster.service("web", {"b": True})
    assert tcp(machine.pods["a"], VIP, 80) == "b 10.244.0.1"


def test_hairpin(cluster: Cluster, tcp: Any) -> None:
    cluster.service("web", {"a": True})
    assert tcp(cluster.machine.pods["a"], VIP, 80) == "a 10.244.0.1"


def test_node_port_from_outside_and_from_the_node(cluster: Cluster, tcp: Any) -> None:
    cluster.service("web", {"a": True}, node_port=30080)
    assert tcp(cluster.machine.outside, NODE, 30080) == "a 10.244.0.1", "policy Cluster hides the client"
    assert tcp(cluster.node, NODE, 30080).startswith("a ")
    assert tcp(cluster.machine.pods["b"], NODE, 30080).startswith("a ")


def test_external_policy_local_keeps_the_client_and_drops_without_local_endpoints(cluster: Cluster, tcp: Any) -> None:
    cluster.service("web", {"a": True}, remote=("10.244.9.9",), node_port=30080, externalTrafficPolicy="Local")
    for _ in range(10):
        assert tcp(cluster.machine.outside, NODE, 30080) == f"a {OUTSIDE}"
    cluster.service("web", {}, remote=("10.244.9.9",), node_port=30080, externalTrafficPolicy="Local")
    assert tcp(cluster.machine.outside, NODE, 30080, timeout=0.5) == "TimeoutError"


def test_no_endpoints_are_refused_at_once(cluster: Cluster, tcp: Any, udp: Any) -> None:
    cluster.service("web", {}, node_port=30080)
    assert tcp(cluster.node, VIP, 80) == "ConnectionRefusedError"
    assert tcp(cluster.machine.pods["a"], VIP, 80) == "ConnectionRefusedError"
    assert tcp(cluster.machine.outside, NODE, 30080) == "ConnectionRefusedError"
    cluster.service("web", {"a": False}, node_port=30080)
    assert tcp(cluster.node, VIP, 80) == "ConnectionRefusedError", "endpoints that are not ready do not count"
    cluster.service("web", {"a": True}, node_port=30080)
    assert tcp(cluster.node, VIP, 80).startswith("a ")


def test_other_ports_of_a_cluster_ip_are_refused_and_free_ones_dropped(cluster: Cluster, tcp: Any) -> None:
    cluster.service("web", {"a": True})
    assert tcp(cluster.machine.pods["b"], VIP, 81) == "ConnectionRefusedError"
    assert tcp(cluster.machine.pods["b"], "10.96.7.7", 80, timeout=0.4) == "TimeoutError"


def test_session_affinity_and_its_end(cluster: Cluster, tcp: Any) -> None:
    config = core_v1.SessionAffinityConfig(clientIP=core_v1.ClientIPConfig(timeoutSeconds=2))
    cluster.service("web", {"a": True, "b": True}, sessionAffinity="ClientIP", sessionAffinityConfig=config)
    first = tcp(cluster.node, VIP, 80).split()[0]
    assert {tcp(cluster.node, VIP, 80).split()[0] for _ in range(20)} == {first}
    other = "b" if first == "a" else "a"
    cluster.service("web", {other: True}, sessionAffinity="ClientIP", sessionAffinityConfig=config)
    assert tcp(cluster.node, VIP, 80).split()[0] == other, "a client moves when its endpoint is gone"
    cluster.service("web", {"a": True, "b": True}, sessionAffinity="ClientIP", sessionAffinityConfig=config)
    seen = set()
    for _ in range(6):
        seen.add(tcp(cluster.node, VIP, 80).split()[0])
        time.sleep(2.1 if len(seen) == 1 else 0)
    assert seen == {"a", "b"}, "a client is free again after the timeout"


def test_udp_clients_move_to_the_new_endpoint(cluster: Cluster, udp: Any) -> None:
    cluster.service("dns", {"a": True}, protocol="UDP")
    assert udp(cluster.node, VIP, 80, source_port=40000).startswith("a ")
    cluster.service("dns", {"b": True}, protocol="UDP")
    flows = cluster.table.take_udp_services()
    assert cluster.node.call(lambda: asyncio.run(conntrack.forget_stale(flows, Family.IPV4))) == 1
    assert udp(cluster.node, VIP, 80, source_port=40000).startswith("b ")


def test_load_balancer_addresses_and_source_ranges(cluster: Cluster, tcp: Any) -> None:
    ingress = core_v1.LoadBalancerStatus(ingress=[core_v1.LoadBalancerIngress(ip="198.51.100.7")])
    status = core_v1.ServiceStatus(loadBalancer=ingress)
    cluster.service("web", {"a": True}, type="LoadBalancer", status=status, externalIPs=["198.51.100.8"])
    assert tcp(cluster.machine.outside, "198.51.100.7", 80).startswith("a ")
    assert tcp(cluster.machine.outside, "198.51.100.8", 80).startswith("a ")
    ranges: dict[str, Any] = {"type": "LoadBalancer", "status": status, "loadBalancerSourceRanges": ["10.0.0.0/8", "10.1.0.0/16"]}
    cluster.service("web", {"a": True}, **ranges)
    assert tcp(cluster.machine.outside, "198.51.100.7", 80, timeout=0.5) == "TimeoutError"
    ranges["loadBalancerSourceRanges"] = ["203.0.113.0/24"]
    cluster.service("web", {"a": True}, **ranges)
    assert tcp(cluster.machine.outside, "198.51.100.7", 80).startswith("a ")


def test_everything_shared_goes_with_the_last_service(cluster: Cluster) -> None:
    base = cluster.node.sh("nft list table ip kube-proxy")
    cluster.service("one", {"a": True}, node_port=30080, sessionAffinity="ClientIP")
    cluster.service("two", {"a": True}, clusterIP="10.96.0.51", node_port=30081)
    for name in ("one", "two"):
        cluster.table.remove(f"default/{name}")
        cluster.run(cluster.table.take())
    cluster.run(cluster.table.sweep())
    assert cluster.node.sh("nft list table ip kube-proxy") == base
    cluster.run(table.deletion(FACTS))
    assert "kube-proxy" not in cluster.node.sh("nft list tables")


def test_ten_thousand_services_change_in_milliseconds(machine: Any, tcp: Any) -> None:
    machine.serve("a", 8080)
    cluster = Cluster(machine)
    for number in range(10_000):
        service = core_v1.Service(
            metadata=meta_v1.ObjectMeta(name=f"s{number}", namespace="many"),
            spec=core_v1.ServiceSpec(clusterIP=f"10.97.{number >> 8}.{number & 255}", ports=[core_v1.ServicePort(port=80)]),
        )
        endpoints = [discovery_v1.Endpoint(addresses=[f"10.245.{k}.{number & 255}"]) for k in range(2)]
        slice_ = discovery_v1.EndpointSlice(addressType="IPv4", ports=[discovery_v1.EndpointPort(port=8080)], endpoints=endpoints)
        cluster.table.replace(f"many/s{number}", compiling.compile_service(service, [slice_], FACTS))
    cluster.run(cluster.table.whole())
    began = time.process_time()
    cluster.service("web", {"a": True})
    spent = time.process_time() - began
    assert tcp(machine.node, VIP, 80).startswith("a ")
    assert spent < 0.02, f"one change cost {spent * 1000:.1f} ms of CPU"
