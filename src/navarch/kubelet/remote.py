"""exec, attach and port-forward: streams between a client of the kubelet and the container runtime.

A SPDY client is passed through to the runtime's own streaming server, byte for byte. A WebSocket client's channels are translated to
SPDY streams (or, for tunnelled port forwarding, unwrapped), since no runtime speaks the newer protocols. Upstream's counterparts: pkg/kubelet/server,
streamtranslator, portforward tunnelling.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import aiohttp
from aiohttp import WSMsgType, web

from navarch.lib import tasks
from navarch.lib.streaming import channels, relay, session

PORT_FORWARD_TUNNEL = "SPDY/3.1+portforward.k8s.io"
PORT_FORWARD_PROTOCOLS = (PORT_FORWARD_TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io")
SPDY_COMMANDS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
HOP_BY_HOP = ("host", "authorization", "content-length", "transfer-encoding")
PING_EVERY = 5.0


def is_websocket(request: web.Request) -> bool:
    """Whether the client asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def is_spdy(request: web.Request) -> bool:
    """Whether the client asks for SPDY."""
    return request.headers.get("Upgrade", "").lower().startswith("spdy/")


async def pass_through(request: web.Request, url: str) -> web.StreamResponse:
    """Hands the client's upgrade to the runtime as it is and copies bytes from then on."""
    parts = urlsplit(url)
    try:
        server = await asyncio.open_connection(parts.hostname, parts.port or 80)
    except OSError as error:
        raise web.HTTPBadGateway(text=f"error dialing backend: {error}") from None
    client = await relay.take_over(request)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
    server[1].write(("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode("latin-1"))
    await relay.pipe(client, server)
    return relay.released(request)


# ---- commands over WebSocket -----------------------------------------------------------------------------------------------------


async def command(request: web.Request, url: str, wanted: Mapping[str, bool]) -> web.StreamResponse:
    """Runs a WebSocket client's command streams over SPDY to the runtime. `wanted`: stdin, stdout, stderr, tty."""
    socket = web.WebSocketResponse(protocols=channels.REMOTE_COMMAND, autoping=True, heartbeat=None, max_msg_size=0, compress=False)
    try:
        runtime, _ = await session.connect(url, SPDY_COMMANDS)
    except (session.UpgradeRefused, OSError) as error:
        raise web.HTTPInternalServerError(text=str(error)) from None
    await socket.prepare(request)
    bridge = _Bridge(socket, runtime, socket.ws_protocol or "channel.k8s.io", wanted)
    await bridge.run()
    return socket


class _Bridge:
    """One command's channels on one side, streams on the other."""

    def __init__(self, socket: web.WebSocketResponse, runtime: session.Session, protocol: str, wanted: Mapping[str, bool]) -> None:
        self._socket = socket
        self._runtime = runtime
        self._protocol = protocol
        self._wanted = wanted
        self._streams: dict[int, session.Stream] = {}

    async def run(self) -> None:
        names = [(channels.ERROR, "error", True), (channels.STDIN, "stdin", self._wanted["stdin"])]
        names += [(channels.STDOUT, "stdout", self._wanted["stdout"])]
        names += [(channels.STDERR, "stderr", self._wanted["stderr"] and not self._wanted["tty"])]
        names += [(channels.RESIZE, "resize", self._wanted["tty"])]
        async with tasks.Group() as group:
            reading = group.start("runtime streams", self._runtime.run())
            for channel, name, needed in names:
                if needed:
                    self._streams[channel] = await self._runtime.open({"streamtype": name})
            listening = group.start("client", self._from_client())
            outputs = [c for c in (channels.STDOUT, channels.STDERR) if c in self._streams]
            copying = [group.start(f"channel {c}", self._to_client(c)) for c in outputs]
            outcome = group.start("outcome", self._outcome())
            await asyncio.wait([listening, outcome], return_when=asyncio.FIRST_COMPLETED)
            if outcome.done():
                if copying:
                    await asyncio.wait(copying, timeout=5)
                # While somebody reads from it, aiohttp closes a socket without waiting for the other side's word.
                await tasks.stop(listening)
                await self._end(outcome.result())
            self._runtime.close()
            for task in (listening, *copying, outcome, reading):
                task.cancel()

    async def _from_client(self) -> None:
        async for message in self._socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            decoded = channels.decode(self._protocol, message.data)
            if decoded is None:
                continue
            channel, data = decoded
            if channel == channels.CLOSE and data:
                channel, data = data[0], b""
                if channel in self._streams:
                    await self._streams[channel].close()
            elif channel in (channels.STDIN, channels.RESIZE) and channel in self._streams and data:
                await self._streams[channel].write(data)

    async def _to_client(self, channel: int) -> None:
        while data := await self._streams[channel].read():
            await self._send(channel, data)

    async def _send(self, channel: int, data: bytes) -> None:
        message = channels.encode(self._protocol, channel, data)
        with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)

    async def _outcome(self) -> bytes:
        """The Status the runtime ends with; it closes the stream after it."""
        parts = []
        while data := await self._streams[channels.ERROR].read():
            parts.append(data)
        return b"".join(parts)

    async def _end(self, outcome: bytes) -> None:
        structured = self._protocol.startswith(("v4.", "v5."))
        if not outcome:
            outcome = b'{"metadata":{},"status":"Success"}'
        if structured:
            await self._send(channels.ERROR, outcome)
        else:
            with contextlib.suppress(ValueError, AttributeError):
                status = json.loads(outcome)
                if status.get("status") != "Success":
                    await self._send(channels.ERROR, str(status.get("message", "")).encode())
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._socket.close(code=1000)


# ---- port forwarding over WebSocket ------------------------------------------------------------------------------------------------


async def port_forward(request: web.Request, url: str, ports: Sequence[int]) -> web.StreamResponse:
    """A WebSocket client's port forwarding: tunnelled SPDY, or the older two channels per port."""
    socket = web.WebSocketResponse(protocols=PORT_FORWARD_PROTOCOLS, autoping=True, max_msg_size=0, compress=False)
    try:
        reader, writer, head, _ = await session.upgrade(url, ("portforward.k8s.io",))
        if not head.startswith(b"HTTP/1.1 101"):
            raise session.UpgradeRefused(int(head.split(b" ", 2)[1]), await reader.read(4096))
    except (session.UpgradeRefused, OSError) as error:
        raise web.HTTPInternalServerError(text=str(error)) from None
    await socket.prepare(request)
    try:
        if socket.ws_protocol == PORT_FORWARD_TUNNEL:
            await _tunnel(socket, reader, writer)
        else:
            protocol = socket.ws_protocol or "v4.channel.k8s.io"
            await _channels(socket, session.Session(reader, writer, client=True), protocol, ports)
    finally:
        writer.close()
    return socket


async def _tunnel(socket: web.WebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def outward() -> None:
        with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
            while data := await reader.read(relay.BLOCK):
                await socket.send_bytes(data)
        with contextlib.suppress(ConnectionError, RuntimeError):
            await socket.close(code=1000)

    async with tasks.Group() as group:
        copying = group.start("tunnel", outward())
        with contextlib.suppress(ConnectionError):
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data)
                    await writer.drain()
        copying.cancel()


async def _channels(socket: web.WebSocketResponse, runtime: session.Session, protocol: str, ports: Sequence[int]) -> None:
    """Channel 2n carries port n's data, 2n+1 its errors; each begins with the port's number, little endian."""
    data_streams: list[session.Stream] = []

    async def outward(channel: int, stream: session.Stream) -> None:
        while data := await stream.read():
            await _send(socket, protocol, channel, data)

    async with tasks.Group() as group:
        reading = group.start("runtime streams", runtime.run())
        copying = [reading]
        for index, port in enumerate(ports):
            headers = {"port": str(port), "requestid": str(index)}
            problem = await runtime.open({"streamtype": "error", **headers})
            await problem.close()
            data = await runtime.open({"streamtype": "data", **headers})
            data_streams.append(data)
            for channel, stream in ((2 * index, data), (2 * index + 1, problem)):
                await _send(socket, protocol, channel, struct.pack("<H", port))
                copying.append(group.start(f"channel {channel}", outward(channel, stream)))
        async for message in socket:
            decoded = channels.decode(protocol, message.data) if message.type in (WSMsgType.BINARY, WSMsgType.TEXT) else None
            if decoded is not None and decoded[0] % 2 == 0 and decoded[0] // 2 < len(data_streams):
                await data_streams[decoded[0] // 2].write(decoded[1])
        for task in copying:
            task.cancel()


async def _send(socket: web.WebSocketResponse, protocol: str, channel: int, data: bytes) -> None:
    message = channels.encode(protocol, channel, data)
    with contextlib.suppress(ConnectionError, RuntimeError, aiohttp.ClientError):
        if isinstance(message, str):
            await socket.send_str(message)
        else:
            await socket.send_bytes(message)
