"""Requests for group versions of other servers are sent on to them, once this server knows who asks and that they may.

Upstream counterpart: kube-aggregator's pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

from navarch.apiserver.aggregation import registry as registries
from navarch.apiserver.aggregation import remote as remotes
from navarch.apiserver.aggregation.registry import Registry
from navarch.apiserver.answers import PLAIN, Answer, Document, Forward, Tunnel
from navarch.apiserver.call import Call
from navarch.apiserver.extensions.clients import Failed
from navarch.apiserver.extensions.services import Unresolved
from navarch.apiserver.targets import Target

_UNAVAILABLE = b"service unavailable\n"
ANSWER_SECONDS = 60.0
"""How long an extension server may take until its answer begins, unless the request lasts as long as it is wanted."""


def enter(registry: Registry, call: Call) -> Answer | None:
    """What an extension server answers; None when the request is for this server."""
    remote = registry.remote_of(call.info)
    if remote is None:
        return None
    if not remote.available:
        return _plain(503, _UNAVAILABLE)
    try:
        tls = registries.tls_of(remote)
        identity = remotes.identity(call.user)
        address = registry.address(remote)
    except Failed as error:
        return _plain(500, f"{error}\n".encode())
    except Unresolved:
        return _plain(503, _UNAVAILABLE)
    target = Target(address.host, address.port, tls, remote.trust.server_name)
    if call.upgrade_wanted:
        return Tunnel(target, headers=identity, plain=True)
    return Forward(target, headers=identity, plain=True, seconds=ANSWER_SECONDS if call.limit is not None else None)


def _plain(status: int, text: bytes) -> Document:
    return Document(text, status, PLAIN, {"X-Content-Type-Options": "nosniff"})
