"""Waiting for the API server: a component that starts beside it asks until it says that it is ready.

Upstream counterpart: WaitForAPIServer in the controller manager's app.
"""

from __future__ import annotations

from navarch.client.rest import Client, Unreachable
from navarch.lib import backoff
from navarch.machinery import errors


async def wait(client: Client) -> None:
    """Returns once the API server is ready."""
    wait = backoff.Backoff(backoff.Policy(first=0.02, most=0.5))
    while True:
        try:
            await client.request("GET", "/readyz")
            return
        except (Unreachable, errors.ApiError):
            await client.clock.sleep(wait.next())
