"""The machine's links and addresses, read and changed by netlink.

A thin layer over pyroute2: each function opens a socket, does one thing and closes it, since they are called rarely.
"""

from __future__ import annotations

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError


def addresses() -> list[str]:
    """Every address of this network namespace."""
    with IPRoute() as route:
        return [a.get_attr("IFA_ADDRESS") for a in route.get_addr()]


def default_source() -> str:
    """The address this machine uses towards the outside: the source of its default IPv4 route; "" when it has none."""
    with IPRoute() as route:
        for found in route.get_default_routes(family=2):
            if source := found.get_attr("RTA_PREFSRC"):
                return str(source)
            index = found.get_attr("RTA_OIF")
            for address in route.get_addr(family=2, index=index):
                return str(address.get_attr("IFA_ADDRESS"))
    return ""


def exists(name: str) -> bool:
    with IPRoute() as route:
        return bool(route.link_lookup(ifname=name))


def delete(name: str) -> bool:
    """Deletes a link; False when there is none."""
    with IPRoute() as route:
        for index in route.link_lookup(ifname=name):
            try:
                route.link("del", index=index)
            except NetlinkError:
                return False
            return True
    return False


def ports_of(bridge: str) -> list[str]:
    """The names of the links enslaved to a bridge."""
    with IPRoute() as route:
        for index in route.link_lookup(ifname=bridge):
            return [link.get_attr("IFLA_IFNAME") for link in route.get_links() if link.get_attr("IFLA_MASTER") == index]
    return []


def mtu() -> int:
    """The size of packets that leave this machine: the default route's link's; 1500 without one."""
    with IPRoute() as route:
        for found in route.get_default_routes(family=2):
            for link in route.get_links(found.get_attr("RTA_OIF")):
                return int(link.get_attr("IFLA_MTU"))
    return 1500
