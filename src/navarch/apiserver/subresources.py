"""Subresources: which function answers `pods/log`, `deployments/scale`, `namespaces/finalize` and the rest.

Upstream counterparts: pkg/registry/core/pod/{storage,rest} and the storages of the other kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from navarch.apiserver import answers, discovery, writing
from navarch.apiserver.context import Context
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.subresource import binding, eviction, kubelet, proxy, scale, token
from navarch.apiserver.verbs import get, patch, update
from navarch.machinery import codec, errors

Handler = Callable[[Context, Served, Server], Awaitable[web.StreamResponse]]


async def _plain(context: Context, served: Served, server: Server) -> web.StreamResponse:
    """A subresource that is the object itself, of which a write may change only a part (status, finalize, approval)."""
    match context.info.verb:
        case "get":
            entry = get.entry_of(served, context.info.name, context.info.namespace)
            return answers.of_json(context, (await served.entry(entry)).body)
        case "update":
            return await _update(context, served, server)
        case "patch":
            return await patch.handle(context, served, server)
    raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")


async def _update(context: Context, served: Served, server: Server) -> web.StreamResponse:
    writing.check_options(context, "UpdateOptions")
    new = await writing.object_from(context, served, await writing.body(context))
    update.check_name(new, context.info.name, context.info.namespace)
    text = codec.encode(new)

    async def make(old: Obj) -> Obj:
        del old
        return served.decode(text)

    changed = await update.change(context, served, server, make, subresource=context.info.subresource)
    return answers.of_json(context, await served.outward(changed.body))


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


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    info = context.info
    declared = served.resource.subresources.get(info.subresource)
    if declared is None:
        raise discovery.not_found()
    special = SPECIAL.get((info.group, info.plural, info.subresource))
    if special is not None:
        return await special(context, served, server)
    if info.verb not in declared.verbs:
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    if info.subresource == "scale":
        return await scale.handle(context, served, server)
    return await _plain(context, served, server)
