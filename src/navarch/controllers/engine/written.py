"""Which objects were written in a version that the cache does not show yet.

Who decides on a status that is older than the one he wrote decides twice. The event of the write brings the key back.

Upstream counterpart: pkg/controller/util/consistency.
"""

from __future__ import annotations

from navarch.api.scalars import Object
from navarch.objects import meta


class Written:
    """The newest version that was written, per key."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}

    def note(self, obj: Object) -> None:
        """An answer to a write."""
        self._versions[meta.key(obj)] = meta.version(obj)

    def behind(self, obj: Object) -> bool:
        """Whether a cached object is older than what was written."""
        written = self._versions.get(meta.key(obj))
        if written is None or meta.version(obj) < written:
            return written is not None
        del self._versions[meta.key(obj)]
        return False

    def forget(self, key: str) -> None:
        """Nothing is awaited of an object that is gone."""
        self._versions.pop(key, None)
