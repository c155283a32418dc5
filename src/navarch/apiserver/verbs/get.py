"""GET of one object: the cache's bytes, written as they are."""

from __future__ import annotations

from aiohttp import web

from navarch.apiserver import answers, tables
from navarch.apiserver.context import Context
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import errors


def entry_of(served: Served, name: str, namespace: str) -> Entry:
    """The object's entry. NotFound when there is none, InternalError when what is stored of it is damaged."""
    key = served.key(name, namespace)
    entry = served.cache.get(key)
    if entry is None:
        if damage := served.cache.damaged.get(key):
            raise errors.internal(damage)
        raise errors.not_found(served.group, served.plural, name)
    return entry


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    info = context.info
    if not context.request.query_string or not context.query.get("resourceVersion"):
        await server.storage.fresh()
    entry = entry_of(served, info.name, info.namespace)
    accept = context.request.headers.get("Accept", "")
    if accept in ("application/json", "", "*/*") and served.view is None and not context.request.query_string:
        return answers.raw(entry.body)
    form = answers.accepted(context, "Table", "PartialObjectMetadata")
    entry = await served.entry(entry)
    if form.shape == "Table":
        return answers.of_json(context, tables.of_entry(context, served, entry))
    if form.shape == "PartialObjectMetadata":
        return answers.of_json(context, answers.partial(entry.body))
    return answers.of_json(context, entry.body)
