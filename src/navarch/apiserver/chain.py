"""The pipeline every request goes through, as a list: parse → authenticate → impersonate → find → authorize → route → verb.

Errors become Statuses here and nowhere else. Upstream counterpart: apiserver's server/config.go (DefaultBuildHandlerChain).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from navarch.apiserver import answers, discovery, impersonation, inflight, routes, streams, subresources
from navarch.apiserver.authz.questions import Question, field_requirements, refusal
from navarch.apiserver.context import Context, RequestInfo
from navarch.apiserver.endpoints import Endpoints
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import create, delete, get, list, patch, reviews, update, watch
from navarch.machinery import errors

_log = logging.getLogger(__name__)

Verb = Callable[[Context, Served, Server], Awaitable[web.StreamResponse]]

VERBS: dict[str, Verb] = {
    "get": get.handle,
    "list": list.handle,
    "watch": watch.handle,
    "create": create.handle,
    "update": update.handle,
    "patch": patch.handle,
    "delete": delete.handle,
    "deletecollection": delete.collection,
}

_READS = frozenset({"GET", "HEAD"})

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
"""What anybody may read (the role system:public-info-viewer): answered without asking RBAC, which may not be loaded yet."""


class Chain:
    """The handler of all requests."""

    def __init__(self, server: Server, endpoints: Endpoints) -> None:
        self._server = server
        self._endpoints = endpoints

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, from bytes to answer."""
        url = request.rel_url
        context = Context(request, routes.parse(request.method, url))
        began = time.perf_counter()
        try:
            response = await self._answer(context)
        finally:
            if context.limit is not None:
                context.limit.now -= 1
        self._server.metrics.count(context.info, response.status, time.perf_counter() - began)
        return response

    async def _answer(self, context: Context) -> web.StreamResponse:
        request = context.request
        try:
            context.user = self._server.authenticator.authenticate(request, context.warnings)
            if (claimed := impersonation.wanted(request.headers)) is not None:
                context.impersonator = context.user
                context.user = impersonation.become(self._server.authorizer, context.user, claimed)
            if (limit := self._server.inflight.limit_of(context.info.verb, context.info.subresource)) is not None:
                if not self._server.inflight.enter(limit, context.user.groups):
                    return web.Response(status=429, body=inflight.TOO_MANY, headers={"Content-Type": "text/plain; charset=utf-8", "Retry-After": "1"})
                context.limit = limit
            served = self._find(context.info)
            self._authorize(context)
            response = await self._route(context, served)
            if type(response) in streams.LARGE:
                await streams.send(request, response)  # here, so that a client who takes it slowly is counted as under way
            return response
        except errors.ApiError as error:
            response = answers.failure(error)
            answers.warn(context, response)
        except (asyncio.CancelledError, ConnectionResetError):
            raise  # the client is gone: there is nobody to answer
        except Exception as error:
            _log.exception("%s %s", request.method, request.path[:1000])
            if request.writer.output_size:
                # The head is sent: what else is said would stand inside the body. A cut connection tells that the answer is not whole.
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("the answer failed after it had begun") from error
            response = answers.failure(errors.internal("this request caused apiserver to panic. Look in the logs for details."))
        return response

    # ---- whether ----

    def _authorize(self, context: Context) -> None:
        info = context.info
        if not info.is_resource and info.path in OPEN_PATHS:
            return
        question = question_of(info)
        verdict = self._server.authorizer.decide(context.user, question)
        if verdict.allowed:
            return
        raise errors.forbidden(info.group, info.plural, info.name, refusal(context.user, question, verdict.reason))

    # ---- where to ----

    def _find(self, info: RequestInfo) -> Served | None:
        """What is served at a path, None for what is not stored. NotFound where a resource's scope does not allow the path."""
        if not info.is_resource:
            return None
        catalog = self._server.catalog
        served = catalog.get(info.group, info.version, info.plural)
        resource = served.resource if served is not None else catalog.virtual(info.group, info.version, info.plural)
        if resource is not None and not routes.exists(info, resource):
            raise discovery.not_found()
        return served

    async def _route(self, context: Context, served: Served | None) -> web.StreamResponse:
        info = context.info
        if not info.is_resource:
            return await self._endpoints.answer(context)
        if info.verb == "proxy" or (info.group == "" and info.version != "v1"):
            raise discovery.not_found()
        if info.verb == "watch" and context.request.method not in _READS:
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        if served is None:
            return await reviews.handle(context, self._server)
        if info.subresource:
            return await subresources.handle(context, served, self._server)
        if not _serves(info, served):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        return await VERBS[info.verb](context, served, self._server)


def _serves(info: RequestInfo, served: Served) -> bool:
    """Whether a verb is among a resource's, at this kind of path: all namespaces can only be read."""
    if info.verb not in served.resource.verbs:
        return False
    if served.resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
        return False
    if info.verb == "create":
        return not info.name
    return bool(info.name) or info.verb not in ("update", "patch")


def question_of(info: RequestInfo) -> Question:
    """What a request must be allowed to do."""
    if not info.is_resource:
        return Question(info.verb, path=info.path)
    fields = field_requirements(info.field_selector) if info.field_selector else ()
    return Question(info.verb, info.group, info.plural, info.subresource, info.namespace, info.name, "", info.version, fields)
