"""The store's own time: it runs as fast as time does, and does not jump when the machine's clock is set.

How old history is and when a key ends are told by this time, so that a clock that goes a day forward and comes back takes
nothing with it. It goes on from the last row's time when a store is opened: the time a store was closed does not count, as a
lease's does not in etcd.

Rows carry store time. `Offsets` remember what the wall clock said beside it, so that "which revision was current at noon" has an
answer. Times are milliseconds; wall times since 1970, and store times from the wall's at the store's making.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

MOST_OFFSETS = 64
SLIP = 2000
"""How far wall and store time may drift apart before it is noted: slewing is not a jump."""


class Offset(NamedTuple):
    """From store time `since` on, the wall clock is `ahead` of it."""

    since: int
    ahead: int


def steady() -> float:
    """Seconds that no one can set, the machine's sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Store time from `begin` on. `wall` and `steady` give seconds."""

    def __init__(self, begin: int, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._steady = steady
        self._wall = wall
        self._origin = begin - int(steady() * 1000)

    def now(self) -> int:
        return self._origin + int(self._steady() * 1000)

    def ahead(self) -> int:
        """How far the wall clock is ahead of store time."""
        return int(self._wall() * 1000) - self.now()


def noted(offsets: Sequence[Offset], now: int, ahead: int, oldest: int) -> list[Offset]:
    """The offsets with the present one, if it is new; without those that ended before store time `oldest`."""
    found = list(offsets)
    if not found or abs(found[-1].ahead - ahead) > SLIP:
        found.append(Offset(now, ahead))
    while len(found) > 1 and (found[1].since <= oldest or len(found) > MOST_OFFSETS):
        del found[0]
    return found


def store_time(offsets: Sequence[Offset], when: int) -> int:
    """The store time of a wall time: the latest, if the clock showed it more than once; if it never did, that of the jump over it."""
    jumped = offsets[0].since if offsets else 0
    until = None
    for offset in reversed(offsets):
        found = when - offset.ahead
        if found >= offset.since:
            if until is None or found <= until:
                return found
            jumped = max(jumped, until)
        until = offset.since
    return jumped if offsets else when
