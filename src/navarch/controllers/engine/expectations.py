"""Creations and deletions that a controller made and its cache does not show yet.

Who decides on a cache that is behind makes everything twice. After an action a key waits until the cache has caught up, or for five
minutes, should an event never come.

Upstream counterpart: pkg/controller's ControllerExpectations and UIDTrackingControllerExpectations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Awaited:
    creations: int
    deletions: set[str]
    since: float


@dataclass(slots=True)
class Expectations:
    """What is awaited, per key. Deletions are known by uid; times are monotonic seconds."""

    timeout: float = 300.0
    _awaited: dict[str, _Awaited] = field(default_factory=dict)

    def expect(self, key: str, creations: int, deletions: Iterable[str], now: float) -> None:
        """Notes what is about to be done."""
        self._awaited[key] = _Awaited(creations, set(deletions), now)

    def created(self, key: str, count: int = 1) -> None:
        """Creations that were seen, or failed."""
        held = self._awaited.get(key)
        if held is not None:
            held.creations = max(0, held.creations - count)

    def deleted(self, key: str, uid: str) -> None:
        """A deletion was seen, or failed."""
        held = self._awaited.get(key)
        if held is not None:
            held.deletions.discard(uid)

    def fulfilled(self, key: str, now: float) -> bool:
        """Whether the cache shows all that was done."""
        held = self._awaited.get(key)
        if held is None or (not held.creations and not held.deletions) or now - held.since > self.timeout:
            self._awaited.pop(key, None)
            return True
        return False

    def forget(self, key: str) -> None:
        self._awaited.pop(key, None)
