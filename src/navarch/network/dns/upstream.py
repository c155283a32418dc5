"""Asking other name servers: what forwards queries the cluster cannot answer.

Servers come from the host's resolv.conf, less those that would lead back to us. One is asked after the other, over UDP and, when
an answer is cut, over TCP; equal questions asked at once are asked once. Upstream counterpart: CoreDNS's forward, loop and cache.
"""

from __future__ import annotations

import asyncio
import logging
import pathlib
import secrets
import time
from collections.abc import Collection, Sequence
from typing import cast

from navarch.network.dns.core import answering, wire
from navarch.network.dns.core.cache import Cache
from navarch.network.dns.core.wire import Query

_log = logging.getLogger(__name__)
TIMEOUT = 2.0


def servers(path: str, ours: Collection[str]) -> list[str]:
    """The name servers of a resolv.conf, without the addresses that are ours."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [w[1] for w in words if len(w) >= 2 and w[0] == "nameserver" and w[1] not in ours]


class _Exchange(asyncio.DatagramProtocol):
    """One question over UDP, from a port of its own that the kernel picks at random: waits for the answer with our id and question."""

    def __init__(self, message: bytes, answer: asyncio.Future[bytes]) -> None:
        self._message, self._answer = message, answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._message)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answer.done() and _answers(data, self._message):
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


def _answers(data: bytes, message: bytes) -> bool:
    """Whether this answers our question. Who guesses must guess all of it; what is wrong is passed over, not taken for an answer."""
    if len(data) < 12 or data[:2] != message[:2] or not data[2] & 0x80:
        return False
    question = message[12 : wire.skip_name(message, 12) + 4]
    return data[4:6] == b"\0\0" or data[12 : 12 + len(question)].lower() == question.lower()


class Forwarder:
    """Asks `addresses` (host or host and port) in turn, with a cache."""

    def __init__(self, addresses: Sequence[tuple[str, int]]) -> None:
        self._addresses = list(addresses)
        self._cache = Cache()
        self._asking: dict[tuple[bytes, int, bool], asyncio.Future[bytes | None]] = {}

    async def ask(self, query: Query) -> bytes | None:
        """The upstream's whole answer with the query's id; None when nobody answered."""
        kept = self._cache.get(query, time.monotonic())
        if kept is not None:
            return kept
        key = (query.name, query.type, query.dnssec)
        running = self._asking.get(key)
        if running is None:
            running = self._asking[key] = asyncio.get_running_loop().create_future()
            found: bytes | None = None
            try:
                found = await self._ask(query)
            finally:
                del self._asking[key]
                running.set_result(found)
            if found is not None:
                self._cache.put(query, found, time.monotonic())
        else:
            found = await asyncio.shield(running)
        return None if found is None else query.id.to_bytes(2, "big") + found[2:12] + query.question + found[12 + len(query.question) :]

    async def _ask(self, query: Query) -> bytes | None:
        message = answering.question(query.name, query.type, secrets.randbits(16), dnssec=query.dnssec)
        for address in self._addresses:
            try:
                async with asyncio.timeout(TIMEOUT):
                    found = await self._udp(address, message)
                    if found[2] & 2:
                        found = await self._tcp(address, message)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                _log.debug("name server %s: %s", address[0], error or type(error).__name__)
                continue
            if len(found) >= 12 + len(query.question) and found[12 : 12 + len(query.question)].lower() == query.question.lower():
                return found
        return None

    async def _udp(self, address: tuple[str, int], message: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Exchange(message, answer), remote_addr=address)
        try:
            return await answer
        finally:
            transport.close()

    async def _tcp(self, address: tuple[str, int], message: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(len(message).to_bytes(2, "big") + message)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()


def failure(query: Query) -> bytes:
    """What to say when no server answered."""
    return wire.response(query, wire.Code.SERVFAIL, authoritative=False)
