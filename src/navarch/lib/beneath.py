"""Opens what lies beneath a folder that others write to, and is never led out of it.

A process that may write to a folder can swap a directory for a symbolic link at any moment, also between a check and a use. So nothing
here goes through a path twice: each component is opened from the descriptor of its parent, without following links, and what is opened is
what is looked at. A link is read and walked in the same way; `..` goes back to the descriptor it came from, and never above the base.
openat2 with RESOLVE_BENEATH does nearly this, but is missing on older kernels, refuses nothing that this lets through, and cannot make
directories on its way. Upstream's counterpart is pkg/volume/util/subpath. Linux only: descriptors are used through /proc/self/fd.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_DEPTH = 255
"""Directories between the base and what is opened; each holds a descriptor meanwhile."""
MAX_LINKS = 40
"""As many as the kernel follows."""
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Outside(OSError):
    """The path leads out of its base."""

    def __init__(self, path: str, base: pathlib.Path) -> None:
        super().__init__(errno.EXDEV, f'"{path}" is not within "{base}"')


@dataclass(frozen=True, slots=True)
class Missing:
    """How directories that are missing on the way are made."""

    mode: int
    uid: int
    gid: int


@contextlib.contextmanager
def opened(base: pathlib.Path, path: str, missing: Missing | None = None) -> Iterator[int]:
    """A descriptor (O_PATH) of `path` beneath `base`, never of a link; links that stay inside are followed.

    `base` itself is trusted and may be a link. With `missing`, directories that do not exist are made. `Outside` for a path that leads
    out, OSError for one that cannot be opened.
    """
    walk = _Walk(base, path, missing)
    try:
        walk.go()
        yield walk.held[-1]
    finally:
        walk.close()


class _Walk:
    """The descriptors from the base to where the walk has come."""

    def __init__(self, base: pathlib.Path, path: str, missing: Missing | None) -> None:
        self._base, self._path, self._missing = base, path, missing
        self._links = 0
        # Components still to go, the next one last; whether each is the caller's own or came out of a link.
        self._todo = [(part, True) for part in reversed(self._parts(path))]
        self.held = [os.open(base, os.O_PATH | os.O_CLOEXEC)]

    def close(self) -> None:
        for descriptor in self.held:
            os.close(descriptor)

    def go(self) -> None:
        while self._todo:
            part, own = self._todo.pop()
            if part != "..":
                self._enter(part, own)
            elif len(self.held) > 1:
                os.close(self.held.pop())
            else:
                raise Outside(self._path, self._base)

    def _parts(self, path: str) -> list[str]:
        if path.startswith("/"):
            raise Outside(self._path, self._base)
        return [part for part in path.split("/") if part not in ("", ".")]

    def _enter(self, part: str, own: bool) -> None:
        try:
            descriptor = os.open(part, _LOOK, dir_fd=self.held[-1])
        except FileNotFoundError:
            if self._missing is None or not own:
                raise
            descriptor = _make(part, self.held[-1], self._missing)
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            try:
                target = os.readlink("", dir_fd=descriptor)
            finally:
                os.close(descriptor)
            self._links += 1
            if self._links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self._path)
            self._todo += [(step, False) for step in reversed(self._parts(target))]
            return
        self.held.append(descriptor)
        if len(self.held) > MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), self._path)


def _make(part: str, parent: int, missing: Missing) -> int:
    """A new directory, with its mode and owner set through its descriptor."""
    os.mkdir(part, 0o700, dir_fd=parent)
    # Whatever has taken its place by now: a link is refused, and anything else lies in the same folder.
    descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.fchown(descriptor, missing.uid, missing.gid)
        os.fchmod(descriptor, missing.mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def through(descriptor: int) -> str:
    """A path to what a descriptor stands for, for system calls that take none: it cannot be made to lead elsewhere."""
    return f"/proc/self/fd/{descriptor}"


def read(base: pathlib.Path, path: str, limit: int) -> bytes:
    """The first `limit` bytes of a regular file beneath `base`. OSError for anything else; never waits for a pipe's other end."""
    with opened(base, path) as descriptor:
        _need_regular(descriptor, path)
        with open(through(descriptor), "rb", buffering=0) as file:
            return _read(file.fileno(), limit)


def open_file(path: pathlib.Path) -> BinaryIO:
    """A regular file at this path, which is no link, for reading. OSError for anything else; never waits for a pipe's other end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _need_regular(descriptor, str(path))
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _need_regular(descriptor: int, path: str) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def _read(descriptor: int, limit: int) -> bytes:
    data = b""
    while len(data) < limit and (more := os.read(descriptor, limit - len(data))):
        data += more
    return data
