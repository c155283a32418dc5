"""PUT of an object, and the loop every change of an existing object goes through.

`change` reads the current object, lets the caller make the new one from it, checks, admits and writes it against the revision
it was read at; when somebody else was faster it starts again (see `contention`), unless the client insisted on a revision.

Upstream counterpart: registry/generic/registry/store.go (Update) and storage's GuaranteedUpdate.
"""

from __future__ import annotations

from navarch.apiserver import answers, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.machinery import codec, errors


async def handle(writer: Writer, call: Call, served: Served) -> Answer:
    writing.check_options(call, "UpdateOptions")
    info = call.info
    new = await writing.object_from(call, served, await writing.body(call))
    check_name(new, info.name, info.namespace)
    text = codec.encode(new)
    author = author_of(call)

    async def make(old: Obj) -> Obj:
        del old
        return served.decode(text)

    if served.cache.get(served.key(info.name, info.namespace)) is None and served.strategy.create_on_update:
        body = await writer.create(author, served, info.namespace if served.resource.namespaced else "", without_version(new))
        return answers.of_json(call, served.outward(body), 201)
    changed = await writer.change(author, served, info.name, info.namespace, make, subresource=info.subresource)
    return answers.of_json(call, served.outward(changed.body), 200)


def without_version(obj: Obj) -> Obj:
    obj.metadata.resourceVersion = None
    obj.metadata.uid = None
    return obj


def check_name(obj: Obj, name: str, namespace: str) -> None:
    """The object's name and namespace must be the URL's; left out, they are."""
    metadata = obj.metadata
    if not metadata.name:
        metadata.name = name
    if metadata.name != name:
        raise errors.BadRequest(f"the name of the object ({metadata.name}) does not match the name on the URL ({name})")
    if namespace and metadata.namespace and metadata.namespace != namespace:
        raise errors.BadRequest(f"the namespace of the object ({metadata.namespace}) does not match the namespace on the request ({namespace})")
