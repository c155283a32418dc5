"""What is stored in one version of its API, as another version shows it.

A watch cache holds objects as they are stored. A served version that is another one has a `View` of the cache: it converts the entries a
request asks for, and follows the changes for those who watch, so that an object is converted once for all of them, when its change is
applied, and not for each reader. What is converted is kept, for all views together within `MOST_BYTES`.

A conversion is either the server's own and made at once (`Direct`), or somebody else's and awaited (`Remote`: a conversion webhook).
While a remote one is awaited, later changes wait behind it in order, and become visible in this version together with it. Those who
watch drive it: each of them, when it hears of a change, sees to it that the view advances. So a view that nobody watches does nothing.

Upstream counterparts: a cacher for each served version (apiserver's storage/cacher), apiextensions-apiserver's conversion.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from navarch.apiserver.streams import Turns
from navarch.apiserver.watch_cache import Audiences, Cache, Entry, Event, Peek, Scope
from navarch.machinery import errors

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of converted objects that are kept, with what they were converted from."""
MOST_WAITING = 4096
"""Changes that may wait for a conversion; past them, those who watch are cut off and go on from where they were."""
_AT_ONCE = 500
"""Objects in one request to a converter: as many as clients ask for in a chunk of a list."""
_SLICE = 64
"""Objects that the server converts itself in one slice: 2 ms."""


@dataclass(frozen=True, slots=True)
class Direct:
    """A conversion that the server makes itself."""

    convert: Callable[[bytes], bytes]


class Remote(Protocol):
    """A conversion that is awaited."""

    async def convert(self, bodies: Sequence[bytes]) -> Sequence[bytes]:
        """As many objects as were given, in their order. ApiError when they cannot be converted."""


