"""SPDY/3.1 framing without I/O: bytes in, events out; calls return the bytes to send.

Only what remote command and port forwarding use: streams with headers and data, half-close, reset, ping, goaway. There is no flow control, as in
the implementations at the other end (moby/spdystream). Headers are compressed with zlib and a fixed dictionary, one state per direction,
so frames must be sent in the order they were made.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FIN = 0x01
CANCEL, PROTOCOL_ERROR = 5, 1
MAX_DATA = (1 << 24) - 1
CHUNK = 32 * 1024

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 "
    "content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer "
    "retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status "
    "200_OK version HTTP/1.1 url public set-cookie keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information"
    "204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error"
    "501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, "
    "Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split(" ")) + _TAIL.encode()
"""The dictionary of the SPDY/3 specification, 1,423 bytes."""

Headers = Mapping[str, str]


class SpdyError(Exception):
    """The peer broke the protocol; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    stream: int
    headers: Headers
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReplied:
    stream: int
    headers: Headers
    fin: bool


@dataclass(frozen=True, slots=True)
class DataReceived:
    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class PingReceived:
    """Answer it with `ping(id)`."""

    id: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    last_stream: int


Event = StreamOpened | StreamReplied | DataReceived | StreamReset | PingReceived | GoneAway


class Codec:
    """One side of a connection. A client opens odd streams, a server even ones."""

    def __init__(self, client: bool) -> None:
        self._next = 1 if client else 2
        self._own_pings = 1 if client else 0
        self._buffer = bytearray()
        self._compress = zlib.compressobj(level=6, zdict=DICTIONARY)
        self._decompress = zlib.decompressobj(zdict=DICTIONARY)

    # ---- sending -------------------------------------------------------------------------------------------------------------

    def open(self, headers: Headers, fin: bool = False) -> tuple[int, bytes]:
        """A new stream: its number, and the frame."""
        stream, self._next = self._next, self._next + 2
        body = struct.pack(">IIBB", stream, 0, 0, 0) + self._pack(headers)
        return stream, _control(SYN_STREAM, FIN if fin else 0, body)

    def reply(self, stream: int, headers: Headers | None = None) -> bytes:
        """Accepts a stream."""
        return _control(SYN_REPLY, 0, struct.pack(">I", stream) + self._pack(headers or {}))

    def data(self, stream: int, data: bytes, fin: bool = False) -> bytes:
        """Data of a stream, in frames of moderate size; `fin` closes our half."""
        frames = []
        pieces = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)] or [b""]
        for index, piece in enumerate(pieces):
            flags = FIN if fin and index == len(pieces) - 1 else 0
            frames.append(struct.pack(">II", stream, flags << 24 | len(piece)) + piece)
        return b"".join(frames)

    def reset(self, stream: int, status: int = CANCEL) -> bytes:
        """Ends a stream at once, both ways."""
        return _control(RST_STREAM, 0, struct.pack(">II", stream, status))

    def ping(self, number: int) -> bytes:
        """A ping, or the answer to one."""
        return _control(PING, 0, struct.pack(">I", number))

    def go_away(self, last_stream: int = 0) -> bytes:
        """No more streams."""
        return _control(GOAWAY, 0, struct.pack(">II", last_stream, 0))

    def _pack(self, headers: Headers) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += [struct.pack(">I", len(text)), text]
        return self._compress.compress(b"".join(parts)) + self._compress.flush(zlib.Z_SYNC_FLUSH)

    # ---- receiving -----------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """The events more bytes complete. SpdyError when they are no SPDY/3.1."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            size = second & MAX_DATA
            if len(self._buffer) < 8 + size:
                break
            body = bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            flags = second >> 24
            if first >> 31:
                if first >> 16 & 0x7FFF != VERSION:
                    raise SpdyError(f"version {first >> 16 & 0x7FFF} of SPDY is not spoken")
                event = self._control_frame(first & 0xFFFF, flags, body)
                if event is not None:
                    events.append(event)
            else:
                events.append(DataReceived(first & 0x7FFFFFFF, body, bool(flags & FIN)))
        return events

    def _control_frame(self, kind: int, flags: int, body: bytes) -> Event | None:
        fin = bool(flags & FIN)
        try:
            match kind:
                case 1:
                    return StreamOpened(_number(body), self._unpack(body[10:]), fin)
                case 2:
                    return StreamReplied(_number(body), self._unpack(body[4:]), fin)
                case 8:
                    self._unpack(body[4:])
                    return DataReceived(_number(body), b"", fin) if fin else None
                case 3:
                    return StreamReset(_number(body), struct.unpack_from(">I", body, 4)[0])
                case 6:
                    number = _number(body)
                    return PingReceived(number) if number & 1 != self._own_pings else None
                case 7:
                    return GoneAway(_number(body))
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a broken frame of type {kind}: {error}") from None
        return None

    def _unpack(self, block: bytes) -> Headers:
        data = self._decompress.decompress(block)
        (count,) = struct.unpack_from(">I", data)
        position, texts = 4, []
        for _ in range(2 * count):
            (size,) = struct.unpack_from(">I", data, position)
            texts.append(data[position + 4 : position + 4 + size].decode())
            position += 4 + size
        return dict(zip(texts[::2], texts[1::2], strict=True))


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(body)) + body


def _number(body: bytes) -> int:
    (number,) = struct.unpack_from(">I", body)
    return int(number) & 0x7FFFFFFF
