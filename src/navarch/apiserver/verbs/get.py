"""GET of one object: the cache's bytes, written as they are."""

from __future__ import annotations

from collections.abc import Awaitable

from navarch.apiserver import answers, documents, negotiation, tables
from navarch.apiserver.answers import Answer, Document
from navarch.apiserver.call import Call
from navarch.apiserver.served import Served
from navarch.apiserver.storage import Storage
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import errors

_PLAIN = frozenset({"application/json", "", "*/*"})


def entry_of(served: Served, name: str, namespace: str) -> Entry:
    """The object's entry. NotFound when there is none, InternalError when what is stored of it is damaged."""
    key = served.key(name, namespace)
    entry = served.cache.get(key)
    if entry is None:
        if damage := served.cache.damaged.get(key):
            raise errors.internal(damage)
        raise errors.not_found(served.group, served.plural, name)
    return entry


def handle(storage: Storage, call: Call, served: Served) -> Answer | Awaitable[Answer]:
    """The object. What is nearly always asked for is answered without waiting for anything."""
    info = call.info
    if served.view is None and storage.alone and not call.query.raw and call.headers.get("Accept", "") in _PLAIN:
        return Document(entry_of(served, info.name, info.namespace).body)
    return _made(storage, call, served)


async def _made(storage: Storage, call: Call, served: Served) -> Answer:
    if not call.query.get("resourceVersion"):
        await storage.fresh()
    info = call.info
    entry = served.entry(entry_of(served, info.name, info.namespace))
    form = negotiation.accepted(call, "Table", "PartialObjectMetadata")
    if form.shape == "Table":
        return answers.of_json(call, tables.of_entry(call, served, entry))
    if form.shape == "PartialObjectMetadata":
        return answers.of_json(call, documents.partial(entry.body))
    return answers.of_json(call, entry.body)
