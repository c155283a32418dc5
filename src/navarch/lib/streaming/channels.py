"""The numbered channels of remote commands over WebSocket: each message begins with the channel's number.

Channels: 0 standard input, 1 output, 2 error output, 3 the outcome, 4 terminal sizes; 255 with a channel's number closes that channel (v5 only).
The `base64.` variants write the number as a digit and the data in base64, in text messages. Pure functions.
"""

from __future__ import annotations

import base64
import binascii

from navarch.lib import integers

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CLOSE = 255

V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
REMOTE_COMMAND = (V5, V4, "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io")
"""Subprotocols for commands, the best first. Without any, a peer gets plain `channel.k8s.io`."""


def is_base64(protocol: str) -> bool:
    """Whether messages of this protocol are text."""
    return "base64" in protocol


def encode(protocol: str, channel: int, data: bytes) -> bytes | str:
    """A message: bytes for binary protocols, text for base64 ones."""
    if is_base64(protocol):
        return f"{channel}{base64.b64encode(data).decode()}"
    return bytes([channel]) + data


def decode(protocol: str, message: bytes | str) -> tuple[int, bytes] | None:
    """Channel and data of a message; None for one that makes no sense."""
    if isinstance(message, str):
        if not message or not integers.is_digits(message[0]):
            return None
        try:
            return int(message[0]), base64.b64decode(message[1:], validate=True)
        except (ValueError, binascii.Error):
            return None
    return (message[0], bytes(message[1:])) if message else None
