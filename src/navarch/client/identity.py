"""Who a component is in leader elections: a name that its next process has too.

A holder that is restarted under another name must wait until its own former lease is over. So the name is kept in a file of the data
folder. Two processes never share it: who holds the file's lock has the name, and any other process gets a name of its own.

Upstream's kube-scheduler and kube-controller-manager make a new name at every start (hostname and uuid).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import uuid
from collections.abc import Iterator

_NAME = re.compile(r"[!-~]{1,200}\Z")


@contextlib.contextmanager
def held(path: str) -> Iterator[str]:
    """The identity kept in a file, ours for the length of the block; made when the file has none. A new one for "". OSError."""
    if not path:
        yield _new()
        return
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _new()
            return
        yield _kept(file)
    finally:
        os.close(file)


def _kept(file: int) -> str:
    found = os.pread(file, 256, 0).decode("ascii", "replace").strip()
    if _NAME.match(found):
        return found
    made = _new()
    os.ftruncate(file, 0)
    os.pwrite(file, f"{made}\n".encode(), 0)
    os.fsync(file)
    return made


def _new() -> str:
    return f"{socket.gethostname()}_{uuid.uuid4()}"
