"""How many requests may be answered at the same time: so many that change something, and so many that read.

Requests that last as long as their client wants (watches, logs, exec, proxies) are not counted, and system:masters is always answered.

Upstream counterpart: apiserver's server/filters/maxinflight.go.
"""

from __future__ import annotations

from collections.abc import Collection

from navarch.apiserver.answers import PLAIN, Document
from navarch.apiserver.call import Call, Limit

_READING = frozenset({"get", "list", "watch"})
_LONG_VERBS = frozenset({"watch", "proxy"})
_LONG_SUBRESOURCES = frozenset({"attach", "exec", "log", "portforward", "proxy"})
TOO_MANY = b"Too many requests, please try again later.\n"


class InFlight:
    """The two limits. A request that was counted in is counted out when its answer is written."""

    def __init__(self, most_reading: int = 400, most_mutating: int = 200) -> None:
        self.reading = Limit(most_reading)
        self.mutating = Limit(most_mutating)

    def limit_of(self, verb: str, subresource: str) -> Limit | None:
        """Where a request counts; None when it lasts as long as it is wanted."""
        if verb in _LONG_VERBS or subresource in _LONG_SUBRESOURCES:
            return None
        return self.reading if verb in _READING else self.mutating

    def enter(self, limit: Limit, groups: Collection[str]) -> bool:
        """Counts a request in; False when it has to come again later. Members of system:masters never have to."""
        if limit.full and "system:masters" not in groups:
            return False
        limit.now += 1
        return True


def enter(bounds: InFlight, call: Call) -> Document | None:
    """Counts a call in, where it counts."""
    limit = bounds.limit_of(call.info.verb, call.info.subresource)
    if limit is not None:
        if not bounds.enter(limit, call.user.groups):
            return Document(TOO_MANY, 429, PLAIN, {"Retry-After": "1"})
        call.limit = limit
    return None


def leave(call: Call, status: int) -> None:
    """Counts a call out."""
    del status
    if call.limit is not None:
        call.limit.now -= 1
