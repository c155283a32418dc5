"""How the server calls what extends it: real sockets and TLS on loopback, and the words for all that can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from navarch.apiserver.extensions import answers, clients, services
from navarch.apiserver.extensions.clients import Calls, Failed
from navarch.apiserver.http import outbound
from navarch.apiserver.http.outbound import Outbound
from navarch.apiserver.served import Catalog
from navarch.machinery import codec, errors
from navarch.testing import webhooks

pytestmark = pytest.mark.asyncio(loop_scope="function")
CATALOG = Catalog()
REVIEW = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}'


@pytest_asyncio.fixture
async def calls() -> AsyncIterator[Calls]:
    made = Calls(CATALOG, Outbound())
    yield made
    await made.close()


@contextlib.asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    """A server that speaks no TLS: what it does with a connection is up to the test."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def target(hooks: webhooks.Webhooks, path: str = "/x") -> clients.Target:
    return clients.of_url(f"{hooks.url}{path}", authorities=hooks.authorities)


async def test_connections_are_kept_and_the_time_is_told(calls: Calls) -> None:
    async def handler(request: dict[str, Any]) -> dict[str, Any]:
        return webhooks.allowed()

    async with webhooks.running({"/x": handler}) as hooks:
        pool_target = target(hooks)
        for _ in range(5):
            answer = await calls.post(pool_target, REVIEW, 2.5)
            assert answer.status == 200 and json.loads(answer.body)["response"]["allowed"]
        assert hooks.queries == ["timeout=3s"] * 5
        transport = calls.transport
        assert isinstance(transport, Outbound)
        connector = transport._pools[pool_target].session.connector
        assert connector is not None and sum(len(c) for c in connector._conns.values()) == 1


async def test_the_words_for_each_failure(calls: Calls) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Failed) as refused:
        await calls.post(clients.of_url(f"https://127.0.0.1:{port}/a/b/"), b"{}", 5)
    assert str(refused.value) == f'Post "https://127.0.0.1:{port}/a/b?timeout=5s": dial tcp 127.0.0.1:{port}: connect: connection refused'

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.close()

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with raw(hang) as port:
        with pytest.raises(Failed, match=r'^Post "https://127.0.0.1:\d+/\?timeout=1s": context deadline exceeded$'):
            await calls.post(clients.of_url(f"https://127.0.0.1:{port}"), b"{}", 0.2)
    async with raw(plain) as port:
        with pytest.raises(Failed, match=r"http: server gave HTTP response to HTTPS client$"):
            await calls.post(clients.of_url(f"https://127.0.0.1:{port}"), b"{}", 5)
    async with raw(close) as port:
        with pytest.raises(Failed, match=r": (EOF|read tcp .*connection reset by peer)$"):
            await calls.post(clients.of_url(f"https://127.0.0.1:{port}"), b"{}", 5)
    with pytest.raises(Failed, match=r"dial tcp: lookup no-such-name.invalid: no such host$"):
        await calls.post(clients.of_url("https://no-such-name.invalid"), b"{}", 5)
    with pytest.raises(Failed, match=r'^Post "https://hooks.default.svc:443/x\?timeout=5s": service "hooks" not found$'):
        await calls.post(clients.of_service("default", "hooks", path="x"), b"{}", 5)


async def test_certificates_are_held_to_their_authority_and_name(calls: Calls) -> None:
    async with webhooks.running({"/x": lambda r: webhooks.allowed()}) as hooks, webhooks.running({}) as others:
        with pytest.raises(Failed, match=r"tls: failed to verify certificate: x509: certificate signed by unknown authority$"):
            await calls.post(clients.of_url(f"{hooks.url}/x", authorities=others.authorities), b"{}", 5)
        with pytest.raises(Failed, match=r"tls: failed to verify certificate: x509: certificate signed by unknown authority$"):
            await calls.post(clients.of_url(f"{hooks.url}/x"), b"{}", 5)
        named = clients.Target(hooks.url, "127.0.0.1", hooks.port, clients.Trust(hooks.authorities, "hooks.default.svc"))
        with pytest.raises(Failed, match=r"tls: failed to verify certificate: x509: certificate is not valid for hooks.default.svc"):
            await calls.post(named, b"{}", 5)
        with pytest.raises(Failed, match=r"unable to load root certificates: unable to parse bytes as PEM block$"):
            await calls.post(clients.of_url(f"{hooks.url}/x", authorities=b"nonsense"), b"{}", 5)


