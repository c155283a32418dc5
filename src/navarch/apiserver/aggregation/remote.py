"""Requests to extension servers: who we say the user is, and what we ask for ourselves.

Upstream counterparts: client-go's transport/round_trippers.go (SetAuthProxyHeaders), and the requests of kube-aggregator's controllers.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Mapping

from navarch.apiserver.aggregation.registry import Registry, Remote
from navarch.apiserver.authn.users import User
from navarch.apiserver.extensions.clients import MOST_BYTES, Answer, Failed, Outgoing, Target, Transport
from navarch.apiserver.extensions.services import Address

AGGREGATOR = User("system:kube-aggregator", ("system:masters",))
"""Who asks what the aggregator itself wants to know: nobody refuses it that."""

_TOKEN = frozenset(string.ascii_letters + string.digits + "!#$&'*+-.^_`|~")
"""What may stand in the name of a header, but for the percent sign that escapes everything else."""


def identity(user: User) -> list[tuple[str, str]]:
    """A user as the headers of a front proxy. Failed, in Go's words, for one that no header can name."""
    found = [("X-Remote-User", user.name)]
    if user.uid:
        found.append(("X-Remote-Uid", user.uid))
    found += (("X-Remote-Group", group) for group in user.groups)
    found += ((f"X-Remote-Extra-{_escaped(key)}", value) for key, values in user.extra.items() for value in values)
    for name, value in found:
        if not value.isprintable() and any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in value):
            raise Failed(f'net/http: invalid header field value for "{name}"')
    return found


def _escaped(key: str) -> str:
    return "".join(c if c in _TOKEN else "".join(f"%{byte:02X}" for byte in c.encode()) for c in key)


async def get(transport: Transport, remote: Remote, address: Address, path: str, timeout: float, headers: Mapping[str, str] | None = None) -> Answer:
    """Asks an extension server at one of its addresses. Failed."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    base = f"https://{host}:{address.port}"
    target = Target(base, address.host, address.port, remote.trust)
    asked = {**dict(identity(AGGREGATOR)), "User-Agent": "kube-aggregator", **(headers or {})}
    try:
        async with asyncio.timeout(timeout):
            return await transport.send(Outgoing(target, "GET", base + path, asked, b"", MOST_BYTES, None))
    except TimeoutError:
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        raise Failed(f'Get "{base}{path}": {why}') from None
    except Failed as error:
        raise Failed(f'Get "{base}{path}": {error}') from None


async def ask(
    transport: Transport, registry: Registry, remote: Remote, path: str, timeout: float, headers: Mapping[str, str] | None = None
) -> Answer:
    """Asks an extension server wherever it is. Failed, Unresolved."""
    return await get(transport, remote, registry.address(remote), path, timeout, headers)
