"""The watch cache: every object of one stored resource, ready to be written to clients.

In: the store's changes, in order, as bytes. Out: entries whose `body` is the finished JSON of an object (GET writes it, LIST
joins it), and watch events whose frames are made once and written to every watcher.

Nothing is decoded but what selection needs: name, namespace, labels and the resource's selectable fields are read straight
from the bytes (2 µs for a pod). The store keeps objects without their resourceVersion, since it is not known before the
commit; it is spliced in here.

Watchers that ask for the same thing share an `Audience`, so an event is matched and framed once for all of them; audiences
are found by what they are pinned to (a namespace, a name, a node), so an event meets only those it can concern.

Upstream counterpart: apiserver's storage/cacher.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from navarch.apiserver.kinds.strategy import Selectable
from navarch.machinery import selectors
from navarch.store.interface import Change

_METADATA = b'"metadata":{'
_HISTORY, _HISTORY_BYTES = 4096, 32 * 1024 * 1024
"""Events kept per resource, and bytes of them; older ones are read from the store."""

Pin = tuple[str, str] | None


class Entry:
    """One object at one revision. `body` is its JSON with the resourceVersion in it."""

    __slots__ = ("body", "cells", "fields", "key", "labels", "name", "namespace", "version")

    def __init__(self, key: str, version: int, body: bytes, name: str, namespace: str, labels: Mapping[str, str], fields: Mapping[str, str]):
        self.key = key
        self.version = version
        self.body = body
        self.name = name
        self.namespace = namespace
        self.labels = labels
        self.fields = fields
        self.cells: bytes | None = None


def splice(value: bytes, revision: int) -> bytes:
    """A stored object with its resourceVersion put in. Stored objects begin `apiVersion, kind, metadata`."""
    at = value.index(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


def respliced(entry: Entry, revision: int) -> bytes:
    """An entry's JSON as of another revision: what a DELETED event carries."""
    return entry.body.replace(b'"resourceVersion":"%d",' % entry.version, b'"resourceVersion":"%d",' % revision, 1)


_NO_ENTRY = Entry("", 0, b"", "", "", {}, {})


class Peek:
    """Reads name, namespace, labels and chosen fields from an object's JSON without decoding the rest."""

    def __init__(self, fields: Sequence[Selectable]) -> None:
        self.fields = frozenset((*(f.name for f in fields), "metadata.name", "metadata.namespace"))
        self._paths = {f.name: tuple((f.path or f.name).split(".")) for f in fields}
        self._absent = {f.name: f.absent for f in fields}
        self._otherwise = tuple((f.name, f.otherwise) for f in fields if f.otherwise)
        self._decoder = msgspec.json.Decoder(self._shape())

    def _shape(self) -> type[msgspec.Struct]:
        tree: dict[str, Any] = {"metadata": {"name": str, "namespace": str, "labels": dict[str, str]}}
        for steps in self._paths.values():
            level = tree
            for step in steps[:-1]:
                level = level.setdefault(step, {})
            level.setdefault(steps[-1], Any)
        return self._struct("Object", tree)

    def _struct(self, name: str, tree: dict[str, Any]) -> type[msgspec.Struct]:
        members: list[tuple[str, Any, Any]] = []
        for key, kind in tree.items():
            hint = self._struct(key, kind) if isinstance(kind, dict) else kind
            members.append((key, hint | None if hint is not Any else Any, None))
        return msgspec.defstruct(name, members)

    def read(self, value: bytes) -> tuple[str, str, dict[str, str], dict[str, str]]:
        """name, namespace, labels, fields."""
        shape: Any = self._decoder.decode(value)
        metadata = shape.metadata
        name, namespace = metadata.name or "", metadata.namespace or ""
        fields = {"metadata.name": name, "metadata.namespace": namespace}
        for path, steps in self._paths.items():
            found: Any = shape
            for step in steps:
                found = getattr(found, step)
                if found is None:
                    break
            fields[path] = self._absent[path] if found is None else _text(found)
        for path, other in self._otherwise:
            fields[path] = fields[path] or fields[other]
        return name, namespace, metadata.labels or {}, fields


