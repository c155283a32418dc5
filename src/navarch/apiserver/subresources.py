"""Subresources: which function answers `pods/log`, `deployments/scale`, `namespaces/finalize` and the rest.

Upstream counterparts: pkg/registry/core/pod/{storage,rest} and the storages of the other kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from navarch.apiserver import answers, discovery, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.subresource import scale
from navarch.apiserver.verbs import get, patch, update
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.machinery import codec, errors

Handler = Callable[[Call, Served], Awaitable[Answer]]


async def _plain(writer: Writer, call: Call, served: Served) -> Answer:
    """A subresource that is the object itself, of which a write may change only a part (status, finalize, approval)."""
    match call.info.verb:
        case "get":
            entry = get.entry_of(served, call.info.name, call.info.namespace)
            return answers.of_json(call, served.entry(entry).body)
        case "update":
            return await _update(writer, call, served)
        case "patch":
            return await patch.handle(writer, call, served)
    raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")


async def _update(writer: Writer, call: Call, served: Served) -> Answer:
    writing.check_options(call, "UpdateOptions")
    new = await writing.object_from(call, served, await writing.body(call))
    update.check_name(new, call.info.name, call.info.namespace)
    text = codec.encode(new)

    async def make(old: Obj) -> Obj:
        del old
        return served.decode(text)

    info = call.info
    changed = await writer.change(author_of(call), served, info.name, info.namespace, make, subresource=info.subresource)
    return answers.of_json(call, served.outward(changed.body))


@dataclass(frozen=True, slots=True)
class Subresources:
    """Who answers: those of `special` (group, plural, subresource) their own way, scales and parts of an object like every other."""

    writer: Writer
    special: Mapping[tuple[str, str, str], Handler]

    def answer(self, call: Call, served: Served) -> Answer | Awaitable[Answer]:
        info = call.info
        declared = served.resource.subresources.get(info.subresource)
        if declared is None:
            raise discovery.not_found()
        special = self.special.get((info.group, info.plural, info.subresource))
        if special is not None:
            return special(call, served)
        if info.verb not in declared.verbs:
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        if info.subresource == "scale":
            return scale.handle(self.writer, call, served)
        return _plain(self.writer, call, served)
