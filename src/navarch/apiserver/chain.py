"""The pipeline every request goes through, as a list: parse → authenticate → impersonate → authorize → route → verb.

Errors become Statuses here and nowhere else. Upstream counterpart: apiserver's server/config.go (DefaultBuildHandlerChain).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from navarch.apiserver import answers, discovery, routes, subresources
from navarch.apiserver.authz import Question, refusal
from navarch.apiserver.context import ANONYMOUS, Context, RequestInfo, User
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
        context = Context(request, routes.parse(request.method, url.path, url.raw_query_string))
        began = time.perf_counter()
        response = await self._answer(context)
        self._server.metrics.count(context.info, response.status, time.perf_counter() - began)
        return response

    async def _answer(self, context: Context) -> web.StreamResponse:
        request = context.request
        try:
            context.user = self._server.authenticator.authenticate(request)
            if "Impersonate-User" in request.headers:
                self._impersonate(context)
            self._authorize(context)
            return await self._route(context)
        except errors.ApiError as error:
            response = answers.failure(error)
            answers.warn(context, response)
        except (asyncio.CancelledError, ConnectionResetError):
            raise  # the client is gone: there is nobody to answer
        except Exception as error:
            _log.exception("%s %s", request.method, request.path)
            response = answers.failure(errors.internal(f"{type(error).__name__}: {error}"))
        return response

    # ---- who and whether ----

    def _impersonate(self, context: Context) -> None:
        headers = context.request.headers
        name = headers["Impersonate-User"]
        groups = tuple(headers.getall("Impersonate-Group", ()))
        parts = name.split(":")
        if len(parts) == 4 and name.startswith("system:serviceaccount:"):
            self._may(context.user, Question("impersonate", "", "serviceaccounts", "", parts[2], parts[3]))
            if not groups:
                groups = ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}")
        else:
            self._may(context.user, Question("impersonate", "", "users", name=name))
        for group in headers.getall("Impersonate-Group", ()):
            self._may(context.user, Question("impersonate", "", "groups", name=group))
        if uid := headers.get("Impersonate-Uid", ""):
            self._may(context.user, Question("impersonate", "authentication.k8s.io", "uids", name=uid))
        extra = self._impersonated_extra(context)
        if name != ANONYMOUS.name and "system:unauthenticated" not in groups and "system:authenticated" not in groups:
            groups = (*groups, "system:authenticated")
        context.impersonator = context.user
        context.user = User(name, groups, uid, extra)

    def _impersonated_extra(self, context: Context) -> dict[str, tuple[str, ...]]:
        extra: dict[str, tuple[str, ...]] = {}
        for header, value in context.request.headers.items():
            if header.lower().startswith("impersonate-extra-"):
                key = header[len("impersonate-extra-") :].lower()
                self._may(context.user, Question("impersonate", "authentication.k8s.io", "userextras", key, name=value))
                extra[key] = (*extra.get(key, ()), value)
        return extra

    def _may(self, user: User, question: Question) -> None:
        verdict = self._server.authorizer.decide(user, question)
        if not verdict.allowed:
            raise errors.forbidden(question.group, question.resource, question.name, refusal(user, question, verdict.reason))

    def _authorize(self, context: Context) -> None:
        info = context.info
        if not info.is_resource and (info.path in OPEN_PATHS or info.path.startswith(("/livez/", "/readyz/"))):
            return
        question = question_of(info)
        verdict = self._server.authorizer.decide(context.user, question)
        if verdict.allowed:
            return
        why = refusal(context.user, question, verdict.reason)
        if context.user is ANONYMOUS and info.verb not in ("get", "list", "watch"):
            raise errors.forbidden(info.group, info.plural, info.name, why)
        raise errors.forbidden(info.group, info.plural, info.name, why)

    # ---- where to ----

    async def _route(self, context: Context) -> web.StreamResponse:
        info = context.info
        if not info.is_resource:
            return await self._endpoints.answer(context)
        if info.group == "" and info.version != "v1":
            raise discovery.not_found()
        served = self._server.catalog.get(info.group, info.version, info.plural)
        if served is None:
            return await reviews.handle(context, self._server)
        if info.subresource:
            return await subresources.handle(context, served, self._server)
        if served.resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
            if info.verb == "create":
                raise errors.BadRequest("an empty namespace may not be set during creation")
            raise errors.method_not_supported(info.group, info.plural, info.verb)
        if info.namespace and not served.resource.namespaced and info.plural != "namespaces":
            raise discovery.not_found()
        if info.verb not in served.resource.verbs or (info.verb == "create" and info.name) or (info.verb in ("update", "patch") and not info.name):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        return await VERBS[info.verb](context, served, self._server)


def question_of(info: RequestInfo) -> Question:
    """What a request must be allowed to do."""
    if not info.is_resource:
        return Question(info.verb, path=info.path)
    return Question(info.verb, info.group, info.plural, info.subresource, info.namespace, info.name, version=info.version)
