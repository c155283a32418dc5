"""Who answers a call that may be made: a verb, a subresource, a review, or a plain path.

Upstream counterpart: what apiserver's endpoints/installer.go registers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from navarch.apiserver import discovery
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
        if info.subresource:
            return self.subresources.answer(call, served)
        if not _serves(info, served):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        return self.verbs[info.verb](call, served)


def _serves(info: RequestInfo, served: Served) -> bool:
    """Whether a verb is among a resource's, at this kind of path: all namespaces can only be read."""
    if info.verb not in served.resource.verbs:
        return False
    if served.resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
        return False
    if info.verb == "create":
        return not info.name
    return bool(info.name) or info.verb not in ("update", "patch")
