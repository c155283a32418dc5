"""Who answers a call that may be made: a verb, a subresource, a review, or a plain path.

Upstream counterpart: what apiserver's endpoints/installer.go registers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from navarch.apiserver import answers, discovery
from navarch.apiserver.answers import Answer
from navarch.apiserver.call import Call
from navarch.apiserver.endpoints import Endpoints
from navarch.apiserver.routes import RequestInfo
from navarch.apiserver.served import Served
from navarch.apiserver.subresources import Subresources
from navarch.apiserver.verbs import reviews
from navarch.apiserver.verbs.reviews import Reviews
from navarch.machinery import errors

Verb = Callable[[Call, Served], Answer | Awaitable[Answer]]
_WRITES = frozenset({"create", "update", "patch"})
_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Who answers what."""

    verbs: Mapping[str, Verb]
    """By the verb of the request: those of stored resources."""

    subresources: Subresources
    reviews: Reviews
    endpoints: Endpoints

    def answer(self, call: Call) -> Answer | Awaitable[Answer]:
        """The answer. NotFound, MethodNotAllowed, and what the verbs raise."""
        info, served = call.info, call.served
        if not info.is_resource:
            return self.endpoints.answer(call)
        if info.verb == "proxy" or (info.group == "" and info.version != "v1"):
            raise discovery.not_found()
        if info.verb == "watch" and call.method not in _READS:
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        if served is None:
            return reviews.handle(self.reviews, call)
        if served.warnings:
            call.warnings.extend(served.warnings)
        return self._of_resource(call, served) if served.ready is None else self._when_ready(call, served)

    def _of_resource(self, call: Call, served: Served) -> Answer | Awaitable[Answer]:
        info = call.info
        if info.subresource:
            return self.subresources.answer(call, served)
        if not _serves(info, served):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        return self.verbs[info.verb](call, served)

    async def _when_ready(self, call: Call, served: Served) -> Answer:
        """An answer from a cache or by a schema that may have to be waited for."""
        assert served.ready is not None
        await served.ready(call.info.verb in _WRITES)
        found = self._of_resource(call, served)
        return found if isinstance(found, answers.KINDS) else await found


def _serves(info: RequestInfo, served: Served) -> bool:
    """Whether a verb is among a resource's, at this kind of path: all namespaces can only be read."""
    if info.verb not in served.resource.verbs:
        return False
    if served.resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
        return False
    if info.verb == "create":
        return not info.name
    return bool(info.name) or info.verb not in ("update", "patch")
