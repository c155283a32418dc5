"""What a store promises, and the values that go in and out of it.

Upstream counterpart: etcd's KV, Watch and Lease services as kube-apiserver uses them.

- There is one revision over the whole store. It starts at 1 and grows by one with each transaction that changes anything.
- A transaction is atomic: all its operations happen at one revision, or none does. It names each key at most once.
- `txn` answers only after the change is durable. An expectation that does not hold is a value, `Conflict`, not an error.
- Reads see every transaction answered before they were asked, and can be put to any revision that is still kept.
- A watch delivers every change of its key range after its starting revision, in order, once.
- Keys sort by code point. A range holds `start <= key < end`; an empty `end` means the one key `start`, and `END` closes a
  range that has no upper bound.

Errors (callers' mistakes, the outside world, our bugs):

    StoreError
    ├── Compacted            the revision asked for is no longer kept (HTTP 410 for the API server)
    ├── FutureRevision       the revision asked for has not happened yet
    ├── Damaged              what is stored of the key is not what was written; other keys are not concerned
    └── StoreUnavailable     the write or read was not done (but see StoreFailed), and may be tried again
        ├── StoreFull        no room on the disk; nothing was lost; writes work again as soon as there is room
        ├── StoreLocked      another process has the store open
        ├── StoreCorrupt     the file is damaged or no store at all
        ├── StoreTooNew      the file was written by a newer version
        ├── StoreLost        acknowledged writes are missing from the file, or the whole file is
        ├── StoreFailed      the disk failed: whether the write was done is not known, and the store does not go on
        └── StoreClosed      the store is not open (any more)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

END = "\U0010ffff"
"""An `end` above every key."""

MAX_OPERATIONS = 1024
"""Operations one transaction may hold."""


class StoreError(Exception):
    """The base of the store's errors; the message is fit for a user."""


class Compacted(StoreError):
    """The revision asked for is older than what is kept."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted; the oldest kept is {oldest}")
        self.revision = revision
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for is larger than the current one."""

    def __init__(self, revision: int, current: int) -> None:
        super().__init__(f"revision {revision} has not happened yet; the current one is {current}")
        self.revision = revision
        self.current = current


class Damaged(StoreError):
    """A row fails its checksum or cannot be read."""

    def __init__(self, key: str, revision: int, reason: str) -> None:
        super().__init__(f"what is stored of {key} at revision {revision} is damaged: {reason}")
        self.key = key
        self.revision = revision
        self.reason = reason


class StoreUnavailable(StoreError):
    """The operation was not carried out."""


class StoreFull(StoreUnavailable):
    """There is no room for the write. What was acknowledged before is safe."""


class StoreLocked(StoreUnavailable):
    """Another process has the store open."""


class StoreCorrupt(StoreUnavailable):
    """The file is damaged, or is not a store."""


class StoreTooNew(StoreUnavailable):
    """The file's schema is newer than this program."""


class StoreLost(StoreUnavailable):
    """The file does not hold everything that was acknowledged, or is another store."""


class StoreFailed(StoreUnavailable):
    """The disk failed. Only opening the store again tells what is durable."""


class StoreClosed(StoreUnavailable):
    """The store is not open."""


# The values below are made on every write. msgspec's structs cost 0.15 µs each to make, frozen dataclasses 1.2 µs.


class Record(msgspec.Struct, frozen=True, gc=False):
    """A key's value at some revision."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one transaction did to one key.

    `value` is None when the key was deleted; `previous` is what it held before (None: it did not exist, or is damaged), written at
    `previous_revision` (0: it did not exist). `create_revision` of a deletion is that of the deleted key.
    """

    revision: int
    key: str
    value: bytes | None
    previous: bytes | None
    create_revision: int
    previous_revision: int


