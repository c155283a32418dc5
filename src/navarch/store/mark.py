"""The mark beside a store: which store is expected in its place, and the last revision that was acknowledged.

SQLite cannot tell that its file or its write-ahead log was taken away, cut or exchanged: it opens what it finds, and what is
missing never was. The mark can tell. It lies in a file whose name does not begin with the database's, so that whoever removes the
one does not remove the other by the way.

It is written some milliseconds after a commit, without a sync, and synced whenever the log was copied into the file. So it never
leads: the revision in it was durable before. It may lag, by those milliseconds when the process is killed, and by what the system
had not written of it (some seconds) when the power fails; a loss in that stretch goes unnoticed.

A mark is 64 bytes, in one sector: a magic word, the store's identity, the revision, a checksum.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import NamedTuple
from zlib import crc32

_MAGIC = b"navarch store 1\n"
_FORM = struct.Struct("<16s32sQ")
_SIZE = 64


class Mark(NamedTuple):
    """`identity` is the store's (32 hexadecimal digits), or empty in a mark that cannot be read."""

    identity: str
    revision: int


UNREADABLE = Mark("", 0)


def path_of(store: str) -> str:
    """Where the mark of a store's file is: `store.db` has `store.mark`."""
    return os.path.splitext(store)[0] + ".mark"


def read(store: str) -> Mark | None:
    """A store's mark; None when there is none, UNREADABLE when there is something else in its place."""
    try:
        with open(path_of(store), "rb") as file:
            return unpack(file.read(_SIZE))
    except FileNotFoundError:
        return None


def unpack(data: bytes) -> Mark:
    body, checksum = data[: _FORM.size], data[_FORM.size : _FORM.size + 4]
    if len(checksum) < 4 or crc32(body) != int.from_bytes(checksum, "little"):
        return UNREADABLE
    magic, identity, revision = _FORM.unpack(body)
    return Mark(identity.decode("ascii", "replace"), revision) if magic == _MAGIC else UNREADABLE


def pack(mark: Mark) -> bytes:
    body = _FORM.pack(_MAGIC, mark.identity.encode(), mark.revision)
    return (body + crc32(body).to_bytes(4, "little")).ljust(_SIZE, b"\0")


class Marker:
    """An open mark, for the writer's thread."""

    def __init__(self, store: str, identity: str) -> None:
        self._identity = identity
        self._descriptor = os.open(path_of(store), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            os.fchmod(self._descriptor, 0o600)

    def write(self, revision: int) -> None:
        """Notes a revision that is durable. Raises OSError."""
        os.pwrite(self._descriptor, pack(Mark(self._identity, revision)), 0)

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def put(store: str, mark: Mark) -> None:
    """Writes a mark and makes it durable. Raises OSError."""
    marker = Marker(store, mark.identity)
    try:
        marker.write(mark.revision)
        marker.sync()
    finally:
        marker.close()
    sync_folder(store)


def sync_folder(path: str) -> None:
    """Makes the names in a file's folder durable."""
    descriptor = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
