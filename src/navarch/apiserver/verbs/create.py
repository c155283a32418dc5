"""POST to a collection: a new object."""

from __future__ import annotations

import secrets

from aiohttp import web

from navarch.apiserver import answers, background, managed_fields, storage, watch_cache, writing
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.context import Context
from navarch.apiserver.kinds.strategy import Allocate, Obj
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.machinery import codec, errors, names

_GENERATED_TRIES = 8
_NUMBERED_TRIES = 4
"""How often another server may give out the same number first."""


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    writing.check_options(context, "CreateOptions")
    answers.accepted(context, "PartialObjectMetadata", "Table")
    obj = await writing.object_from(context, served, await writing.body(context))
    body = await create(context, served, server, obj)
    return answers.of_json(context, await served.outward(body), 201)


async def create(context: Context, served: Served, server: Server, obj: Obj, *, applied: bool = False) -> bytes:
    """Stores a new object and returns its JSON. AlreadyExists, Invalid, and what admission raises."""
    now = writing.now()
    writing.begin_create(context, served, obj, now)
    reset_status(served, obj)
    if not applied:
        await background.run(context.size, managed_fields.on_create, context, served, obj)
    attributes = Attributes(context, served, "CREATE", obj.metadata.name or "", obj.metadata.namespace or "", obj, None, dry_run=context.dry_run)
    await server.admission.mutate(attributes)
    obj = attributes.obj
    served.strategy.prepare_create(obj, now)
    if served.strategy.allocate is not None:
        return await _numbered(context, served, server, attributes, served.strategy.allocate)
    return await _checked(context, served, server, attributes)


async def _numbered(context: Context, served: Served, server: Server, attributes: Attributes, allocate: Allocate) -> bytes:
    """Stores an object that numbers are given to; with other numbers when another server gave out the same meanwhile."""
    text = codec.encode(attributes.obj)
    tries = _NUMBERED_TRIES
    while True:
        finish = allocate(server.numbers, attributes.obj, None, context.dry_run)
        try:
            return await _checked(context, served, server, attributes)
        except storage.Overtaken:
            tries -= 1
            if not tries:
                raise
        finally:
            finish()
        await server.storage.fresh()
        attributes.obj = served.decode(text)


async def _checked(context: Context, served: Served, server: Server, attributes: Attributes) -> bytes:
    await background.run(context.size, writing.check_create, served, attributes.obj)
    await server.admission.validate(attributes)
    return await insert(context, served, server, attributes.obj)


def reset_status(served: Served, obj: Obj) -> None:
    """A client does not set the status of what it creates, where status is a subresource."""
    if served.has_status and not served.strategy.status_on_create:
        served.shape.keep_status(obj, None)


async def insert(context: Context, served: Served, server: Server, obj: Obj) -> bytes:
    """Writes the object, trying other names when a generated one is taken."""
    metadata = obj.metadata
    namespace = metadata.namespace or ""
    ttl = served.strategy.ttl(obj, server.kept) if served.strategy.ttl else None
    for _ in range(_GENERATED_TRIES if metadata.generateName else 1):
        name = metadata.name or ""
        value = codec.encode(obj)
        if context.dry_run:
            if served.cache.get(served.key(name, namespace)) is None:
                return value
        else:
            revision = await server.storage.put(served, name, namespace, value, 0, ttl)
            if revision is not None:
                return watch_cache.splice(value, revision)
        if metadata.generateName:
            metadata.name = names.generate(metadata.generateName, secrets.randbits(64))
    raise errors.already_exists(served.group, served.plural, metadata.name or "")
