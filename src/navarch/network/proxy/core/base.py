"""The fixed part of the table: its maps, sets, hooks and the rules between them.

Upstream counterpart: setupNFTables. The names of hooks, maps and sets are upstream's where they mean the same, so that what
people know about debugging kube-proxy holds here. Everything that depends on a Service comes from `compiling.py`.

A packet's way: nat-prerouting/nat-output → services → a verdict from `service-ips` or `service-nodeports` → a `pick-` chain →
DNAT; new connections that were not translated meet the checks in the filter hooks; nat-postrouting masquerades.
"""

from __future__ import annotations

from navarch.network.proxy.core.facts import Facts, Family

TABLE = "kube-proxy"

SERVICE_IPS = "service-ips"
SERVICE_NODEPORTS = "service-nodeports"
NO_ENDPOINT_SERVICES = "no-endpoint-services"
NO_ENDPOINT_NODEPORTS = "no-endpoint-nodeports"
ENDPOINTS = "endpoints"
LOCAL_ENDPOINTS = "local-endpoints"
NODEPORT_ENDPOINTS = "nodeport-endpoints"
NODEPORT_LOCAL_ENDPOINTS = "nodeport-local-endpoints"
CLUSTER_IPS = "cluster-ips"
HAIRPINS = "hairpin-connections"
FIREWALLED = "firewalled"
FIREWALL_SOURCES = "firewall-sources"
NODEPORT_IPS = "nodeport-ips"
REJECT = "reject-chain"

PROTOCOLS = ("tcp", "udp", "sctp")
ENDPOINT_MAPS = (ENDPOINTS, LOCAL_ENDPOINTS, NODEPORT_ENDPOINTS, NODEPORT_LOCAL_ENDPOINTS)
"""There is one of each per protocol (`endpoints-udp`): nft 1.0.6 reads a map's key back in the protocol of the rule that uses
it, and refuses `th dport` there."""

HOOKS = (
    ("filter-prerouting-pre-dnat", "type filter hook prerouting priority -110;"),
    ("filter-output-pre-dnat", "type filter hook output priority -110;"),
    ("filter-input", "type filter hook input priority 0;"),
    ("filter-forward", "type filter hook forward priority 0;"),
    ("filter-output", "type filter hook output priority 0;"),
    ("nat-prerouting", "type nat hook prerouting priority -100;"),
    ("nat-output", "type nat hook output priority -100;"),
    ("nat-postrouting", "type nat hook postrouting priority 100;"),
)

JUMPS = (
    ("filter-prerouting-pre-dnat", "ct state new jump firewall-check"),
    ("filter-output-pre-dnat", "ct state new jump firewall-check"),
    ("filter-input", "ct state new jump nodeport-endpoints-check"),
    ("filter-input", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump service-endpoints-check"),
    ("filter-forward", "ct state new jump cluster-ips-check"),
    ("filter-output", "ct state new jump service-endpoints-check"),
    ("filter-output", "ct state new jump cluster-ips-check"),
    ("nat-prerouting", "jump services"),
    ("nat-output", "jump services"),
    ("nat-postrouting", "jump masquerading"),
)


def containers(family: Family) -> dict[str, str]:
    """The maps and sets: name → (kind and type) as nft declares them."""
    address, header = ("ipv4_addr", "ip") if family is Family.IPV4 else ("ipv6_addr", "ip6")
    frontend, port = f"{address} . inet_proto . inet_service", "inet_proto . inet_service"
    index = "numgen random mod 2"
    picked = {
        f"{name}-{protocol}": f"map typeof {'' if name.startswith('nodeport') else f'{header} daddr . '}"
        f"{protocol} dport . {index} : {header} daddr . {protocol} dport;"
        for name in ENDPOINT_MAPS
        for protocol in PROTOCOLS
    }
    return {
        SERVICE_IPS: f"map type {frontend} : verdict;",
        SERVICE_NODEPORTS: f"map type {port} : verdict;",
        NO_ENDPOINT_SERVICES: f"map type {frontend} : verdict;",
        NO_ENDPOINT_NODEPORTS: f"map type {port} : verdict;",
        **picked,
        CLUSTER_IPS: f"set type {address};",
        HAIRPINS: f"set type {address} . {address} . inet_proto . inet_service;",
        FIREWALLED: f"set type {frontend};",
        FIREWALL_SOURCES: f"set type {frontend} . {address}; flags interval;",
        NODEPORT_IPS: f"set type {address};",
    }


def from_pods(facts: Facts) -> str:
    """The match for packets sent by pods; empty when pods cannot be told."""
    return f"{facts.family.nft} saddr {{ {', '.join(facts.cluster_cidrs)} }}" if facts.cluster_cidrs else ""


def _masquerade_cluster_ips(facts: Facts) -> list[str]:
    header = facts.family.nft
    if facts.masquerade_all:
        return [f"{header} daddr @{CLUSTER_IPS} {mark(facts)}"]
    if facts.cluster_cidrs:
        outside = f"{header} saddr != {{ {', '.join(facts.cluster_cidrs)} }}"
        return [f"{header} daddr @{CLUSTER_IPS} {outside} {mark(facts)}"]
    return []


def mark(facts: Facts) -> str:
    """The statement that makes postrouting masquerade a packet."""
    return f"meta mark set meta mark or {facts.masquerade_mark:#x}"


def chains(facts: Facts) -> dict[str, tuple[str, ...]]:
    """The fixed regular chains and their rules. They may refer to each other: all are added before any rule."""
    header, flag = facts.family.nft, f"{facts.masquerade_mark:#x}"
    frontend = f"{header} daddr . meta l4proto . th dport"
    nodeport = f"{header} daddr != {facts.family.loopback}" if facts.nodeport_addresses is None else f"{header} daddr @{NODEPORT_IPS}"
    local = "fib daddr type local " if facts.nodeport_addresses is None else ""
    unallocated = [f"{header} daddr {{ {', '.join(facts.service_cidrs)} }} drop"] if facts.service_cidrs else []
    return {
        REJECT: ("reject",),
        "services": (
            *_masquerade_cluster_ips(facts),
            f"{frontend} vmap @{SERVICE_IPS}",
            f"{local}{nodeport} meta l4proto . th dport vmap @{SERVICE_NODEPORTS}",
        ),
        "masquerading": (
            f"meta mark & {flag} != 0 meta mark set meta mark ^ {flag} masquerade fully-random",
            f"ct status dnat {header} saddr . {header} daddr . meta l4proto . th dport @{HAIRPINS} masquerade fully-random",
        ),
        "service-endpoints-check": (f"{frontend} vmap @{NO_ENDPOINT_SERVICES}",),
        "nodeport-endpoints-check": (f"{nodeport} meta l4proto . th dport vmap @{NO_ENDPOINT_NODEPORTS}",),
        "cluster-ips-check": (f"{header} daddr @{CLUSTER_IPS} reject", *unallocated),
        "firewall-check": (f"{frontend} @{FIREWALLED} {frontend} . {header} saddr != @{FIREWALL_SOURCES} drop",),
    }
