"""The CNI configuration and host ports as data."""

from __future__ import annotations

import json
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.network.cni.core import conflist, pods
from navarch.network.cni.loop import pod_cidrs


def _pod(*ports: tuple[str, str | None, int], phase: str = "Running", host_network: bool = False, ip: str = "10.244.0.5") -> core_v1.Pod:
    listed = [core_v1.ContainerPort(protocol=p, hostIP=h, hostPort=n, containerPort=8080) for p, h, n in ports]
    return core_v1.Pod(
        spec=core_v1.PodSpec(hostNetwork=host_network, containers=[core_v1.Container(name="c", ports=listed)]),
        status=core_v1.PodStatus(phase=phase, podIP=ip, podIPs=[core_v1.PodIP(ip=ip)]),
    )


def test_conflist() -> None:
    made: dict[str, Any] = json.loads(conflist.conflist(("10.244.3.0/24",), mtu=1400, ipam_dir="/x"))
    plugin = made["plugins"][0]
    assert made["cniVersion"] == "1.0.0" and plugin["mtu"] == 1400 and plugin["hairpinMode"]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]
    assert plugin["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}]
    both = json.loads(conflist.conflist(("10.244.3.0/24", "fd00::/80"), mtu=1500, ipam_dir="/x"))
    assert [r["dst"] for r in both["plugins"][0]["ipam"]["routes"]] == ["0.0.0.0/0", "::/0"]


def test_host_ports_of_a_pod() -> None:
    pod = _pod(("TCP", None, 80), ("UDP", "127.0.0.1", 53))
    assert pods.host_ports(pod, "ip") == {
        pods.HostPort("tcp", "", 80, "10.244.0.5", 8080),
        pods.HostPort("udp", "127.0.0.1", 53, "10.244.0.5", 8080),
    }
    assert not pods.host_ports(pod, "ip6")
    assert not pods.host_ports(_pod(("TCP", None, 80), phase="Succeeded"), "ip")
    assert not pods.host_ports(_pod(("TCP", None, 80), host_network=True), "ip")


def test_changes_touch_what_changed() -> None:
    one = pods.host_ports(_pod(("TCP", None, 80)), "ip")
    two = pods.host_ports(_pod(("TCP", None, 80), ("UDP", "127.0.0.1", 53)), "ip")
    assert pods.change("ip", one, one) == ""
    assert pods.change("ip", one, two) == ("add element ip navarch-pods host-ip-ports { 127.0.0.1 . udp . 53 : 10.244.0.5 . 8080 }\n")
    assert pods.change("ip", two, frozenset()).count("delete element") == 3


def test_pod_ranges_of_a_node() -> None:
    assert pod_cidrs(None) == ()
    assert pod_cidrs(core_v1.Node(spec=core_v1.NodeSpec(podCIDR="10.244.0.0/24"))) == ("10.244.0.0/24",)
    both = core_v1.NodeSpec(podCIDR="10.244.0.0/24", podCIDRs=["10.244.0.0/24", "fd00::/80"])
    assert pod_cidrs(core_v1.Node(spec=both)) == ("10.244.0.0/24", "fd00::/80")
