"""The standard CNI plugins with our configuration, and host ports, in real namespaces."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from typing import Any

import pytest

from navarch.network import nft
from navarch.network.cni.core import conflist, pods
from navarch.network.cni.loop import PluginsMissing, plugin_folder


def _add(node: Any, plugin: dict[str, Any], container: str, netns: str, command: str = "ADD") -> Any:
    environment = {
        **os.environ,
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": plugin_folder(),
    }
    configuration = json.dumps({"cniVersion": "1.0.0", "name": "navarch", **plugin}).encode()
    done = node.call(lambda: subprocess.run([f"{plugin_folder()}/bridge"], input=configuration, env=environment, capture_output=True, check=False))
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout) if done.stdout else None


def test_pods_get_addresses_a_way_out_and_host_ports(machine: Any, tcp: Any, udp: Any, tmp_path: pathlib.Path, namespace: Any, echo: Any) -> None:
    try:
        plugin_folder()
    except PluginsMissing as missing:
        pytest.skip(str(missing))
    node = machine.node
    node.sh("ip link del navarch0; echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables")
    plugin = json.loads(conflist.conflist(("10.244.0.0/24",), mtu=1400, ipam_dir=str(tmp_path)))["plugins"][0]
    network = pods.Network("10.244.0.0/24", ("10.244.0.0/16",), "navarch0", True)
    door = nft.Nft()
    node.call(lambda: door.run_now(pods.whole(network)))
    pod = namespace("pod")
    added = _add(node, plugin, "one", f"/run/netns/{pod.name}")
    address = added["ips"][0]["address"].split("/")[0]
    echo(pod, address, 8080, "pod")
    echo(machine.outside, "203.0.113.9", 9000, "outside")
    assert tcp(node, address, 8080) == "pod 10.244.0.1"
    assert tcp(pod, "203.0.113.9", 9000) == "outside 203.0.113.1", "what leaves the cluster has the node's address"
    assert "mtu 1400" in pod.sh("ip link show eth0")

    ports = [
        pods.HostPort("tcp", "", 7080, address, 8080),
        pods.HostPort("tcp", "127.0.0.1", 7081, address, 8080),
        pods.HostPort("udp", "203.0.113.1", 7081, address, 8080),
    ]
    node.call(lambda: door.run_now(pods.change("ip", [], ports)))
    node.sh("echo 1 > /proc/sys/net/ipv4/conf/navarch0/route_localnet")
    assert tcp(machine.outside, "203.0.113.1", 7080) == "pod 203.0.113.9", "a host port keeps the client's address"
    assert tcp(node, "192.0.2.2", 7080).startswith("pod ")
    assert tcp(pod, "192.0.2.2", 7080).startswith("pod "), "a pod reaches its own host port"
    assert tcp(node, "127.0.0.1", 7081) == "pod 10.244.0.1"
    assert tcp(node, "127.0.0.1", 7081, bind="192.0.2.2").startswith("pod ")
    assert tcp(machine.outside, "203.0.113.1", 7081) == "ConnectionRefusedError", "that one is for the loopback alone"
    assert udp(machine.outside, "203.0.113.1", 7081).startswith("pod ")
    echo(node, "127.0.0.1", 9100, "secret")
    assert tcp(pod, "127.0.0.1", 9100) == "ConnectionRefusedError"

    node.call(lambda: door.run_now(pods.change("ip", ports, [])))
    assert tcp(machine.outside, "203.0.113.1", 7080) == "ConnectionRefusedError"
    _add(node, plugin, "one", f"/run/netns/{pod.name}", "DEL")
