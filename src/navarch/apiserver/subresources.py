"""Subresources: which function answers `pods/log`, `deployments/scale`, `namespaces/finalize` and the rest.

Upstream counterparts: pkg/registry/core/pod/{storage,rest} and the storages of the other kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from navarch.apiserver import answers, discovery, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.subresource import binding, eviction, kubelet, proxy, scale, token
from navarch.apiserver.verbs import get, patch, update
from navarch.apiserver.verbs.write import author_of
from navarch.machinery import codec, errors

Handler = Callable[[Call, Served, Server], Awaitable[Answer]]


async def _plain(call: Call, served: Served, server: Server) -> Answer:
    """A subresource that is the object itself, of which a write may change only a part (status, finalize, approval)."""
    match call.info.verb:
        case "get":
            entry = get.entry_of(served, call.info.name, call.info.namespace)
            return answers.of_json(call, (await served.entry(entry)).body)
        case "update":
            return await _update(call, served, server)
        case "patch":
            return await patch.handle(call, served, server)
    raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")


async def _update(call: Call, served: Served, server: Server) -> Answer:
    writing.check_options(call, "UpdateOptions")
    new = await writing.object_from(call, served, await writing.body(call))
    update.check_name(new, call.info.name, call.info.namespace)
    text = codec.encode(new)

    async def make(old: Obj) -> Obj:
        del old
        return served.decode(text)

    info = call.info
    changed = await server.writer.change(author_of(call), served, info.name, info.namespace, make, subresource=info.subresource)
    return answers.of_json(call, await served.outward(changed.body))


SPECIAL: dict[tuple[str, str, str], Handler] = {
    ("", "pods", "binding"): binding.handle,
    ("", "pods", "eviction"): eviction.handle,
    ("", "pods", "log"): kubelet.log,
    ("", "pods", "exec"): kubelet.stream,
    ("", "pods", "attach"): kubelet.stream,
    ("", "pods", "portforward"): kubelet.stream,
    ("", "pods", "proxy"): proxy.pod,
    ("", "services", "proxy"): proxy.service,
    ("", "nodes", "proxy"): proxy.node,
    ("", "serviceaccounts", "token"): token.handle,
}


async def handle(call: Call, served: Served, server: Server) -> Answer:
    info = call.info
    declared = served.resource.subresources.get(info.subresource)
    if declared is None:
        raise discovery.not_found()
    special = SPECIAL.get((info.group, info.plural, info.subresource))
    if special is not None:
        return await special(call, served, server)
    if info.verb not in declared.verbs:
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    if info.subresource == "scale":
        return await scale.handle(call, served, server)
    return await _plain(call, served, server)
