"""The table `navarch-pods`: what leaves the cluster is masqueraded, host ports lead to their pods.

It is made whole once and then changed by elements, like kube-proxy's table, but per family it is small. Rules worth a word:

- Pods talk to each other with their own addresses; everything else they send gets the node's.
- Two pods on one bridge that talk through a Service answer each other directly, past the translation, unless the kernel shows
  bridged packets to nftables (`bridge-nf-call-iptables`). Where it cannot, such connections are masqueraded.
- A host port on 127.0.0.1 needs `route_localnet` on the bridge; pods are kept away from the host's loopback all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1

TABLE = "navarch-pods"
_PROTOCOLS = "meta l4proto { tcp, udp, sctp }"


@dataclass(frozen=True, slots=True)
class Network:
    """One family of a node's pod network. `cluster_cidrs`: where pods live, on any node. `sees_bridge`: br_netfilter works."""

    pod_cidr: str
    cluster_cidrs: tuple[str, ...]
    bridge: str
    sees_bridge: bool

    @property
    def family(self) -> str:
        return "ip6" if ":" in self.pod_cidr else "ip"


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """A port of the node that leads to a pod. `host_ip` "" means every address of the node."""

    protocol: str
    host_ip: str
    host_port: int
    pod_ip: str
    port: int


def host_ports(pod: core_v1.Pod, family: str) -> frozenset[HostPort]:
    """The host ports of a pod that runs, has an address of the family and does not share the node's network."""
    spec, status = pod.spec, pod.status
    if spec is None or status is None or spec.hostNetwork or status.phase in ("Succeeded", "Failed"):
        return frozenset()
    six = family == "ip6"
    addresses = [a for a in (*(p.ip for p in status.podIPs or ()), status.podIP) if a and (":" in a) == six]
    if not addresses:
        return frozenset()
    sidecars = [c for c in spec.initContainers or () if c.restartPolicy == "Always"]
    found = set()
    for container in (*(spec.containers or ()), *sidecars):
        for port in container.ports or ():
            host_ip = "" if port.hostIP in (None, "", "0.0.0.0", "::") else port.hostIP
            if not port.hostPort or (host_ip and (":" in host_ip) != six):
                continue
            protocol = (port.protocol or "TCP").lower()
            found.add(HostPort(protocol, host_ip or "", port.hostPort, addresses[0], port.containerPort or port.hostPort))
    return frozenset(found)


def whole(network: Network) -> str:
    """The transaction that makes the table from nothing, without elements."""
    header, address = network.family, "ipv4_addr" if network.family == "ip" else "ipv6_addr"
    table = f"{header} {TABLE}"
    inside = ", ".join(dict.fromkeys((*network.cluster_cidrs, "224.0.0.0/4" if header == "ip" else "ff00::/8")))
    loopback = "127.0.0.0/8" if header == "ip" else "::1"
    same_bridge = f'iifname "{network.bridge}" oifname "{network.bridge}" ct status dnat masquerade fully-random\n'
    dnat = f"dnat {header} addr . port to"
    return f"""add table {table}
delete table {table}
table {table} {{
  map host-ports {{ type inet_proto . inet_service : {address} . inet_service; }}
  map host-ip-ports {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}
  set hairpins {{ type {address} . {address}; }}
  chain host-ports-dispatch {{
    {_PROTOCOLS} {dnat} {header} daddr . meta l4proto . th dport map @host-ip-ports
    {_PROTOCOLS} {dnat} meta l4proto . th dport map @host-ports
  }}
  chain prerouting {{
    type nat hook prerouting priority -105;
    fib daddr type local jump host-ports-dispatch
  }}
  chain output {{
    type nat hook output priority -105;
    fib daddr type local jump host-ports-dispatch
  }}
  chain postrouting {{
    type nat hook postrouting priority 105;
    {header} saddr {network.pod_cidr} {header} daddr != {{ {inside} }} oifname != "{network.bridge}" masquerade fully-random
    ct status dnat {header} saddr . {header} daddr @hairpins masquerade fully-random
    {header} saddr {loopback} oifname "{network.bridge}" ct status dnat masquerade fully-random
    {"" if network.sees_bridge else same_bridge}
  }}
  chain input {{
    type filter hook input priority 0;
    iifname "{network.bridge}" {header} daddr {loopback} ct state != {{ established, related }} drop
  }}
}}
"""


def change(family: str, old: Iterable[HostPort], new: Iterable[HostPort]) -> str:
    """The transaction from one set of host ports to another; "" when nothing differs. Two pods that want one port: the first."""
    before, after = _elements(old), _elements(new)
    table, lines = f"{family} {TABLE}", []
    for container, key in sorted(set(before) | set(after)):
        was, now = before.get((container, key)), after.get((container, key))
        if was != now:
            lines += [f"delete element {table} {container} {{ {key} }}"] if was is not None else []
            lines += [f"add element {table} {container} {{ {key}{now} }}"] if now is not None else []
    return "".join(f"{line}\n" for line in lines)


def _elements(ports: Iterable[HostPort]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for port in sorted(ports):
        target = f" : {port.pod_ip} . {port.port}"
        key = f"{port.protocol} . {port.host_port}"
        container, key = ("host-ip-ports", f"{port.host_ip} . {key}") if port.host_ip else ("host-ports", key)
        if found.setdefault((container, key), target) == target:
            found.setdefault(("hairpins", f"{port.pod_ip} . {port.pod_ip}"), "")
    return found


def deletion(family: str) -> str:
    """The transaction that removes the table, also when there is none."""
    return f"add table {family} {TABLE}\ndelete table {family} {TABLE}\n"
