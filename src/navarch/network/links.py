"""The machine's links, addresses and routes: read from /proc or by the `ip` program, changed by that.

Both see the network namespace of the process; /sys/class/net does not, it shows the one it was mounted in. (pyroute2 brings an event
loop of its own that does not get along with uvloop, and costs 150 ms to import.)
"""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
from typing import Any

OWN_LINK, OWN_PEER, OWN_ADDRESS = "navarch-node", "navarch-peer", "172.31.254.1"
_OUTSIDE = ("198.51.100.1", 9)
"""An address nobody has: asking for the way there tells which address we use towards the outside."""


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def _show(*arguments: str) -> list[dict[str, Any]]:
    """What `ip` lists; empty where it fails."""
    done = _ip("-j", *arguments)
    found = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    return [each for each in found if each]


def addresses() -> list[str]:
    """Every address of this network namespace."""
    return [info["local"] for link in _show("addr", "show") for info in link.get("addr_info", ()) if "local" in info]


def default_source() -> str:
    """The address this machine uses towards the outside; "" when it has no way there. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(_OUTSIDE)
        except OSError:
            return ""
        return str(asking.getsockname()[0])


def default_link() -> str:
    """The link of the default IPv4 route; "" when there is none."""
    for line in pathlib.Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000" and fields[7] == "00000000":
            return fields[0]
    return ""


def mtu() -> int:
    """The size of packets that leave this machine: the default route's link's; 1500 without one."""
    link = default_link()
    return int(next((each["mtu"] for each in _show("link", "show", "dev", link)), 1500)) if link else 1500


def exists(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def delete(name: str) -> bool:
    """Deletes a link; False when there is none."""
    return exists(name) and _ip("link", "del", name).returncode == 0


def ports_of(bridge: str) -> list[str]:
    """The names of the links enslaved to a bridge."""
    return [each["ifname"] for each in _show("link", "show", "master", bridge)] if exists(bridge) else []


def own_address() -> str:
    """A stable address for a machine without one: on a veth of ours (not every kernel has dummy links)."""
    if not exists(OWN_LINK):
        _ip("link", "add", OWN_LINK, "type", "veth", "peer", "name", OWN_PEER)
        _ip("addr", "add", f"{OWN_ADDRESS}/32", "dev", OWN_LINK)
        for name in (OWN_LINK, OWN_PEER):
            _ip("link", "set", name, "up")
    return OWN_ADDRESS


def route_services(cidr: str) -> None:
    """Gives cluster IPs a route where no default route covers them: without one the kernel refuses before translating."""
    if exists(OWN_LINK) and not default_link():
        _ip("route", "replace", cidr, "dev", OWN_LINK, "src", OWN_ADDRESS)


def remove_own() -> None:
    """Removes our veth, and with it its address and route."""
    delete(OWN_LINK)
