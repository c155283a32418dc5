"""A lean HTTP/1.1 load generator: requests are bytes made beforehand, answers are only as much parsed as must be.

It runs in a process of its own, so that on two cores the server has one to itself.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


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


class Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> tuple[int, int]:
        """Status and size of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        lower = head.lower()
        at = lower.find(b"content-length:")
        if at >= 0:
            size = int(lower[at + 15 : lower.index(b"\r", at)])
            if size:
                await self._reader.readexactly(size)
            return status, size
        if b"transfer-encoding: chunked" not in lower:
            return status, 0
        total = 0
        while True:
            length = int((await self._reader.readuntil(b"\r\n"))[:-2].split(b";")[0], 16)
            await self._reader.readexactly(length + 2)
            if not length:
                return status, total
            total += length

    def close(self) -> None:
        self._writer.close()


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

    async def connect(self) -> Connection:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context, limit=1 << 26)
        return Connection(reader, writer)


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
