"""The API server as pytest fixtures: `pytest_plugins = ["navarch.testing.fixtures"]` in a conftest, and ask for `api`.

`api` is a server of the test's own; `namespace` a fresh namespace in it. Needs pytest and pytest-asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from navarch.testing import server


@pytest_asyncio.fixture
async def api() -> AsyncIterator[server.ApiServer]:
    """A running API server with nothing in it but what every cluster has."""
    async with server.running() as found:
        yield found


@pytest_asyncio.fixture
async def namespace(api: server.ApiServer) -> str:
    """A namespace of the test's own."""
    return await api.namespace()
