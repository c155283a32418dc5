"""Mounts and file ownership: the few system calls volumes need. Linux only, root only."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat
from collections.abc import Callable

from navarch.lib import beneath, mounts

MS_BIND = 4096
FREE = 0o660
READ_ONLY = 0o440
FOLDER = stat.S_ISGID | 0o110


def mount_tmpfs(target: pathlib.Path, size: int = 0, mode: int = 0o777) -> None:
    """A file system in memory, of at most `size` bytes (0: half of the memory). Never swapped where the kernel can promise it."""
    target.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(target):
        return
    options = f"mode={mode:o}" + (f",size={size}" if size else "")
    try:
        mounts.mount("tmpfs", target, "tmpfs", 0, options + ",noswap")
    except OSError:
        mounts.mount("tmpfs", target, "tmpfs", 0, options)


def own(folder: pathlib.Path, group: int, read_only: bool) -> None:
    """Gives a volume to a group as upstream's fsGroup does: readable (and writable) by it, folders pass the group on.

    Containers may be writing to the volume: everything is changed through its descriptor, links are only given to the group.
    """
    mask = READ_ONLY if read_only else FREE
    for _, _, names, descriptor in os.fwalk(folder):
        _own_one(descriptor, group, mask | FOLDER)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                opened = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
                try:
                    _own_one(opened, group, mask)
                finally:
                    os.close(opened)


def _own_one(descriptor: int, group: int, mask: int) -> None:
    held = os.fstat(descriptor)
    if not stat.S_ISLNK(held.st_mode):
        os.chown(beneath.through(descriptor), -1, group)
        os.chmod(beneath.through(descriptor), stat.S_IMODE(held.st_mode) | mask)


def bind(source: int, target: pathlib.Path) -> None:
    """Binds what a descriptor stands for onto `target`, unless that is there already."""
    wanted = os.fstat(source)
    with contextlib.suppress(FileNotFoundError):
        held = os.lstat(target)
        if (held.st_dev, held.st_ino) == (wanted.st_dev, wanted.st_ino):
            return
        mounts.unmount(target)
    if stat.S_ISDIR(wanted.st_mode):
        _clear(target, stat.S_ISDIR)
        target.mkdir(parents=True, exist_ok=True, mode=0o750)
    else:
        _clear(target, stat.S_ISREG)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        target.touch(mode=0o640)
    mounts.mount(beneath.through(source), target, "", MS_BIND)


def _clear(target: pathlib.Path, fits: Callable[[int], bool]) -> None:
    """Removes a place made for something of another kind."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(target).st_mode
        if stat.S_ISDIR(mode) and not fits(mode):
            target.rmdir()
        elif not fits(mode):
            target.unlink()