class Member(Protocol):
    """One who watches a view."""

    wake: asyncio.Event

    def receive(self, seen: Sequence[tuple[str, Event]]) -> None: ...

    def fail(self, error: errors.ApiError) -> None:
        """Ends the watch with an error."""

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
    """A cache in another version than the stored one.

    Without a `peek` of its own, what is selected by is read from the stored objects: names, labels and fields are the same in both.
    """

    def __init__(self, cache: Cache, conversion: Direct | Remote, converted: Converted, peek: Peek | None = None) -> None:
        self._cache = cache
        self._conversion = conversion
        self._converted = converted
        self._peek = peek
        self.fields = peek.fields if peek else cache.fields
        """What selectors may name: of the stored objects, or of those in this version."""

        self._audiences = Audiences(() if peek else cache.indexed)
        self._members: set[Member] = set()
        self._waiting: deque[Event] = deque()
        self._converting = asyncio.Lock()
        self._advancing = asyncio.Lock()
        self._unfollow = cache.follow(self._follow)

    def close(self) -> None:
        """The version is no longer served this way: those who watch it go on elsewhere."""
        self._unfollow()
        for member in tuple(self._members):
            member.cut()
        self._converted.forget_all(self)

    # ---- reading ----

    async def body(self, body: bytes) -> bytes:
        """Any object's JSON, from the stored version to this one. ApiError."""
        if isinstance(self._conversion, Direct):
            return self._conversion.convert(body)
        return (await self._conversion.convert([body]))[0]

    async def entry(self, stored: Entry) -> Entry:
        """One object in this version. ApiError."""
        made = self._converted.get(self, stored)
        if made is None:
            made = self._made(stored, await self.body(stored.body))
        return made

    async def entries(self, stored: Sequence[Entry], turns: Turns) -> list[Entry]:
        """Objects in this version, those that are not kept converted some at a time. ApiError."""
        size = _SLICE if isinstance(self._conversion, Direct) else _AT_ONCE
        held = {entry: made for entry in stored if (made := self._converted.get(self, entry)) is not None}
        missing = [entry for entry in stored if entry not in held]
        for at in range(0, len(missing), size):
            part = missing[at : at + size]
            held.update(zip(part, await self._convert(part, turns), strict=True))
        return [held[entry] for entry in stored]

    def candidates(self, scope: Scope, after: str = "") -> list[Entry]:
        """The stored entries that a scope may match in this version."""
        if not self.selects(scope):
            return self._cache.candidates(scope, after)
        named = tuple(f for f in scope.fields if f.field in ("metadata.name", "metadata.namespace"))
        return self._cache.candidates(Scope(scope.namespace, fields=named), after)

    def selects(self, scope: Scope) -> bool:
        """Whether objects have to be in this version before it can be said what matches."""
        return self._peek is not None and scope.cost > 0

    async def select(self, scope: Scope, turns: Turns, after: str = "") -> list[Entry]:
        """The stored entries that match in this version, those behind a key only. ApiError."""
        return await self.matching(scope, self.candidates(scope, after), turns)

    async def matching(self, scope: Scope, stored: Sequence[Entry], turns: Turns) -> list[Entry]:
        """Of stored entries, those that match in this version. ApiError."""
        made = await self.entries(stored, turns)
        return [entry for entry, shown in zip(stored, made, strict=True) if scope.matches(shown)]

    async def initial(self, scope: Scope, stored: Sequence[Entry], turns: Turns) -> list[Entry]:
        """Candidates in this version: all that match, and others where that is only known of the result. ApiError."""
        return await self.entries(stored if self.selects(scope) else [entry for entry in stored if scope.matches(entry)], turns)

    async def events(self, stored: Sequence[Event], turns: Turns) -> list[Event]:
        """Events in this version. ApiError."""
        entries = list(dict.fromkeys(entry for event in stored for entry in (event.new, event.old) if entry is not None))
        made = dict(zip(entries, await self.entries(entries, turns), strict=True))
        return [
            Event(event.revision, event.key, event.new and made[event.new], event.old and made[event.old])
            for event in stored
        ]  # fmt: skip

    async def _convert(self, stored: Sequence[Entry], turns: Turns) -> list[Entry]:
        """Some entries, kept when they are converted. What others had converted meanwhile is not converted again."""
        if isinstance(self._conversion, Direct):
            async with turns:
                return [self._now(entry) for entry in stored]
        async with self._converting:
            held = {entry: made for entry in stored if (made := self._converted.get(self, entry)) is not None}
            missing = [entry for entry in stored if entry not in held]
            if missing:
                bodies = await self._conversion.convert([entry.body for entry in missing])
                held.update((entry, self._made(entry, body)) for entry, body in zip(missing, bodies, strict=True))
            return [held[entry] for entry in stored]

    def _made(self, stored: Entry, body: bytes) -> Entry:
        name, namespace, labels, fields = self._peek.read(body) if self._peek else (stored.name, stored.namespace, stored.labels, stored.fields)
        made = Entry(stored.key, stored.version, body, name, namespace, labels, fields)
        self._converted.keep(self, stored, made)
        return made

    def _now(self, stored: Entry) -> Entry:
        """An entry in this version, of a conversion that the server makes itself."""
        assert isinstance(self._conversion, Direct)
        made = self._converted.get(self, stored)
        return self._made(stored, self._conversion.convert(stored.body)) if made is None else made

    # ---- watching ----

    def join(self, scope: Scope, member: Member, after: int) -> Callable[[], None]:
        """Adds a watcher of what happens after a revision, which is the current one; returns what takes it away again."""

        def receive(seen: Sequence[tuple[str, Event]]) -> None:
            late = [item for item in seen if item[1].revision > after]
            if late:
                member.receive(late)

        self._members.add(member)
        leave_audience = self._audiences.join(scope, receive)

        def leave() -> None:
            leave_audience()
            self._members.discard(member)
            if not self._members:
                self._waiting.clear()

        return leave

    def _follow(self, events: Sequence[Event]) -> None:
        """Takes committed changes, in order."""
        for event in events:
            if event.old is not None and not self._members:
                self._converted.forget(self, event.old)
        if not self._members:
            return
        if isinstance(self._conversion, Direct):
            self._audiences.tell([self._event_now(event) for event in events])
            return
        self._waiting.extend(events)
        members = tuple(self._members)
        if len(self._waiting) > MOST_WAITING:
            self._waiting.clear()
            for member in members:
                member.cut()
            return
        for member in members:
            member.wake.set()

    def _event_now(self, event: Event) -> Event:
        return Event(event.revision, event.key, event.new and self._now(event.new), event.old and self._now(event.old))

    async def advance(self, turns: Turns) -> None:
        """Converts the changes that wait and tells of them, in order. When they cannot be converted, all watches of the view end."""
        async with self._advancing:
            while self._waiting:
                waiting = list(itertools.islice(self._waiting, _AT_ONCE // 2))
                try:
                    made = await self.events(waiting, turns)
                except errors.ApiError as error:
                    self._fail(error)
                    return
                # All who watched may have gone meanwhile, and others come.
                if self._waiting and self._waiting[0] is waiting[0]:
                    for _ in waiting:
                        self._waiting.popleft()
                    self._audiences.tell(made)

    def _fail(self, error: errors.ApiError) -> None:
        self._waiting.clear()
        for member in tuple(self._members):
            member.fail(error)
