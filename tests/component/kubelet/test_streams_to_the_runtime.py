"""Commands and port forwarding between a WebSocket or SPDY client and a runtime's streaming server, all on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from navarch.kubelet import remote
from navarch.lib.streaming import channels, session, spdy

Serve = Callable[[dict[str, session.Stream], session.Session], Awaitable[None]]
ALL = {"stdin": True, "stdout": True, "stderr": True, "tty": False}


@contextlib.asynccontextmanager
async def runtime(expected: int, serve: Serve, protocol: str = "v4.channel.k8s.io") -> AsyncIterator[str]:
    """A streaming server as runtimes have one: upgrades to SPDY, gathers `expected` streams by type, serves them."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert "Upgrade: SPDY/3.1" in head
        assert f"X-Stream-Protocol-Version: {protocol}" in head
        writer.write(
            f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}\r\n\r\n".encode()
        )
        peer = session.Session(reader, writer, client=False)
        reading = asyncio.create_task(peer.run())
        streams = {}
        for _ in range(expected):
            stream = await peer.opened.get()
            assert stream is not None
            streams[stream.headers["streamtype"]] = stream
        await serve(streams, peer)
        await reading
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/exec/token"
    finally:
        server.close()


@contextlib.asynccontextmanager
async def kubelet(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[TestServer]:
    async def serve(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/exec", serve)
    server = TestServer(app)
    await server.start_server()
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def dialled(handler: Callable[[web.Request], Awaitable[web.StreamResponse]], protocol: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket to a kubelet that answers with `handler`."""
    async with kubelet(handler) as server, aiohttp.ClientSession() as client:
        socket = await client.ws_connect(server.make_url("/exec"), protocols=(protocol,))
        yield socket
        await socket.close()


async def echo(streams: dict[str, session.Stream], peer: session.Session) -> None:
    """A command that copies its input, says something on its error output, and fails with 7."""
    while data := await streams["stdin"].read():
        await streams["stdout"].write(data)
    await streams["stderr"].write(b"done")
    await streams["stdout"].close()
    await streams["stderr"].close()
    outcome = {"status": "Failure", "reason": "NonZeroExitCode", "message": "exit 7", "details": {"causes": [{"message": "7"}]}}
    await streams["error"].write(json.dumps(outcome).encode())
    await streams["error"].close()


@pytest.mark.parametrize("protocol", [channels.V5, channels.V4, "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"])
async def test_a_command_over_websocket(protocol: str) -> None:
    async with runtime(4, echo) as url, dialled(lambda request: remote.command(request, url, ALL), protocol) as socket:
        assert socket.protocol == protocol
        await _send(socket, protocol, channels.STDIN, b"x" * 100_000)
        if protocol == channels.V5:
            await socket.send_bytes(bytes([channels.CLOSE, channels.STDIN]))
            got = await _gather(socket, protocol)
            assert got[channels.STDOUT] == b"x" * 100_000
            assert got[channels.STDERR] == b"done"
            assert json.loads(got[channels.ERROR])["reason"] == "NonZeroExitCode"
            assert socket.close_code == 1000
        else:
            # The older protocols cannot say that the input has ended.
            decoded = await _one(socket, protocol)
            assert decoded[0] == channels.STDOUT


async def _send(socket: aiohttp.ClientWebSocketResponse, protocol: str, channel: int, data: bytes) -> None:
    message = channels.encode(protocol, channel, data)
    if isinstance(message, str):
        await socket.send_str(message)
    else:
        await socket.send_bytes(message)


async def _one(socket: aiohttp.ClientWebSocketResponse, protocol: str) -> tuple[int, bytes]:
    message = await asyncio.wait_for(socket.receive(), 5)
    decoded = channels.decode(protocol, message.data)
    assert decoded is not None
    return decoded


async def _gather(socket: aiohttp.ClientWebSocketResponse, protocol: str) -> dict[int, bytes]:
    got = {channels.STDOUT: b"", channels.STDERR: b"", channels.ERROR: b""}
    async for message in socket:
        decoded = channels.decode(protocol, message.data)
        assert decoded is not None
        got[decoded[0]] += decoded[1]
    return got


async def test_plain_channels_tell_failures_as_text() -> None:
    async def fails(streams: dict[str, session.Stream], peer: session.Session) -> None:
        await streams["error"].write(b'{"status":"Failure","message":"it broke"}')
        for name in ("error", "stdout", "stderr"):
            await streams[name].close()

    async with runtime(4, fails) as url, dialled(lambda request: remote.command(request, url, ALL), "channel.k8s.io") as socket:
        got = await _gather(socket, "channel.k8s.io")
    assert got[channels.ERROR] == b"it broke"


async def test_spdy_clients_are_passed_through() -> None:
    async with runtime(4, echo) as url, kubelet(lambda request: remote.pass_through(request, url)) as server:
        peer, protocol = await session.connect(str(server.make_url("/exec")), ("v4.channel.k8s.io",))
        assert protocol == "v4.channel.k8s.io"
        reading = asyncio.create_task(peer.run())
        streams = {name: await peer.open({"streamtype": name}) for name in ("error", "stdin", "stdout", "stderr")}
        await streams["stdin"].write(b"hello")
        await streams["stdin"].close()
        assert await asyncio.wait_for(streams["stdout"].read(), 5) == b"hello"
        assert json.loads(await asyncio.wait_for(streams["error"].read(), 5))["message"] == "exit 7"
        peer.close()
        await reading


async def test_port_forwarding_is_unwrapped_from_its_tunnel() -> None:
    async def answers(streams: dict[str, session.Stream], peer: session.Session) -> None:
        data = await streams["data"].read()
        await streams["data"].write(data.upper())
        await streams["data"].close()

    async with (
        runtime(2, answers, "portforward.k8s.io") as url,
        dialled(lambda request: remote.port_forward(request, url, []), remote.PORT_FORWARD_TUNNEL) as socket,
    ):
        codec = spdy.Codec(client=True)
        frames = [codec.open({"streamtype": name, "port": "80", "requestid": "0"}) for name in ("error", "data")]
        await socket.send_bytes(b"".join(frame for _, frame in frames) + codec.data(frames[1][0], b"ping"))
        found: list[spdy.DataReceived] = []
        while not found:
            message = await asyncio.wait_for(socket.receive(), 5)
            found = [e for e in codec.receive(message.data) if isinstance(e, spdy.DataReceived) and e.data]
    assert found[0].data == b"PING"


async def test_port_forwarding_by_channels() -> None:
    async def answers(streams: dict[str, session.Stream], peer: session.Session) -> None:
        data = await streams["data"].read()
        await streams["data"].write(data.upper())
        await streams["data"].close()

    async with (
        runtime(2, answers, "portforward.k8s.io") as url,
        dialled(lambda request: remote.port_forward(request, url, [8080]), "v4.channel.k8s.io") as socket,
    ):
        assert await _one(socket, "v4.channel.k8s.io") == (0, (8080).to_bytes(2, "little"))
        assert await _one(socket, "v4.channel.k8s.io") == (1, (8080).to_bytes(2, "little"))
        await socket.send_bytes(b"\0ping")
        assert await _one(socket, "v4.channel.k8s.io") == (0, b"PING")


async def test_a_runtime_that_refuses_is_told() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\nConnection: close\r\n\r\nno such")
        writer.close()

    backend = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{backend.sockets[0].getsockname()[1]}/x"
    try:
        async with kubelet(lambda request: remote.command(request, url, ALL)) as server, aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(server.make_url("/exec"), protocols=(channels.V5,))
            assert refused.value.status == 500
    finally:
        backend.close()