async def test_answers_are_bounded_and_redirects_end_there(calls: Calls) -> None:
    async def slow(request: dict[str, Any]) -> web.Response:
        return web.Response(body=b"{" + b" " * 500_000 + b"}")

    handlers = {"/large": slow, "/away": lambda r: web.Response(status=307, headers={"Location": "/large"})}
    async with webhooks.running(handlers) as hooks:
        with pytest.raises(Failed, match=r"http: the answer is larger than 1000 bytes$"):
            await calls.post(target(hooks, "/large"), b"{}", 5, most_bytes=1000)
        assert len((await calls.post(target(hooks, "/large"), b"{}", 5)).body) == 500_002
        away = await calls.post(target(hooks, "/away"), b"{}", 5)
        assert away.status == 307 and len(hooks.requests) == 3
        with pytest.raises(errors.Unknown, match="the server responded with the status code 307 but did not return more information"):
            answers.tree_of(away)


async def test_a_call_is_made_again_where_that_is_asked_for(calls: Calls) -> None:
    left = [web.Response(status=503, headers={"Retry-After": "0"}), web.Response(status=500, headers={"Retry-After": "0"}), b"{}"]
    async with webhooks.running({"/x": lambda r: left.pop(0)}) as hooks:
        assert (await calls.post(target(hooks), b"{}", 5)).status == 200
        left[:] = [web.Response(status=503, text="no")]
        assert (await calls.post(target(hooks), b"{}", 5)).status == 503
        left[:] = [web.Response(status=503, headers={"Retry-After": "60"})]
        assert (await calls.post(target(hooks), b"{}", 5)).status == 503


async def test_a_kept_connection_that_was_closed_is_no_failure(calls: Calls) -> None:
    """The other side closes when it likes; a call that meets that is made again on a new connection, once."""
    seen = []

    async def handler(request: dict[str, Any]) -> Any:
        seen.append(1)
        if len(seen) == 2:
            raise asyncio.CancelledError  # the connection ends without an answer
        return webhooks.allowed()

    async with webhooks.running({"/x": handler}) as hooks:
        assert (await calls.post(target(hooks), REVIEW, 5)).status == 200
        assert (await calls.post(target(hooks), REVIEW, 5)).status == 200
        assert len(seen) == 3


async def test_one_that_hangs_takes_nobody_elses_connections(calls: Calls) -> None:
    async def hang(request: dict[str, Any]) -> Any:
        await asyncio.sleep(30)

    async with webhooks.running({"/hang": hang, "/x": lambda r: webhooks.allowed()}) as hooks:
        stuck = [asyncio.ensure_future(calls.post(target(hooks, "/hang"), REVIEW, 1.5)) for _ in range(3 * outbound.MOST_CONNECTIONS)]
        await asyncio.sleep(0.5)
        slowest = 0.0
        for _ in range(20):
            began = time.perf_counter()
            await calls.post(target(hooks), REVIEW, 5)
            slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 0.3
        assert len(hooks.asked("/hang")) <= outbound.MOST_CONNECTIONS
        ended = await asyncio.gather(*stuck, return_exceptions=True)
        assert {str(e).rpartition(": ")[2] for e in ended} == {"context deadline exceeded"}


