"""GET of one object: the cache's bytes, written as they are."""

from __future__ import annotations

from navarch.apiserver import answers, documents, negotiation, tables
from navarch.apiserver.answers import Answer, Document
from navarch.apiserver.call import Call
from navarch.apiserver.served import Served
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


def handle(call: Call, served: Served) -> Answer:
    info = call.info
    entry = entry_of(served, info.name, info.namespace)
    accept = call.headers.get("Accept", "")
    if accept in ("application/json", "", "*/*") and served.convert_out is None and not call.query.raw:
        return Document(entry.body)
    form = negotiation.accepted(call, "Table", "PartialObjectMetadata")
    if form.shape == "Table":
        return answers.of_json(call, tables.of_entry(call, served, entry))
    if form.shape == "PartialObjectMetadata":
        return answers.of_json(call, documents.partial(served.body(entry)))
    return answers.of_json(call, served.body(entry))
