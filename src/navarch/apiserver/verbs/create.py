"""POST to a collection: a new object."""

from __future__ import annotations

from navarch.apiserver import answers, negotiation, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.served import Served
from navarch.apiserver.verbs.write import Writer, author_of

_GENERATED_TRIES = 8


async def handle(writer: Writer, call: Call, served: Served) -> Answer:
    writing.check_options(call, "CreateOptions")
    negotiation.accepted(call, "PartialObjectMetadata", "Table")
    obj = await writing.object_from(call, served, await writing.body(call))
    body = await writer.create(author_of(call), served, call.info.namespace if served.resource.namespaced else "", obj)
    return answers.of_json(call, served.outward(body), 201)
