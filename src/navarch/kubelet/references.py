"""ConfigMaps, Secrets and other objects pods refer to, fetched one by one as the node authorizer allows.

`fetch` answers from memory when the copy is younger than the caller asks for; several callers at once share one request. Upstream's
counterparts: pkg/kubelet/util/manager (its "Cache" strategy). Knows nothing of volumes or environments.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar, cast

from navarch.api.scalars import Object
from navarch.client.rest import Client
from navarch.machinery import errors

T = TypeVar("T", bound=Object)

KEPT = 600.0


class References:
    """Objects by type, namespace and name."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: dict[tuple[type[Object], str, str], tuple[float, Object]] = {}
        self._asking: dict[tuple[type[Object], str, str], asyncio.Future[Any]] = {}

    async def fetch(self, kind: type[T], namespace: str, name: str, max_age: float = 0.0) -> T | None:
        """The object, at most `max_age` seconds old; None when there is none. Immutable ones are asked for once.

        Raises ApiError (other than NotFound) and Unreachable.
        """
        key = (kind, namespace, name)
        held = self._held.get(key)
        now = time.monotonic()
        if held is not None and (now - held[0] < max_age or getattr(held[1], "immutable", False)):
            return cast(T, held[1])
        while (asking := self._asking.get(key)) is not None:
            await asyncio.wait([asking])
            if not asking.cancelled():
                return cast("T | None", asking.result())
        asking = asyncio.get_running_loop().create_future()
        self._asking[key] = asking
        try:
            found = await self._ask(kind, namespace, name)
        except Exception as error:
            asking.set_exception(error)
            asking.exception()
            raise
        else:
            asking.set_result(found)
            return found
        finally:
            asking.cancel()
            self._asking.pop(key, None)

    async def _ask(self, kind: type[T], namespace: str, name: str) -> T | None:
        key = (kind, namespace, name)
        asked = time.monotonic()
        try:
            found = await self._client.get(kind, name, namespace)
        except errors.NotFound:
            self._held.pop(key, None)
            return None
        self._held[key] = (asked, found)
        if len(self._held) > 1000:
            self._held = {k: v for k, v in self._held.items() if asked - v[0] < KEPT}
        return found

    def forget_namespace(self, namespace: str) -> None:
        """Drops what is kept of a namespace."""
        self._held = {key: held for key, held in self._held.items() if key[1] != namespace}
