"""Exponential backoff as values: how long to wait before try number n.

Upstream counterparts: client-go's flowcontrol.Backoff and the rate limiters of its work queues.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Policy:
    """Delays in seconds: `first * factor**n`, never more than `most`."""

    first: float
    most: float
    factor: float = 2.0

    def delay(self, failures: int) -> float:
        """The wait after `failures` failures in a row (1 is the first failure)."""
        if failures <= 0:
            return 0.0
        return min(self.most, self.first * self.factor ** min(failures - 1, 64))


@dataclass(slots=True)
class Backoff:
    """A policy with its count: `next()` after each failure, `reset()` after a success."""

    policy: Policy
    failures: int = field(default=0)

    def next(self) -> float:
        self.failures += 1
        return self.policy.delay(self.failures)

    def reset(self) -> None:
        self.failures = 0


RECONNECT = Policy(first=0.05, most=5.0)
"""For connections to servers of our own cluster, which are back within seconds."""

ITEM = Policy(first=0.005, most=1000.0)
"""client-go's default for a work queue's items."""
