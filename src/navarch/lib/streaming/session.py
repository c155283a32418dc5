"""SPDY streams on a connection: opened, read and written like small sockets.

`connect` upgrades an HTTP connection to SPDY/3.1; `Session.run` reads frames until the connection ends and must run in a task of the caller's
group. In: a reader and writer. Out: `Stream`s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from navarch.lib.streaming import spdy

CONNECT_TIMEOUT = 10.0


class UpgradeRefused(Exception):
    """The server would not speak SPDY; `status` and `body` are its HTTP answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"unable to upgrade connection: {body.decode('utf-8', 'replace').strip() or status}")
        self.status = status
        self.body = body


class Stream:
    """One stream. Reading gives b"" at its end."""

    def __init__(self, session: Session, number: int, headers: Mapping[str, str]) -> None:
        self.number = number
        self.headers = headers
        self.accepted = asyncio.Event()
        self._session = session
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self._ended = False

    def feed(self, data: bytes, fin: bool) -> None:
        """What arrived; called by the session."""
        if data:
            self._pieces.put_nowait(data)
        if fin:
            self._pieces.put_nowait(b"")

    async def read(self) -> bytes:
        """The next piece, b"" when the other side has closed its half."""
        if self._ended:
            return b""
        piece = await self._pieces.get()
        self._ended = not piece
        return piece

    async def write(self, data: bytes) -> None:
        """Sends data."""
        await self._session.send(self._session.codec.data(self.number, data))

    async def close(self) -> None:
        """Closes our half."""
        await self._session.send(self._session.codec.data(self.number, b"", fin=True))

    async def reset(self) -> None:
        """Ends the stream at once."""
        await self._session.send(self._session.codec.reset(self.number))


class Session:
    """One SPDY connection. Streams the peer opens are queued in `opened`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: bool) -> None:
        self.codec = spdy.Codec(client)
        self.opened: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._reader = reader
        self._writer = writer
        self._streams: dict[int, Stream] = {}

    async def send(self, frame: bytes) -> None:
        """Writes a frame, waiting when the peer is slow. Nothing happens once the connection is gone."""
        if self._writer.is_closing():
            return
        self._writer.write(frame)
        try:
            await self._writer.drain()
        except ConnectionError:
            self._writer.close()

    async def open(self, headers: Mapping[str, str], fin: bool = False) -> Stream:
        """Opens a stream."""
        number, frame = self.codec.open(headers, fin)
        stream = self._streams[number] = Stream(self, number, headers)
        await self.send(frame)
        return stream

    async def run(self) -> None:
        """Reads until the connection ends; then every stream has ended. SpdyError when the peer breaks the protocol."""
        try:
            while data := await self._reader.read(64 * 1024):
                for event in self.codec.receive(data):
                    await self._take(event)
        except ConnectionError:
            pass
        finally:
            for stream in self._streams.values():
                stream.feed(b"", fin=True)
                stream.accepted.set()
            self.opened.put_nowait(None)

    async def _take(self, event: spdy.Event) -> None:
        match event:
            case spdy.StreamOpened(number, headers, fin):
                stream = self._streams[number] = Stream(self, number, headers)
                stream.feed(b"", fin)
                self.opened.put_nowait(stream)
                await self.send(self.codec.reply(number))
            case spdy.StreamReplied(number, _, fin):
                if number in self._streams:
                    self._streams[number].accepted.set()
                    self._streams[number].feed(b"", fin)
            case spdy.DataReceived(number, data, fin):
                if number in self._streams:
                    self._streams[number].feed(data, fin)
            case spdy.StreamReset(number, _):
                if number in self._streams:
                    self._streams[number].feed(b"", fin=True)
                    self._streams[number].accepted.set()
            case spdy.PingReceived(number):
                await self.send(self.codec.ping(number))
            case spdy.GoneAway(_):
                pass

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()


async def connect(url: str, protocols: Sequence[str], method: str = "POST") -> tuple[Session, str]:
    """Upgrades a connection to `url` (plain HTTP); the session and the protocol the server chose. UpgradeRefused, OSError."""
    reader, writer, head, protocol = await upgrade(url, protocols, method)
    if not head.startswith(b"HTTP/1.1 101"):
        body = await reader.read(64 * 1024)
        writer.close()
        raise UpgradeRefused(int(head.split(b" ", 2)[1]), body)
    return Session(reader, writer, client=True), protocol


async def upgrade(url: str, protocols: Sequence[str], method: str = "POST") -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes, str]:
    """Asks for the upgrade: connection, the answer's head, and the protocol it names."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    async with asyncio.timeout(CONNECT_TIMEOUT):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        offers = "".join(f"X-Stream-Protocol-Version: {protocol}\r\n" for protocol in protocols)
        writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            f"{offers}Content-Length: 0\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
    protocol = ""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "x-stream-protocol-version":
            protocol = value.strip()
    return reader, writer, head, protocol