class Put(msgspec.Struct, frozen=True, gc=False):
    """Sets a key. `expected` is the modification revision it must have: None anything, 0 it must not exist.

    With `ttl` (seconds) the key is deleted, as an ordinary revision, once it has not been written for that long, however the
    machine's clock is set meanwhile.
    """

    key: str
    value: bytes
    expected: int | None = None
    ttl: float | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Deletes a key; deleting what does not exist changes nothing and is no error unless `expected` says otherwise."""

    key: str
    expected: int | None = None


class Committed(msgspec.Struct, frozen=True, gc=False):
    """The transaction is durable. `changes` is empty (and `revision` the current one) when it changed nothing."""

    revision: int
    changes: tuple[Change, ...]


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """An expectation about `key` did not hold, nothing was done; `current` is what is there."""

    key: str
    current: Record | None


class Range(msgspec.Struct, frozen=True, gc=False):
    """Records in key order, as they were at `revision`.

    `more` tells that `limit` cut the answer; `count` is how many the whole range holds (-1: it was not asked for). `damaged` are
    those that were set aside.
    """

    records: tuple[Record, ...]
    more: bool
    count: int
    revision: int
    damaged: tuple[Damaged, ...] = ()


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A stretch of history: all changes of a key range above some revision, up to and including revision `until`."""

    changes: tuple[Change, ...]
    until: int


Subscriber = Callable[[tuple[Change, ...]], None]


class Store(Protocol):
    """What is there now, who changes it and who hears of it; `tests/contract/test_store_contract.py` is the long form of the contract."""

    failed: asyncio.Future[StoreFailed]
    """Done once the store cannot go on (from `start` on there is one). It answers nothing any more then, and should be closed."""

    alone: bool
    """Whether nobody else writes to it: what subscribers were told is all there is. Else `revision` tells what others did."""

    async def start(self) -> None:
        """Opens the store. Raises StoreLocked, StoreCorrupt, StoreTooNew, StoreLost, StoreFull."""

    async def close(self) -> None:
        """Finishes what was begun and closes; safe to call twice."""

    def txn(self, *ops: Put | Delete) -> Awaitable[Committed | Conflict]:
        """Does all operations at one revision, or none. The order of calls is the order of revisions.

        Raises StoreFull or another StoreUnavailable when it could not be made durable (then it did not happen), StoreFailed when
        nobody knows, and ValueError when a key is named twice.
        """

    async def get(self, key: str, revision: int = 0) -> Record | None:
        """The key's record now (0) or at a revision. Raises Compacted, FutureRevision, Damaged."""

    async def range(self, start: str, end: str, *, revision: int = 0, limit: int = 0, counted: bool = True, set_aside: bool = False) -> Range:
        """The records of a key range now (0) or at a revision, at most `limit` (0: all). Raises Compacted, FutureRevision, Damaged.

        With `limit` only that many records are read. Counting the rest passes over the keys of the whole range (10 ms for
        20,000); whoever does not need it says `counted=False`. With `set_aside`, damaged records are left out and named.
        """

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        """Calls `fn` with each committed change, in order, on the event loop; returns what ends it.

        One call holds the changes of one or more whole transactions. It comes before the `txn` that made the change
        returns to its caller. `fn` must not raise and must not wait.
        """

    async def revision(self) -> int:
        """The revision of the last durable transaction, whoever made it: all that was answered before the call is in it."""


class History(Protocol):
    """What was before, as far back as it is kept."""

    async def changes(self, start: str, end: str, after: int) -> Piece:
        """The next changes in the range above revision `after`: whole transactions, in order, as many as one read may bring.

        The piece is empty and its `until` the current revision when there are none. Raises Compacted (also when what is stored of a
        change is damaged: history begins after it then) and FutureRevision.
        """

    def watch(self, start: str, end: str, from_revision: int) -> AsyncIterator[tuple[Change, ...]]:
        """Every change in the range with a revision above `from_revision`, in order, then those to come.

        One item holds the changes of one or more whole transactions. Raises Compacted when the changes after
        `from_revision` are no longer all kept, at the start or when the reader is slower than compaction.
        """

    async def oldest(self) -> int:
        """The oldest revision that can be read."""

    async def revision_at(self, when: float) -> int:
        """The revision that was current at a time (seconds since 1970). Raises Compacted when that is not kept."""


class Upkeep(Protocol):
    """What is done for the store rather than with it."""

    async def compact(self, revision: int) -> None:
        """Forgets what only revisions before `revision` need. Reads below it raise Compacted from now on."""

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Writes a consistent copy to a new file, while the store goes on working."""


class Readable(Store, History, Protocol):
    """A store that can also be read as it was: what an API server needs."""


class Complete(Readable, Upkeep, Protocol):
    """All of it: what an implementation is."""
