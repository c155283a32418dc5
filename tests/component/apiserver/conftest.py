"""One server for all tests of a file, a namespace of its own for each test."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest_asyncio

from navarch.testing import server, webhooks
from navarch.testing.webhooks import Webhooks
from tests.component.apiserver.webhook_cluster import HANDLERS, Cluster


@dataclass(frozen=True)
class Answer:
    """What came back: the status, headers, and the body as it was."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    warnings: list[str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])

    @property
    def reason(self) -> str:
        return str(self.json.get("reason", ""))


class Http:
    """Requests as bytes, for what the typed client would not send."""

    def __init__(self, api: server.ApiServer, name: str = "admin", *groups: str, token: str = "") -> None:
        config = api.config(name, *groups, token=token)
        context = config.ssl_context()
        assert context is not None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = api.url
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), headers=headers)

    async def close(self) -> None:
        await self._session.close()

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | str = "",
        media: str = "application/json",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """`body`: bytes as they are, a string as text, anything else as JSON."""
        data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        sent = {"Accept": accept, **(headers or {})}
        if data is not None and media:
            sent["Content-Type"] = media
        skip = ("Content-Type",) if not media else ()
        stream = io.BytesIO(data) if data is not None else None  # aiohttp warns of large bodies given as bytes
        async with self._session.request(
            method, self._url + path, params=query or None, data=stream, headers=sent, skip_auto_headers=skip, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read(), response.headers.getall("Warning", []))

    def stream(self, path: str, query: Mapping[str, str], accept: str = "application/json") -> Any:
        """A GET whose answer goes on: an async context manager."""
        timeout = aiohttp.ClientTimeout(total=30)
        return self._session.get(self._url + path, params=query, headers={"Accept": accept}, timeout=timeout)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def api() -> AsyncIterator[server.ApiServer]:
    async with server.running() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http(api: server.ApiServer) -> AsyncIterator[Http]:
    found = Http(api)
    yield found
    await found.close()


@pytest_asyncio.fixture(loop_scope="module")
async def ns(api: server.ApiServer) -> str:
    return await api.namespace()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def hooks() -> AsyncIterator[Webhooks]:
    async with webhooks.running(HANDLERS, "hooks.default.svc") as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(api: server.ApiServer, hooks: Webhooks, ns: str) -> AsyncIterator[Cluster]:
    made = Cluster(api, hooks, HANDLERS, ns)
    yield made
    await made.close()
