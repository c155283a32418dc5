"""What stands on the connection: heads, bodies and their ends, for clients old and new."""

from __future__ import annotations

import asyncio
import email.parser

import pytest

from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(api: server.ApiServer, *lines: str, requests: int = 1) -> bytes:
    """Everything that comes back until the server has closed, or been silent for a while."""
    context = api.config().ssl_context()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port, ssl=context)
    for _ in range(requests):
        writer.write("\r\n".join([*lines, "Host: x", "", ""]).encode())
    found = b""
    try:
        async with asyncio.timeout(1.5):
            while part := await reader.read(1 << 16):
                found += part
    except TimeoutError:
        pass
    writer.close()
    return found


def read(data: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    line, _, rest = head.partition(b"\r\n")
    return line.decode(), dict(email.parser.BytesParser().parsebytes(rest).items()), body


async def test_a_document_says_how_long_it_is(api: server.ApiServer) -> None:
    line, headers, body = read(await ask(api, "GET /version HTTP/1.1"))
    assert line == "HTTP/1.1 200 OK" and int(headers["Content-Length"]) == len(body)
    assert headers["Content-Type"] == "application/json" and headers["Cache-Control"] == "no-cache, private" and headers["Date"].endswith("GMT")
    assert "Server" not in headers and "Connection" not in headers


@pytest.mark.parametrize(
    ("version", "asked", "told"),
    [("1.1", "close", "close"), ("1.0", "keep-alive", "keep-alive"), ("1.0", "close", None)],
)
async def test_what_becomes_of_the_connection_is_told(api: server.ApiServer, version: str, asked: str, told: str | None) -> None:
    line, headers, body = read(await ask(api, f"GET /healthz HTTP/{version}", f"Connection: {asked}"))
    assert line == f"HTTP/{version} 200 OK" and headers.get("Connection") == told and body == b"ok"


async def test_answers_to_requests_that_come_at_once_do_not_mix(api: server.ApiServer) -> None:
    answers = await ask(api, "GET /healthz HTTP/1.1", requests=3)
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"\r\n\r\nok") == 3


async def test_head_has_the_length_and_no_body(api: server.ApiServer) -> None:
    line, headers, body = read(await ask(api, "HEAD /version HTTP/1.1"))
    assert line == "HTTP/1.1 200 OK" and int(headers["Content-Length"]) > 100 and body == b""


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_watch_ends_so_that_its_client_knows(api: server.ApiServer, version: str) -> None:
    line, headers, body = read(await ask(api, f"GET /api/v1/namespaces?watch=1&timeoutSeconds=1 HTTP/{version}", "Connection: close"))
    assert line == f"HTTP/{version} 200 OK" and "Content-Length" not in headers
    if version == "1.1":
        assert headers["Transfer-Encoding"] == "chunked" and body.endswith(b"0\r\n\r\n")
    else:
        assert body.startswith(b'{"type":"ADDED"') and body.endswith(b"}\n")