_NAMES_ONLY = Peek(())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclass(slots=True)
class Event:
    """One change of one object: `new` None means deleted, `old` None means created."""

    revision: int
    key: str
    new: Entry | None
    old: Entry | None
    holders: int = 0
    """Watchers for whom it is held back (see `watchers`)."""
    _frames: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes it keeps alive: the object, and the object once more as a line."""
        return 2 * len((self.new or self.old or _NO_ENTRY).body)

    def frame(self, kind: str) -> bytes:
        """The event as a line of a JSON watch: ADDED and MODIFIED carry the new object, DELETED the last one."""
        found = self._frames.get(kind)
        if found is None:
            found = b'{"type":"%b","object":%b}\n' % (kind.encode(), self.body(kind))
            self._frames[kind] = found
        return found

    def body(self, kind: str) -> bytes:
        if kind == "DELETED":
            gone = self.old or self.new
            assert gone is not None
            return respliced(gone, self.revision)
        assert self.new is not None
        return self.new.body


@dataclass(frozen=True, slots=True)
class Scope:
    """What a list or watch selects."""

    namespace: str = ""
    labels: selectors.Selector = selectors.EVERYTHING
    fields: tuple[selectors.FieldRequirement, ...] = ()

    def matches(self, entry: Entry) -> bool:
        if self.namespace and entry.namespace != self.namespace:
            return False
        if not self.labels.empty and not self.labels.matches(entry.labels):
            return False
        return not self.fields or selectors.match_fields(self.fields, entry.fields)

    @property
    def cost(self) -> int:
        """How much it takes to match one entry: 0 when all of its namespace do."""
        return len(self.labels.requirements) + self.labels.nothing + len(self.fields)

    def kind_of(self, event: Event) -> str:
        """ADDED, MODIFIED, DELETED as seen through this selection, or nothing."""
        now = event.new is not None and self.matches(event.new)
        before = event.old is not None and self.matches(event.old)
        if now:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else ""

    def exact(self, name: str) -> str | None:
        """The value a field must have (it may be empty); None when the selection demands none."""
        return next((t.value for t in self.fields if t.field == name and t.equal), None)


Receive = Callable[[list[tuple[str, Event]]], None]


class Audience:
    """Watchers of one scope in one format."""

    __slots__ = ("receivers", "scope")

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.receivers: list[Receive] = []

    def tell(self, events: Sequence[Event]) -> None:
        seen = [(kind, event) for event in events if (kind := self.scope.kind_of(event))]
        if seen:
            for receive in tuple(self.receivers):
                receive(seen)


class Audiences:
    """Who watches, found by what they are pinned to: a namespace, a name, the value of an indexed field."""

    def __init__(self, indexed: Sequence[str] = ()) -> None:
        self._indexed = tuple(indexed)
        self._by_pin: dict[Pin, dict[Scope, Audience]] = {}

    def tell(self, events: Sequence[Event]) -> None:
        """Hands events to everyone whom they concern."""
        if not self._by_pin:
            return
        if len(events) == 1:
            for audience in self._concerned(events[0]):
                audience.tell(events)
            return
        for pin in {pin for event in events for pin in self._pins(event)}:
            for audience in tuple(self._by_pin.get(pin, {}).values()):
                audience.tell(events)

    def _concerned(self, event: Event) -> list[Audience]:
        return [a for pin in self._pins(event) for a in self._by_pin.get(pin, {}).values()]

    def _pins(self, event: Event) -> set[Pin]:
        pins: set[Pin] = {None}
        for entry in (event.new, event.old):
            if entry is not None:
                pins.add(("namespace", entry.namespace))
                pins.add(("metadata.name", entry.name))
                pins.update((name, entry.fields[name]) for name in self._indexed)
        return pins

    def _pin(self, scope: Scope) -> Pin:
        for name in (*self._indexed, "metadata.name"):
            if (value := scope.exact(name)) is not None:
                return name, value
        return ("namespace", scope.namespace) if scope.namespace else None

    def join(self, scope: Scope, receive: Receive) -> Callable[[], None]:
        """Adds a watcher; returns what takes it away again."""
        pin = self._pin(scope)
        group = self._by_pin.setdefault(pin, {})
        audience = group.setdefault(scope, Audience(scope))
        audience.receivers.append(receive)

        def leave() -> None:
            if receive in audience.receivers:
                audience.receivers.remove(receive)
            if not audience.receivers and group.get(scope) is audience:
                del group[scope]
                if not group and self._by_pin.get(pin) is group:
                    del self._by_pin[pin]

        return leave


class Cache:
    """All objects of one stored resource."""

    def __init__(self, prefix: str, fields: Sequence[Selectable] = (), indexed: Iterable[str] = ()) -> None:
        self.prefix = prefix
        self.version = 0
        self._peek = Peek(fields) if fields else _NAMES_ONLY
        self.fields = self._peek.fields
        self._entries: dict[str, Entry] = {}
        self._keys: list[str] = []
        self._by_label: dict[tuple[str, str], set[str]] = {}
        self.indexed = tuple(indexed)
        self._by_field: dict[tuple[str, str], set[str]] = {}
        self.history: deque[Event] = deque()
        self._history_bytes = 0
        self.complete_since = 0
        self.damaged: dict[str, str] = {}
        """Objects that are set aside since what is stored of them is damaged: by key, what is wrong."""
        self._audiences = Audiences(self.indexed)
        self._followers: list[Callable[[Sequence[Event]], None]] = []

    def __len__(self) -> int:
        return len(self._entries)

    # ---- reading ----

    def get(self, key: str) -> Entry | None:
        """The entry of `namespace/name`, or of a name for what has no namespace."""
        return self._entries.get(key)

    def select_all(self) -> list[Entry]:
        """Every entry, in key order."""
        return [self._entries[k] for k in self._keys]

    def select(self, scope: Scope) -> list[Entry]:
        """The entries of a scope, in key order."""
        found = self.candidates(scope)
        return found if scope.cost == 0 else [e for e in found if scope.matches(e)]

    def candidates(self, scope: Scope, after: str = "") -> list[Entry]:
        """The entries that a scope may match, in key order, those behind a key only. When the scope costs nothing, it matches all of them."""
        entries = self._entries
        narrowed = self._narrow(scope)
        if narrowed is not None:
            return [entries[k] for k in sorted(narrowed) if k > after]
        return [entries[k] for k in self._keys_between(scope.namespace, after)]

    def _keys_between(self, namespace: str, after: str) -> list[str]:
        keys = self._keys
        if not namespace and not after:
            return keys
        low = bisect.bisect_left(keys, f"{namespace}/") if namespace else 0
        high = bisect.bisect_left(keys, f"{namespace}0") if namespace else len(keys)
        if after:
            low = max(low, bisect.bisect_right(keys, after))
        return keys[low:high]

    def _narrow(self, scope: Scope) -> Iterable[str] | None:
        """The smallest indexed set of keys that holds all a scope can match; None when no index helps."""
        best: set[str] | None = None
        empty: set[str] = set()
        for r in scope.labels.requirements:
            if r.operator in ("=", "in"):
                sets = [self._by_label.get((r.key, v), empty) for v in r.values]
                found = sets[0] if len(sets) == 1 else set().union(*sets)
                if best is None or len(found) < len(best):
                    best = found
        for name in self.indexed:
            if (value := scope.exact(name)) is not None:
                found = self._by_field.get((name, value), empty)
                if best is None or len(found) < len(best):
                    best = found
        if only := scope.exact("metadata.name"):
            if scope.namespace:
                return [k] if (k := f"{scope.namespace}/{only}") in self._entries else []
            if only in self._entries:
                return [only]
        return best

    # ---- changing ----

    def entry(self, key: str, value: bytes, version: int) -> Entry:
        name, namespace, labels, fields = self._peek.read(value)
        return Entry(key, version, splice(value, version), name, namespace, labels, fields)

    def load(self, key: str, value: bytes, version: int) -> None:
        """Takes an object that was there before; nobody is told."""
        self._put(self.entry(key, value, version))
        self.version = max(self.version, version)

    def remember(self, changes: Iterable[Change], since: int) -> None:
        """Takes all changes after a revision that led to what was loaded, as if they had been applied."""
        self.complete_since = since
        latest: dict[str, Entry] = {}
        for change in changes:
            key = change.key[len(self.prefix) :]
            old, new = latest.get(key), self._entries.get(key)
            if change.previous is not None and old is None:
                old = self.entry(key, change.previous, change.previous_revision)
            if change.value is None:
                new = None
            elif new is None or new.version != change.revision:
                new = self.entry(key, change.value, change.revision)
            if new is None:
                latest.pop(key, None)
            else:
                latest[key] = new
            self.version = max(self.version, change.revision)
            self._note(Event(change.revision, key, new, old))

    def _note(self, event: Event) -> None:
        """Keeps an event for those who come later, within bounds."""
        self.history.append(event)
        self._history_bytes += event.size
        while len(self.history) > _HISTORY or self._history_bytes > _HISTORY_BYTES:
            gone = self.history.popleft()
            self._history_bytes -= gone.size
            self.complete_since = gone.revision

    def apply(self, change: Change) -> Event:
        """Takes one committed change and returns it as an event."""
        key = change.key[len(self.prefix) :]
        old = self._entries.get(key)
        new = None
        if change.value is None:
            self._remove(key)
        else:
            new = self.entry(key, change.value, change.revision)
            self._put(new)
        self.version = change.revision
        event = Event(change.revision, key, new, old)
        self._note(event)
        return event

    def _put(self, entry: Entry) -> None:
        old = self._entries.get(entry.key)
        self._entries[entry.key] = entry
        if old is None:
            keys = self._keys
            if not keys or entry.key > keys[-1]:
                keys.append(entry.key)
            else:
                bisect.insort(keys, entry.key)
        elif old.labels == entry.labels and all(old.fields[f] == entry.fields[f] for f in self.indexed):
            return
        else:
            self._unindex(old)
        for item in entry.labels.items():
            self._by_label.setdefault(item, set()).add(entry.key)
        for name in self.indexed:
            self._by_field.setdefault((name, entry.fields[name]), set()).add(entry.key)

    def _remove(self, key: str) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            at = bisect.bisect_left(self._keys, key)
            del self._keys[at]
            self._unindex(old)

    def _unindex(self, entry: Entry) -> None:
        for table, items in (
            (self._by_label, entry.labels.items()),
            (self._by_field, [(name, entry.fields[name]) for name in self.indexed]),
        ):
            for item in items:
                bucket = table.get(item)
                if bucket is not None:
                    bucket.discard(entry.key)
                    if not bucket:
                        del table[item]

    # ---- watching ----

    def join(self, scope: Scope, receive: Receive) -> Callable[[], None]:
        """Adds a watcher; returns what takes it away again."""
        return self._audiences.join(scope, receive)

    def follow(self, receive: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """Adds one who is told of all events as they are applied (a `View`); returns what ends that."""
        self._followers.append(receive)
        return lambda: self._followers.remove(receive)

    def tell(self, events: Sequence[Event]) -> None:
        """Hands events to everyone who watches, in whichever version."""
        self._audiences.tell(events)
        for receive in self._followers:
            receive(events)

    def since(self, revision: int) -> list[Event] | None:
        """The events after a revision; None when they are no longer all here."""
        if revision < self.complete_since:
            return None
        if revision >= self.version:
            return []
        found: list[Event] = []
        for event in reversed(self.history):
            if event.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found
