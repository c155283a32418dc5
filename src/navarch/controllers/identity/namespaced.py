"""What every namespace must have is made in the same way."""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.client.rest import Client
from navarch.controllers.engine.owned import in_deleted_namespace
from navarch.machinery import errors


async def create(client: Client, obj: core_v1.ServiceAccount | core_v1.ConfigMap) -> None:
    """Creates what a namespace must have; a namespace that is gone or going needs nothing."""
    try:
        await client.create(obj)
    except (errors.AlreadyExists, errors.NotFound):
        return
    except errors.Forbidden as error:
        if not in_deleted_namespace(error):
            raise
