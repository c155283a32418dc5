"""Free ports on this machine, for servers that tests start."""

from __future__ import annotations

import socket


def free() -> int:
    """A port of the loopback address that nobody had a moment ago."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