async def test_a_service_is_reached_by_a_ready_endpoint_and_its_name_is_asked_for() -> None:
    """Port by number, an address out of the EndpointSlices, and the server name `name.namespace.svc` in the handshake."""
    catalog = Catalog()
    spec = {"clusterIP": "192.0.2.1", "type": "ClusterIP", "ports": [{"name": "other", "port": 1}, {"name": "https", "port": 8443}]}
    _load(catalog, "", "services", "hooks", {"spec": spec})
    made = Calls(catalog, Outbound())
    async with webhooks.running({"/x": lambda r: webhooks.allowed()}, "hooks.default.svc") as hooks:
        endpoints = [{"addresses": ["192.0.2.2"], "conditions": {"ready": False}}, {"addresses": ["127.0.0.1"]}]
        ports = [{"name": "other", "port": 9}, {"name": "https", "port": hooks.port}]
        labels = {"kubernetes.io/service-name": "hooks"}
        _load(catalog, "discovery.k8s.io", "endpointslices", "s", {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}, labels)
        by_service = clients.of_service("default", "hooks", port=8443, path="/x", authorities=hooks.authorities)
        assert (await made.post(by_service, REVIEW, 5)).status == 200
        with pytest.raises(Failed, match=r'no service port 443 found for service "hooks"$'):
            await made.post(clients.of_service("default", "hooks", authorities=hooks.authorities), REVIEW, 5)
    await made.close()


async def test_the_services_own_address_is_used_while_it_has_no_slices() -> None:
    catalog = Catalog()
    ports = [{"port": 443}]
    _load(catalog, "", "services", "plain", {"spec": {"clusterIP": "192.0.2.1", "ports": ports}})
    _load(catalog, "", "services", "outside", {"spec": {"type": "ExternalName", "externalName": "example.com", "ports": ports}})
    _load(catalog, "", "services", "headless", {"spec": {"clusterIP": "None", "ports": ports}})
    assert services.resolve(catalog, "default", "plain", 443) == ("192.0.2.1", 443)
    assert services.resolve(catalog, "default", "outside", 443) == ("example.com", 443)
    with pytest.raises(services.Unresolved, match=r'no endpoints available for service "headless"$'):
        services.resolve(catalog, "default", "headless", 443)


def _load(catalog: Catalog, group: str, plural: str, name: str, more: dict[str, Any], labels: dict[str, str] | None = None) -> None:
    """Puts an object where the server has them, as it is."""
    body = codec.encode({"metadata": {"name": name, "namespace": "default", **({"labels": labels} if labels else {})}, **more})
    catalog.of(group, plural).cache.load(f"default/{name}", body, 1)


async def test_pools_are_bounded(calls: Calls) -> None:
    transport = calls.transport
    assert isinstance(transport, Outbound)
    for i in range(outbound.MOST_TARGETS + 20):
        with pytest.raises(Failed):
            await calls.post(clients.of_service("default", f"x{i}"), b"{}", 5)
    assert len(transport._pools) == outbound.MOST_TARGETS


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (404, "text/plain", b"404 page not found", "the server could not find the requested resource"),
        (500, "text/plain; charset=utf-8", b"boom\n", 'an error on the server ("boom") has prevented the request from succeeding'),
        (500, "application/json", b"{}", 'an error on the server ("unknown") has prevented the request from succeeding'),
        (403, "", b"not you", "not you"),
        (503, "", b"", "the server is currently unable to handle the request"),
        (422, "application/json", b'{"apiVersion":"v1","kind":"Status","status":"Failure","message":"told","code":422}', "told"),
        (200, "application/json", b'{"apiVersion":"v1","kind":"Status","status":"Failure","message":"told","code":422}', "told"),
    ],
)
async def test_what_answers_mean(status: int, kind: str, body: bytes, said: str) -> None:
    with pytest.raises(errors.ApiError) as found:
        answers.tree_of(clients.Answer(status, {"content-type": kind} if kind else {}, body))
    assert found.value.status.message == said and found.value.status.code == (status if status != 200 else 422)


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b"null", b'"x"'])
async def test_answers_that_are_no_object(body: bytes) -> None:
    with pytest.raises(answers.Undecodable):
        answers.tree_of(clients.Answer(200, {}, body))
