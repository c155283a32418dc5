"""What is stored in one version of its API, as another version of the server's own kinds shows it.

A watch cache holds objects as they are stored. A served version that is another one has a `View` of the cache: it converts the entries a
request asks for, and follows the changes for those who watch, so that an object is converted once for all of them, when its change is
applied, and not for each reader. What is converted is kept, for all views together within `MOST_BYTES`.

What is selected by is read from the stored objects: names, labels and fields are the same in both versions. Custom resources, whose versions
differ in that, and whose conversions may ask a webhook, have a cache for each version (`extensions/versions`).

Upstream counterpart: a cacher for each served version (apiserver's storage/cacher).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from navarch.apiserver.streams import Turns
from navarch.apiserver.watch_cache import Audiences, Cache, Entry, Event, Scope

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of converted objects that are kept, with what they were converted from."""
_SLICE = 64
"""Objects that are converted in one turn: 2 ms."""

Convert = Callable[[bytes], bytes]
"""An object's JSON, from the stored version to another."""


class Member(Protocol):
    """One who watches a view."""

    def receive(self, seen: Sequence[tuple[str, Event]]) -> None: ...

    def cut(self) -> None:
        """Ends the watch: the client goes on from where it was."""


class Converted:
    """Converted entries of all views, the oldest given up first."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._entries: dict[tuple[View, Entry], Entry] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, view: View, stored: Entry) -> Entry | None:
        return self._entries.get((view, stored))

    def keep(self, view: View, stored: Entry, made: Entry) -> None:
        if self._entries.setdefault((view, stored), made) is not made:
            return
        self.bytes += len(stored.body) + len(made.body)
        while self.bytes > self._most:
            self._drop(next(iter(self._entries)))

    def forget(self, view: View, stored: Entry) -> None:
        if (view, stored) in self._entries:
            self._drop((view, stored))

    def forget_all(self, view: View) -> None:
        """A version that is no longer served, or converted another way."""
        for key in [key for key in self._entries if key[0] is view]:
            self._drop(key)

    def _drop(self, key: tuple[View, Entry]) -> None:
        self.bytes -= len(key[1].body) + len(self._entries.pop(key).body)


class View:
    """A cache in another version than the stored one."""

    def __init__(self, cache: Cache, convert: Convert, converted: Converted) -> None:
        self.convert = convert
        self._converted = converted
        self._audiences = Audiences(cache.indexed)
        self._members: set[Member] = set()
        self._unfollow = cache.follow(self._follow)

    def close(self) -> None:
        """The version is no longer served this way: those who watch it go on elsewhere."""
        self._unfollow()
        for member in tuple(self._members):
            member.cut()
        self._converted.forget_all(self)

    # ---- reading ----

    def entry(self, stored: Entry) -> Entry:
        """One object in this version."""
        made = self._converted.get(self, stored)
        if made is None:
            made = Entry(stored.key, stored.version, self.convert(stored.body), stored.name, stored.namespace, stored.labels, stored.fields)
            self._converted.keep(self, stored, made)
        return made

    async def entries(self, stored: Sequence[Entry], turns: Turns) -> list[Entry]:
        """Objects in this version, some converted in a turn."""
        made: list[Entry] = []
        for at in range(0, len(stored), _SLICE):
            async with turns:
                made += map(self.entry, stored[at : at + _SLICE])
        return made

    async def events(self, stored: Sequence[Event], turns: Turns) -> list[Event]:
        """Events in this version."""
        made: list[Event] = []
        for at in range(0, len(stored), _SLICE):
            async with turns:
                made += map(self._event, stored[at : at + _SLICE])
        return made

    # ---- watching ----

    def join(self, scope: Scope, member: Member) -> Callable[[], None]:
        """Adds a watcher of what happens from now on; returns what takes it away again."""
        self._members.add(member)
        leave_audience = self._audiences.join(scope, member.receive)

        def leave() -> None:
            leave_audience()
            self._members.discard(member)

        return leave

    def _follow(self, events: Sequence[Event]) -> None:
        """Takes committed changes, in order."""
        if self._members:
            self._audiences.tell([self._event(event) for event in events])
            return
        for event in events:
            if event.old is not None:
                self._converted.forget(self, event.old)

    def _event(self, event: Event) -> Event:
        return Event(event.revision, event.key, event.new and self.entry(event.new), event.old and self.entry(event.old))
