"""The CNI configuration of a node, from its podCIDRs.

One bridge, the node's switch, with the gateway's address on it; `host-local` hands out addresses. Hairpin mode lets a pod reach
itself through a Service. The runtime adds the loopback plugin by itself.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence

BRIDGE = "navarch0"
NAME = "navarch"
FILE = "10-navarch.conflist"


def conflist(pod_cidrs: Sequence[str], *, mtu: int, ipam_dir: str, bridge: str = BRIDGE) -> str:
    """The file's text. `ipam_dir` is where host-local notes which addresses are taken."""
    networks = [ipaddress.ip_network(c) for c in pod_cidrs]
    defaults = {4: "0.0.0.0/0", 6: "::/0"}
    plugin = {
        "type": "bridge",
        "bridge": bridge,
        "isGateway": True,
        "forceAddress": True,
        "ipMasq": False,
        "hairpinMode": True,
        "mtu": mtu,
        "ipam": {
            "type": "host-local",
            "dataDir": ipam_dir,
            "ranges": [[{"subnet": str(n)}] for n in networks],
            "routes": [{"dst": defaults[v]} for v in sorted({n.version for n in networks})],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": NAME, "plugins": [plugin]}, indent=2) + "\n"
