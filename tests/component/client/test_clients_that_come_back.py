"""What clients do when the other side is silent, breaks off, is busy or talks nonsense: scripted servers on the loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from navarch.api.core import v1 as core_v1
from navarch.client import kubeconfig, partial, reflector, watch
from navarch.client.informer import Informer
from navarch.client.rest import Client, Request
from navarch.lib import tasks
from navarch.machinery import errors
from navarch.testing import waiting

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
LIST = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "5"}, "items": []}


class Scripted:
    """A server that answers every request as its script says, and counts them."""

    def __init__(self) -> None:
        self.answer: Answer = nothing
        self.targets: list[str] = []
        self.client = Client(kubeconfig.Config("http://127.0.0.1:0"))

    @property
    def watches(self) -> int:
        return sum("watch=true" in t for t in self.targets)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1].decode()
                self.targets.append(target)
                await self.answer(target, writer)
                await writer.drain()
        writer.close()


async def nothing(target: str, writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""


def whole(body: object, status: str = "200 OK", headers: str = "") -> bytes:
    data = json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data


def refusal(status: str, headers: str) -> bytes:
    """A Status as the API server refuses with; `status` is code and reason phrase."""
    return whole({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": int(status[:3])}, status, headers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def event(kind: str, name: str, version: int, **more: object) -> bytes:
    metadata = {"name": name, "namespace": "default", "uid": f"u-{name}", "resourceVersion": str(version)}
    return json.dumps({"type": kind, "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, **more}}).encode() + b"\n"


def listing(then: bytes) -> Answer:
    """Lists answer with nothing, watches with the bytes given."""

    async def answer(target: str, writer: asyncio.StreamWriter) -> None:
        writer.write(then if "watch=true" in target else whole(LIST))

    return answer


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    made = Scripted()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.client = Client(kubeconfig.Config(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try:
        yield made
    finally:
        await made.client.close()
        server.close()


@contextlib.asynccontextmanager
async def followed(server: Scripted, kind: str) -> AsyncIterator[list[str]]:
    """The names an informer, or a follower of metadata, holds."""
    names: list[str] = []
    async with tasks.Group() as group:
        if kind == "informer":
            maps = Informer(server.client, core_v1.ConfigMap)
            maps.subscribe(lambda change: names.append((change.new if hasattr(change, "new") else change.obj).metadata.name or ""))  # type: ignore[union-attr]
            group.start("maps", maps.run())
        else:
            path = "/api/v1/configmaps"
            follower = partial.Follower(server.client, path, lambda found: names.extend(m.name for m in found), lambda _, m: names.append(m.name))
            group.start("maps", reflector.follow(follower, server.client.clock))
        yield names
        group.cancel()


KINDS = pytest.mark.parametrize("kind", ["informer", "metadata"])


@KINDS
async def test_a_connection_that_went_silent_is_given_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.3)
    async with scripted() as server, followed(server, kind) as names:
        server.answer = listing(HEAD)
        await waiting.until(lambda: server.watches >= 1)
        server.answer = listing(HEAD + chunk(event("ADDED", "late", 6)))
        await waiting.until(lambda: names == ["late"])


@KINDS
async def test_watches_that_end_at_once_are_not_asked_for_without_a_pause(kind: str) -> None:
    async with scripted() as server, followed(server, kind):
        server.answer = listing(HEAD + END)
        await waiting.until(lambda: server.watches >= 2)
        before = server.watches
        await asyncio.sleep(1.5)
        assert server.watches - before < 12


@KINDS
async def test_a_server_that_always_says_expired_is_not_asked_without_a_pause(kind: str) -> None:
    gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410}
    async with scripted() as server, followed(server, kind):
        server.answer = listing(HEAD + chunk(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n") + END)
        await waiting.until(lambda: server.watches >= 2)
        before = server.watches
        await asyncio.sleep(1.5)
        assert server.watches - before < 12


@KINDS
async def test_many_broken_watches_do_not_make_the_next_one_wait(kind: str) -> None:
    """Each watch brought an event before it broke: the server is well."""
    async with scripted() as server, followed(server, kind) as names:

        async def breaks(target: str, writer: asyncio.StreamWriter) -> None:
            if "watch=true" not in target:
                writer.write(whole(LIST))
                return
            writer.write(HEAD + chunk(event("ADDED", f"n{server.watches}", 5 + server.watches)))
            await writer.drain()
            writer.transport.abort()

        server.answer = breaks
        loop = asyncio.get_running_loop()
        began = loop.time()
        await waiting.until(lambda: len(names) >= 15)
        assert loop.time() - began < 5, "without a reset the pauses alone are more than 20 s"


@KINDS
async def test_an_event_that_is_cut_off_is_told_and_asked_for_again(kind: str) -> None:
    async with scripted() as server, followed(server, kind) as names:
        whole_event = event("ADDED", "a", 6)
        server.answer = listing(HEAD + chunk(whole_event[:-20]) + END)
        await waiting.until(lambda: server.watches >= 2)
        assert names == []
        server.answer = listing(HEAD + chunk(whole_event))
        await waiting.until(lambda: names == ["a"])
        assert all("resourceVersion=5" in t for t in server.targets if "watch=true" in t)


async def test_a_cut_event_names_itself() -> None:
    async with scripted() as server:
        server.answer = listing(HEAD + chunk(b'{"type":"ADDED"') + END)
        with pytest.raises(ConnectionError, match="ended inside an event, after 15 bytes"):
            async for _ in watch.stream(server.client, core_v1.ConfigMap, version="5"):
                pass


async def test_an_object_that_cannot_be_read_costs_only_itself() -> None:
    async with scripted() as server, followed(server, "informer") as names:
        bad = event("ADDED", "bad", 7, data=[1])
        server.answer = listing(HEAD + chunk(event("ADDED", "a", 6) + bad))
        await waiting.until(lambda: sum("watch=true" not in t for t in server.targets) >= 2, what="a new list")
        items = [json.loads(event("ADDED", name, 7))["object"] for name in ("a", "b")] + [json.loads(bad)["object"]]

        async def answer(target: str, writer: asyncio.StreamWriter) -> None:
            writer.write(HEAD + chunk(event("ADDED", "c", 9)) if "watch=true" in target else whole({**LIST, "items": items}))

        server.answer = answer
        await waiting.until(lambda: {"a", "b", "c"} <= set(names))
        assert "bad" not in names


async def test_a_busy_server_is_asked_again_when_it_said() -> None:
    async with scripted() as server:
        busy = whole(
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "TooManyRequests", "code": 429}, "429 X", "Retry-After: 1\r\n"
        )
        answers = [busy, busy, whole(LIST)]

        async def answer(target: str, writer: asyncio.StreamWriter) -> None:
            writer.write(answers.pop(0))

        server.answer = answer
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert b"ConfigMapList" in await server.client.send(Request("GET", "/api/v1/configmaps"))
        assert 2 <= loop.time() - began < 10


@pytest.mark.parametrize(("status", "header"), [("429 X", ""), ("409 X", "Retry-After: 0\r\n"), ("503 X", "Retry-After: soon\r\n")])
async def test_a_refusal_without_a_time_is_final(status: str, header: str) -> None:
    async with scripted() as server:

        async def answer(target: str, writer: asyncio.StreamWriter) -> None:
            writer.write(refusal(status, header))

        server.answer = answer
        with pytest.raises(errors.ApiError):
            await server.client.send(Request("GET", "/api/v1/configmaps"))
        assert len(server.targets) == 1


async def test_a_server_that_stays_busy_is_asked_ten_times() -> None:
    async with scripted() as server:
        busy = whole(
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "TooManyRequests", "code": 429}, "429 X", "Retry-After: 0\r\n"
        )

        async def answer(target: str, writer: asyncio.StreamWriter) -> None:
            writer.write(busy)

        server.answer = answer
        with pytest.raises(errors.TooManyRequests):
            await server.client.send(Request("GET", "/api/v1/configmaps"))
        assert len(server.targets) == 10
