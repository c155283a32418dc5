"""The options of a connection, which are the object that admission sees of it: PodExecOptions and its like.

They are read from the query. They are no API objects that could be stored; what a webhook is sent is what stands here.

Upstream counterpart: the *Options types of pkg/apis/core, which apiserver's ConnectResource hands to admission.
"""

from __future__ import annotations

import msgspec

from navarch.apiserver.call import Call
from navarch.lib import integers


class StreamOptions(msgspec.Struct, omit_defaults=True):
    """PodExecOptions and PodAttachOptions."""

    kind: str
    apiVersion: str
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    container: str = ""
    command: list[str] | None = None


class PortForwardOptions(msgspec.Struct, omit_defaults=True):
    """PodPortForwardOptions."""

    kind: str
    apiVersion: str
    ports: list[int] | None = None


class ProxyOptions(msgspec.Struct, omit_defaults=True):
    """PodProxyOptions, ServiceProxyOptions and NodeProxyOptions."""

    kind: str
    apiVersion: str
    path: str = ""


Options = StreamOptions | PortForwardOptions | ProxyOptions
_PROXIES = {"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}


def options(call: Call) -> Options:
    """What a connection is asked for with."""
    query = call.query
    match call.info.subresource:
        case "exec" | "attach" as which:
            kind, command = ("PodExecOptions", list(query.all("command")) or None) if which == "exec" else ("PodAttachOptions", None)
            stdin, stdout, stderr, tty = (query.flag(name) for name in ("stdin", "stdout", "stderr", "tty"))
            return StreamOptions(kind, "v1", stdin, stdout, stderr, tty, query.get("container"), command)
        case "portforward":
            ports = [integers.parse(text) for value in query.all("ports") for text in value.split(",")]
            return PortForwardOptions("PodPortForwardOptions", "v1", [port for port in ports if port is not None] or None)
    path = call.info.path.partition("/proxy")[2]
    return ProxyOptions(_PROXIES[call.info.plural], "v1", path)
