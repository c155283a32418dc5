"""Where kubelets are, and what the proxy subresources may reach: that is checked on the address that is dialed, after its name has been resolved.

Upstream counterpart: pkg/kubelet/client.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace

from navarch.api.core import v1 as core_v1
from navarch.apiserver.served import Catalog
from navarch.apiserver.targets import Target
from navarch.lib import inet
from navarch.machinery import codec, errors

_ADDRESSES = ("InternalIP", "ExternalIP", "Hostname")
_RESOLVE_SECONDS = 10.0


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Kubelets:
    """Finds the kubelet of a node."""

    def __init__(self, catalog: Catalog, certificate: str, key: str, authority: str) -> None:
        self._nodes = catalog.of("", "nodes")
        self._certificate, self._key, self._authority = certificate, key, authority
        self.may_proxy_to: Callable[[inet.Address], bool] = inet.is_global_unicast
        self.insecure = _unverified()

    @functools.cached_property
    def _verified(self) -> ssl.SSLContext:
        """TLS towards kubelets: our client certificate; theirs is checked, by name, when an authority is given."""
        if not self._authority:
            return self._unverified
        made = ssl.create_default_context(cafile=self._authority)
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return self._introduced(made)

    @functools.cached_property
    def _unverified(self) -> ssl.SSLContext:
        return self._introduced(_unverified())

    def _introduced(self, context: ssl.SSLContext) -> ssl.SSLContext:
        if self._certificate:
            context.load_cert_chain(self._certificate, self._key)
        return context

    def target(self, node: str, *, verify: bool = True) -> Target:
        """The address of a node's kubelet. NotFound, or ServiceUnavailable when it has none yet."""
        entry = self._nodes.cache.get(node)
        if entry is None:
            raise errors.not_found("", "nodes", node)
        status = codec.decode(core_v1.Node, entry.body).status or core_v1.NodeStatus()
        by_type = {a.type: a.address for a in reversed(status.addresses or ())}
        host = next((by_type[t] for t in _ADDRESSES if by_type.get(t)), None)
        if host is None:
            raise errors.ServiceUnavailable(f"node {node} has no address yet")
        endpoints = status.daemonEndpoints
        port = endpoints.kubeletEndpoint.Port if endpoints and endpoints.kubeletEndpoint else None
        return Target(host, port or 10250, self._verified if verify else self._unverified)

    async def proxied(self, target: Target) -> Target:
        """A target by its address, of which this answers for. BadRequest when it leads to this machine, its link, or nowhere."""
        address = inet.parse(target.host)
        if address is None:
            try:
                async with asyncio.timeout(_RESOLVE_SECONDS):
                    found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError, TimeoutError) as error:
                raise errors.BadRequest(f"lookup {target.host}: {error or 'timed out'}") from None
            resolved = [inet.parse(str(f[4][0])) for f in found]
            address = resolved[0] if resolved else None
        else:
            resolved = [address]
        if address is None or any(a is None or not self.may_proxy_to(a) for a in resolved):
            raise errors.BadRequest("address not allowed")
        return replace(target, host=str(address), server_name=target.server_name or target.host)
