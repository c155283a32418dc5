"""How many requests may be answered at the same time: so many that change something, and so many that read.

Requests that last as long as their client wants (watches, logs, exec, proxies) are not counted, and system:masters is always answered.

Upstream counterpart: apiserver's server/filters/maxinflight.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from navarch.apiserver.context import RequestInfo, User

_READING = frozenset({"get", "list", "watch"})
_LONG_VERBS = frozenset({"watch", "proxy"})
_LONG_SUBRESOURCES = frozenset({"attach", "exec", "log", "portforward", "proxy"})
TOO_MANY = b"Too many requests, please try again later.\n"


@dataclass(slots=True)
class Lane:
    """Requests of one sort: `most` at a time (0: any number), `now` under way."""

    most: int
    now: int = 0

    @property
    def full(self) -> bool:
        return 0 < self.most <= self.now


class InFlight:
    """The two lanes. Who enters one leaves it when the answer is written."""

    def __init__(self, most_reading: int = 400, most_mutating: int = 200) -> None:
        self.reading = Lane(most_reading)
        self.mutating = Lane(most_mutating)

    def lane_of(self, info: RequestInfo) -> Lane | None:
        """Where a request counts; None when it lasts as long as it is wanted."""
        if info.verb in _LONG_VERBS or info.subresource in _LONG_SUBRESOURCES:
            return None
        return self.reading if info.verb in _READING else self.mutating

    def enter(self, lane: Lane, user: User) -> bool:
        """Counts a request in; False when it has to come again later."""
        if lane.full and "system:masters" not in user.groups:
            return False
        lane.now += 1
        return True
