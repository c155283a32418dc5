"""Server-side apply: PATCH with `application/apply-patch+yaml`."""

from __future__ import annotations

from navarch.apiserver.context import Context
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import update
from navarch.machinery import errors


async def apply(context: Context, served: Served, server: Server, data: bytes) -> update.Changed:
    raise errors.BadRequest("server-side apply is not available yet")
