"""The pipeline every call goes through, as a list of stages. The first stage that has an answer ends it.

A stage is two functions at most: `enter(call)` looks at the call, adds to it, refuses it by an `ApiError`, or answers it; `leave(call, status)` is
told when the answer was written (status 0: the client was gone before). A stage that has to wait returns an awaitable; the chain waits
only then. Nothing is made for a call but the call.

Upstream counterpart: apiserver's server/config.go (DefaultBuildHandlerChain).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from navarch.apiserver import answers, impersonation, inflight, stages
from navarch.apiserver.aggregation import proxying
from navarch.apiserver.aggregation.registry import Registry
from navarch.apiserver.answers import Answer
from navarch.apiserver.authn.authenticator import Authenticator
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.call import Call
from navarch.apiserver.dispatch import Dispatch
from navarch.apiserver.metrics import Metrics
from navarch.apiserver.served import Catalog
from navarch.machinery import errors

_log = logging.getLogger(__name__)

Enter = Callable[[Call], Answer | Awaitable[Answer | None] | None]
Leave = Callable[[Call, int], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. Those who are told of the end are told in the opposite order."""

    name: str
    enter: Enter | None = None
    leave: Leave | None = None


def pipeline(
    metrics: Metrics,
    authenticator: Authenticator,
    authorizer: Authorizer,
    bounds: inflight.InFlight,
    catalog: Catalog,
    remotes: Registry,
    dispatch: Dispatch,
) -> tuple[Stage, ...]:
    """All stages, in order."""
    return (
        Stage("metrics", leave=metrics.count),
        Stage("authentication", partial(stages.authenticate, authenticator)),
        Stage("impersonation", partial(impersonation.impersonate, authorizer)),
        Stage("requests in flight", partial(inflight.enter, bounds), inflight.leave),
        Stage("resource", partial(stages.find, catalog, remotes)),
        Stage("authorization", partial(stages.authorize, authorizer)),
        Stage("aggregation", partial(proxying.enter, remotes)),
        Stage("answer", dispatch.answer),
    )


class Chain:
    """The stages, called in order."""

    def __init__(self, pipeline: Sequence[Stage]) -> None:
        self.stages = tuple(pipeline)
        self._entering = tuple(s.enter for s in self.stages if s.enter is not None)
        self._leaving = tuple(s.leave for s in reversed(self.stages) if s.leave is not None)

    async def answer(self, call: Call) -> Answer:
        """The answer of a call; an error is one, as a Status."""
        try:
            for enter in self._entering:
                found = enter(call)
                if found is None:
                    continue
                if not isinstance(found, answers.KINDS):
                    found = await found
                if found is not None:
                    return found
            raise errors.NotFound("the server could not find the requested resource")
        except errors.ApiError as error:
            return answers.failure(error)
        except ConnectionResetError:
            raise  # the client is gone: there is nobody to answer
        except Exception:
            _log.exception("%s %s", call.method, call.info.path[:1000])
            return answers.failure(answers.panicked())

    def done(self, call: Call, status: int) -> None:
        """Tells the stages that an answer was written; status 0 says that it could not be."""
        for leave in self._leaving:
            leave(call, status)
