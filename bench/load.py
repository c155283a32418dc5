"""A lean HTTP/1.1 load generator: requests are bytes made beforehand, answers are only as much parsed as must be.

It runs in a process of its own, so that on two cores the server has one to itself.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast


@dataclass(slots=True)
class Result:
    """What a run came to: requests done, seconds, latencies (seconds), bytes read, answers by status."""

    done: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    received: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


class Connection(asyncio.BufferedProtocol):
    """One connection, one request at a time. Bodies are counted, not kept: reading must cost less than answering."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(1 << 18))
        self._head = b""
        self._left = -1
        self._chunked = False
        self._tail = b""
        self._answer: tuple[int, int] = (0, 0)
        self._waiter: asyncio.Future[tuple[int, int]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._waiter is None:
            return
        if self._left < 0 and not self._chunked:
            self._head += bytes(self._buffer[:nbytes])
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._begin(self._head[:end].lower(), self._head[end + 4 :])
        elif self._chunked:
            self._answer = self._answer[0], self._answer[1] + nbytes
            self._tail = (self._tail + bytes(self._buffer[max(0, nbytes - 5) : nbytes]))[-5:]
        else:
            self._left -= nbytes
        if self._tail == b"0\r\n\r\n" if self._chunked else self._left <= 0:
            self._left, self._chunked, self._tail, self._head = -1, False, b"", b""
            waiter, self._waiter = self._waiter, None
            waiter.set_result(self._answer)

    def _begin(self, head: bytes, rest: bytes) -> None:
        """Reads how the body that follows ends: by a length, or (chunked) by its last five bytes."""
        at = head.find(b"content-length:")
        self._chunked = at < 0 and b"transfer-encoding: chunked" in head
        size = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
        self._answer = int(head[9:12]), len(rest) if self._chunked else size
        self._tail = rest[-5:] if self._chunked else b""
        self._left = size - len(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> tuple[int, int]:
        """Status and size of the answer."""
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go and what authorizes them."""

    host: str
    port: int
    token: str

    def request(self, method: str, path: str, body: bytes = b"", media: str = "application/json") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {self.token}\r\nAccept: application/json\r\n"
        if body:
            head += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self.host, self.port, ssl=self.tls())
        return connection

    async def stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to read line by line: for watches."""
        return await asyncio.open_connection(self.host, self.port, ssl=self.tls(), limit=1 << 26)


async def run(server: Server, requests: Callable[[int], Iterator[bytes]], seconds: float, connections: int = 16) -> Result:
    """Sends requests over so many connections at once for so long."""
    result = Result()
    opened = [await server.connect() for _ in range(connections)]
    end = time.perf_counter() + seconds

    async def worker(number: int, connection: Connection) -> None:
        for request in requests(number):
            start = time.perf_counter()
            if start >= end:
                return
            status, size = await connection.ask(request)
            result.latencies.append(time.perf_counter() - start)
            result.done += 1
            result.received += size
            result.statuses[status] = result.statuses.get(status, 0) + 1

    start = time.perf_counter()
    await asyncio.gather(*(worker(i, c) for i, c in enumerate(opened)))
    result.seconds = time.perf_counter() - start
    for connection in opened:
        connection.close()
    return result
